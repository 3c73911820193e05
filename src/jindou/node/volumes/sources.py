"""Volumes that are places of this machine: host paths, and claims bound to such places.

Source: https://kubernetes.io/docs/concepts/storage/volumes/#hostpath
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from jindou.client import Client
from jindou.node.volumes.provisioned import is_ours
from jindou.objects.errors import NotFound
from jindou.objects.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, Object, Ref

CHECKS = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "FileOrCreate": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket file"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


class Refused(Exception):
    """Why a volume can't be had. `whole`: the sentence stands without the volume's name."""

    def __init__(self, message: str, whole: bool = False) -> None:
        super().__init__(message)
        self.whole = whole


class Place(NamedTuple):
    path: str
    type: str  # of a host path
    group: bool  # may fsGroup change its owner?
    ours: bool = False  # a folder that is made at its first mount, for everybody to write to


def check_host_path(path: str, type: str) -> Path:
    """The path, made where its type says so. Raises Refused."""
    if not path.startswith("/") or ".." in path.split("/"):
        raise Refused(f"hostPath {path!r} must be absolute and must not contain '..'")
    place = Path(path)
    if not place.exists():
        if type in ("", "DirectoryOrCreate"):
            place.mkdir(mode=0o755, parents=True, exist_ok=True)
        elif type == "FileOrCreate":
            try:
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
            except FileNotFoundError as error:
                raise Refused(f"open {path}: no such file or directory") from error
    if type:
        if type not in CHECKS:
            raise Refused(f"hostPath type check failed: {type} is an invalid volume type")
        test, words = CHECKS[type]
        try:
            found = test(place.stat().st_mode)
        except OSError:
            found = False
        if not found:
            raise Refused(f"hostPath type check failed: {path} is not {words}")
    return place


async def volume_of_claim(client: Client, pod: Object, name: str) -> Place:
    """Where a bound claim's storage is on this machine. Raises Refused."""
    namespace = pod["metadata"]["namespace"]
    start = f"error processing PVC {namespace}/{name}"
    try:
        claim = await client.get(Ref(PERSISTENT_VOLUME_CLAIM, namespace, name))
    except NotFound as error:
        raise Refused(
            f"{start}: failed to fetch PVC from API server: {error}", whole=True
        ) from error
    if claim["metadata"].get("deletionTimestamp"):
        raise Refused(f"{start}: PVC is being deleted", whole=True)
    volume_name = claim["spec"].get("volumeName")
    if not volume_name or (claim.get("status") or {}).get("phase") != "Bound":
        raise Refused(f"{start}: PVC is not bound", whole=True)
    try:
        volume = await client.get(Ref(PERSISTENT_VOLUME, "", volume_name))
    except NotFound as error:
        raise Refused(
            f"{start}: failed to fetch PV {volume_name} from API server: {error}", whole=True
        ) from error
    spec = volume["spec"]
    if (spec.get("claimRef") or {}).get("uid") not in (None, claim["metadata"].get("uid")):
        raise Refused(f"{start}: PV {volume_name} is bound to another claim", whole=True)
    if host := spec.get("hostPath"):
        if is_ours(volume):
            return Place(host["path"], "", True, True)
        return Place(host["path"], host.get("type") or "", False)
    if local := spec.get("local"):
        if not os.path.exists(local["path"]):
            raise Refused(f'path "{local["path"]}" does not exist')
        return Place(local["path"], "", True)
    raise Refused("no volume plugin matched")
