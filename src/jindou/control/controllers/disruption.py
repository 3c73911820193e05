"""PodDisruptionBudgets: how many Pods of an application may be taken away on purpose just now.

The eviction subresource takes from `disruptionsAllowed` and notes the Pod in `disruptedPods`; here
the figure is brought up to date, and a Pod that was noted and never deleted counts again.
Source: https://kubernetes.io/docs/concepts/workloads/pods/disruptions/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.control.controllers import Wake
from jindou.control.controllers.groundwork import conditions, times
from jindou.control.controllers.groundwork.owners import controller_of
from jindou.control.controllers.groundwork.pod_facts import PodFacts, facts_of
from jindou.control.controllers.groundwork.portions import portion
from jindou.control.controllers.groundwork.recorder import Recorder
from jindou.objects.errors import CloudError, Conflict, NotFound
from jindou.objects.kinds import DEPLOYMENT, POD, REPLICA_SET, Kind, Object, Ref
from jindou.objects.selectors import Selector, from_object

BUDGET = Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
ALLOWED = "DisruptionAllowed"
TARGET = "DisruptionTarget"
DELETION_TIMEOUT = 120.0  # seconds that an evicted Pod may take to be marked
STALE = 120.0  # seconds after which a Pod that was to go and stayed is told so
UNMANAGED = (
    "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, "
    "the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To "
    'account for these pods please set ".spec.minAvailable" field of the PDB to an integer value.'
)

Kinds = Callable[[], Sequence[Kind]]


class Unknowable(Exception):
    """How many Pods there should be can't be told; the message says why."""


class Figures(NamedTuple):
    expected: int
    desired: int
    healthy: int
    disrupted: dict[str, str]
    recheck: float | None  # seconds until one of the disrupted counts again
    undeleted: list[str]

    @property
    def allowed(self) -> int:
        return max(0, self.healthy - self.desired) if self.expected > 0 else 0


