"""Rules of RBAC objects: every binding names a role, every rule says what it allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jindou.control.api.rules.names import (
    invalid,
    path_segment,
    required,
    subdomain,
    unsupported,
)
from jindou.control.api.rules.placement import label_selector
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

GROUP = "rbac.authorization.k8s.io"
SUBJECTS = ("ServiceAccount", "User", "Group")


def role(obj: Object) -> list[Fault]:
    return rules(obj.get("rules") or (), namespaced=True)


def cluster_role(obj: Object) -> list[Fault]:
    found = rules(obj.get("rules") or (), namespaced=False)
    gathered = obj.get("aggregationRule")
    if gathered is not None and not gathered.get("clusterRoleSelectors"):
        found.append(
            required(
                "aggregationRule.clusterRoleSelectors",
                "at least one clusterRoleSelector required if aggregationRule is non-nil",
            )
        )
    for n, selector in enumerate((gathered or {}).get("clusterRoleSelectors") or ()):
        at = f"aggregationRule.clusterRoleSelectors[{n}]"
        if wrong := list(label_selector(selector, at)):
            found += [*wrong, invalid(at, selector, "invalid label selector.")]
    return found


def rules(held: Sequence[Object], namespaced: bool) -> list[Fault]:
    found = []
    for n, rule in enumerate(held):
        at = f"rules[{n}]"
        paths = rule.get("nonResourceURLs")
        if not rule.get("verbs"):
            found.append(required(f"{at}.verbs"))
        if paths:
            if namespaced:
                says = "namespaced rules cannot apply to non-resource URLs"
                found.append(invalid(f"{at}.nonResourceURLs", paths, says))
            if any(rule.get(part) for part in ("apiGroups", "resources", "resourceNames")):
                says = "rules cannot apply to both regular resources and non-resource URLs"
                found.append(invalid(f"{at}.nonResourceURLs", paths, says))
            continue
        if not rule.get("apiGroups"):
            says = "resource rules must supply at least one api group"
            found.append(required(f"{at}.apiGroups", says))
        if not rule.get("resources"):
            says = "resource rules must supply at least one resource"
            found.append(required(f"{at}.resources", says))
    return found


def role_binding(obj: Object) -> list[Fault]:
    return binding(obj, ("Role", "ClusterRole"), namespaced=True)


def cluster_role_binding(obj: Object) -> list[Fault]:
    return binding(obj, ("ClusterRole",), namespaced=False)


def binding(obj: Object, kinds: Sequence[str], namespaced: bool) -> list[Fault]:
    found = []
    ref: Any = obj.get("roleRef") or {}
    if ref.get("apiGroup") != GROUP:
        found.append(unsupported("roleRef.apiGroup", ref.get("apiGroup", ""), (GROUP,)))
    if ref.get("kind") not in kinds:
        found.append(unsupported("roleRef.kind", ref.get("kind", ""), kinds, ordered=False))
    if not ref.get("name"):
        found.append(required("roleRef.name"))
    elif wrong := path_segment(ref["name"]):
        found.append(invalid("roleRef.name", ref["name"], wrong))
    for n, subject in enumerate(obj.get("subjects") or ()):
        found += subject_faults(subject, f"subjects[{n}]", namespaced)
    return found


def subject_faults(subject: Object, at: str, namespaced: bool) -> list[Fault]:
    found = []
    kind, group = subject.get("kind", ""), subject.get("apiGroup", "")
    if not subject.get("name"):
        found.append(required(f"{at}.name"))
    elif kind == "ServiceAccount" and (wrong := subdomain(subject["name"])):
        found.append(invalid(f"{at}.name", subject["name"], wrong))
    if kind not in SUBJECTS:
        return [*found, unsupported(f"{at}.kind", kind, SUBJECTS, ordered=False)]
    allowed = "" if kind == "ServiceAccount" else GROUP
    if group != allowed:
        found.append(unsupported(f"{at}.apiGroup", group, (allowed,)))
    if kind == "ServiceAccount" and not namespaced and not subject.get("namespace"):
        found.append(required(f"{at}.namespace"))
    return found
