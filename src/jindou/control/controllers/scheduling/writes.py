"""What the scheduler writes on Pods besides bindings: why one has no node, and which is kept for it.

Only people and other schedulers read it: what can't be written waits for the next decision.
"""

from __future__ import annotations

import logging

from jindou.client import Client
from jindou.control.controllers.groundwork import conditions, times
from jindou.control.controllers.scheduling.demands import Demand
from jindou.objects.errors import CloudError
from jindou.objects.kinds import POD, Object, Ref

log = logging.getLogger("jindou.controllers")

GATED = "Scheduling is blocked due to non-empty scheduling gates"


async def nominate(client: Client, demand: Demand, node: str | None) -> None:
    changes = {"metadata": {"uid": demand.uid}, "status": {"nominatedNodeName": node}}
    try:
        await client.patch(Ref(POD, demand.namespace, demand.name), changes, "status")
    except CloudError as error:
        log.debug("the node of %s was not nominated: %s", demand.name, error)


async def tell_gated(client: Client, pod: Object) -> None:
    scheduled = conditions.find(pod, "PodScheduled")
    if scheduled is None or scheduled.get("reason") != "SchedulingGated":
        await tell(client, pod, "SchedulingGated", GATED)


async def tell(client: Client, pod: Object, reason: str, text: str) -> bool:
    """True if the Pod says so now."""
    meta = pod["metadata"]
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": reason,
        "message": text,
        "lastProbeTime": None,
        "lastTransitionTime": times.text(),
    }
    old = conditions.find(pod, "PodScheduled")
    if old is not None and old.get("status") == "False":
        condition["lastTransitionTime"] = old.get("lastTransitionTime", times.text())
    ref = Ref(POD, meta["namespace"], meta["name"])
    changes = {"metadata": {"uid": meta["uid"]}, "status": {"conditions": [condition]}}
    try:
        await client.patch(ref, changes, "status", how="strategic")
    except CloudError as error:
        log.debug("the condition of %s was not written: %s", ref, error)
        return False
    return True
