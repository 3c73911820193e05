"""Where a cloud of somebody without root is: below the user's own folders, the same each time."""

from __future__ import annotations

import json
import os
from typing import Any

from jindou.cli.api import Api
from jindou.settings import Settings

MARK = "pretend"  # a file in the data folder of a cloud that is only played: what was chosen for it
KEPT = ("api_port", "node_port", "node_name", "pod_cidr", "service_cidr")


def unprivileged(settings: Settings) -> Settings:
    """The same cloud below the user's own folders. Root has the usual ones, and what was chosen stays."""
    if os.geteuid() == 0:
        return settings
    usual = Settings()
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(
        os.path.expanduser("~"), ".local", "state"
    )
    data = os.path.join(state, "jindou") if settings.data == usual.data else settings.data
    return settings._replace(
        data=data,
        run=os.path.join(data, "run") if settings.run == usual.run else settings.run,
        logs=os.path.join(data, "logs") if settings.logs == usual.logs else settings.logs,
    )


def remembered(settings: Settings, only_running: bool = False) -> Settings | None:
    """The pretended cloud of this user, where there is one and no real one runs."""
    own = unprivileged(settings)
    if own.run != settings.run and Api(settings).running():
        return None
    mark = os.path.join(own.data, MARK)
    if not os.path.exists(mark):
        return None
    if only_running and not Api(own).running():
        return None
    return own._replace(pretend=True, **chosen(mark, settings))


def chosen(mark: str, settings: Settings) -> dict[str, Any]:
    """What flags chose for it earlier; what is chosen now goes first."""
    usual = Settings()._asdict()
    try:
        with open(mark) as file:
            kept = json.load(file)
    except (OSError, ValueError):
        return {}
    return {
        name: kept[name] for name in KEPT if name in kept and getattr(settings, name) == usual[name]
    }


def mark(settings: Settings) -> None:
    """Written at each start of a pretended cloud, taken away by the start of a real one."""
    path = os.path.join(settings.data, MARK)
    if not settings.pretend:
        if os.path.exists(path):
            os.unlink(path)
        return
    with open(path, "w") as file:
        json.dump({name: getattr(settings, name) for name in KEPT}, file)
