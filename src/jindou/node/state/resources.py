"""What a Pod asks of CPU and memory, and how the kernel is told. Pure.

Sources: https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/ ,
https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/ , cgroups(7).
"""

from __future__ import annotations

from collections.abc import Iterator

from jindou.machine.runtimes import Limits
from jindou.objects import quantities
from jindou.objects.kinds import Object

PIDS = 4096  # processes and threads of one container, where nothing else is asked
SMALLEST_SHARES, LARGEST_SHARES = 2, 262144
CRITICAL = ("system-node-critical",)


def containers(pod: Object) -> Iterator[Object]:
    """Init and main containers, as they count for resources."""
    yield from pod["spec"].get("initContainers") or ()
    yield from pod["spec"].get("containers") or ()


def qos_class(pod: Object) -> str:
    asked: dict[str, int] = {}
    guaranteed = True
    for container in containers(pod):
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        for name in ("cpu", "memory"):
            limit = quantities.parse(limits.get(name, 0))
            request = quantities.parse(requests.get(name, limits.get(name, 0)))
            if limit or request:
                asked[name] = 1
            if not limit or limit != request:
                guaranteed = False
    if not asked:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def oom_score(pod: Object, container: Object, capacity: int) -> int:
    """Who is to be killed first when memory runs out: 1000 first, -997 last."""
    if pod["spec"].get("priorityClassName") in CRITICAL:
        return -997
    quality = qos_class(pod)
    if quality == "Guaranteed":
        return -997
    if quality == "BestEffort":
        return 1000
    request = quantities.value((_of(container, "requests")).get("memory", 0))
    score = 1000 - 1000 * request // max(capacity, 1)
    return min(max(score, 3), 999)


def _of(container: Object, part: str) -> Object:
    held: Object = (container.get("resources") or {}).get(part) or {}
    return held


def limits(container: Object) -> Limits:
    """Shares follow the request, the quota the limit."""
    limited, requested = _of(container, "limits"), _of(container, "requests")
    cpu = quantities.milli(limited.get("cpu", 0))
    asked = quantities.milli(requested.get("cpu") or limited.get("cpu") or 0)
    shares = min(max(asked * 1024 // 1000, SMALLEST_SHARES), LARGEST_SHARES)
    pages = {
        f"{name.removeprefix('hugepages-').removesuffix('i')}B": quantities.value(amount)
        for name, amount in limited.items()
        if name.startswith("hugepages-")
    }
    return Limits(
        cpu=cpu / 1000,
        cpu_shares=shares,
        memory=quantities.value(limited.get("memory", 0)),
        pids=PIDS,
        hugepages=pages,
    )


def requests(pod: Object) -> dict[str, int]:
    """CPU in thousandths and memory in bytes that the whole Pod needs at its peak.

    Init containers run one after the other, each beside the sidecars that started before it.
    """
    total: dict[str, int] = {}
    for name, measure in (("cpu", quantities.milli), ("memory", quantities.value)):
        sidecars = peak = 0
        for container in pod["spec"].get("initContainers") or ():
            amount = measure(_of(container, "requests").get(name, 0))
            if container.get("restartPolicy") == "Always":
                sidecars += amount
                peak = max(peak, sidecars)
            else:
                peak = max(peak, sidecars + amount)
        main = sum(
            measure(_of(container, "requests").get(name, 0))
            for container in pod["spec"].get("containers") or ()
        )
        overhead = measure((pod["spec"].get("overhead") or {}).get(name, 0))
        total[name] = max(peak, sidecars + main) + overhead
    return total
