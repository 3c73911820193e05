"""`jindou why`: follow an object through the links it depends on, to the one that is broken.

`jindou why JD-NET-101` explains an error code, offline. The chain of a Pod is created, scheduled,
volumes, image, containers, ready, reachable; those of a Deployment and a Service lead to their Pods.
"""

from __future__ import annotations

from argparse import Namespace
from typing import Any, NamedTuple

from jindou.cli.api import Api, Refused
from jindou.cli.codes import LONG
from jindou.cli.problems import DONE, FAILED, NO_OBJECT, Problem
from jindou.cli.status import age, pod_ready
from jindou.cli.term import Terminal, duration, pad
from jindou.settings import Settings

PATHS = {
    "pod": "/api/v1/namespaces/{ns}/pods/{name}",
    "service": "/api/v1/namespaces/{ns}/services/{name}",
    "deployment": "/apis/apps/v1/namespaces/{ns}/deployments/{name}",
    "node": "/api/v1/nodes/{name}",
}
SHORT = {
    "po": "pod",
    "pods": "pod",
    "svc": "service",
    "services": "service",
    "deploy": "deployment",
    "deployments": "deployment",
    "no": "node",
    "nodes": "node",
}
NOT_YET = ("ContainerCreating", "PodInitializing")
IMAGE_TROUBLE = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName")


class Link(NamedTuple):
    state: str  # ok, wait, warn, FAIL
    name: str
    says: str
    because: str = ""
    do: tuple[str, ...] = ()


def run(terminal: Terminal, settings: Settings, options: Namespace) -> int:
    if options.what.upper().startswith("JD-"):
        return explain(terminal, options.what.upper())
    kind, _, name = options.what.partition("/")
    kind = SHORT.get(kind, kind)
    if not name or kind not in PATHS:
        raise Problem(
            f"{options.what!r} is neither KIND/NAME nor a code",
            "JD-CLI-611",
            why=f"kinds are {', '.join(PATHS)}",
            do=["jindou why pod/NAME -n NAMESPACE", "jindou why JD-NET-101"],
            status=NO_OBJECT,
        )
    api = Api(settings)
    try:
        obj = api.get(PATHS[kind].format(ns=options.namespace, name=name))
    except Refused as error:
        if error.code == 404:
            raise Problem(
                f"there is no {kind} {name} in namespace {options.namespace}",
                "JD-CLI-612",
                do=[f"kubectl get {kind}s -A"],
                status=NO_OBJECT,
            ) from None
        raise
    chain = {
        "pod": pod_chain,
        "service": service_chain,
        "deployment": deployment_chain,
        "node": node_chain,
    }[kind](api, obj)
    return show(terminal, f"{kind}/{name}", options.namespace, obj, chain)


def explain(terminal: Terminal, code: str) -> int:
    import textwrap

    if code not in LONG:
        raise Problem(
            f"there is no code {code}",
            "JD-CLI-613",
            why=f"known are {', '.join(sorted(LONG))}",
            status=NO_OBJECT,
        )
    title, text = LONG[code]
    terminal.answer(terminal.heading(f"{code}: {title}"))
    terminal.answer(textwrap.fill(text, terminal.width))
    return DONE


def show(
    terminal: Terminal, what: str, namespace: str, obj: dict[str, Any], chain: list[Link]
) -> int:
    broken = next((link for link in chain if link.state == "FAIL"), None)
    waiting = next((link for link in chain if link.state == "wait"), None)
    place = f" in namespace {namespace}" if obj["metadata"].get("namespace") else ""
    verdict = "is broken" if broken else "is not ready yet" if waiting else "is fine"
    terminal.answer(f"{what}{place} {verdict}.\n")
    width = max(len(link.name) for link in chain)
    for link in chain:
        terminal.answer(
            f"  {terminal.state(link.state, out=True)}  {pad(link.name, width)}  {link.says}".rstrip()
        )
    cause = broken or waiting
    if cause and cause.because:
        terminal.answer(f"\nbecause   {cause.because}")
    if cause and cause.do:
        terminal.answer(f"do        {cause.do[0]}" if len(cause.do) == 1 else "do        one of:")
        for line in cause.do if len(cause.do) > 1 else ():
            terminal.answer(f"            {line}")
    return FAILED if broken or waiting else DONE


def events(api: Api, obj: dict[str, Any]) -> list[dict[str, Any]]:
    meta = obj["metadata"]
    path = f"/api/v1/namespaces/{meta.get('namespace', 'default')}/events?fieldSelector=involvedObject.uid%3D{meta['uid']}"
    found: list[dict[str, Any]] = api.get(path)["items"]
    return sorted(
        found,
        key=lambda event: event.get("lastTimestamp") or event["metadata"]["creationTimestamp"],
    )


