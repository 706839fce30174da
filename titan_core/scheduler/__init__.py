"""DECISIONS, pure: no socket, thread, clock, random number, file or log line; `core.handle(event, now) -> [Action]`."""
