"""Ports of the machine that a Pod asks for: each once, and its own where it is in the machine's network."""

from __future__ import annotations

from jindou.control.api.rules.names import duplicate, invalid
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object


def host_ports(spec: Object, at: str) -> list[Fault]:
    """Containers beside each other can't share one; init containers run one after the other."""
    found: list[Fault] = []
    own = bool(spec.get("hostNetwork"))
    together: set[str] = set()
    for part in ("containers", "initContainers"):
        for n, container in enumerate(spec.get(part) or ()):
            taken = together if part == "containers" else set()
            for m, port in enumerate(container.get("ports") or ()):
                number, field = port.get("hostPort"), f"{at}.{part}[{n}].ports[{m}]"
                if own and number != port.get("containerPort"):
                    says = "must match `containerPort` when `hostNetwork` is true"
                    found.append(invalid(f"{field}.containerPort", port.get("containerPort"), says))
                if not number:
                    continue
                key = f"{port.get('protocol', 'TCP')}/{port.get('hostIP', '')}/{number}"
                if key in taken:
                    found.append(duplicate(f"{field}.hostPort", key))
                taken.add(key)
    return found