def condition(obj: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((c for c in obj.get("status", {}).get("conditions", []) if c["type"] == kind), {})


def pod_chain(api: Api, pod: dict[str, Any]) -> list[Link]:
    meta, spec, status = pod["metadata"], pod["spec"], pod["status"]
    owner = next((o for o in meta.get("ownerReferences", []) if o.get("controller")), None)
    by = f" by {owner['kind'].lower()}/{owner['name']}" if owner else ""
    chain = [Link("ok", "created", f"{duration(age(meta['creationTimestamp']))} ago{by}")]
    noted = events(api, pod)
    if not spec.get("nodeName"):
        scheduled = condition(pod, "PodScheduled")
        chain.append(
            Link(
                "FAIL" if scheduled.get("reason") == "Unschedulable" else "wait",
                "scheduled",
                "no node yet",
                scheduled.get("message", ""),
                (
                    f"kubectl -n {meta['namespace']} describe pod {meta['name']}",
                    "kubectl describe nodes",
                ),
            )
        )
        return [*chain, *later("volumes", "image", "containers", "ready")]
    chain.append(Link("ok", "scheduled", f"on {spec['nodeName']}"))
    mount = next((e for e in reversed(noted) if e.get("reason") == "FailedMount"), None)
    statuses = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    begun = any(
        s.get("started")
        or s.get("lastState")
        or "running" in s.get("state", {})
        or "terminated" in s.get("state", {})
        for s in statuses
    )
    if mount and not begun:
        return [
            *chain,
            Link("FAIL", "volumes", "can't be mounted", mount["message"]),
            *later("image", "containers", "ready"),
        ]
    chain.append(Link("ok", "volumes", f"{len(spec.get('volumes', []))} mounted"))
    chain += container_links(pod, statuses, noted)
    if chain[-1].state != "ok":
        return [*chain, *later("ready")]
    if status.get("phase") in ("Succeeded", "Failed"):
        return chain
    if pod_ready(pod):
        return [*chain, Link("ok", "ready", f"answers at {status.get('podIP', '')}")]
    unhealthy = next((e for e in reversed(noted) if e.get("reason") == "Unhealthy"), None)
    message = unhealthy["message"] if unhealthy else condition(pod, "Ready").get("message", "")
    return [
        *chain,
        Link(
            "FAIL" if unhealthy else "wait",
            "ready",
            "the readiness probe has not passed",
            message,
            (f"kubectl -n {meta['namespace']} logs {meta['name']}",),
        ),
    ]


def container_links(
    pod: dict[str, Any], statuses: list[dict[str, Any]], noted: list[dict[str, Any]]
) -> list[Link]:
    meta = pod["metadata"]
    for status in statuses:
        waiting = status.get("state", {}).get("waiting", {})
        reason = waiting.get("reason", "")
        if reason in IMAGE_TROUBLE:
            because = waiting.get("message", "")
            fixes = (
                f"jindou image bootstrap {status['image']}",
                "jindou image import FILE",
                "jindou image list",
            )
            return [
                Link("FAIL", "image", f"{status['image']} can't be had", because, fixes),
                *later("containers"),
            ]
        if reason and reason not in NOT_YET:
            last = status.get("lastState", {}).get("terminated", {})
            ended = f", ended with {last['exitCode']} ({last.get('reason', '')})" if last else ""
            return [
                Link("ok", "image", status["image"]),
                Link(
                    "FAIL",
                    "containers",
                    f"{status['name']}: {reason}{ended}, {status.get('restartCount', 0)} restarts",
                    waiting.get("message", "") or last.get("message", ""),
                    (
                        f"kubectl -n {meta['namespace']} logs {meta['name']} -c {status['name']} --previous",
                    ),
                ),
            ]
        ended = status.get("state", {}).get("terminated", {})
        if ended and ended.get("exitCode"):
            return [
                Link("ok", "image", status["image"]),
                Link(
                    "FAIL",
                    "containers",
                    f"{status['name']} ended with {ended['exitCode']} ({ended.get('reason', '')})",
                    ended.get("message", ""),
                    (f"kubectl -n {meta['namespace']} logs {meta['name']} -c {status['name']}",),
                ),
            ]
    not_begun = [s["name"] for s in statuses if s.get("state", {}).get("waiting")]
    if not_begun or not statuses:
        failed = next((e for e in reversed(noted) if e.get("type") == "Warning"), None)
        return [
            Link("ok", "image", "no trouble"),
            Link(
                "wait",
                "containers",
                f"starting {', '.join(not_begun)}",
                failed["message"] if failed else "",
            ),
        ]
    return [
        Link("ok", "image", ", ".join(dict.fromkeys(s["image"] for s in statuses))),
        Link("ok", "containers", f"{len(statuses)} started"),
    ]


def later(*names: str) -> list[Link]:
    return [Link("wait", name, "") for name in names]


def deployment_chain(api: Api, deployment: dict[str, Any]) -> list[Link]:
    meta, spec, status = deployment["metadata"], deployment["spec"], deployment.get("status", {})
    chain = [Link("ok", "created", f"{duration(age(meta['creationTimestamp']))} ago")]
    progress = condition(deployment, "Progressing")
    ready, wanted = status.get("readyReplicas", 0), spec.get("replicas", 1)
    if ready >= wanted and status.get("updatedReplicas", 0) >= wanted:
        return [*chain, Link("ok", "pods", f"{ready} of {wanted} ready")]
    failure = condition(deployment, "ReplicaFailure")
    chain.append(
        Link(
            "FAIL" if failure else "ok",
            "replica set",
            failure.get("reason", "made"),
            failure.get("message", ""),
        )
    )
    labels = ",".join(f"{k}={v}" for k, v in spec["selector"].get("matchLabels", {}).items())
    pods = api.get(
        f"/api/v1/namespaces/{meta['namespace']}/pods?labelSelector={labels.replace('=', '%3D').replace(',', '%2C')}"
    )["items"]
    first = next((pod for pod in pods if not pod_ready(pod)), None)
    timed_out = progress.get("reason") == "ProgressDeadlineExceeded"
    chain.append(
        Link(
            "FAIL" if timed_out or first else "wait",
            "pods",
            f"{ready} of {wanted} ready",
            progress.get("message", "")
            if timed_out
            else f"pod {first['metadata']['name']} is not ready"
            if first
            else "",
            (f"jindou why pod/{first['metadata']['name']} -n {meta['namespace']}",)
            if first
            else (),
        )
    )
    return chain


def service_chain(api: Api, service: dict[str, Any]) -> list[Link]:
    meta, spec = service["metadata"], service["spec"]
    chain = [
        Link(
            "ok",
            "created",
            f"{duration(age(meta['creationTimestamp']))} ago, {spec.get('clusterIP') or 'no address'}",
        )
    ]
    slices = api.get(
        f"/apis/discovery.k8s.io/v1/namespaces/{meta['namespace']}/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3D{meta['name']}"
    )["items"]
    endpoints = [e for s in slices for e in s.get("endpoints") or []]
    ready = [e for e in endpoints if e.get("conditions", {}).get("ready", True)]
    if ready:
        return [*chain, Link("ok", "endpoints", f"{len(ready)} of {len(endpoints)} ready")]
    selector = spec.get("selector") or {}
    labels = ",".join(f"{k}={v}" for k, v in selector.items())
    if not selector:
        return [
            *chain,
            Link(
                "wait",
                "endpoints",
                "none, and no selector",
                "nothing writes its endpoints unless you do",
            ),
        ]
    pods = api.get(
        f"/api/v1/namespaces/{meta['namespace']}/pods?labelSelector={labels.replace('=', '%3D').replace(',', '%2C')}"
    )["items"]
    if not pods:
        return [
            *chain,
            Link(
                "FAIL",
                "endpoints",
                "no Pod has the labels " + labels,
                "the selector matches nothing",
                (f"kubectl -n {meta['namespace']} get pods --show-labels",),
            ),
        ]
    name = pods[0]["metadata"]["name"]
    return [
        *chain,
        Link(
            "FAIL",
            "endpoints",
            f"0 of {len(pods)} pods ready",
            f"pod {name} is not ready",
            (f"jindou why pod/{name} -n {meta['namespace']}",),
        ),
    ]


def node_chain(api: Api, node: dict[str, Any]) -> list[Link]:
    chain = [
        Link("ok", "registered", f"{duration(age(node['metadata']['creationTimestamp']))} ago")
    ]
    for state in node.get("status", {}).get("conditions", []):
        good = state["status"] == ("True" if state["type"] == "Ready" else "False")
        chain.append(
            Link(
                "ok" if good else "FAIL",
                state["type"].lower(),
                state.get("reason", ""),
                "" if good else state.get("message", ""),
                () if good else ("jindou doctor", "jindou logs node"),
            )
        )
    return chain
