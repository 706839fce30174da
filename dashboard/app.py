"""The Flask application: all pages, the guard before them, what templates find. Starts nothing; see `server`."""

from __future__ import annotations

from flask import Flask

from dashboard import access, links, page, pages, present, refusals
from dashboard.api import api
from dashboard.parts import Parts
from dashboard.probes import probes


def create_app(parts: Parts) -> Flask:
    app = Flask("dashboard", static_folder="static", template_folder="templates")
    app.config.update(MAX_CONTENT_LENGTH=access.MAX_BODY, MAX_FORM_MEMORY_SIZE=access.MAX_BODY)
    app.jinja_env.filters.update(present.FILTERS)
    app.jinja_env.globals.update(link=links.link, links=links)  # macros see globals only
    app.jinja_env.finalize = present.finalized
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    parts.attach(app)
    access.install(app)
    refusals.install(app)
    app.context_processor(page.for_templates)
    for blueprint in (probes, api, *pages.found()):
        app.register_blueprint(blueprint)
    return app
