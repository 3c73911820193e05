"""What is right and yet looks like a mistake: the warnings that go with the answer to a write.

Nothing is refused for it. Said of what is new, and of an update that changes the Pods. Source: the
answers of kube-apiserver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jindou.control.api.rules.names import label, quoted
from jindou.objects.kinds import Kind, Object

NO_SELECTOR = "a null labelSelector results in matching no pod"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
GONE = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11, and disabled by default in v1.33+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
UNSET = (
    "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging "
    "of tokens in volume attributes"
)

Look = Callable[[Object], Any]


def told(kind: Kind, obj: Object, old: Object | None) -> Sequence[str]:
    place = (kind.group, kind.name)
    if (held := TEMPLATES.get(place)) is not None:
        at, look = held
        template = look(obj)
        if not template or (old is not None and look(old) == template):
            return ()
        named = _named(obj, place) if old is None and place in NAMED else ()
        return [*named, *_pod(template.get("spec") or {}, f"{at}spec")]
    rule = OTHERS.get(place)
    return () if rule is None else list(rule(obj))


def _named(obj: Object, place: tuple[str, str]) -> Iterator[str]:
    if wrong := label(obj["metadata"].get("name", "")):
        yield f"metadata.name: {NAMED[place]}, which can result in surprising behavior; a DNS label is recommended: [{wrong}]"


def _pod(spec: Object, at: str) -> Iterator[str]:
    for n, one in enumerate(spec.get("topologySpreadConstraints") or ()):
        if one.get("labelSelector") is None:
            yield f"{at}.topologySpreadConstraints[{n}].labelSelector: {NO_SELECTOR}"
    for n, volume in enumerate(spec.get("volumes") or ()):
        for name in volume:
            if name in GONE:
                yield f"{at}.volumes[{n}].{name}: {GONE[name]}"
        for source in (volume.get("projected") or {}).get("sources") or ():
            if not source:
                yield f"volume {quoted(volume.get('name', ''))} (Projected) has no sources provided"
    yield from _twice(spec.get("hostAliases") or (), "ip", f"{at}.hostAliases")
    yield from _twice(spec.get("imagePullSecrets") or (), "name", f"{at}.imagePullSecrets")
    for n, secret in enumerate(spec.get("imagePullSecrets") or ()):
        if not secret.get("name"):
            yield f'{at}.imagePullSecrets[{n}].name: invalid empty name ""'
    parts = [
        (f"{at}.{part}[{n}]", container)
        for part in ("initContainers", "containers")
        for n, container in enumerate(spec.get(part) or ())
    ]
    for field, container in parts:
        if len(container.get("env") or ()) > 1:
            yield from _variables(container["env"], f"{field}.env")
    yield from _ports(parts)
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        yield f"{at}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
    for name in ("podAffinity", "podAntiAffinity"):
        if held := (spec.get("affinity") or {}).get(name):
            yield from _near(held, f"{at}.affinity.{name}")


def _twice(items: Sequence[Object], name: str, at: str) -> Iterator[str]:
    seen: set[str] = set()
    for n, item in enumerate(items):
        value = item.get(name) or ""
        if value in seen:
            yield f"{at}[{n}].{name}: duplicate {name} {quoted(value)}"
        seen.add(value)


def _variables(env: Sequence[Object], at: str) -> Iterator[str]:
    """One of the same name is fine where it adds to the one before."""
    seen: set[str] = set()
    for n, entry in enumerate(env):
        name, value = entry.get("name", ""), entry.get("value") or ""
        before = f"$({name})"
        if name in seen and (entry.get("valueFrom") is not None or value == before or before not in value):  # fmt: skip
            yield f"{at}[{n}]: hides previous definition of {quoted(name)}, which may be dropped when using apply"
        seen.add(name)


def _ports(containers: Sequence[tuple[str, Object]]) -> Iterator[str]:
    held: dict[tuple[int, str], list[tuple[str, str, int]]] = {}
    names: dict[str, str] = {}
    again = []
    for at, container in containers:
        for n, port in enumerate(container.get("ports") or ()):
            field, address, host = f"{at}.ports[{n}]", port.get("hostIP") or "", port.get("hostPort") or 0  # fmt: skip
            if address and not host:
                shown = " ".join(f"{k}:{port.get(v) or d}" for k, v, d in SHOWN)
                yield f"{field}: hostIP set without hostPort: {{{shown}}}"
            others = held.setdefault((port.get("containerPort", 0), port.get("protocol", "TCP")), [])  # fmt: skip
            for other, where, taken in others:
                if (where, taken) == (address, host):
                    yield f"{field}: duplicate port definition with {other}"
                elif not host or not taken:
                    yield f"{field}: overlapping port definition with {other}"
                elif host == taken and bool(address) != bool(where):
                    yield f"{field}: dangerously ambiguous port definition with {other}"
            others.append((field, address, host))
            if name := port.get("name"):
                first = names.setdefault(name, field)
                if first != field:
                    again.append(f"{field}: duplicate port name {quoted(name)} with {first}, services and probes that select ports by name will use {first}")  # fmt: skip
    yield from again


SHOWN = (
    ("Name", "name", ""), ("HostPort", "hostPort", 0), ("ContainerPort", "containerPort", 0),
    ("Protocol", "protocol", ""), ("HostIP", "hostIP", ""),
)  # fmt: skip


def _near(held: Object, at: str) -> Iterator[str]:
    for n, term in enumerate(held.get(REQUIRED) or ()):
        if term.get("labelSelector") is None:
            yield f"{at}.{REQUIRED}[{n}].labelSelector: {NO_SELECTOR}"
    for n, one in enumerate(held.get(PREFERRED) or ()):
        if (one.get("podAffinityTerm") or {}).get("labelSelector") is None:
            yield f"{at}.{PREFERRED}[{n}].podAffinityTerm.labelSelector: {NO_SELECTOR}"


def _service(obj: Object) -> Iterator[str]:
    spec = obj.get("spec") or {}
    named, outside = spec.get("type") == "ExternalName", bool(spec.get("externalIPs"))
    headless = spec.get("type") == "ClusterIP" and spec.get("clusterIP") == "None"
    if headless:
        if spec.get("loadBalancerIP"):
            yield "spec.loadBalancerIP is ignored for headless services"
        if outside:
            yield "spec.externalIPs is ignored for headless services"
        if spec.get("sessionAffinity", "None") != "None":
            yield "spec.SessionAffinity is ignored for headless services"
    elif outside and not named:
        yield "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
    if named and outside:
        yield 'spec.externalIPs is ignored when spec.type is "ExternalName"'
    if not named and spec.get("externalName"):
        yield 'spec.externalName is ignored when spec.type is not "ExternalName"'
    if spec.get("trafficDistribution") == "PreferClose":
        yield 'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'


def _driver(obj: Object) -> Iterator[str]:
    spec = obj.get("spec") or {}
    if spec.get("tokenRequests") and spec.get("serviceAccountTokenInSecrets") is None:
        yield UNSET


def _template(obj: Object) -> Any:
    return (obj.get("spec") or {}).get("template")


def _scheduled(obj: Object) -> Any:
    return _template((obj.get("spec") or {}).get("jobTemplate") or {})


TEMPLATES: dict[tuple[str, str], tuple[str, Look]] = {
    ("", "Pod"): ("", lambda obj: {"spec": obj.get("spec")}),
    ("", "PodTemplate"): ("template.", lambda obj: obj.get("template")),
    ("", "ReplicationController"): ("spec.template.", _template),
    **{
        ("apps", name): ("spec.template.", _template)
        for name in ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet")
    },
    ("batch", "Job"): ("spec.template.", _template),
    ("batch", "CronJob"): ("spec.jobTemplate.spec.template.", _scheduled),
}
"""Where the Pods are that a kind holds or makes."""

NAMED = {
    ("", "Pod"): "this is used in the Pod's hostname",
    ("apps", "Deployment"): "this is used in Pod names and hostnames",
}
OTHERS: dict[tuple[str, str], Callable[[Object], Iterator[str]]] = {
    ("", "Service"): _service,
    ("storage.k8s.io", "CSIDriver"): _driver,
}
