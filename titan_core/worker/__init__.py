"""EXECUTION: takes attempts from the master, makes processes of them, and sends back their logs and results."""
