"""What a Pod demands of a node, read once from its spec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from jindou.objects import quantities
from jindou.objects.kinds import Object
from jindou.objects.selectors import Selector, from_object

Amounts = dict[str, int]  # cpu in thousandths; all else in whole units
HostPort = tuple[str, str, int]  # address, protocol, port

LITTLE_CPU, LITTLE_MEMORY = 100, 200 * 1024 * 1024  # what a Pod that says nothing counts as


class AffinityTerm(NamedTuple):
    """Where Pods that match are, by the domains of one node label."""

    selector: Selector | None
    namespaces: frozenset[str]
    namespace_selector: Selector | None
    key: str
    weight: int = 0

    def matches(self, namespace: str, labels: Mapping[str, str], around: Namespaces) -> bool:
        if self.selector is None or not self.selector.matches(labels):
            return False
        if namespace in self.namespaces:
            return True
        return self.namespace_selector is not None and self.namespace_selector.matches(
            around.get(namespace, {})
        )


Namespaces = Mapping[str, Mapping[str, str]]  # labels of each namespace


class Spread(NamedTuple):
    key: str
    skew: int
    required: bool
    selector: Selector | None
    least_domains: int
    honor_affinity: bool
    honor_taints: bool


class Demand(NamedTuple):
    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    priority: int
    requests: Amounts
    nonzero: tuple[int, int]  # cpu, memory, for scores
    ports: tuple[HostPort, ...]
    node_name: str
    node_selector: Mapping[str, str]
    node_required: Sequence[Mapping[str, Any]] | None  # terms, any of which is enough
    node_preferred: Sequence[Mapping[str, Any]]
    tolerations: Sequence[Mapping[str, Any]]
    affinity: tuple[AffinityTerm, ...]
    anti_affinity: tuple[AffinityTerm, ...]
    preferred_affinity: tuple[AffinityTerm, ...]
    preferred_anti_affinity: tuple[AffinityTerm, ...]
    spread: tuple[Spread, ...]
    images: tuple[str, ...]
    claims: tuple[str, ...] = ()  # names of PersistentVolumeClaims


def amounts(resources: Mapping[str, Any] | None) -> Amounts:
    return {
        name: quantities.milli(value) if name == "cpu" else quantities.value(value)
        for name, value in (resources or {}).items()
    }


def _add(total: Amounts, more: Mapping[str, int]) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def _raise(total: Amounts, other: Mapping[str, int]) -> None:
    for name, value in other.items():
        if value > total.get(name, 0):
            total[name] = value


def requests_of(spec: Mapping[str, Any]) -> Amounts:
    """All containers at once, or the largest moment of starting: init containers run one by one,
    beside the sidecars started before them. Then overhead, and what the Pod as a whole asks for."""
    running: Amounts = {}
    for container in spec.get("containers") or ():
        _add(running, amounts((container.get("resources") or {}).get("requests")))
    sidecars: Amounts = {}
    starting: Amounts = {}
    for container in spec.get("initContainers") or ():
        own = amounts((container.get("resources") or {}).get("requests"))
        if container.get("restartPolicy") == "Always":
            _add(sidecars, own)
            _raise(starting, sidecars)
        else:
            _add(own, sidecars)
            _raise(starting, own)
    _add(running, sidecars)
    _raise(running, starting)
    whole = amounts((spec.get("resources") or {}).get("requests"))
    running.update(whole)
    _add(running, amounts(spec.get("overhead")))
    return running


def demand_of(pod: Object) -> Demand:
    meta, spec = pod["metadata"], pod["spec"]
    key = orjson.dumps(
        [meta.get("namespace", ""), meta.get("labels"), _relevant(spec)],
        option=orjson.OPT_SORT_KEYS,
    )
    return _shape(key)._replace(
        name=meta["name"],
        uid=meta["uid"],
        node_name=spec.get("nodeName", ""),
        claims=claims_of(pod),
    )


def claims_of(pod: Object) -> tuple[str, ...]:
    found = []
    for volume in pod["spec"].get("volumes") or ():
        if "persistentVolumeClaim" in volume:
            found.append(volume["persistentVolumeClaim"]["claimName"])
        elif "ephemeral" in volume:
            found.append(f"{pod['metadata']['name']}-{volume['name']}")
    return tuple(found)


NOT_RELEVANT = frozenset({"nodeName", "volumes", "hostname", "subdomain", "schedulingGates"})
OF_CONTAINER = ("resources", "ports", "restartPolicy", "image")


def _relevant(spec: Mapping[str, Any]) -> Object:
    """Without what differs between replicas, or has no say: replicas then share one answer."""
    found = {name: value for name, value in spec.items() if name not in NOT_RELEVANT}
    for name in ("containers", "initContainers"):
        if name in found:
            found[name] = [
                {field: one[field] for field in OF_CONTAINER if field in one} for one in found[name]
            ]
    return found


@lru_cache(256)
def _shape(key: bytes) -> Demand:
    namespace, labels, spec = orjson.loads(key)
    requests = requests_of(spec)
    affinity = spec.get("affinity") or {}
    node = affinity.get("nodeAffinity") or {}
    required = node.get("requiredDuringSchedulingIgnoredDuringExecution")
    near, far = affinity.get("podAffinity") or {}, affinity.get("podAntiAffinity") or {}
    must, may = (
        "requiredDuringSchedulingIgnoredDuringExecution",
        "preferredDuringSchedulingIgnoredDuringExecution",
    )
    return Demand(
        namespace,
        "",
        "",
        labels or {},
        spec.get("priority") or 0,
        requests,
        (requests.get("cpu") or LITTLE_CPU, requests.get("memory") or LITTLE_MEMORY),
        _host_ports(spec),
        "",
        spec.get("nodeSelector") or {},
        required.get("nodeSelectorTerms") if required else None,
        node.get(may) or (),
        spec.get("tolerations") or (),
        _terms(namespace, labels or {}, near.get(must)),
        _terms(namespace, labels or {}, far.get(must)),
        _weighted(namespace, labels or {}, near.get(may)),
        _weighted(namespace, labels or {}, far.get(may)),
        tuple(_spread(labels or {}, one) for one in spec.get("topologySpreadConstraints") or ()),
        tuple(one.get("image", "") for one in spec.get("containers") or ()),
    )


def _host_ports(spec: Mapping[str, Any]) -> tuple[HostPort, ...]:
    sidecars = [
        one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"
    ]
    return tuple(
        (port.get("hostIP") or "0.0.0.0", port.get("protocol", "TCP"), port["hostPort"])
        for container in (*(spec.get("containers") or ()), *sidecars)
        for port in container.get("ports") or ()
        if port.get("hostPort")
    )


def _terms(
    namespace: str, labels: Mapping[str, str], terms: Iterable[Mapping[str, Any]] | None
) -> tuple[AffinityTerm, ...]:
    return tuple(_term(namespace, labels, one) for one in terms or ())


def _weighted(
    namespace: str, labels: Mapping[str, str], terms: Iterable[Mapping[str, Any]] | None
) -> tuple[AffinityTerm, ...]:
    return tuple(
        _term(namespace, labels, one["podAffinityTerm"])._replace(weight=one["weight"])
        for one in terms or ()
    )


def _term(namespace: str, labels: Mapping[str, str], term: Mapping[str, Any]) -> AffinityTerm:
    named = frozenset(term.get("namespaces") or ())
    others = from_object(term.get("namespaceSelector"))
    if not named and others is None:
        named = frozenset({namespace})
    return AffinityTerm(
        _with_keys(term, labels, "matchLabelKeys", "mismatchLabelKeys"),
        named,
        others,
        term["topologyKey"],
    )


def _with_keys(
    held: Mapping[str, Any], labels: Mapping[str, str], same: str, other: str = ""
) -> Selector | None:
    """The selector, narrowed to this Pod's own values of some labels."""
    selector = held.get("labelSelector")
    if selector is None:
        return None
    more = [
        {"key": key, "operator": "In", "values": [labels[key]]}
        for key in held.get(same) or ()
        if key in labels
    ] + [
        {"key": key, "operator": "NotIn", "values": [labels[key]]}
        for key in held.get(other) or ()
        if key in labels
    ]
    expressions = [*(selector.get("matchExpressions") or ()), *more]
    return from_object({**selector, "matchExpressions": expressions})


def _spread(labels: Mapping[str, str], one: Mapping[str, Any]) -> Spread:
    return Spread(
        one["topologyKey"],
        one["maxSkew"],
        one.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule",
        _with_keys(one, labels, "matchLabelKeys"),
        one.get("minDomains") or 1,
        one.get("nodeAffinityPolicy", "Honor") == "Honor",
        one.get("nodeTaintsPolicy", "Ignore") == "Honor",
    )
