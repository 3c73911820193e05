"""Is this machine able? Each probe tries the thing itself and says one sentence, with a remedy.

The list is what `jindou doctor` prints and what `jindou up` checks before it changes anything: a
probe leaves nothing behind (namespaces and mounts are made in a child process that ends).
"""

from __future__ import annotations

import os

from jindou.node.doctor.clients import environment, kubeconfigs, kubectl, processes, units
from jindou.node.doctor.machine import (
    certificates,
    cgroups,
    clock,
    conmon,
    disk,
    keys,
    overlay,
    runtimes,
)
from jindou.node.doctor.network import (
    firewalls,
    namespaces,
    nftables,
    other_products,
    ports,
    routes,
)
from jindou.node.doctor.verdicts import Probe, Verdict
from jindou.settings import Settings

PROBES: tuple[Probe, ...] = (
    cgroups,
    runtimes,
    conmon,
    namespaces,
    nftables,
    ports,
    routes,
    other_products,
    firewalls,
    overlay,
    disk,
    keys,
    certificates,
    clock,
    kubectl,
    environment,
    kubeconfigs,
    processes,
    units,
)
NEED_PACKAGES = frozenset(
    {"runtimes", "conmon", "nftables", "kubectl", "other_products", "firewalls"}
)
# What needs root, in words for who is not.
NEED_ROOT = {
    "runtimes": ("containers", "a test container starts and ends"),
    "namespaces": ("network", "namespaces"),
    "nftables": ("network", "nftables"),
    "other_products": ("network", "packet rules of other products"),
    "overlay": ("storage", "overlayfs"),
}
OF_PRETENDED = frozenset({"ports", "disk", "keys", "certificates", "clock"})
AT_EACH_START = frozenset({"ports", "disk"})  # cheap, and true on one day and not on the next
OF_CLIENTS = frozenset({"kubectl", "environment", "kubeconfigs", "processes"})


def examine(
    settings: Settings, skip: frozenset[str] = frozenset(), only: frozenset[str] = frozenset()
) -> list[Verdict]:
    """All probes in their order. `skip` leaves out what needs packages that are not installed yet.

    Without root, what needs it is passed over and said; a pretended cloud needs little of the
    machine."""
    found: list[Verdict] = []
    for probe in PROBES:
        name = probe.__name__
        if name in skip or (only and name not in only):
            continue
        if settings.pretend and name not in OF_PRETENDED | OF_CLIENTS:
            continue
        if os.geteuid() and name in NEED_ROOT:
            group, what = NEED_ROOT[name]
            found.append(Verdict(group, "skip", f"{what}: not tried without root"))
        elif os.geteuid() and name == "firewalls":
            continue
        else:
            found += probe(settings)
    return found
