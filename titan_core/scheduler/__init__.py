"""DECISIONS, pure: `core.handle(event, now) -> [Action]`, without socket, thread, clock, file, randomness or log."""
