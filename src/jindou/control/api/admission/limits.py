"""LimitRanges: what containers get that say nothing, and what is too little or too much. Pure.

Source: https://kubernetes.io/docs/concepts/policy/limit-range/
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import Any

from jindou.objects.kinds import Object
from jindou.objects.quantities import canonical, parse
from jindou.objects.quotas import pod_total


def of_type(held: Object, kind: str) -> Iterator[Mapping[str, Any]]:
    for item in (held.get("spec") or {}).get("limits") or ():
        if item.get("type") == kind:
            yield item


def fill(spec: Object, held: Object) -> list[str]:
    """Set requests and limits that are missing; returns what was set, in the words of the annotation."""
    limits: dict[str, str] = {}
    requests: dict[str, str] = {}
    for item in of_type(held, "Container"):
        given = {**(item.get("max") or {}), **(item.get("default") or {})}
        limits |= given
        requests |= {**(item.get("min") or {}), **given, **(item.get("defaultRequest") or {})}
    notes = []
    for part, word in (("containers", "container"), ("initContainers", "init container")):
        for container in spec.get(part) or ():
            resources = container.setdefault("resources", {})
            for name, wanted in (("requests", requests), ("limits", limits)):
                before = resources.get(name) or {}
                added = {n: q for n, q in wanted.items() if n not in before}
                if added:
                    resources[name] = {**before, **added}
                    notes.append(
                        f"{', '.join(sorted(added))} {name[:-1]} for {word} {container.get('name', '')}"
                    )
    return notes


def pod_faults(spec: Object, held: Object) -> list[str]:
    found = []
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    for item in of_type(held, "Container"):
        for container in containers:
            resources = container.get("resources") or {}
            found += faults(
                item, "Container", resources.get("requests") or {}, resources.get("limits") or {}
            )
    for item in of_type(held, "Pod"):
        found += faults(item, "Pod", total(spec, "requests"), total(spec, "limits"))
    return found


def claim_faults(spec: Object, held: Object) -> list[str]:
    found = []
    requests = (spec.get("resources") or {}).get("requests") or {}
    for item in of_type(held, "PersistentVolumeClaim"):
        for word, bound, wrong in (
            ("minimum", item.get("min"), operator.lt),
            ("maximum", item.get("max"), operator.gt),
        ):
            for name, limit in (bound or {}).items():
                usage = f"{word} {name} usage per PersistentVolumeClaim is {canonical(limit)}"
                if name not in requests:
                    found.append(f"{usage}.  No request is specified")
                elif wrong(parse(requests[name]), parse(limit)):
                    found.append(f"{usage}, but request is {canonical(requests[name])}")
    return found


def total(spec: Object, part: str) -> dict[str, str]:
    """Of the Pod as a whole, without the overhead of its runtime class."""
    return {name: str(value) for name, value in pod_total({**spec, "overhead": {}}, part).items()}


def faults(
    item: Mapping[str, Any], kind: str, requests: Mapping[str, str], limits: Mapping[str, str]
) -> list[str]:
    found = []
    for name, least in (item.get("min") or {}).items():
        usage = f"minimum {name} usage per {kind} is {canonical(least)}"
        if name not in requests:
            found.append(f"{usage}.  No request is specified")
        elif parse(requests[name]) < parse(least):
            found.append(f"{usage}, but request is {canonical(requests[name])}")
        elif name in limits and parse(limits[name]) < parse(least):
            found.append(f"{usage}, but limit is {canonical(limits[name])}")
    for name, most in (item.get("max") or {}).items():
        usage = f"maximum {name} usage per {kind} is {canonical(most)}"
        if name not in limits:
            found.append(f"{usage}.  No limit is specified")
        elif parse(limits[name]) > parse(most):
            found.append(f"{usage}, but limit is {canonical(limits[name])}")
        elif name in requests and parse(requests[name]) > parse(most):
            found.append(f"{usage}, but request is {canonical(requests[name])}")
    for name, ratio in (item.get("maxLimitRequestRatio") or {}).items():
        found += _ratio(name, ratio, kind, requests.get(name), limits.get(name))
    return found


def _ratio(name: str, most: str, kind: str, request: str | None, limit: str | None) -> list[str]:
    says = f"{name} max limit to request ratio per {kind} is {canonical(most)}"
    if request is None or limit is None or not parse(request) or not parse(limit):
        what = "request" if request is None or not parse(request) else "limit"
        return [f"{says}, but no {what} is specified or {what} is 0"]
    ratio = parse(limit) / parse(request)
    return [f"{says}, but provided ratio is {ratio:.6f}"] if ratio > parse(most) else []
