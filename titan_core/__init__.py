"""Titan's engine: the protocol, the scheduler, the master and the worker."""
