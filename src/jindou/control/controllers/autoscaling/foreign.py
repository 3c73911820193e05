"""Metrics that only others can tell: of Pods, of any object, and of things outside of the cluster.

Whoever serves custom.metrics.k8s.io or external.metrics.k8s.io is asked through the API.
Source: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#support-for-metrics-apis
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from jindou.control.controllers.autoscaling import demand
from jindou.control.controllers.autoscaling.demand import Metric, Proposal, Tolerances, Unknowable
from jindou.control.controllers.groundwork import conditions, times
from jindou.objects.errors import CloudError, NotFound
from jindou.objects.kinds import Kind, Object
from jindou.objects.quantities import milli, written

CUSTOM, EXTERNAL = "custom.metrics.k8s.io", "external.metrics.k8s.io"
VERSIONS = {CUSTOM: ("v1beta2", "v1beta1"), EXTERNAL: ("v1beta1",)}
WINDOW = 60.0  # seconds, where none is told

Ask = Callable[[str], Awaitable[Object]]  # GET a path of the API; NotFound where nobody serves it


class Scaled(NamedTuple):
    """What a metric is about to scale."""

    namespace: str
    selector: str
    pods: Sequence[Object]
    wanted: int
    running: int
    tolerances: Tolerances


class Foreign:
    """`ask` None: nobody can be asked."""

    def __init__(self, kinds: Callable[[], Sequence[Kind]], ask: Ask | None = None) -> None:
        self._kinds = kinds
        self._ask = ask

    async def measure(
        self, metric: Mapping[str, Any], scaled: Scaled
    ) -> tuple[Proposal, str, Object]:
        """A proposal, the name of the metric, its status. Raises Unknowable."""
        kind = metric["type"]
        source = metric[kind.lower()]
        named, target = source["metric"], source["target"]
        kept = {name: named[name] for name in ("name", "selector") if name in named}
        if kind == "Pods":
            proposal = await self._of_pods(named, target, scaled)
            told = {"metric": kept, "current": {"averageValue": shown(proposal.value)}}
            return proposal, f"pods metric {named['name']}", {"type": kind, "pods": told}
        if kind == "Object":
            of = source["describedObject"]
            used = await self._of_object(named, of, scaled)
            told = {"metric": kept, "describedObject": of}
            name = f"{of['kind']} metric {named['name']}"
        else:
            used = await self._outside(named, scaled)
            told = {"metric": kept}
            name = f"external metric {named['name']}"
        proposal, part = plan_total(used, target, scaled)
        told["current"] = {part: shown(proposal.value)}
        return proposal, name, {"type": kind, kind.lower(): told}

    async def _of_pods(
        self, named: Mapping[str, Any], target: Mapping[str, Any], scaled: Scaled
    ) -> Proposal:
        name = named["name"]
        query = {"labelSelector": scaled.selector, **selector_of(named, "metricLabelSelector")}
        path = f"namespaces/{scaled.namespace}/pods/*/{quote(name)}?{urlencode(query)}"
        try:
            items = await self._items(CUSTOM, path)
        except Unknowable as error:
            raise Unknowable(f"unable to get metric {name}: {error}") from None
        metrics = {
            item["describedObject"]["name"]: Metric(
                milli(item["value"]),
                times.parse(item.get("timestamp")),
                float(item.get("windowSeconds") or WINDOW),
            )
            for item in items
        }
        groups = demand.group(scaled.pods, metrics, "", times.now())
        wanted = milli(target["averageValue"])
        return demand.plan_value(
            scaled.wanted, wanted, metrics, scaled.pods, groups, scaled.tolerances
        )

    async def _of_object(
        self, named: Mapping[str, Any], of: Mapping[str, Any], scaled: Scaled
    ) -> int:
        name = named["name"]
        query = selector_of(named, "metricLabelSelector")
        more = f"?{urlencode(query)}" if query else ""
        if of["kind"] == "Namespace" and "/" not in of.get("apiVersion", ""):
            path = f"namespaces/{scaled.namespace}/metrics/{quote(name)}{more}"
        else:
            resource = self._resource(of)
            path = f"namespaces/{scaled.namespace}/{resource}/{of['name']}/{quote(name)}{more}"
        try:
            (item, *_) = await self._items(CUSTOM, path)
        except Unknowable as error:
            where = f"{of['kind']} {scaled.namespace}/{of['name']}"
            raise Unknowable(f"unable to get metric {name} on {where}: {error}") from None
        return milli(item["value"])

    async def _outside(self, named: Mapping[str, Any], scaled: Scaled) -> int:
        name = named["name"]
        query = selector_of(named, "labelSelector")
        more = f"?{urlencode(query)}" if query else ""
        path = f"namespaces/{scaled.namespace}/{quote(name)}{more}"
        try:
            items = await self._items(EXTERNAL, path)
        except Unknowable as error:
            where = f"{scaled.namespace}/{name}/{query.get('labelSelector', 'nil')}"
            raise Unknowable(f"unable to get external metric {where}: {error}") from None
        return sum(milli(item["value"]) for item in items)

    async def _items(self, group: str, path: str) -> list[Object]:
        what = group.partition(".")[0]
        failed = f"unable to fetch metrics from {what} metrics API"
        for version in VERSIONS[group] if self._ask is not None else ():
            assert self._ask is not None
            try:
                told = await self._ask(f"/apis/{group}/{version}/{path}")
            except CloudError as error:
                if isinstance(error, NotFound) and not error.details:
                    continue  # nobody serves this version
                raise Unknowable(f"{failed}: {error}") from None
            items: list[Object] = told.get("items") or []
            if not items:
                raise Unknowable(f"{failed}: no metrics returned from {what} metrics API")
            return items
        raise Unknowable(f"{failed}: no {what} metrics API ({group}) registered")

    def _resource(self, of: Mapping[str, Any]) -> str:
        group = of.get("apiVersion", "").rpartition("/")[0]
        for kind in self._kinds():
            if (kind.group, kind.name) == (group, of["kind"]):
                return f"{kind.plural}.{group}" if group else kind.plural
        raise Unknowable(f'no matches for kind "{of["kind"]}" in group "{group}"')


def plan_total(used: int, target: Mapping[str, Any], scaled: Scaled) -> tuple[Proposal, str]:
    """Of one value for all Pods: against a value for all, or one for each."""
    if (each := target.get("averageValue")) is not None:
        wanted = milli(each)
        count = scaled.running
        ratio = used / (wanted * count) if count else math.inf
        if not scaled.tolerances.within(ratio):
            count = math.ceil(used / wanted)
        return Proposal(count, math.ceil(used / max(1, scaled.running))), "averageValue"
    ratio = used / milli(target["value"])
    if not scaled.wanted:
        return Proposal(math.ceil(ratio), used), "value"
    if scaled.tolerances.within(ratio):
        return Proposal(scaled.wanted, used), "value"
    if not scaled.pods:
        raise Unknowable(f"unable to calculate ready pods: {demand.NO_PODS}")
    return Proposal(math.ceil(ratio * ready(scaled.pods)), used), "value"


def ready(pods: Sequence[Object]) -> int:
    return sum(
        (pod.get("status") or {}).get("phase") == "Running" and conditions.is_true(pod, "Ready")
        for pod in pods
    )


def shown(value: int) -> str:
    return written(Decimal(value) / 1000)


def selector_of(named: Mapping[str, Any], parameter: str) -> dict[str, str]:
    """The selector of a metric as text."""
    held = named.get("selector")
    if held is None:
        return {}
    terms = [f"{key}={value}" for key, value in sorted((held.get("matchLabels") or {}).items())]
    for one in held.get("matchExpressions") or ():
        key, values = one["key"], ",".join(sorted(one.get("values") or ()))
        terms.append(
            {
                "In": f"{key} in ({values})",
                "NotIn": f"{key} notin ({values})",
                "Exists": key,
                "DoesNotExist": f"!{key}",
            }[one["operator"]]
        )
    return {parameter: ",".join(terms)} if terms else {}
