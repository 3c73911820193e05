"""The chain of a Pod: created, scheduled, volumes, image, containers, ready."""

from __future__ import annotations

import re
from typing import Any

from jindou.cli.links import Cloud, Link, Object, condition, created, ending, later, names
from jindou.cli.status import pod_ready
from jindou.cli.term import count

RECIPES = ("busybox", "debian", "nginx", "python", "redis")
NOT_YET = ("ContainerCreating", "PodInitializing")
IMAGE_TROUBLE = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName")
ABSENT = re.compile(r'(configmap|secret|persistentvolumeclaim) "([^"]+)" not found')


def pod_chain(cloud: Cloud, pod: Object) -> list[Link]:
    spec, status = pod["spec"], pod["status"]
    chain = [created(pod), *ending(pod)]
    noted = cloud.events(pod)
    if not spec.get("nodeName"):
        return [*chain, unscheduled(pod), *later("volumes", "image", "containers", "ready")]
    chain.append(Link("ok", "scheduled", f"on {spec['nodeName']}"))
    init = status.get("initContainerStatuses", [])
    statuses = [*init, *status.get("containerStatuses", [])]
    begun = any(
        one.get("lastState") or not one.get("state", {}).get("waiting", {"reason": ""})
        for one in statuses
    ) or any({"running", "terminated"} & one.get("state", {}).keys() for one in statuses)
    volumes = len(spec.get("volumes", []))
    mount = newest(noted, "FailedMount")
    if mount and not begun:
        link = Link(
            "FAIL", "volumes", "can't be mounted", mount["message"],
            remedy_for_absent(pod, mount["message"]), known=told(mount),
        )  # fmt: skip
        return [*chain, link, *later("image", "containers", "ready")]
    chain.append(Link("ok", "volumes", f"{volumes} mounted"))
    chain += containers(cloud, pod, statuses, noted)
    if chain[-1].state != "ok":
        return [*chain, *later("ready")] if chain[-1].name != "ready" else chain
    if status.get("phase") == "Succeeded":
        return chain
    if pod_ready(pod):
        return [*chain, Link("ok", "ready", f"answers at {status.get('podIP', '')}")]
    return [*chain, unready(cloud, pod, noted)]


def newest(noted: list[Object], *reasons: str) -> Object | None:
    return next((event for event in reversed(noted) if event.get("reason") in reasons), None)


def told(event: Object | None) -> str:
    if event is None:
        return ""
    times = event.get("count") or event.get("series", {}).get("count") or 1
    return f"from event {event.get('reason')}, {count(times, 'time')}"


def unscheduled(pod: Object) -> Link:
    scheduled = condition(pod, "PodScheduled")
    where = names(pod)[0]
    do = [f"kubectl {where}describe pod {pod['metadata']['name']}", "kubectl describe nodes"]
    message = scheduled.get("message", "")
    if "Insufficient" in message:
        do = ["kubectl describe nodes   shows what is requested, and of how much", do[0]]
    state = "FAIL" if scheduled.get("reason") == "Unschedulable" else "wait"
    known = "from the Pod's condition PodScheduled" if message else ""
    return Link(state, "scheduled", "no node yet", message, tuple(do), known=known)


def remedy_for_absent(pod: Object, message: str) -> tuple[str, ...]:
    """The command that makes the ConfigMap or Secret that is missing."""
    found = ABSENT.search(message)
    where, _ = names(pod)
    meta = pod["metadata"]
    if not found or found[1] == "persistentvolumeclaim":
        return (f"kubectl {where}describe pod {meta['name']}",)
    kind = "configmap" if found[1] == "configmap" else "secret generic"
    plural = f"{found[1]}s"
    return (
        f"kubectl {where}create {kind} {found[2]} --from-literal=KEY=VALUE",
        f"kubectl {where}get {plural}   shows those that there are",
    )


def containers(
    cloud: Cloud, pod: Object, statuses: list[Object], noted: list[Object]
) -> list[Link]:
    """The links image and containers: of the first container that is in trouble, else of all."""
    for one in statuses:
        reason = one.get("state", {}).get("waiting", {}).get("reason", "")
        if reason in IMAGE_TROUBLE:
            return [image_trouble(cloud, pod, one), *later("containers")]
        if reason and reason not in NOT_YET:
            return [Link("ok", "image", one["image"]), waiting(cloud, pod, one, noted)]
        ended = one.get("state", {}).get("terminated", {})
        if ended.get("exitCode") and pod["status"].get("phase") != "Running":
            return [Link("ok", "image", one["image"]), broken(cloud, pod, one, ended, noted, False)]
    not_begun = [one["name"] for one in statuses if "waiting" in one.get("state", {})]
    if not_begun or not statuses:
        event = next((e for e in reversed(noted) if e.get("type") == "Warning"), None)
        because = event["message"] if event else ""
        starting = f"starting {', '.join(not_begun)}".rstrip()
        return [
            Link("wait", "image", "being had" if not event else ""),
            Link("wait", "containers", starting, because, known=told(event)),
        ][1 if event else 0 :]
    over = sum("terminated" in one.get("state", {}) for one in statuses)
    says = f"{len(statuses)} started" + (f", {over} ended" if over else "")
    shown = ", ".join(dict.fromkeys(one["image"] for one in statuses))
    return [Link("ok", "image", shown), Link("ok", "containers", says)]


