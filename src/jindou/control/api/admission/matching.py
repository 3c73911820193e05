"""Which writes a webhook or a policy is about: rules with wildcards, and the two selectors. Pure.

Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#matching-requests-rules
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jindou.control.api.admission.chain import Review
from jindou.control.api.resources.registry import Registry, Resource
from jindou.objects.kinds import Object
from jindou.objects.selectors import Selector, from_object

CONFIGURATION = "admissionregistration.k8s.io"
REVIEWS = ("authentication.k8s.io", "authorization.k8s.io")
EVERYTHING = Selector()


class Rule(NamedTuple):
    """One of `rules` or `resourceRules`; `names` only policies have."""

    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: tuple[tuple[str, str], ...]  # (resource, subresource)
    scope: str
    names: frozenset[str] = frozenset()

    def matches(self, operation: str, resource: Resource, subresource: str) -> bool:
        kind = resource.kind
        return (
            _holds(self.operations, operation)
            and _holds(self.groups, kind.group)
            and _holds(self.versions, kind.version)
            and any(
                plural in ("*", kind.plural) and sub in ("*", subresource)
                for plural, sub in self.resources
            )
            and (self.scope == "*" or (self.scope == "Namespaced") == kind.namespaced)
        )


def _holds(items: frozenset[str], wanted: str) -> bool:
    return "*" in items or wanted in items


def rule_of(rule: Mapping[str, Any]) -> Rule:
    return Rule(
        frozenset(rule.get("operations") or ()),
        frozenset(rule.get("apiGroups") or ()),
        frozenset(rule.get("apiVersions") or ()),
        tuple((r, s) for r, _, s in (text.partition("/") for text in rule.get("resources") or ())),
        rule.get("scope") or "*",
        frozenset(rule.get("resourceNames") or ()),
    )


def rules_of(rules: Iterable[Mapping[str, Any]] | None) -> tuple[Rule, ...]:
    return tuple(rule_of(rule) for rule in rules or ())


def selector_of(selector: Mapping[str, Any] | None) -> Selector:
    found = from_object(selector)
    return EVERYTHING if found is None else found


def is_exempt(resource: Resource) -> bool:
    """What decides about admission is not subject to it, nor are questions about access."""
    return resource.kind.group == CONFIGURATION or (
        resource.kind.group in REVIEWS and not resource.stored
    )


def matched(
    rules: Sequence[Rule],
    operation: str,
    resource: Resource,
    subresource: str,
    registry: Registry,
    *,
    equivalent: bool,
) -> Resource | None:
    """The resource in the version in which a rule wants it: the one asked, or one that has the same
    objects (`equivalent`). None where no rule matches."""
    if any(rule.matches(operation, resource, subresource) for rule in rules):
        return resource
    if equivalent:
        others = equivalents(registry, resource, subresource)
        for rule in rules:
            for other in others:
                if rule.matches(operation, other, subresource):
                    return other
    return None


def equivalents(registry: Registry, resource: Resource, subresource: str) -> list[Resource]:
    """The other versions, and kinds of other groups, of the same objects."""
    return [
        other
        for other in registry.all()
        if other.prefix == resource.prefix
        and other is not resource
        and other.stored == resource.stored
        and (not subresource or subresource in other.subresources)
    ]


def selects_namespace(
    selector: Selector, review: Review, namespace_of: Callable[[str], Object]
) -> bool:
    """`namespace_of` reads a Namespace and may raise NotFound."""
    if not selector:
        return True
    is_namespace = (review.resource.kind.group, review.resource.kind.plural) == ("", "namespaces")
    if not review.namespace and not is_namespace:
        return True
    if is_namespace and not review.subresource and review.operation in ("CREATE", "UPDATE"):
        return selector.matches(labels_of(review.object))
    return selector.matches(labels_of(namespace_of(review.namespace)))


def selects_object(selector: Selector, obj: Object | None, old: Object | None) -> bool:
    if not selector:
        return True
    return any(
        held is not None and "metadata" in held and selector.matches(labels_of(held))
        for held in (obj, old)
    )


def labels_of(obj: Object | None) -> Mapping[str, str]:
    found: Mapping[str, str] = ((obj or {}).get("metadata") or {}).get("labels") or {}
    return found
