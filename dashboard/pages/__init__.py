"""The pages. Each module here has a `page`; adding the module is all it takes."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from dashboard.page import Page


def found() -> list[Page]:
    """All of them, by the names of their modules."""
    names = sorted(module.name for module in iter_modules(__path__))
    return [import_module(f"{__name__}.{name}").page for name in names]
