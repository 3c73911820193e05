"""Policies and their bindings, followed in the store: which concern a write, and with what values.

What must stay true: a policy that can't be applied to a write is `Misconfigured`, and its
failurePolicy says what comes of that. Source: https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from jindou.control.api import status
from jindou.control.api.access.guard import Access
from jindou.control.api.admission import matching, plugins
from jindou.control.api.admission.chain import Chain, Place, Review
from jindou.control.api.engine import conversion, encoding
from jindou.control.api.resources.registry import Registry, Resource
from jindou.control.store import Change, Store
from jindou.objects.errors import CloudError
from jindou.objects.kinds import NAMESPACE, Kind, Object
from jindou.objects.selectors import Selector

GROUP = "admissionregistration.k8s.io"
CODES = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413}


class Misconfigured(Exception):
    """A policy or binding can't be applied to a write: what its failurePolicy is about."""


class Denied(CloudError):
    """A policy said no."""

    def __init__(self, message: str, reason: str, details: Object) -> None:
        super().__init__(message, details)
        self.reason = reason
        self.code = CODES.get(reason, 422)


@dataclass
class Constraints:
    """matchConstraints, or matchResources of a binding."""

    rules: tuple[matching.Rule, ...]
    excluded: tuple[matching.Rule, ...]
    equivalent: bool
    namespaces: Selector
    objects: Selector

    def concerns(
        self, registry: Registry, operation: str, resource: Resource, subresource: str
    ) -> bool:
        found = matching.matched(
            self.rules, operation, resource, subresource, registry, equivalent=self.equivalent
        )
        return not self.rules or found is not None

    def place(self, registry: Registry, review: Review) -> Resource | None:
        """The resource in the version that is wanted; None where they are not about this write."""
        if self._by_rules(self.excluded, registry, review) is not None:
            return None
        if not self.rules:
            return review.resource
        return self._by_rules(self.rules, registry, review)

    def _by_rules(
        self, rules: Sequence[matching.Rule], registry: Registry, review: Review
    ) -> Resource | None:
        fitting = [rule for rule in rules if not rule.names or review.name in rule.names]
        return matching.matched(
            fitting, review.operation, review.resource, review.subresource, registry,
            equivalent=self.equivalent,
        )  # fmt: skip


def constraints_of(held: Mapping[str, Any] | None) -> Constraints:
    held = held or {}
    return Constraints(
        matching.rules_of(held.get("resourceRules")),
        matching.rules_of(held.get("excludeResourceRules")),
        held.get("matchPolicy", "Equivalent") == "Equivalent",
        matching.selector_of(held.get("namespaceSelector")),
        matching.selector_of(held.get("objectSelector")),
    )


@dataclass
class Policy:
    name: str
    spec: Object
    constraints: Constraints
    program: Any = None  # compiled, once a write has met it

    @property
    def ignore(self) -> bool:
        return self.spec.get("failurePolicy") == "Ignore"


@dataclass
class Binding:
    name: str
    policy: str
    spec: Object
    constraints: Constraints


class Asked(NamedTuple):
    policy: Policy
    binding: Binding
    param: Object | None
    resource: Resource  # in the version in which the policy wants the object


