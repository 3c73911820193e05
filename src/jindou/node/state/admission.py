"""Whether this node takes a Pod that was bound to it. Pure; the sentences are the kubelet's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jindou.node.state import resources
from jindou.node.state.status import Outcome
from jindou.objects.kinds import Object

WORDS = {"cpu": "OutOfcpu", "memory": "OutOfmemory"}


def refusal(
    pod: Object, others: Iterable[Object], allocatable: Mapping[str, int]
) -> Outcome | None:
    """`others` are the Pods that are active here; `allocatable` CPU in thousandths and memory."""
    spec = pod["spec"]
    if (spec.get("os") or {}).get("name") not in (None, "", "linux"):
        return Outcome(
            "Failed",
            "PodOSNotSupported",
            f"Failed to admit pod as the OS field doesn't match node OS: linux, {spec['os']['name']}",
        )
    if spec.get("hostUsers") is False:
        return Outcome("Failed", "UserNamespacesSupport", "Pod was rejected: user namespaces (hostUsers: false) are not supported on this node")  # fmt: skip
    asked = resources.requests(pod)
    short = {name: allocatable[name] for name in asked if asked[name] and name in allocatable}
    if not short:
        return None
    used = dict.fromkeys(short, 0)
    for other in others:
        for name, amount in resources.requests(other).items():
            if name in used:
                used[name] += amount
    for name, capacity in short.items():
        if used[name] + asked[name] > capacity:
            why = f"Node didn't have enough resource: {name}, requested: {asked[name]}, used: {used[name]}, capacity: {capacity}"
            return Outcome("Failed", WORDS[name], f"Pod was rejected: {why}")
    return None
