"""One link of a chain of causes, and what the chains ask the API for."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import quote

from jindou.cli.api import Api, Refused
from jindou.cli.status import age
from jindou.cli.term import duration

Object = dict[str, Any]


class Link(NamedTuple):
    state: str  # ok, wait, warn, FAIL
    name: str
    says: str = ""
    because: str = ""
    do: tuple[str, ...] = ()
    said: str = ""  # the last lines of a log
    known: str = ""  # where the cause is from


class Cloud:
    """What a chain may ask for."""

    def __init__(self, api: Api) -> None:
        self.api = api

    def selected(self, path: str, labels: dict[str, str]) -> list[Object]:
        selector = quote(",".join(f"{key}={value}" for key, value in labels.items()))
        found: list[Object] = self.api.get(f"{path}?labelSelector={selector}")["items"]
        return found

    def events(self, obj: Object) -> list[Object]:
        """The newest last."""
        meta = obj["metadata"]
        path = f"/api/v1/namespaces/{meta.get('namespace', 'default')}/events"
        found = self.api.get(f"{path}?fieldSelector=involvedObject.uid%3D{meta['uid']}")["items"]
        return sorted(
            found, key=lambda e: e.get("lastTimestamp") or e["metadata"]["creationTimestamp"]
        )

    def log(self, pod: Object, container: str, previous: bool) -> str:
        """The last lines that a container wrote; "" where there are none to be had."""
        meta = pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/log"
        query = f"container={container}&tailLines=4{'&previous=true' if previous else ''}"
        try:
            answer = self.api.open("GET", f"{path}?{query}")
            text = b"".join(answer.pieces()).decode(errors="replace")
        except (Refused, OSError):
            return ""
        return text if answer.code == 200 else ""

    def images(self) -> list[str]:
        nodes = self.api.get("/api/v1/nodes")["items"]
        return [n for node in nodes for i in node["status"].get("images", []) for n in i["names"]]


def condition(obj: Object, kind: str) -> Object:
    return next((c for c in obj.get("status", {}).get("conditions", []) if c["type"] == kind), {})


def later(*names: str) -> list[Link]:
    return [Link("wait", name) for name in names]


def created(obj: Object) -> Link:
    meta = obj["metadata"]
    owner = next((o for o in meta.get("ownerReferences", []) if o.get("controller")), None)
    by = f" by {owner['kind'].lower()}/{owner['name']}" if owner else ""
    return Link("ok", "created", f"{duration(age(meta['creationTimestamp']))} ago{by}")


def ending(obj: Object) -> list[Link]:
    """What was deleted and is still there waits for somebody."""
    meta = obj["metadata"]
    if not meta.get("deletionTimestamp"):
        return []
    held = ", ".join(meta.get("finalizers", []))
    because = f"it is held by {held}" if held else "its containers have not ended yet"
    return [Link("wait", "ending", "it was deleted", because)]


def names(obj: Object) -> tuple[str, str]:
    """-n NAMESPACE, where it is not the usual one, before and after a name."""
    namespace = obj["metadata"]["namespace"]
    return ("", "") if namespace == "default" else (f"-n {namespace} ", f" -n {namespace}")
