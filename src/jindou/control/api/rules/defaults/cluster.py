"""Defaults of what administrators set for a cluster: limits, storage drivers, priorities of requests.

As in `defaults`: in place, idempotent. Source: the field descriptions of the Kubernetes API
reference, and the answers of kube-apiserver.
"""

from __future__ import annotations

from jindou.control.api.rules.defaults.pods import fill
from jindou.objects.kinds import Object


def limit_range(obj: Object) -> None:
    """Of containers: no limit above the greatest, no request above the limit, none below the least."""
    for item in (obj.get("spec") or {}).get("limits") or ():
        if item.get("type") != "Container":
            continue
        for source, target in (("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")):  # fmt: skip
            for name, amount in (item.get(source) or {}).items():
                item.setdefault(target, {}).setdefault(name, amount)


def csi_driver(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(
        spec, attachRequired=True, podInfoOnMount=False, storageCapacity=False,
        fsGroupPolicy="ReadWriteOnceWithFSType", requiresRepublish=False, seLinuxMount=False,
        preventPodSchedulingIfMissing=False,
    )  # fmt: skip
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


def api_service(obj: Object) -> None:
    service = (obj.get("spec") or {}).get("service")
    if service is not None:
        fill(service, port=443)


def flow_schema(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if not spec.get("matchingPrecedence"):
        spec["matchingPrecedence"] = 1000


def priority_level(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    limited, exempt = spec.get("limited"), spec.get("exempt")
    if limited is not None:
        fill(limited, nominalConcurrencyShares=30, lendablePercent=0)
        queuing = (limited.get("limitResponse") or {}).get("queuing")
        if queuing is not None:
            for name, value in (("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)):
                if not queuing.get(name):
                    queuing[name] = value
    if spec.get("type") == "Exempt":
        exempt = spec.setdefault("exempt", {}) if exempt is None else exempt
        fill(exempt, nominalConcurrencyShares=0, lendablePercent=0)


def admission_policy(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    fill(spec, failurePolicy="Fail")
    if spec.get("matchConstraints") is not None:
        matched(spec["matchConstraints"])


def admission_binding(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("matchResources") is not None:
        matched(spec["matchResources"])


def matched(held: Object) -> None:
    """Which writes a policy is about."""
    fill(held, matchPolicy="Equivalent", namespaceSelector={}, objectSelector={})
    for name in ("resourceRules", "excludeResourceRules"):
        for rule in held.get(name) or ():
            fill(rule, scope="*")
