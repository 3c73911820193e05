"""Pods as services see them, and which services a Pod's change concerns.

Shared by the controllers of EndpointSlices and of Endpoints: nothing is decoded to answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from jindou.client.informers import Informers
from jindou.control.controllers.discovery.endpoint_facts import Backend, backend_of
from jindou.control.controllers.groundwork.once import once
from jindou.objects.kinds import POD, SERVICE, Object, Ref

told_backend = once(backend_of)  # of what informers tell
Name = tuple[str, str]
Selector = Mapping[str, str]


class Backends:
    def __init__(self, informers: Informers, wake: Callable[[Ref], None]) -> None:
        self._wake = wake
        self._pods: dict[str, dict[str, Backend]] = {}  # by namespace, then name
        self._selectors: dict[str, dict[str, Selector]] = {}
        informers.of(SERVICE).on_change(self._service_changed)
        informers.of(POD).on_change(self._pod_changed)

    def matching(self, namespace: str, selector: Selector) -> list[Backend]:
        wanted = selector.items()
        return [
            pod for pod in self._pods.get(namespace, {}).values() if wanted <= pod.labels.items()
        ]

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new if new is not None else old
        assert obj is not None
        namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
        held = self._selectors.setdefault(namespace, {})
        selector = new["spec"].get("selector") if new is not None else None
        if selector:
            held[name] = selector
        else:
            held.pop(name, None)
        if not held:
            del self._selectors[namespace]

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new if new is not None else old
        assert obj is not None
        namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
        held = self._pods.setdefault(namespace, {})
        before = held.pop(name, None)
        after = told_backend(new) if new is not None else None
        if after is not None:
            held[name] = after
        elif not held:
            del self._pods[namespace]
        if before != after:
            self._tell(namespace, [one for one in (before, after) if one is not None])

    def _tell(self, namespace: str, pods: Iterable[Backend]) -> None:
        pods = [pod for pod in pods if pod.addresses]
        for name, selector in self._selectors.get(namespace, {}).items():
            if any(selector.items() <= pod.labels.items() for pod in pods):
                self._wake(Ref(SERVICE, namespace, name))
