"""HorizontalPodAutoscalers: looks every 15 seconds at what Pods use, while there is one to look for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.control.controllers import Wake
from jindou.control.controllers.autoscaling import demand, pace
from jindou.control.controllers.autoscaling.demand import Proposal, Unknowable
from jindou.control.controllers.autoscaling.foreign import Ask, Foreign, Scaled
from jindou.control.controllers.autoscaling.look import AUTOSCALER, Look
from jindou.control.controllers.autoscaling.pace import History, Mark
from jindou.control.controllers.groundwork import times
from jindou.control.controllers.groundwork.recorder import Recorder
from jindou.objects import selectors
from jindou.objects.errors import CloudError, Conflict, NotFound
from jindou.objects.kinds import POD, Kind, Object, Ref, ref_of
from jindou.objects.quantities import milli, written

POD_METRICS = Kind("metrics.k8s.io", "v1beta1", "PodMetrics", "pods")
PERIOD = 15.0  # seconds
TRIES = 5
SOURCES = {
    "Pods": ("FailedGetPodsMetric", "failed to get pods metric value"),
    "Object": ("FailedGetObjectMetric", "failed to get object metric value"),
    "External": ("FailedGetExternalMetric", "failed to get {} external metric value"),
}
NO_SCALE = "the HPA controller was unable to get the target's current scale: {}"
UNABLE = "the HPA was unable to compute the replica count: {}"
ZERO = True, "ScaledToZero", "the HPA controller scaled the workload to zero"
NOT_ZERO = False, "NotScaledToZero", "the HPA controller did not scale the workload to zero"


class Refused(Exception):
    """No scaling this time; the conditions say why."""


class Told(NamedTuple):
    """What one metric of a specification said."""

    proposal: Proposal
    name: str
    status: Object


class Autoscalers:
    """`kinds`: whatever has objects. `period`: seconds from look to look."""

    kind = AUTOSCALER
    owns: Sequence[Kind] = ()
    name = "horizontalpodautoscalers"

    def __init__(
        self,
        kinds: Callable[[], Sequence[Kind]],
        ask: Ask | None = None,
        period: float = PERIOD,
    ) -> None:
        self.pace = self._period = period
        self._kinds = kinds
        self._foreign = Foreign(kinds, ask)
        self._events = Recorder("horizontal-pod-autoscaler")
        self._histories: dict[Ref, History] = {}
        self._selectors: dict[Ref, selectors.Selector] = {}

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._autoscalers = informers.of(AUTOSCALER)
        self._autoscalers.on_change(self._changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        """Another one of the same name begins anew."""
        if new is None and old is not None:
            self._forget(ref_of(AUTOSCALER, old))

    def _forget(self, ref: Ref) -> None:
        self._histories.pop(ref, None)
        self._selectors.pop(ref, None)

    async def reconcile(self, ref: Ref, client: Client) -> float | None:
        held = self._autoscalers.get(ref.namespace, ref.name)
        if held is None:
            self._forget(ref)
            return None
        look = Look(held, self._events, client)
        try:
            await self._scale(client, ref, look)
        except Refused:
            pass
        await look.write()
        return self._period

    async def _scale(self, client: Client, ref: Ref, look: Look) -> None:
        """Raises Refused."""
        kind, scale = await self._target(client, look)
        current = int((scale.get("spec") or {}).get("replicas", 0))
        look.report["currentReplicas"] = current
        history = self._histories.setdefault(ref, History([Mark(_clock(), current)]))
        spec = look.spec
        least, most = spec.get("minReplicas", 1), spec["maxReplicas"]
        statuses: list[Object] = []
        why = ""
        if current == 0 and not (least == 0 and look.is_true("ScaledToZero")):
            # somebody else's zero
            says = "scaling is disabled since the replica count of the target is zero"
            look.say("ScalingActive", False, "ScalingDisabled", says)
            look.settle(0, 0, statuses)
            return
        if current > most:
            wanted, why = most, "Current number of replicas above Spec.MaxReplicas"
        elif current < least:
            wanted, why = least, "Current number of replicas below Spec.MinReplicas"
        else:
            proposed, name, statuses = await self._measure(client, ref, look, scale)
            if proposed != current:
                why = f"{name} above target" if proposed > current else "All metrics below target"
            behavior = spec.get("behavior")
            choice = pace.decide(history, behavior, current, proposed, least, most, _clock())
            look.say("AbleToScale", True, *choice.able)
            look.say("ScalingLimited", choice.is_limited, *choice.limited)
            wanted = choice.replicas
        if wanted != current:
            await self._rescale(client, look, kind, scale, wanted, why, statuses)
            if spec.get("behavior") is not None:
                history.scaled(_clock(), current, wanted, spec["behavior"])
        look.settle(current, wanted, statuses, rescaled=wanted != current)

    # ------------------------------------------------------------ the target

    async def _target(self, client: Client, look: Look) -> tuple[Kind, Object]:
        target = look.spec["scaleTargetRef"]
        group = target.get("apiVersion", "").rpartition("/")[0]
        kind = next(
            (k for k in self._kinds() if (k.group, k.name) == (group, target["kind"])), None
        )
        try:
            if kind is None:
                raise NotFound(f'no matches for kind "{target["kind"]}" in group "{group}"')
            scale = await client.get(Ref(kind, look.namespace, target["name"]), "scale")
        except CloudError as error:
            look.event("FailedGetScale", str(error))
            look.say("AbleToScale", False, "FailedGetScale", NO_SCALE.format(error))
            raise Refused from None
        says = "the HPA controller was able to get the target's current scale"
        look.say("AbleToScale", True, "SucceededGetScale", says)
        return kind, scale

    async def _rescale(
        self,
        client: Client,
        look: Look,
        kind: Kind,
        scale: Object,
        wanted: int,
        why: str,
        statuses: list[Object],
    ) -> None:
        ref = Ref(kind, look.namespace, scale["metadata"]["name"])
        for left in reversed(range(TRIES)):
            try:
                await client.update(kind, {**scale, "spec": {"replicas": wanted}}, "scale")
                break
            except CloudError as error:
                if isinstance(error, Conflict) and left:
                    scale = await client.get(ref, "scale")
                    continue
                text = f"New size: {wanted}; reason: {why}; error: {error}"
                look.event("FailedRescale", text)
                says = f"the HPA controller was unable to update the target scale: {error}"
                look.say("AbleToScale", False, "FailedUpdateScale", says)
                look.settle(look.report["currentReplicas"], None, statuses)
                raise Refused from None
        says = f"the HPA controller was able to update the target scale to {wanted}"
        look.say("AbleToScale", True, "SucceededRescale", says)
        look.event("SuccessfulRescale", f"New size: {wanted}; reason: {why}", "Normal")
        look.say("ScaledToZero", *(NOT_ZERO if wanted else ZERO))

    # ------------------------------------------------------------ metrics

    async def _measure(
        self, client: Client, ref: Ref, look: Look, scale: Object
    ) -> tuple[int, str, list[Object]]:
        """The largest proposal of all metrics, and what each said. Raises Refused."""
        text = (scale.get("status") or {}).get("selector", "")
        pods = await self._pods(client, ref, look, text)
        current = look.report["currentReplicas"]
        best, name = 0, ""
        statuses: list[Object] = []
        failed: list[tuple[str, str, str]] = []  # reason, what the condition says, the error
        wanted = look.spec.get("metrics") or []
        for metric in wanted:
            try:
                if metric["type"] in SOURCES:
                    told = await self._elsewhere(look, metric, text, pods, scale)
                else:
                    told = await self._one(client, look, metric, text, pods, current)
            except Failed as failure:
                look.event(failure.reason, failure.why)
                failed.append((failure.reason, failure.why, f"{failure.of}: {failure.why}"))
                statuses.append({"type": ""})
                continue
            statuses.append(told.status)
            if best == 0 or told.proposal.replicas > best:
                best, name = told.proposal.replicas, told.name
        if failed and (len(failed) >= len(wanted) or best < current):
            reason, why, error = failed[0]
            look.say("ScalingActive", False, reason, UNABLE.format(why))
            count = f"invalid metrics ({len(failed)} invalid out of {len(wanted)})"
            look.settle(current, None, statuses)
            look.event("FailedComputeMetricsReplicas", f"{count}, first error is: {error}")
            raise Refused
        says = f"the HPA was able to successfully calculate a replica count from {name}"
        look.say("ScalingActive", True, "ValidMetricFound", says)
        return best, name, statuses

    async def _pods(self, client: Client, ref: Ref, look: Look, text: str) -> list[Object]:
        """Raises Refused where it isn't clear whose they are."""
        says = ""
        if not text:
            look.event("SelectorRequired", "selector is required")
            reason, says = "InvalidSelector", "the HPA target's scale is missing a selector"
        else:
            try:
                self._selectors[ref] = selectors.parse(text)
            except CloudError as error:
                reason = "InvalidSelector"
                says = f"couldn't convert selector into a corresponding internal selector object: {error}"
                look.event(reason, says)
        if not says:
            pods = (await client.find(POD, look.namespace, labels=text)).items
            both = rivals(self._selectors, look.namespace, pods)
            if len(both) < 2:
                return pods
            reason = "AmbiguousSelector"
            says = f"pods by selector {text} are controlled by more than one HPA (e.g. [{' '.join(map(shown, both[:2]))}])"
            look.event(reason, says)
        look.say("ScalingActive", False, reason, says)
        look.settle(look.report["currentReplicas"], None, [])
        look.event("FailedComputeMetricsReplicas", says if text else "selector is required")
        raise Refused

    async def _one(
        self,
        client: Client,
        look: Look,
        metric: Mapping[str, Any],
        selector: str,
        pods: list[Object],
        current: int,
    ) -> Told:
        """Raises Failed."""
        kind = metric["type"]
        part = "resource" if kind == "Resource" else "containerResource"
        source = metric[part]
        resource, target = source["name"], source["target"]
        container = source.get("container", "")
        if target.get("averageValue") is None and target.get("averageUtilization") is None:
            says = "invalid resource metric source: neither an average utilization target nor an average value (usage) target was set"
            raise Failed(*reason_of(kind, resource, container), says)
        try:
            try:
                listing = await client.find(POD_METRICS, look.namespace, labels=selector)
                metrics = demand.metrics_of(listing.items, resource, container)
            except (CloudError, Unknowable) as error:
                says = f"unable to get metrics for resource {resource}: {error}"
                raise Unknowable(says) from None
            proposal = proposed(look.spec, resource, container, target, metrics, pods, current)
        except Unknowable as error:
            measure = "usage" if target.get("averageValue") is not None else "utilization"
            says = f"failed to get {resource} {measure}: {error}"
            raise Failed(*reason_of(kind, resource, container), says) from None
        value = written(Decimal(proposal.value) / 1000, resource == "memory")
        now: Object = {"averageValue": value}
        if proposal.utilization is not None:
            now["averageUtilization"] = proposal.utilization
        named = {"name": resource, **({"container": container} if container else {})}
        status = {"type": kind, part: {**named, "current": now}}
        return Told(proposal, name_of(kind, resource, proposal), status)

    async def _elsewhere(
        self,
        look: Look,
        metric: Mapping[str, Any],
        selector: str,
        pods: list[Object],
        scale: Object,
    ) -> Told:
        """Raises Failed."""
        wanted = int(scale["spec"].get("replicas", 0))
        running = int((scale.get("status") or {}).get("replicas", 0))
        tolerances = demand.tolerances_of(look.spec.get("behavior"))
        scaled = Scaled(look.namespace, selector, pods, wanted, running, tolerances)
        try:
            return Told(*await self._foreign.measure(metric, scaled))
        except Unknowable as error:
            kind = metric["type"]
            name = metric[kind.lower()]["metric"]["name"]
            reason, of = SOURCES[kind]
            raise Failed(reason, of.format(name), str(error)) from None


