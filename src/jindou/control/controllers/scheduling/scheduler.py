"""Binds Pods to nodes: one Pod after the other decided at once, bindings written side by side.

A decision reads only memory. The chosen node counts the Pod from that moment; if the API refuses
the binding, the Pod is taken off again and comes back into the line.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.control.controllers import Wake
from jindou.control.controllers.groundwork import times
from jindou.control.controllers.groundwork.recorder import Recorder
from jindou.control.controllers.scheduling.claims import CONFLICT, Claims, Terms, out_of_reach
from jindou.control.controllers.scheduling.cluster import Cluster
from jindou.control.controllers.scheduling.demands import Demand, demand_of
from jindou.control.controllers.scheduling.filters import message, plan_feasible
from jindou.control.controllers.scheduling.line import Line, Waiting
from jindou.control.controllers.scheduling.nominations import Nomination, Nominations
from jindou.control.controllers.scheduling.preemption import Budget, Choice, plan_preemption
from jindou.control.controllers.scheduling.scores import plan_best
from jindou.control.controllers.scheduling.writes import nominate, tell, tell_gated
from jindou.objects.errors import CloudError, Conflict, NotFound
from jindou.objects.kinds import NAMESPACE, NODE, POD, Kind, Object, Ref

log = logging.getLogger("jindou.controllers")

BUDGET = Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
AT_ONCE = 64  # bindings under way
AFTER_FAILURE = 1.0


class Scheduler:
    """`names`: the schedulerName of the Pods that are ours."""

    name = "scheduler"

    def __init__(self, names: tuple[str, ...] = ("default-scheduler",)) -> None:
        self._names = frozenset(names)
        self._cluster = Cluster()
        self._line = Line()
        self._nominations = Nominations()
        self._work = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._bindings: set[asyncio.Task[None]] = set()
        self._assumed: set[str] = set()
        self._gated: dict[str, Object | None] = {}  # None: told so
        self._why: Counter[str] = Counter()  # of the last decision: how many nodes refused for what
        self._missing = ""  # what it lacked on every node
        self._told: dict[str, str] = {}  # uid -> why it has no node, as the API knows
        self._events = Recorder("default-scheduler")

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._pods = informers.of(POD)
        informers.of(NODE).on_change(self._node_changed)
        informers.of(NAMESPACE).on_change(self._namespace_changed)
        self._pods.on_change(self._pod_changed)
        self._budgets = informers.of(BUDGET)
        self._claims = Claims(informers, self._helped)

    @property
    def idle(self) -> bool:
        return not self._work.is_set() and not self._bindings

    # ------------------------------------------------------------ what changes

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self._cluster.remove_node(old["metadata"]["name"])
        elif self._cluster.set_node(new):
            self._helped()

    def _namespace_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new if new is not None else old
        assert obj is not None
        name = obj["metadata"]["name"]
        if new is None:
            self._cluster.namespaces.pop(name, None)
            return
        labels = new["metadata"].get("labels") or {}
        if self._cluster.namespaces.get(name) != labels:
            self._cluster.namespaces[name] = labels
            self._helped()

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new if new is not None else old
        assert obj is not None
        uid = obj["metadata"]["uid"]
        finished = (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if new is None or finished:
            self._forget(uid)
        elif new["spec"].get("nodeName"):
            self._placed(uid, old, new)
        elif new["metadata"].get("deletionTimestamp"):
            self._line.remove(uid)
        elif new["spec"].get("schedulerName", "default-scheduler") in self._names:
            self._unplaced(uid, old, new)

    def _forget(self, uid: str) -> None:
        self._line.remove(uid)
        self._nominations.forget(uid)
        self._gated.pop(uid, None)
        self._told.pop(uid, None)
        self._assumed.discard(uid)
        if self._cluster.remove(uid):
            self._helped()

    def _placed(self, uid: str, old: Object | None, new: Object) -> None:
        known = self._cluster.holds(uid)
        confirmed = uid in self._assumed
        if known and not confirmed and old is not None and not _differs(old, new):
            return
        self._assumed.discard(uid)
        self._told.pop(uid, None)
        self._line.remove(uid)
        self._nominations.forget(uid)
        demand = demand_of(new)
        self._cluster.place(demand, demand.node_name)
        if not confirmed:
            self._helped()

    def _unplaced(self, uid: str, old: Object | None, new: Object) -> None:
        if uid in self._assumed:
            return
        if new["spec"].get("schedulingGates"):
            if uid not in self._gated:
                self._gated[uid] = new
                self._work.set()
            return
        self._gated.pop(uid, None)
        if uid in self._line and old is not None and not _differs(old, new):
            return
        demand = demand_of(new)
        nominated = (new.get("status") or {}).get("nominatedNodeName")
        if nominated and self._nominations.of(uid) is None:
            self._nominations.keep(Nomination(demand, nominated))
        self._line.add(demand)
        self._work.set()

    def _helped(self) -> None:
        """Whoever stepped aside may have a chance now."""
        if not self._line.waiting_aside():
            return
        loop = asyncio.get_running_loop()
        later = self._line.return_all(loop.time())
        self._work.set()
        if later is not None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(later + 0.001, self._helped)

    # ------------------------------------------------------------ deciding

    async def run(self, client: Client) -> None:
        gate = asyncio.Semaphore(AT_ONCE)
        self._work.set()  # a run before this one may have left some
        try:
            while True:
                await self._work.wait()
                self._work.clear()
                for uid, pod in list(self._gated.items()):
                    self._gated[uid] = None
                    if pod is not None:
                        await tell_gated(client, pod)
                while True:
                    await gate.acquire()
                    await asyncio.sleep(0)
                    waiting = self._line.pop()
                    if waiting is None:
                        gate.release()
                        break
                    node = self._decided(waiting)
                    if node is None:
                        gate.release()
                        await self._refuse(client, waiting)
                        continue
                    self._assumed.add(waiting.demand.uid)
                    self._cluster.place(waiting.demand, node)
                    self._start(client, waiting, node, gate)
        finally:
            tasks = list(self._bindings)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _decided(self, waiting: Waiting) -> str | None:
        try:
            return self.decide(waiting.demand)
        except Exception as error:  # one strange Pod must not hold up the others
            log.exception("no decision about %s", waiting.demand.name)
            self._missing = f"its rules can't be understood: {error!r}"
            return None

    def decide(self, demand: Demand) -> str | None:
        self._why, self._missing = Counter(), ""
        where: list[Terms] = []
        if demand.claims:
            self._missing, where = self._claims.look(demand)
            if self._missing:
                return None
        with self._nominations.counted(self._cluster, demand):
            found, self._why, _ = plan_feasible(demand, self._cluster)
        if where:
            reachable = [node for node in found if not out_of_reach(node, where)]
            self._why[CONFLICT] += len(found) - len(reachable)
            found = reachable
        return plan_best(demand, found, self._cluster).name if found else None

    def _start(self, client: Client, waiting: Waiting, node: str, gate: asyncio.Semaphore) -> None:
        task = asyncio.get_running_loop().create_task(self._bind(client, waiting, node, gate))
        self._bindings.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._bindings.discard(task)
            gate.release()

        task.add_done_callback(done)

    async def _bind(
        self, client: Client, waiting: Waiting, node: str, gate: asyncio.Semaphore
    ) -> None:
        demand = waiting.demand
        meta = {"name": demand.name, "namespace": demand.namespace, "uid": demand.uid}
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": meta,
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta}
        try:
            if demand.claims and self._claims.unbound(demand):
                gate.release()  # others need not wait for a volume
                try:
                    await self._claims.bind(client, demand, node)
                finally:
                    await gate.acquire()
            await client.create(POD, binding, "binding")
        except CloudError as error:
            self._unbound(waiting, retry=not isinstance(error, NotFound))
            if not isinstance(error, NotFound):
                text = f"binding rejected: {error}"
                self._events.event(client, pod, "FailedScheduling", text, "Warning")
            return
        except BaseException:
            self._unbound(waiting, retry=True)
            raise
        text = f"Successfully assigned {demand.namespace}/{demand.name} to {node}"
        self._events.event(client, pod, "Scheduled", text)

    def _unbound(self, waiting: Waiting, retry: bool) -> None:
        uid = waiting.demand.uid
        if uid not in self._assumed:  # bound after all, or gone
            return
        self._assumed.discard(uid)
        self._cluster.remove(uid)
        if not retry:
            return
        loop = asyncio.get_running_loop()
        self._line.step_aside(waiting, loop.time())
        loop.call_later(AFTER_FAILURE + 0.01, self._helped)

    async def _refuse(self, client: Client, waiting: Waiting) -> None:
        """It steps aside first: whatever comes of the rest, it is not forgotten."""
        self._line.step_aside(waiting, asyncio.get_running_loop().time())
        try:
            await self._say_why(client, waiting.demand)
        except Exception:
            log.exception("%s has no node, and was not told why", waiting.demand.name)

    async def _say_why(self, client: Client, demand: Demand) -> None:
        total = len(self._cluster.usable())
        if self._missing and total:
            text = f"0/{total} nodes are available: {self._missing}."
        else:
            text = message(total, self._why)
            if total:
                text += f" preemption: {await self._preempt(client, demand)}"
        meta = {"name": demand.name, "namespace": demand.namespace, "uid": demand.uid}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta}
        self._events.event(client, pod, "FailedScheduling", text, "Warning")
        if demand.uid not in self._line or self._told.get(demand.uid) == text:
            return
        self._told[demand.uid] = text
        held = self._pods.get(demand.namespace, demand.name)
        if held is None or not await tell(client, held, "Unschedulable", text):
            self._told.pop(demand.uid, None)

    # ------------------------------------------------------------ preempting

    async def _preempt(self, client: Client, demand: Demand) -> str:
        """Make room for a Pod by sending less important ones away; says why not."""
        pod = self._pods.get(demand.namespace, demand.name)
        if pod is None or pod["metadata"]["uid"] != demand.uid:
            return "the pod is gone."
        if pod["spec"].get("preemptionPolicy") == "Never":
            return "not eligible due to preemptionPolicy=Never."
        held = self._nominations.of(demand.uid)
        if held is not None and any(map(self._cluster.holds, held.victims)):
            return "not eligible due to a terminating pod on the nominated node."
        budgets = [one for obj in self._budgets.all() if (one := Budget.of(obj)) is not None]
        with self._nominations.counted(self._cluster, demand):
            choice, why = plan_preemption(demand, self._cluster, budgets, self._started)
        if choice is None:
            self._nominations.forget(demand.uid)
            return message(len(self._cluster.usable()), why)
        total = len(self._cluster.usable())
        if not await self._make_room(client, pod, demand, choice):
            asyncio.get_running_loop().call_later(AFTER_FAILURE, self._helped)
            return f"0/{total} nodes are available: node {choice.node} could not be cleared."
        return f"0/{total} nodes are available: waiting for node {choice.node}."

    def _started(self, demand: Demand) -> float:
        pod = self._pods.get(demand.namespace, demand.name) or {}
        return times.parse((pod.get("status") or {}).get("startTime")) or times.now()

    async def _make_room(self, client: Client, pod: Object, demand: Demand, choice: Choice) -> bool:
        """False where somebody could not be sent away."""
        for other in self._nominations.less_important(demand, choice.node):
            self._nominations.forget(other.uid)
            await nominate(client, other, None)
        victims = frozenset(victim.uid for victim in choice.victims)
        self._nominations.keep(Nomination(demand, choice.node, victims))
        sent = await asyncio.gather(*(self._send_away(client, pod, v) for v in choice.victims))
        if not all(sent):
            self._nominations.forget(demand.uid)
            return False
        await nominate(client, demand, choice.node)
        return True

    async def _send_away(self, client: Client, pod: Object, victim: Demand) -> bool:
        ref = Ref(POD, victim.namespace, victim.name)
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "lastTransitionTime": times.text(),
            "reason": "PreemptionByScheduler",
            "message": "default-scheduler: preempting to accommodate a higher priority pod",
        }
        changes = {"metadata": {"uid": victim.uid}, "status": {"conditions": [condition]}}
        meta = {"name": victim.name, "namespace": victim.namespace, "uid": victim.uid}
        try:
            await client.patch(ref, changes, "status", how="strategic")
            await client.delete(ref, uid=victim.uid)
        except (NotFound, Conflict):
            return True  # gone already
        except CloudError as error:
            log.warning("%s was not sent away: %s", victim.name, error)
            return False
        about = {"apiVersion": "v1", "kind": "Pod", "metadata": meta}
        text = f"Preempted by pod {pod['metadata']['uid']} on node {victim.node_name}"
        self._events.event(client, about, "Preempted", text)
        return True


def _differs(old: Object, new: Object) -> bool:
    """In what decides about a Pod; a status does not."""
    before, after = old["metadata"], new["metadata"]
    return bool(
        old["spec"] != new["spec"]
        or before.get("labels") != after.get("labels")
        or before["uid"] != after["uid"]
    )