class Followed:
    """Every policy of one sort with its bindings, as the store has them."""

    policies = bindings = ""  # where they are in the store
    place: Place

    def __init__(self, store: Store, registry: Registry, access: Access, chain: Chain) -> None:
        self.store = store
        self.registry = registry
        self.access = access
        self._chain = chain
        self._policies: dict[str, Policy] = {}
        self._bindings: dict[str, Binding] = {}
        self._active: list[tuple[Policy, list[Binding]]] = []
        self._stops: list[Any] = []

    def start(self) -> None:
        for prefix, put in ((self.policies, self._put_policy), (self.bindings, self._put_binding)):
            listing = self.store.scan(prefix)
            for stored in listing.items:
                put(stored.key.rpartition("/")[2], orjson.loads(stored.value))
            self._stops.append(self.store.watch(prefix, listing.revision, self._deliver))
        self._chain.plug(self.place, self, active=False)
        self._ready()

    def close(self) -> None:
        for stop in self._stops:
            stop()

    def _deliver(self, changes: Sequence[Change]) -> None:
        for change in changes:
            is_policy = change.key.startswith(self.policies)
            put = self._put_policy if is_policy else self._put_binding
            obj = None if change.value is None else orjson.loads(change.value)
            put(change.key.rpartition("/")[2], obj)
        self._ready()

    def _put_policy(self, name: str, obj: Object | None) -> None:
        before = self._policies.pop(name, None)
        if obj is None:
            return
        spec = obj["spec"]
        if before is not None and before.spec == spec:
            self._policies[name] = before
        else:
            self._policies[name] = Policy(name, spec, constraints_of(spec.get("matchConstraints")))

    def _put_binding(self, name: str, obj: Object | None) -> None:
        self._bindings.pop(name, None)
        if obj is not None:
            spec = obj["spec"]
            found = constraints_of(spec.get("matchResources"))
            self._bindings[name] = Binding(name, spec["policyName"], spec, found)

    def _ready(self) -> None:
        by_policy: dict[str, list[Binding]] = {}
        for name in sorted(self._bindings):
            by_policy.setdefault(self._bindings[name].policy, []).append(self._bindings[name])
        self._active = [
            (self._policies[name], by_policy[name])
            for name in sorted(self._policies)
            if name in by_policy
        ]
        self._chain.refresh(self, active=bool(self._active))

    # ------------------------------------------------------------ in the chain

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        return not matching.is_exempt(resource) and any(
            policy.constraints.concerns(self.registry, operation, resource, subresource)
            for policy, _ in self._active
        )

    async def admit(self, review: Review) -> None:
        raise NotImplementedError

    async def asked(
        self, review: Review, failed: Callable[[Policy, str, str], None]
    ) -> AsyncIterator[Asked]:
        """Every policy, binding and parameter that this write has to pass. `failed` is told of those
        that can't be applied: policy, binding ("": the policy itself), why."""
        for policy, bindings in self._active:
            resource = self._about(policy.constraints, review)
            if resource is None:
                continue
            try:
                self._param_kind(policy)
            except Misconfigured as error:
                failed(policy, "", f"failed to configure policy: {error}")
                continue
            for binding in bindings:
                if self._about(binding.constraints, review) is None:
                    continue
                try:
                    params = await self._params(policy, binding, review)
                except Misconfigured as error:
                    failed(policy, binding.name, f"failed to configure binding: {error}")
                    continue
                for param in params:
                    yield Asked(policy, binding, param, resource)

    def _about(self, constraints: Constraints, review: Review) -> Resource | None:
        if not matching.selects_namespace(constraints.namespaces, review, self._namespace):
            return None
        if not matching.selects_object(constraints.objects, review.object, review.old):
            return None
        return constraints.place(self.registry, review)

    def _namespace(self, name: str) -> Object:
        found = plugins.read(self.store, f"core/namespaces//{name}")
        if found is None:
            raise status.not_found(NAMESPACE, name)
        return found

    async def values(
        self, policy: Policy, review: Review, resource: Resource, param: Object | None
    ) -> dict[str, Any]:
        """What the expressions of a policy may name. Raises Misconfigured."""
        from jindou.control.api.policies import authorizer
        from jindou.control.api.policies import variables as known

        foreign = review.kind != review.resource.kind
        kind: Kind = review.kind if foreign else resource.kind

        async def seen(obj: Object | None) -> Object | None:
            if obj is None or foreign or resource is review.resource:
                return obj
            return await converted(review.resource, resource, obj)

        is_namespace = (review.kind.group, review.kind.name) == ("", "Namespace")
        namespace = None
        if review.namespace and not is_namespace:
            namespace = self._namespace(review.namespace)
        values: dict[str, Any] = {
            "object": await seen(review.object),
            "oldObject": await seen(review.old),
            "request": known.request_of(review, resource, kind),
            "namespaceObject": known.namespace_seen(namespace),
            **authorizer.variables(self.access, review),
        }
        if policy.spec.get("paramKind") is not None:
            values["params"] = param
        return values

    # ------------------------------------------------------------ parameters

    def _param_kind(self, policy: Policy) -> Resource | None:
        wanted = policy.spec.get("paramKind")
        if wanted is None:
            return None
        group, _, version = wanted["apiVersion"].rpartition("/")
        found = self.registry.by_kind(group, version, wanted["kind"])
        if found is None:
            told = f"{wanted['apiVersion']}, Kind={wanted['kind']}"
            raise Misconfigured(f"failed to find resource referenced by paramKind: '{told}'")
        return found

    async def _params(
        self, policy: Policy, binding: Binding, review: Review
    ) -> list[Object | None]:
        """Those that the policy is evaluated with, one after the other."""
        resource, ref = self._param_kind(policy), binding.spec.get("paramRef")
        if resource is None or ref is None:
            return [None]
        namespace = ref.get("namespace", "")
        if resource.kind.namespaced:
            namespace = namespace or review.namespace
            if not namespace:
                raise Misconfigured(
                    "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                )
        elif namespace:
            raise Misconfigured(
                "paramRef.namespace must not be provided for a cluster-scoped `paramKind`"
            )
        found = await self._read(resource, namespace, ref)
        if not found and ref.get("parameterNotFoundAction") == "Deny":
            raise Misconfigured(
                "no params found for policy binding with `Deny` parameterNotFoundAction"
            )
        return [*found]

    async def _read(self, resource: Resource, namespace: str, ref: Object) -> list[Object]:
        if ref.get("name"):
            stored = self.store.get(resource.key(namespace, ref["name"]))
            values = [] if stored is None else [stored.value]
            selector = matching.EVERYTHING
        else:
            listing = self.store.scan(f"{resource.prefix}{namespace}/")
            values = [item.value for item in listing.items]
            selector = matching.selector_of(ref.get("selector"))
        try:
            await encoding.prepare(resource, *values)
        except CloudError as error:
            raise Misconfigured(str(error)) from None
        objects = [encoding.loads(resource, value) for value in values]
        return [obj for obj in objects if selector.matches(matching.labels_of(obj))]


async def converted(source: Resource, target: Resource, obj: Object) -> Object:
    """In the version that a policy wants. Raises Misconfigured."""
    try:
        return await conversion.converted(source, target, obj)
    except CloudError as error:
        raise Misconfigured(f"failed to convert object version: {error}") from None


def refused(review: Review, says: str, reason: str) -> Denied:
    """A write refused by a policy, as the original tells it."""
    told = status.forbidden(review.resource.kind, name_of(review), says)
    return Denied(told.message, reason, {**told.details, "causes": [{"message": says}]})


def name_of(review: Review) -> str:
    """Of what is written, as far as it is known."""
    meta = (review.object or {}).get("metadata") or {}
    return str(review.name or meta.get("name") or meta.get("generateName") or "Unknown")