class Disruption:
    """Pods are held only of namespaces that have a budget."""

    kind = BUDGET
    owns: Sequence[Kind] = ()
    name = "disruption"
    pace = 0.05

    def __init__(self, kinds: Kinds) -> None:
        self._kinds = kinds
        self._events = Recorder("controllermanager")
        self._selectors: dict[str, dict[str, Selector]] = {}  # by namespace, then budget
        self._held: dict[str, dict[str, PodFacts]] = {}  # by namespace, then Pod

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._wake = wake
        self._budgets = informers.of(BUDGET)
        self._pods = informers.of(POD)
        self._budgets.on_change(self._budget_changed)
        self._pods.on_change(self._pod_changed)

    def _budget_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new if new is not None else old
        assert obj is not None
        namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
        if new is not None:
            selector = from_object((new.get("spec") or {}).get("selector"))
            if namespace not in self._held:
                pods = map(facts_of, self._pods.all(namespace))
                self._held[namespace] = {pod.name: pod for pod in pods}
            self._selectors.setdefault(namespace, {}).pop(name, None)
            if selector is not None:
                self._selectors[namespace][name] = selector
        elif not [key for key in self._budgets.names() if key[0] == namespace]:
            self._selectors.pop(namespace, None)
            self._held.pop(namespace, None)
        else:
            self._selectors[namespace].pop(name, None)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new if new is not None else old
        assert obj is not None
        namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
        if new is not None and stale_in(new, times.now()) is not None:
            self._wake(Ref(POD, namespace, name))
        held = self._held.get(namespace)
        if held is None:
            return
        before, after = held.pop(name, None), facts_of(new) if new is not None else None
        if after is not None:
            held[name] = after
        if before == after:
            return
        for budget, selector in self._selectors.get(namespace, {}).items():
            if any(facts and selector.matches(facts.labels) for facts in (before, after)):
                self._wake(Ref(BUDGET, namespace, budget))

    # ------------------------------------------------------------ one budget

    async def reconcile(self, ref: Ref, client: Client) -> float | None:
        if ref.kind == POD:
            return await self._reset(ref, client)
        budget = self._budgets.get(ref.namespace, ref.name)
        if budget is None:
            return None
        try:
            return await self._bring_up(client, budget)
        except Conflict:
            raise
        except (CloudError, Unknowable) as error:
            await self._write(client, budget, plan_failure(budget, str(error)))
            if isinstance(error, CloudError):
                raise  # the API may have an answer the next time
            return None

    async def _bring_up(self, client: Client, budget: Object) -> float | None:
        meta = budget["metadata"]
        selector = self._selectors.get(meta["namespace"], {}).get(meta["name"])
        held = self._held.get(meta["namespace"], {}).values()
        pods = [pod for pod in held if selector is not None and selector.matches(pod.labels)]
        if not pods:
            self._events.event(client, budget, "NoPods", "No matching pods found")
        expected = len(pods)
        if needs_scale(budget["spec"]):
            expected = await self._expected(client, budget, pods)
        figures = plan_figures(budget, pods, expected, times.now())
        for name in figures.undeleted:
            pod = self._pods.get(meta["namespace"], name)
            text = f"Pod was expected by PDB {meta['namespace']}/{meta['name']} to be deleted but it wasn't"
            if pod is not None:
                self._events.event(client, pod, "NotDeleted", text, "Warning")
        await self._write(client, budget, plan_status(budget, figures))
        return figures.recheck

    async def _write(self, client: Client, budget: Object, status: Object) -> None:
        if status == budget.get("status"):
            return
        budget["status"] = status
        try:
            written = await client.update(BUDGET, budget, "status")
        except NotFound:
            return
        await self._budgets.caught_up(written["metadata"].get("resourceVersion", ""))

    async def _expected(self, client: Client, budget: Object, pods: Iterable[PodFacts]) -> int:
        """How many Pods those in charge of these want. Raises Unknowable."""
        scales: dict[str, int] = {}
        seen: set[str] = set()
        unmanaged = False
        for facts in pods:
            if not facts.owner:
                unmanaged = True
            if not facts.owner or facts.owner in seen:
                continue
            seen.add(facts.owner)
            pod = self._pods.get(facts.namespace, facts.name)
            owner = controller_of(pod) if pod is not None else None
            if owner is None:
                continue
            found = await self._scale(client, facts.namespace, owner)
            if found is None:
                raise Unknowable(f'found no controllers for pod "{facts.name}"')
            scales |= [found]
        if unmanaged:
            text = UNMANAGED.format(budget["spec"].get("selector"))
            self._events.event(client, budget, "UnmanagedPods", text, "Warning")
        return sum(scales.values())

    async def _scale(
        self, client: Client, namespace: str, owner: Mapping[str, Any]
    ) -> tuple[str, int] | None:
        """Of the Deployment above a ReplicaSet, or of the controller itself; None where it is gone."""
        group = owner["apiVersion"].rpartition("/")[0]
        kind = next((k for k in self._kinds() if (k.group, k.name) == (group, owner["kind"])), None)
        if kind is None:
            raise Unknowable(
                f'no matches for kind "{owner["kind"]}" in version "{owner["apiVersion"]}"'
            )
        if kind == REPLICA_SET:
            try:
                held = await client.get(Ref(kind, namespace, owner["name"]))
            except NotFound:
                return None
            above = controller_of(held)
            if above is not None and above["kind"] == DEPLOYMENT.name:
                kind, owner = DEPLOYMENT, above
        try:
            scale = await client.get(Ref(kind, namespace, owner["name"]), "scale")
        except NotFound as error:
            if error.details:
                return None
            label = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
            raise Unknowable(f"{label} does not implement the scale subresource") from None
        if scale["metadata"]["uid"] != owner["uid"]:
            return None
        return owner["uid"], int((scale.get("spec") or {}).get("replicas", 0))

    # ------------------------------------------------------------ Pods that stayed

    async def _reset(self, ref: Ref, client: Client) -> float | None:
        """A Pod that was to be disrupted and was not, after a while: the condition says so."""
        pod = self._pods.get(ref.namespace, ref.name)
        left = stale_in(pod, times.now()) if pod is not None else None
        if pod is None or left is None or left > 0:
            return left
        condition = {"type": TARGET, "status": "False", "lastTransitionTime": times.text()}
        changes = {
            "metadata": {"uid": pod["metadata"]["uid"]},
            "status": {"conditions": [{**condition, "reason": None, "message": None}]},
        }
        try:
            await client.patch(ref, changes, "status", how="strategic")
        except NotFound:
            pass
        return None


