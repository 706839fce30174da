"""What machines ask: is it alive, is it ready, its metrics; and the stream that tells browsers of changes."""

from __future__ import annotations

from flask import Blueprint, Response, request
from werkzeug.exceptions import ServiceUnavailable

from dashboard import metrics, streams
from dashboard.parts import parts

probes = Blueprint("probes", __name__)


@probes.get("/livez")
def livez() -> Response:
    """The process answers."""
    return Response("alive\n", mimetype="text/plain")


@probes.get("/readyz")
def readyz() -> Response:
    """The master is reached; else 503, and why not."""
    snapshot = parts().cluster.glance()
    if snapshot.trouble:
        return Response(f"{snapshot.trouble}\n", 503, mimetype="text/plain")
    return Response("ready\n", mimetype="text/plain")


@probes.get("/metrics")
def prometheus() -> Response:
    ours = metrics.of_dashboard(parts().traffic.counts(), parts().streams.open)
    lines = metrics.of_collector(parts().rings.figures())
    text = metrics.written([*metrics.of_cluster(parts().cluster.glance()), *ours, *lines])
    return Response(text, content_type=metrics.CONTENT_TYPE)


@probes.get("/events")
def events() -> Response:
    """`{"version": n}` whenever the snapshot has changed."""
    if request.method == "HEAD":
        raise ServiceUnavailable("a stream has to be read")
    return parts().streams.respond(streams.versions(parts().cluster))
