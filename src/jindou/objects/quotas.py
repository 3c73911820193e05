"""What objects use of a ResourceQuota, and the account that adds it up. Pure.

Both sides that have to agree read this: admission, which refuses what is too much, and the
controller, which tells what is used. Source: https://kubernetes.io/docs/concepts/policy/resource-quotas/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any, NamedTuple

from jindou.objects.kinds import Object
from jindou.objects.quantities import canonical, parse, written

Place = tuple[str, str]  # group and plural of a kind

POD: Place = ("", "pods")
SERVICE: Place = ("", "services")
CLAIM: Place = ("", "persistentvolumeclaims")
MEASURED = (POD, SERVICE, CLAIM)  # of these more than their number counts
NEVER = frozenset({("", "events"), ("events.k8s.io", "events"), ("", "bindings")})
ALIASES = {
    ("", name): name
    for name in ("configmaps", "replicationcontrollers", "resourcequotas", "secrets")
}
COMPUTE = ("cpu", "memory", "ephemeral-storage")
OF_PODS = frozenset(
    {"pods", "count/pods", *COMPUTE}
    | {f"{part}.{name}" for part in ("requests", "limits") for name in COMPUTE}
)
OF_SERVICES = frozenset(
    {"services", "count/services", "services.nodeports", "services.loadbalancers"}
)
OF_CLAIMS = ("persistentvolumeclaims", "requests.storage")
BY_CLASS = ".storageclass.storage.k8s.io/"
MUST_ASK = frozenset({"cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"})  # fmt: skip
OVER = ("Succeeded", "Failed")


class Amount(NamedTuple):
    value: Decimal
    binary: bool = False  # written as Ki, Mi, ...: the first that was added says

    def __add__(self, other: object) -> Amount:
        assert isinstance(other, Amount)
        return Amount(self.value + other.value, self.binary if self.value else other.binary)

    def __str__(self) -> str:
        return written(self.value, self.binary)


Amounts = dict[str, Amount]
ONE = Amount(Decimal(1))
NONE = Amount(Decimal(0))


def amount(text: Any) -> Amount:
    return Amount(parse(text), str(text).endswith("i"))


def amounts(texts: Mapping[str, Any] | None) -> Amounts:
    return {name: amount(text) for name, text in (texts or {}).items()}


def told(held: Mapping[str, Amount]) -> str:
    """As an error names them: `pods=1,requests.cpu=500m`."""
    return ",".join(f"{name}={held[name]}" for name in sorted(held))


# ---------------------------------------------------------------- what one object uses


def counted(place: Place) -> str:
    group, plural = place
    return f"count/{plural}.{group}" if group else f"count/{plural}"


def is_tracked(place: Place, name: str) -> bool:
    """Does an object of this kind use what is called `name` in a quota?"""
    if place == POD:
        return name in OF_PODS or name.startswith(("hugepages-", "requests.hugepages-")) or _extended(name)  # fmt: skip
    if place == SERVICE:
        return name in OF_SERVICES
    if place == CLAIM:
        if name == "count/persistentvolumeclaims" or name in OF_CLAIMS:
            return True
        return name.endswith(tuple(f"{BY_CLASS}{part}" for part in OF_CLAIMS))
    return name == counted(place) or name == ALIASES.get(place)


def _extended(name: str) -> bool:
    """requests.example.com/gpu: what only some nodes have, under its own name."""
    native = "/" not in name or "kubernetes.io/" in name
    device = name.startswith("requests.deviceclass.resource.kubernetes.io/")
    return name.startswith("requests.") and (not native or device)


def usage(place: Place, obj: Object, now: float) -> Amounts:
    used = {counted(place): ONE}
    if place == POD:
        if is_charged(obj, now):
            requests, limits = pod_total(obj["spec"], "requests"), pod_total(obj["spec"], "limits")
            used |= compute(requests, limits)
    elif place == SERVICE:
        used |= _of_service(obj.get("spec") or {})
    elif place == CLAIM:
        used |= _of_claim(obj)
    elif place in ALIASES:
        used[ALIASES[place]] = ONE
    return used


def is_charged(pod: Object, now: float) -> bool:
    """A Pod that is over, or should have been gone by now, uses no resources."""
    ends = expires(pod)
    return (pod.get("status") or {}).get("phase") not in OVER and (ends is None or now <= ends)


def expires(pod: Object) -> float | None:
    """When a Pod that is being deleted should be gone at the latest."""
    meta = pod["metadata"]
    at, grace = meta.get("deletionTimestamp"), meta.get("deletionGracePeriodSeconds")
    if not at or grace is None:
        return None
    return datetime.fromisoformat(at).timestamp() + float(grace)


def compute(requests: Mapping[str, Amount], limits: Mapping[str, Amount]) -> Amounts:
    used = {"pods": ONE}
    for name in COMPUTE:
        if name in requests:
            used[name] = used[f"requests.{name}"] = requests[name]
        if name in limits:
            used[f"limits.{name}"] = limits[name]
    for name, value in requests.items():
        if name.startswith("hugepages-"):
            used[name] = used[f"requests.{name}"] = value
        elif "/" in name and "kubernetes.io/" not in name:
            used[f"requests.{name}"] = value
    return used


def pod_total(spec: Mapping[str, Any], part: str) -> Amounts:
    """Of all containers at once, or of the largest moment of starting; then the Pod's own word."""

    def own(container: Mapping[str, Any]) -> Amounts:
        return amounts((container.get("resources") or {}).get(part))

    total: Amounts = {}
    for container in spec.get("containers") or ():
        _add(total, own(container))
    sidecars: Amounts = {}
    starting: Amounts = {}
    for container in spec.get("initContainers") or ():
        asked = own(container)
        if container.get("restartPolicy") == "Always":
            _add(total, asked)
            _add(sidecars, asked)
            asked = sidecars
        else:
            _add(asked, sidecars)
        for name, value in asked.items():
            if value.value > starting.get(name, NONE).value:
                starting[name] = value
    for name, value in starting.items():
        if name not in total or value.value > total[name].value:
            total[name] = value
    for name, value in amounts((spec.get("resources") or {}).get(part)).items():
        if name in ("cpu", "memory") or name.startswith("hugepages-"):
            total[name] = value
    for name, value in amounts(spec.get("overhead")).items():
        if part == "requests" or (name in total and total[name].value):
            total[name] = total.get(name, NONE) + value
    return total


