"""How a container mounts a volume: options and paths inside of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jindou.machine.runtimes import Mount
from jindou.node.volumes.environment import REFERENCE, expand
from jindou.objects.kinds import Object

PROPAGATION = {"None": "rprivate", "HostToContainer": "rslave", "Bidirectional": "rshared"}


class MountRefused(ValueError):
    pass


def plan_subpath(wish: Object, env: Mapping[str, str]) -> str:
    """The relative path inside the volume; "" for all of it. Raises MountRefused."""
    below: str = wish.get("subPath") or ""
    if expression := wish.get("subPathExpr"):
        for match in REFERENCE.finditer(expression):
            if match[1] is not None and match[1] not in env:
                raise MountRefused(f'missing value for "{match[1]}"')
        below = expand(expression, env)
    if below.startswith("/"):
        raise MountRefused(f"error SubPath `{below}` must not be an absolute path")
    if ".." in below.split("/") or "\0" in below:
        raise MountRefused(f"unable to provision SubPath `{below}`: must not contain '..'")
    return below


def plan_mount(wish: Object, source: Path, read_only: bool) -> Mount:
    propagation = PROPAGATION.get(wish.get("mountPropagation") or "None", "rprivate")
    options = ["rbind", propagation]
    if read_only or wish.get("readOnly"):
        recursive = wish.get("recursiveReadOnly") in ("Enabled", "IfPossible")
        options += ["rro" if recursive else "ro"]
    else:
        options.append("rw")
    target: str = wish["mountPath"]
    if not target.startswith("/"):
        target = f"/{target}"
    return Mount(target, str(source), "bind", tuple(options))
