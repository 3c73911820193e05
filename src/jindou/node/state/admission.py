"""Whether this node takes a Pod that was bound to it. Pure; the sentences are the kubelet's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jindou.node.state import resources
from jindou.node.state.status import Outcome
from jindou.objects.kinds import Object

WORDS = {"cpu": "OutOfcpu", "memory": "OutOfmemory"}
SAFE_SYSCTLS = frozenset({
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
})  # fmt: skip
"""Those that change nothing outside of the Pod, whatever their value."""


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
    if says := _forbidden_sysctl(spec):
        return Outcome("Failed", "SysctlForbidden", f"Pod was rejected: forbidden sysctl: {says}")
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


def _forbidden_sysctl(spec: Object) -> str:
    for entry in (spec.get("securityContext") or {}).get("sysctls") or ():
        name = entry["name"].replace("/", ".")
        if name not in SAFE_SYSCTLS:
            return f'"{name}" not allowlisted'
        for prefix, field, words in (("net.", "hostNetwork", "net"), ("kernel.", "hostIPC", "ipc")):
            if name.startswith(prefix) and spec.get(field):
                return f'"{name}" not allowed with host {words} enabled'
    return ""
