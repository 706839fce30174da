"""The objects that a request is served with, and how code that serves one finds them. Owns none of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from flask import Flask, current_app

from dashboard.cluster import ClusterWatch
from dashboard.config import DashboardConfig
from dashboard.executions import Executions
from dashboard.rings import Rings
from dashboard.samples import Samples
from dashboard.sessions import Sessions
from dashboard.streams import Streams
from dashboard.traffic import Traffic
from titan_sdk import TitanClient

_KEY = "titan"


@dataclass(frozen=True, slots=True)
class Parts:
    config: DashboardConfig
    client: TitanClient
    """For details and actions; shared by all threads."""
    cluster: ClusterWatch
    """For everything else."""
    streams: Streams
    sessions: Sessions
    traffic: Traffic = field(default_factory=Traffic)
    samples: Samples = field(default_factory=Samples)
    executions: Executions = field(default_factory=Executions)
    rings: Rings = field(default_factory=Rings)
    """What jobs print."""

    def attach(self, app: Flask) -> None:
        app.extensions[_KEY] = self


def parts() -> Parts:
    """Those of the application that serves this request."""
    return cast(Parts, current_app.extensions[_KEY])
