"""The states a user meets, as words: which there are, in which order, in which colour."""

from __future__ import annotations

RUN_STATES = ("RUNNING", "COMPLETED", "FAILED", "CANCELLED")
JOB_STATES = ("COMPLETED", "RUNNING", "QUEUED", "DELAYED", "BLOCKED", "FAILED", "CRASHLOOP", "DEAD", "CANCELLED")
"""In the order in which counts are told: what is done, what goes on, what waits, what went wrong."""

RESTARTS = ("always", "on-failure", "never")
"""When a service is started again."""

FIRE_OUTCOMES = ("RAN", "QUEUED", "SKIPPED", "MISSED", "FAILED")
OVERLAPS = ("skip", "queue", "allow", "replace")
CATCH_UPS = ("none", "last", "all")
"""What schedules do about their fires."""

STATE_STYLES = {
    "COMPLETED": "green",
    "ACTIVE": "green",
    "RAN": "green",
    "SUCCEEDED": "green",
    "ONLINE": "green",
    "READY": "green",
    "RUNNING": "cyan",
    "STARTING": "cyan",
    "UPDATING": "cyan",
    "FAILED": "red",
    "CRASHLOOP": "red",
    "DEAD": "red",
    "TIMED_OUT": "red",
    "NOT_STARTED": "red",
    "LOST": "red",
    "MISSED": "red",
    "DISCONNECTED": "red",
    "CANCELLED": "yellow",
    "STOPPED": "yellow",
    "PAUSED": "yellow",
    "SKIPPED": "yellow",
    "INTERRUPTED": "yellow",
    "DRAINING": "yellow",
    "DEGRADED": "yellow",
}
"""The colour of a state; every other one waits, and is dim."""
