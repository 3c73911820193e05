"""How a container mounts a volume: options and paths inside of it. Pure but for a look
at the machine's own mounts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jindou.machine.linux.mounts import propagation
from jindou.machine.runtimes import Mount
from jindou.node.volumes.environment import REFERENCE, expand
from jindou.objects.kinds import Object

PROPAGATION = {"None": "rprivate", "HostToContainer": "rslave", "Bidirectional": "rshared"}


class MountRefused(ValueError):
    pass


class NotShared(Exception):
    """CreateContainerError: this machine's mounts are not set up for the propagation asked for."""


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


def check_propagation(wish: Object, source: Path) -> None:
    """A container's mounts come out only where the machine shares its own. HostToContainer is let
    pass: what is mounted already is seen, and programs that ask for it mostly want just that."""
    if wish.get("mountPropagation") != "Bidirectional":
        return
    point, shared, _ = propagation(source)
    if not shared:
        raise NotShared(f'path "{source}" is mounted on "{point}" but it is not a shared mount')


def plan_mount(wish: Object, source: Path, read_only: bool) -> Mount:
    options = ["rbind", PROPAGATION.get(wish.get("mountPropagation") or "None", "rprivate")]
    if read_only or wish.get("readOnly"):
        recursive = wish.get("recursiveReadOnly") in ("Enabled", "IfPossible")
        options += ["rro" if recursive else "ro"]
    else:
        options.append("rw")
    target: str = wish["mountPath"]
    if not target.startswith("/"):
        target = f"/{target}"
    return Mount(target, str(source), "bind", tuple(options))
