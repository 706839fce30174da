"""THREADS AROUND THE CORE: the one lock, the clock, the connections, and what they make of messages."""
