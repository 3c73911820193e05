"""Pod Security admission: what the labels of a namespace demand of its Pods, warn of, and note.

Source: https://kubernetes.io/docs/concepts/security/pod-security-admission/
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import orjson

from jindou.control.api import status
from jindou.control.api.admission.chain import Chain, Place, Review
from jindou.control.api.admission.plugins import refused
from jindou.control.api.resources.registry import Resource
from jindou.control.api.rules.names import invalid
from jindou.control.api.rules.pods.levels import findings, told
from jindou.control.store import Change, Store
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

NAMESPACES = "core/namespaces/"
LABEL = "pod-security.kubernetes.io/"
LEVELS = ("privileged", "baseline", "restricted")
VERSION = re.compile(r"v1\.(0|[1-9]\d*)")
UNTOUCHED = frozenset(
    ("exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status")
)
MOST_PODS = 3000
WITH_TEMPLATES = frozenset(
    {
        ("", "replicationcontrollers"), ("", "podtemplates"), ("apps", "replicasets"),
        ("apps", "deployments"), ("apps", "statefulsets"), ("apps", "daemonsets"),
        ("batch", "jobs"), ("batch", "cronjobs"),
    }
)  # fmt: skip


class Standard(NamedTuple):
    level: str = "privileged"
    version: int | None = None  # None: the latest

    def __str__(self) -> str:
        version = "latest" if self.version is None else f"v1.{self.version}"
        return f"{self.level}:{version}"

    def broken_by(self, meta: Object, spec: Mapping[str, object]) -> list[tuple[str, str]]:
        return findings(self.level, self.version, meta, spec)


class Policy(NamedTuple):
    enforce: Standard = Standard()
    audit: Standard = Standard()
    warn: Standard = Standard()

    @property
    def demands(self) -> bool:
        return any(standard.level != "privileged" for standard in self)


def policy_of(labels: Mapping[str, str]) -> tuple[Policy, list[Fault]]:
    """Where a label makes no sense the strictest is demanded, and nothing is warned of."""
    held: dict[str, Standard] = {}
    faults: list[Fault] = []
    for mode in ("enforce", "audit", "warn"):
        level, version = "privileged", None
        key = f"{LABEL}{mode}"
        if (text := labels.get(key)) is not None:
            level = text
            if text not in LEVELS:
                level = "restricted" if mode == "enforce" else "privileged"
                faults.append(_fault(key, text, f"must be one of {', '.join(LEVELS)}"))
        if (text := labels.get(f"{key}-version")) is not None and text != "latest":
            if match := VERSION.fullmatch(text):
                version = int(match[1])
            else:
                faults.append(_fault(f"{key}-version", text, 'must be "latest" or "v1.x"'))
        held[mode] = Standard(level, version)
    enforce, warn = held["enforce"], held["warn"]
    explicit = labels.get(f"{LABEL}enforce") in LEVELS and f"{LABEL}warn" not in labels
    if explicit and LEVELS.index(enforce.level) > LEVELS.index(warn.level):
        version = warn.version if f"{LABEL}warn-version" in labels else enforce.version
        held["warn"] = Standard(enforce.level, version)
    return Policy(**held), faults


def _fault(key: str, value: str, says: str) -> Fault:
    return invalid(f"metadata.labels[{key}]", value, says)


class PodSecurity:
    """A `Part` of the admission chain; asked of namespaces always, of Pods while one demands something."""

    def __init__(self, store: Store, chain: Chain) -> None:
        self._store = store
        self._chain = chain
        self._policies: dict[str, Policy] = {}  # of namespaces that demand something
        self._stop: Callable[[], None] = lambda: None
        chain.plug(Place.VALIDATING_PLUGINS, self)

    def start(self) -> None:
        self._stop = self._store.watch(NAMESPACES, self._store.revision, self._changed)
        for stored in self._store.scan(NAMESPACES).items:
            self._hold(stored.key, stored.value)

    def close(self) -> None:
        self._stop()

    def _changed(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._hold(change.key, change.value)

    def _hold(self, key: str, value: bytes | None) -> None:
        name = key.rpartition("/")[2]
        before = bool(self._policies)
        self._policies.pop(name, None)
        if value is not None and LABEL.encode() in value:
            policy, _ = policy_of(orjson.loads(value)["metadata"].get("labels") or {})
            if policy.demands:
                self._policies[name] = policy
        if before != bool(self._policies):
            self._chain.refresh(self, active=True)

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        place = resource.kind.group, resource.kind.plural
        if operation not in ("CREATE", "UPDATE"):
            return False
        if place == ("", "namespaces"):
            return not subresource
        if not self._policies:
            return False
        if place == ("", "pods"):
            return subresource not in UNTOUCHED
        return place in WITH_TEMPLATES and not subresource

    async def admit(self, review: Review) -> None:
        """Raises Forbidden, or Invalid where labels make no sense."""
        obj = review.object
        assert obj is not None
        if review.resource.kind.plural == "namespaces":
            self._namespace(review, obj)
            return
        policy = self._policies.get(obj["metadata"].get("namespace", ""))
        if policy is None:
            return
        if review.resource.kind.plural == "pods":
            if review.old is None or is_significant(obj["spec"], review.old["spec"]):
                self._judge(review, policy, obj["metadata"], obj["spec"], enforcing=True)
        elif template := template_of(obj):
            meta = template.get("metadata") or {}
            self._judge(review, policy, meta, template.get("spec") or {}, enforcing=False)

    def _judge(
        self, review: Review, policy: Policy, meta: Object, spec: Object, *, enforcing: bool
    ) -> None:
        if enforcing:
            review.annotations[f"{LABEL}enforce-policy"] = str(policy.enforce)
            found = policy.enforce.broken_by(meta, spec)
            if found:
                assert review.object is not None
                says = f'violates PodSecurity "{policy.enforce}": {told(found)}'
                raise refused("pods", review.object, says)
        if found := policy.audit.broken_by(meta, spec):
            says = f'would violate PodSecurity "{policy.audit}": {told(found)}'
            review.annotations[f"{LABEL}audit-violations"] = says
        if found := policy.warn.broken_by(meta, spec):
            review.warnings.append(f'would violate PodSecurity "{policy.warn}": {told(found)}')

    # ------------------------------------------------------------ namespaces

    def _namespace(self, review: Review, obj: Object) -> None:
        name = obj["metadata"]["name"]
        policy, faults = policy_of(obj["metadata"].get("labels") or {})
        old, before = policy_of(((review.old or {}).get("metadata") or {}).get("labels") or {})
        if faults and (review.old is None or faults != before):
            raise status.invalid(review.resource.kind, name, faults)
        if review.old is not None and is_stricter(policy.enforce, old.enforce):
            review.warnings += self._violations(name, policy.enforce)

    def _violations(self, namespace: str, standard: Standard) -> list[str]:
        """Of the Pods that are there already, one of each controller first."""
        listing = self._store.scan(f"core/pods/{namespace}/").items
        pods = in_order([orjson.loads(stored.value) for stored in listing])
        found: Counter[str] = Counter()
        first: dict[str, str] = {}
        for pod in pods[:MOST_PODS]:
            if broken := standard.broken_by(pod["metadata"], pod["spec"]):
                says = ", ".join(reason for reason, _ in broken)
                found[says] += 1
                name = pod["metadata"]["name"]
                first[says] = min(name, first.get(says, name))
        warnings = []
        if len(pods) > MOST_PODS:
            warnings.append(
                f"new PodSecurity enforce level only checked against the first {MOST_PODS} of {len(pods)} existing pods"
            )
        if found:
            warnings.append(
                f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{standard}"'
            )
        return warnings + sorted(f"{first[s]}{others(n)}: {s}" for s, n in found.items())


def others(count: int) -> str:
    return {1: "", 2: " (and 1 other pod)"}.get(count, f" (and {count - 1} other pods)")


def in_order(pods: list[Object]) -> list[Object]:
    seen: set[str] = set()
    alone: list[Object] = []
    more: list[Object] = []
    for pod in pods:
        owners = pod["metadata"].get("ownerReferences") or ()
        uid = next((owner["uid"] for owner in owners if owner.get("controller")), "")
        (more if uid in seen else alone).append(pod)
        if uid:
            seen.add(uid)
    return alone + more


def is_stricter(new: Standard, old: Standard) -> bool:
    if new == old or new.level == "privileged":
        return False
    return new.version != old.version or LEVELS.index(new.level) > LEVELS.index(old.level)


def is_significant(new: Object, old: Object) -> bool:
    """Only images, and containers that were added, can make a running Pod something else."""
    for part in ("containers", "initContainers"):
        before, after = old.get(part) or [], new.get(part) or []
        if [c.get("image") for c in before] != [c.get("image") for c in after]:
            return True
    known = {c["name"]: c.get("image") for c in old.get("ephemeralContainers") or ()}
    return any(
        c["name"] not in known or known[c["name"]] != c.get("image")
        for c in new.get("ephemeralContainers") or ()
    )


def template_of(obj: Object) -> Object | None:
    """What the Pods of a controller are made from."""
    spec = obj.get("spec") or {}
    if (job := spec.get("jobTemplate")) is not None:
        spec = job.get("spec") or {}
    found: Object | None = spec.get("template") or obj.get("template")
    return found