def _add(total: Amounts, more: Mapping[str, Amount]) -> None:
    for name, value in more.items():
        total[name] = total[name] + value if name in total else value


def _of_service(spec: Mapping[str, Any]) -> Amounts:
    ports = spec.get("ports") or ()
    kind, open_ports = spec.get("type"), 0
    if kind == "NodePort":
        open_ports = len(ports)
    elif kind == "LoadBalancer":
        every = spec.get("allocateLoadBalancerNodePorts") is not False
        open_ports = len(ports) if every else sum(bool(port.get("nodePort")) for port in ports)
    return {
        "services": ONE,
        "services.nodeports": Amount(Decimal(open_ports)),
        "services.loadbalancers": ONE if kind == "LoadBalancer" else NONE,
    }


def _of_claim(claim: Object) -> Amounts:
    spec, status = claim.get("spec") or {}, claim.get("status") or {}
    notes = claim["metadata"].get("annotations") or {}
    named = notes.get("volume.beta.kubernetes.io/storage-class") or spec.get("storageClassName")
    used = {"persistentvolumeclaims": ONE}
    asked = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if asked is not None:
        given = (status.get("allocatedResources") or {}).get("storage")
        most = max(map(amount, filter(None, (asked, given))), key=lambda a: a.value)
        used["requests.storage"] = most._replace(value=most.value.to_integral_value(ROUND_CEILING))
    if named:
        used |= {f"{named}{BY_CLASS}{name}": value for name, value in used.items()}
    return used


def missing(spec: Mapping[str, Any], required: Iterable[str]) -> str:
    """What containers have to ask for and don't, in the words of the refusal; "" if nothing."""
    if (spec.get("resources") or {}).get("requests") or (spec.get("resources") or {}).get("limits"):
        return ""
    needed = MUST_ASK.intersection(required)
    lacking: dict[str, set[str]] = {}
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        held = container.get("resources") or {}
        given = compute(amounts(held.get("requests")), amounts(held.get("limits")))
        for name in needed.difference(given):
            lacking.setdefault(name, set()).add(container.get("name", ""))
    parts = [f"{name} for: {','.join(sorted(lacking[name]))}" for name in sorted(lacking)]
    return f"must specify {'; '.join(parts)}" if parts else ""


# ---------------------------------------------------------------- scopes


def scopes_of(quota: Object) -> list[Mapping[str, Any]]:
    spec = quota.get("spec") or {}
    named = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or ()]
    return [*named, *((spec.get("scopeSelector") or {}).get("matchExpressions") or ())]