def stale_in(pod: Object, now: float) -> float | None:
    """Seconds until a Pod that is said to be disrupted is not believed; None where that is no matter."""
    held = conditions.find(pod, TARGET)
    if held is None or held.get("status") != "True" or "deletionTimestamp" in pod["metadata"]:
        return None
    over = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    if over or held.get("reason") == "TerminationByKubelet":
        return None
    return max(0.0, times.parse(held.get("lastTransitionTime")) + STALE - now)


def needs_scale(spec: Mapping[str, Any]) -> bool:
    return spec.get("maxUnavailable") is not None or isinstance(spec.get("minAvailable"), str)


def plan_figures(budget: Object, pods: Sequence[PodFacts], expected: int, now: float) -> Figures:
    spec = budget["spec"]
    desired = 0
    if (most := spec.get("maxUnavailable")) is not None:
        desired = max(0, expected - portion(most, expected))
    elif (least := spec.get("minAvailable")) is not None:
        desired = portion(least, expected)
    noted = (budget.get("status") or {}).get("disruptedPods") or {}
    disrupted: dict[str, str] = {}
    undeleted, waits = [], []
    for pod in pods:
        if pod.deleting or pod.name not in noted:
            continue
        left = times.parse(noted[pod.name]) + DELETION_TIMEOUT - now
        if left < 0:
            undeleted.append(pod.name)
        else:
            disrupted[pod.name] = noted[pod.name]
            waits.append(left)
    healthy = sum(pod.ready and not pod.deleting and pod.name not in disrupted for pod in pods)
    recheck = min(waits) + 0.01 if waits else None
    return Figures(expected, desired, healthy, disrupted, recheck, undeleted)


def plan_status(budget: Object, figures: Figures) -> Object:
    generation = budget["metadata"].get("generation", 1)
    enough = figures.allowed > 0
    reason = "SufficientPods" if enough else "InsufficientPods"
    return {
        **({"disruptedPods": figures.disrupted} if figures.disrupted else {}),
        "conditions": _with_condition(budget, enough, reason, "", generation),
        "currentHealthy": figures.healthy,
        "desiredHealthy": figures.desired,
        "disruptionsAllowed": figures.allowed,
        "expectedPods": figures.expected,
        "observedGeneration": generation,
    }


def plan_failure(budget: Object, why: str) -> Object:
    """Nothing may be disrupted while nobody knows."""
    held = budget.get("status") or {}
    counts = ("currentHealthy", "desiredHealthy", "expectedPods")
    seen = held.get("observedGeneration", 0)
    return {
        **dict.fromkeys(counts, 0),
        **held,
        "disruptionsAllowed": 0,
        "conditions": _with_condition(budget, False, "SyncFailed", why, seen),
    }


def _with_condition(
    budget: Object, allowed: bool, reason: str, message: str, generation: int
) -> list[Object]:
    held = (budget.get("status") or {}).get("conditions") or []
    old = conditions.among(held, ALLOWED)
    status = "True" if allowed else "False"
    since = old["lastTransitionTime"] if old and old["status"] == status else times.text()
    new = {
        "type": ALLOWED,
        "status": status,
        **({"observedGeneration": generation} if generation else {}),
        "lastTransitionTime": since,
        "reason": reason,
        "message": message,
    }
    return [new if c is old else c for c in held] if old else [*held, new]
