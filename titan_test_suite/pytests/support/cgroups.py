"""Whether workers can make cgroups here; what does not go without is not tried elsewhere."""

from __future__ import annotations

import pytest

from titan_core.worker import cgroup


def _can_be_made() -> bool:
    try:
        path = cgroup.place_for(0)
        path.mkdir()
    except OSError:
        return False
    has_kill = (path / "cgroup.kill").exists()
    path.rmdir()
    return has_kill


CAN_BE_MADE = _can_be_made()
needs_cgroups = pytest.mark.skipif(not CAN_BE_MADE, reason="no cgroup can be made here")