def image_trouble(cloud: Cloud, pod: Object, status: Object) -> Link:
    import difflib

    image = status["image"]
    message = status["state"]["waiting"].get("message", "")
    known = {
        name.removeprefix("docker.io/library/").removesuffix(":latest") for name in cloud.images()
    }
    near = difflib.get_close_matches(image, sorted(known), 1, 0.5)
    do = []
    if image.removesuffix(":latest").partition(":")[0] in RECIPES and "/" not in image:
        do.append(f"jindou image bootstrap {image}")
    do += ["jindou image import FILE   takes a docker or OCI archive", "jindou image list"]
    if near and near[0] != image:
        message = f"{message.rstrip('.')}; the nearest that is here is {near[0]}"
    return Link(
        "FAIL",
        "image",
        f"{image} can't be had",
        message,
        tuple(do),
        known="from the container's state",
    )


def waiting(cloud: Cloud, pod: Object, status: Object, noted: list[Object]) -> Link:
    state = status["state"]["waiting"]
    reason, message = state["reason"], state.get("message", "")
    last = status.get("lastState", {}).get("terminated")
    if last:
        return broken(cloud, pod, status, last, noted, True)
    return Link(
        "FAIL",
        "containers",
        f"{status['name']}: {reason}",
        message,
        remedy_for_absent(pod, message),
        known="from the container's state",
    )


def broken(
    cloud: Cloud, pod: Object, status: Object, ended: Object, noted: list[Object], again: bool
) -> Link:
    """A container that ended, once or again and again: why, and the last that it said."""
    code, reason = ended.get("exitCode", 0), ended.get("reason", "")
    times = f", {count(status.get('restartCount', 0), 'restart')}" if again else ""
    says = f"{status['name']} ended with {code} ({reason}){times}"
    meta, (where, _) = pod["metadata"], names(pod)
    previous = " --previous" if again else ""
    logs = f"kubectl {where}logs {meta['name']} -c {status['name']}{previous}"
    spec: Object = next(
        (c for c in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
         if c["name"] == status["name"]), {},
    )  # fmt: skip
    said = cloud.log(pod, status["name"], again)
    unhealthy = newest(noted, "Unhealthy")
    if reason == "OOMKilled":
        limit = spec.get("resources", {}).get("limits", {}).get("memory", "")
        because = f"it took more memory than its limit{' of ' + limit if limit else ''}"
        return Link("FAIL", "containers", says, because, larger(pod, status["name"], limit), said)
    if ended.get("message"):
        return Link("FAIL", "containers", says, ended["message"], (describe(pod),), said)
    if code == 137 and unhealthy and "iveness" in unhealthy["message"]:
        because = f"it was ended, for its {unhealthy['message'].strip().rstrip(':').lower()}"
        return Link("FAIL", "containers", says, because, (logs,), said, told(unhealthy))
    because = f"its process ended by itself with exit code {code}"
    if code > 128:
        because = f"its process was ended by signal {code - 128}"
    if code in (126, 127):
        because += ": its command can't be run, or was not found"
    return Link("FAIL", "containers", says, because, (logs,), said)


def describe(pod: Object) -> str:
    return f"kubectl {names(pod)[0]}describe pod {pod['metadata']['name']}"


def larger(pod: Object, container: str, limit: str) -> tuple[str, ...]:
    """A higher limit is set at the owner; a Pod without one has to be made anew."""
    found = re.fullmatch(r"(\d+)([A-Za-z]*)", limit)
    doubled = f"{int(found[1]) * 2}{found[2]}" if found else "512Mi"
    owner = next(
        (o for o in pod["metadata"].get("ownerReferences", []) if o.get("controller")), None
    )
    where, _ = names(pod)
    if owner is None:
        return (
            f"kubectl {where}get pod {pod['metadata']['name']} -o yaml   to make it anew with more",
        )
    kind, name = owner["kind"].lower(), owner["name"]
    if kind == "replicaset" and "pod-template-hash" in pod["metadata"].get("labels", {}):
        kind, name = "deployment", name.rpartition("-")[0]
    return (f"kubectl {where}set resources {kind}/{name} -c {container} --limits=memory={doubled}",)


def unready(cloud: Cloud, pod: Object, noted: list[Object]) -> Link:
    where, meta = names(pod)[0], pod["metadata"]
    unhealthy = newest(noted, "Unhealthy")
    gates = [g["conditionType"] for g in pod["spec"].get("readinessGates", [])]
    closed = [gate for gate in gates if condition(pod, gate).get("status") != "True"]
    do: tuple[str, ...] = (f"kubectl {where}logs {meta['name']}", describe(pod))
    if unhealthy:
        message = unhealthy["message"].strip().rstrip(":")
        if message.endswith("probe failed"):
            message += ", and said nothing"
        return Link("FAIL", "ready", "the probe does not pass", message, do, known=told(unhealthy))
    if closed:
        because = f"the readiness gate {closed[0]} is not open"
        return Link("wait", "ready", "not yet", because, (describe(pod),))
    status: dict[str, Any] = condition(pod, "Ready")
    return Link("wait", "ready", "not yet", status.get("message", ""), do)