def _clock() -> float:
    """Of histories, which nobody can set."""
    return asyncio.get_running_loop().time()


class Failed(Exception):
    def __init__(self, reason: str, of: str, why: str) -> None:
        super().__init__(why)
        self.reason, self.of, self.why = reason, of, why


def proposed(
    spec: Mapping[str, Any],
    resource: str,
    container: str,
    target: Mapping[str, Any],
    metrics: Mapping[str, demand.Metric],
    pods: list[Object],
    current: int,
) -> Proposal:
    """Raises Unknowable."""
    tolerances = demand.tolerances_of(spec.get("behavior"))
    groups = demand.group(pods, metrics, resource, times.now())
    if (wanted := target.get("averageValue")) is not None:
        return demand.plan_value(current, milli(wanted), metrics, pods, groups, tolerances)
    percent = int(target["averageUtilization"])
    demand.believable(metrics, pods, groups)
    asked = demand.requests(pods, resource, container)
    return demand.plan_utilization(current, percent, metrics, pods, asked, groups, tolerances)


def name_of(kind: str, resource: str, proposal: Proposal) -> str:
    if proposal.utilization is None:
        return f"{resource} resource"
    where = "container " if kind == "ContainerResource" else ""
    return f"{resource} {where}resource utilization (percentage of request)"


def reason_of(kind: str, resource: str, container: str) -> tuple[str, str]:
    """The reason of the condition, and what could not be got."""
    if kind == "Resource":
        return "FailedGetResourceMetric", f"failed to get {resource} resource metric value"
    says = f"failed to get {container} container metric value"
    return "FailedGetContainerResourceMetric", says


def shown(ref: Ref) -> str:
    return f"{ref.namespace}/{ref.name}"


def rivals(
    held: Mapping[Ref, selectors.Selector], namespace: str, pods: Sequence[Object]
) -> list[Ref]:
    """Autoscalers that would each scale some of these Pods."""
    labels = [pod["metadata"].get("labels") for pod in pods]
    return [
        ref
        for ref, selector in held.items()
        if ref.namespace == namespace and any(selector.matches(one) for one in labels)
    ]