def in_scope(place: Place, obj: Object, scope: Mapping[str, Any]) -> bool:
    """Only Pods, and the classes of claims, are told apart; anything else is in no scope."""
    if place == CLAIM:
        if scope["scopeName"] != "VolumeAttributesClass":
            return False
        return _selected(scope, _attribute_classes(obj))
    if place != POD:
        return False
    spec = obj["spec"]
    look = {
        "Terminating": lambda: is_terminating(spec),
        "NotTerminating": lambda: not is_terminating(spec),
        "BestEffort": lambda: is_best_effort(spec),
        "NotBestEffort": lambda: not is_best_effort(spec),
        "PriorityClass": lambda: _selected(scope, {spec.get("priorityClassName") or ""} - {""}),
        "CrossNamespacePodAffinity": lambda: looks_across(spec),
    }.get(scope["scopeName"])
    return look is not None and look()


def _selected(scope: Mapping[str, Any], held: set[str]) -> bool:
    operator, values = scope.get("operator"), set(scope.get("values") or ())
    tests: dict[str, Callable[[], bool]] = {
        "Exists": lambda: bool(held),
        "DoesNotExist": lambda: not held,
        "In": lambda: bool(held & values),
        "NotIn": lambda: not held or bool(held - values),
    }
    return operator in tests and tests[operator]()


def _attribute_classes(claim: Object) -> set[str]:
    status = claim.get("status") or {}
    named = (
        (claim.get("spec") or {}).get("volumeAttributesClassName"),
        status.get("currentVolumeAttributesClassName"),
        (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName"),
    )
    return {name for name in named if name}


def is_terminating(spec: Mapping[str, Any]) -> bool:
    seconds = spec.get("activeDeadlineSeconds")
    return seconds is not None and seconds >= 0


def is_best_effort(spec: Mapping[str, Any]) -> bool:
    holders = [spec, *(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    return not any(
        parse(text)
        for holder in holders
        for part in ("requests", "limits")
        for name, text in ((holder.get("resources") or {}).get(part) or {}).items()
        if name in ("cpu", "memory")
    )


def looks_across(spec: Mapping[str, Any]) -> bool:
    """Does a Pod say where it wants to be by Pods of other namespaces?"""
    affinity = spec.get("affinity") or {}
    for part in ("podAffinity", "podAntiAffinity"):
        held = affinity.get(part) or {}
        terms = list(held.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        soft = held.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        terms += [one.get("podAffinityTerm") or {} for one in soft]
        if any(t.get("namespaces") or t.get("namespaceSelector") is not None for t in terms):
            return True
    return False


# ---------------------------------------------------------------- one quota


class Account:
    """What the objects of a namespace use of one quota, changed by one object at a time."""

    def __init__(self, quota: Object) -> None:
        hard = (quota.get("spec") or {}).get("hard") or {}
        self.name: str = quota["metadata"]["name"]
        self.namespace: str = quota["metadata"]["namespace"]
        self.hard = {name: amount(text) for name, text in hard.items()}
        self.scopes = scopes_of(quota)
        self._held: dict[tuple[Place, str], Amounts] = {}
        self._ending: dict[str, tuple[float, Object]] = {}  # Pods that should be gone by then
        self._used: Amounts = {}

    def tracks(self, place: Place) -> list[str]:
        """What of this quota an object of the kind may use."""
        return [name for name in self.hard if is_tracked(place, name)]

    def covers(self, place: Place, obj: Object) -> bool:
        return all(in_scope(place, obj, scope) for scope in self.scopes)

    def take(self, place: Place, name: str, obj: Object | None, now: float) -> bool:
        """The object is like this now, or gone. True where that changes what is used."""
        if place == POD:
            self._ending.pop(name, None)
            if obj is not None and (ends := expires(obj)) is not None and now <= ends:
                self._ending[name] = ends, obj
        after: Amounts = {}
        tracked = self.tracks(place) if obj is not None else ()
        if obj is not None and tracked and self.covers(place, obj):
            used = usage(place, obj, now)
            after = {name: used[name] for name in tracked if name in used}
        key = place, name
        before = self._held.pop(key, {})
        if after:
            self._held[key] = after
        if after == before:
            return False
        for what, value in before.items():
            self._used[what] = self._used[what]._replace(value=self._used[what].value - value.value)
        _add(self._used, after)
        return True

    def used(self, now: float) -> Amounts:
        for name, (ends, pod) in list(self._ending.items()):
            if now > ends:
                self.take(POD, name, pod, now)
        return self._used

    def next_end(self) -> float | None:
        return min((ends for ends, _ in self._ending.values()), default=None)


def places_of(hard: Iterable[str], kinds: Sequence[Place]) -> list[Place]:
    """The kinds whose objects have to be looked at for what a quota limits."""
    names = list(hard)
    return [
        place
        for place in dict.fromkeys((*MEASURED, *ALIASES, *kinds))
        if place not in NEVER and any(is_tracked(place, name) for name in names)
    ]


def normal(hard: Mapping[str, Any]) -> dict[str, str]:
    return {name: canonical(text) for name, text in hard.items()}
