"""One look at an autoscaler: what it asks for, and the status that the look leaves."""

from __future__ import annotations

from jindou.client import Client
from jindou.control.controllers.groundwork import conditions, times
from jindou.control.controllers.groundwork.recorder import Recorder
from jindou.objects.errors import Conflict, NotFound
from jindou.objects.kinds import Kind, Object

AUTOSCALER = Kind("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")


class Look:
    def __init__(self, held: Object, events: Recorder, client: Client) -> None:
        self.held = held
        self.spec: Object = held["spec"]
        self.namespace: str = held["metadata"]["namespace"]
        self.report: Object = dict(held.get("status") or {})
        self.report["conditions"] = [dict(c) for c in self.report.get("conditions") or ()]
        self._events = events
        self._client = client

    def event(self, reason: str, text: str, type: str = "Warning") -> None:
        self._events.event(self._client, self.held, reason, text, type)

    def is_true(self, type: str) -> bool:
        return conditions.is_true(self.held, type)

    def say(self, type: str, true: bool, reason: str, message: str) -> None:
        held: list[Object] = self.report["conditions"]
        found = next((c for c in held if c["type"] == type), None)
        if found is None:
            found = {"type": type}
            held.append(found)
        status = "True" if true else "False"
        if found.get("status") != status:
            found["lastTransitionTime"] = times.text()
        found |= {"status": status, "reason": reason, "message": message}

    def settle(
        self, current: int, wanted: int | None, metrics: list[Object], rescaled: bool = False
    ) -> None:
        """`wanted` None: as it was."""
        before = self.report.get("desiredReplicas", 0)
        self.report |= {
            "currentReplicas": current,
            "desiredReplicas": before if wanted is None else wanted,
            "currentMetrics": metrics or None,
            "observedGeneration": self.held["metadata"].get("generation", 1),
        }
        if rescaled:
            self.report["lastScaleTime"] = times.text()

    async def write(self) -> None:
        if self.report == self.held.get("status"):
            return
        try:
            await self._client.update(AUTOSCALER, {**self.held, "status": self.report}, "status")
        except (NotFound, Conflict):
            return
