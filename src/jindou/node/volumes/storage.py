"""Local storage that a Pod may use, and when it has used too much. Pure.

Source: https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/#local-ephemeral-storage
"""

from __future__ import annotations

from collections.abc import Mapping

from jindou.objects import quantities
from jindou.objects.kinds import Object

EPHEMERAL = "ephemeral-storage"


def _limit(container: Object, resource: str) -> str:
    limits: Mapping[str, str] = (container.get("resources") or {}).get("limits") or {}
    return limits.get(resource) or ""


def memory_size(pod: Object, size_limit: str | None) -> int:
    """Bytes for a volume in memory: its own limit, or less where the Pod may have less memory."""
    containers = pod["spec"].get("containers") or ()
    limits = [_limit(container, "memory") for container in containers]
    sizes = [quantities.value(size_limit)] if size_limit else []
    if limits and all(limits):
        sizes.append(sum(quantities.value(limit) for limit in limits))
    return min((size for size in sizes if size > 0), default=0)


def disk_limits(pod: Object) -> dict[str, str]:
    """Volumes on disk that have a size limit. Memory keeps its limit by itself."""
    return {
        volume["name"]: volume["emptyDir"]["sizeLimit"]
        for volume in pod["spec"].get("volumes") or ()
        if (volume.get("emptyDir") or {}).get("sizeLimit")
        and volume["emptyDir"].get("medium") != "Memory"
    }


def limited(pod: Object) -> bool:
    """Is there a limit on local storage that someone has to watch?"""
    containers = pod["spec"].get("containers") or ()
    return bool(disk_limits(pod)) or any(_limit(c, EPHEMERAL) for c in containers)


def ephemeral_excess(pod: Object, layers: Mapping[str, int], volumes: Mapping[str, int]) -> str:
    """Which limit is exceeded, if one is. `layers`: bytes of each container's own files and logs."""
    for name, limit in disk_limits(pod).items():
        if volumes.get(name, 0) > quantities.value(limit):
            return f'Usage of EmptyDir volume "{name}" exceeds the limit "{limit}". '
    containers = pod["spec"].get("containers") or ()
    limits = {container["name"]: _limit(container, EPHEMERAL) for container in containers}
    disk = sum(
        volumes.get(volume["name"], 0)
        for volume in pod["spec"].get("volumes") or ()
        if "emptyDir" in volume and (volume["emptyDir"] or {}).get("medium") != "Memory"
    )
    if limits and all(limits.values()):
        total = sum(quantities.value(limit) for limit in limits.values())
        if disk + sum(layers.values()) > total:
            shown = quantities.canonical(_sum(list(limits.values())))
            return f"Pod ephemeral local storage usage exceeds the total limit of containers {shown}. "  # fmt: skip
    for name, limit in limits.items():
        if limit and layers.get(name, 0) > quantities.value(limit):
            return f'Container {name} exceeded its local ephemeral storage limit "{limit}". '
    return ""


def _sum(amounts: list[str]) -> str:
    total = sum(quantities.value(amount) for amount in amounts)
    for power, suffix in ((3, "Gi"), (2, "Mi"), (1, "Ki")):
        if total % 1024**power == 0:
            return f"{total // 1024**power}{suffix}"
    return str(total)
