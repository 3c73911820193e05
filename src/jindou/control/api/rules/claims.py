"""Rules of storage that is asked for, and of disruption budgets."""

from __future__ import annotations

from jindou.control.api.rules.names import invalid, required, unsupported
from jindou.control.api.rules.placement import label_selector
from jindou.control.api.rules.workloads import amount
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
RECLAIM = ("Delete", "Retain")
BINDING = ("Immediate", "WaitForFirstConsumer")


def claim(obj: Object) -> list[Fault]:
    spec = obj.get("spec") or {}
    modes, found = spec.get("accessModes") or (), []
    if not modes:
        found.append(required("spec.accessModes", "at least 1 access mode is required"))
    found += [unsupported("spec.accessModes", mode, MODES) for mode in modes if mode not in MODES]
    if "storage" not in ((spec.get("resources") or {}).get("requests") or {}):
        found.append(required("spec.resources[storage]"))
    return found


def storage_class(obj: Object) -> list[Fault]:
    found = [] if obj.get("provisioner") else [required("provisioner")]
    for field, known in (("reclaimPolicy", RECLAIM), ("volumeBindingMode", BINDING)):
        if obj.get(field) is not None and obj[field] not in known:
            found.append(unsupported(field, obj[field], known))
    return found


def disruption_budget(obj: Object) -> list[Fault]:
    spec = obj.get("spec") or {}
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        return [invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")]
    found = [
        fault
        for name in ("minAvailable", "maxUnavailable")
        for fault in amount(spec.get(name), f"spec.{name}")
    ]
    return [*found, *label_selector(spec.get("selector"), "spec.selector")]
