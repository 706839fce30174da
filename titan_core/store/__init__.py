"""DURABILITY: the files of the master's home that outlive a request: assets by name and by content."""
