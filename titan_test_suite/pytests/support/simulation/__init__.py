"""A cluster in one thread: the real core, everything around it modelled, every accident decided by one seed."""
