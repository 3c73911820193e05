"""The links that an object depends on, in the order in which they come about, each with its state.

A chain stops being `ok` at the link that carries the cause; what follows only waits. Nothing here
guesses: a cause is what a status, an event or a log line says.
"""

from __future__ import annotations

from collections.abc import Callable

from jindou.cli.links import Cloud, Link, Object, condition, created, ending, later, names
from jindou.cli.pod_chain import pod_chain
from jindou.cli.status import pod_ready


def nested(cloud: Cloud, pod: Object) -> tuple[str, tuple[str, ...]]:
    """The cause of one Pod, for what depends on it, and the command that shows all of it."""
    chain = pod_chain(cloud, pod)
    cause = next((c for c in chain if c.state == "FAIL"), None) or next(
        (c for c in chain if c.state == "wait"), None
    )
    name = pod["metadata"]["name"]
    told = f"pod {name} is not ready"
    if cause:
        told = ": ".join(filter(None, (f"pod {name}", cause.says or cause.name, cause.because)))
    return told, (f"jindou why pod/{name}{names(pod)[1]}",)


def deployment_chain(cloud: Cloud, deployment: Object) -> list[Link]:
    spec, status = deployment["spec"], deployment.get("status", {})
    chain = [created(deployment), *ending(deployment)]
    wanted, ready = spec.get("replicas", 1), status.get("readyReplicas", 0)
    updated = status.get("updatedReplicas", 0)
    failure = condition(deployment, "ReplicaFailure")
    if spec.get("paused") and updated < wanted:
        name = deployment["metadata"]["name"]
        resume = f"kubectl {names(deployment)[0]}rollout resume deployment/{name}"
        return [*chain, Link("wait", "rollout", "is paused", "somebody paused it", (resume,))]
    if failure:
        link = Link("FAIL", "replica set", failure.get("reason", ""), failure.get("message", ""))
        return [*chain, link, *later("pods")]
    chain.append(Link("ok", "replica set"))
    return [*chain, pods_link(cloud, deployment, wanted, min(ready, updated))]


def replica_set_chain(cloud: Cloud, replica_set: Object) -> list[Link]:
    status = replica_set.get("status", {})
    chain = [created(replica_set), *ending(replica_set)]
    failure = condition(replica_set, "ReplicaFailure")
    if failure:
        return [*chain, Link("FAIL", "pods", failure.get("reason", ""), failure.get("message", ""))]
    wanted, ready = replica_set["spec"].get("replicas", 1), status.get("readyReplicas", 0)
    return [*chain, pods_link(cloud, replica_set, wanted, ready)]


def pods_link(cloud: Cloud, owner: Object, wanted: int, ready: int) -> Link:
    says = f"{ready} of {wanted} ready"
    if ready >= wanted:
        return Link("ok", "pods", says)
    meta, labels = owner["metadata"], owner["spec"]["selector"].get("matchLabels", {})
    pods = cloud.selected(f"/api/v1/namespaces/{meta['namespace']}/pods", labels)
    first = next((pod for pod in pods if not pod_ready(pod)), None)
    late = condition(owner, "Progressing").get("reason") == "ProgressDeadlineExceeded"
    if first is None:
        return Link("wait", "pods", says, "they are being made")
    because, do = nested(cloud, first)
    broken = late or any(link.state == "FAIL" for link in pod_chain(cloud, first))
    return Link("FAIL" if broken else "wait", "pods", says, because, do)


def service_chain(cloud: Cloud, service: Object) -> list[Link]:
    meta, spec = service["metadata"], service["spec"]
    chain = [created(service), *ending(service)]
    if spec.get("type") == "ExternalName":
        return [*chain, Link("ok", "name", f"leads to {spec.get('externalName')}")]
    address = spec.get("clusterIP") or ""
    shown = "none: headless, its name leads to the Pods" if address == "None" else address
    chain.append(Link("ok" if address else "wait", "address", shown or "none yet"))
    slices = cloud.selected(
        f"/apis/discovery.k8s.io/v1/namespaces/{meta['namespace']}/endpointslices",
        {"kubernetes.io/service-name": meta["name"]},
    )
    endpoints = [e for s in slices for e in s.get("endpoints") or []]
    ready = [e for e in endpoints if e.get("conditions", {}).get("ready", True)]
    if ready:
        return [*chain, Link("ok", "endpoints", f"{len(ready)} of {len(endpoints)} ready")]
    selector = spec.get("selector") or {}
    if not selector:
        because = "without a selector, somebody has to write its EndpointSlice"
        return [*chain, Link("wait", "endpoints", "none, and no selector", because)]
    pods = cloud.selected(f"/api/v1/namespaces/{meta['namespace']}/pods", selector)
    if not pods:
        show = f"kubectl {names(service)[0]}get pods --show-labels"
        labels = ",".join(f"{key}={value}" for key, value in selector.items())
        return [
            *chain,
            Link("FAIL", "endpoints", "none", f"no Pod has the labels {labels}", (show,)),
        ]
    because, do = nested(cloud, next((p for p in pods if not pod_ready(p)), pods[0]))
    return [*chain, Link("FAIL", "endpoints", f"0 of {len(pods)} ready", because, do)]


def node_chain(cloud: Cloud, node: Object) -> list[Link]:
    labels = {"MemoryPressure": "memory", "DiskPressure": "disk", "PIDPressure": "processes"}
    chain = [created(node)._replace(name="registered")]
    for state in node.get("status", {}).get("conditions", []):
        good = state["status"] == ("True" if state["type"] == "Ready" else "False")
        name = labels.get(state["type"], state["type"].lower())
        says = state.get("message", "") if good else state.get("reason", "")
        do: tuple[str, ...] = () if good else ("jindou doctor", "jindou logs node")
        because = "" if good else state.get("message", "")
        chain.append(Link("ok" if good else "FAIL", name, says, because, do))
    if node["spec"].get("unschedulable"):
        do = (f"kubectl uncordon {node['metadata']['name']}",)
        chain.append(Link("wait", "schedulable", "no", "somebody cordoned it", do))
    return chain


def namespace_chain(cloud: Cloud, namespace: Object) -> list[Link]:
    chain = [created(namespace)]
    if namespace.get("status", {}).get("phase") != "Terminating":
        return [*chain, Link("ok", "active")]
    told = [
        c["message"] for c in namespace["status"].get("conditions", []) if c["status"] == "True"
    ]
    name = namespace["metadata"]["name"]
    because = " ".join(told) or "what is in it is being deleted"
    return [
        *chain,
        Link("wait", "ending", "it was deleted", because, (f"kubectl -n {name} get all",)),
    ]


def pod_chain_of(cloud: Cloud, pod: Object) -> list[Link]:
    chain = pod_chain(cloud, pod)
    services = cloud.api.get(f"/api/v1/namespaces/{pod['metadata']['namespace']}/services")["items"]
    labels = pod["metadata"].get("labels", {}).items()
    mine = [
        one["metadata"]["name"]
        for one in services
        if (selector := one["spec"].get("selector")) and selector.items() <= labels
    ]
    if not mine or pod["status"].get("phase") in ("Succeeded", "Failed"):
        return chain
    state = "ok" if pod_ready(pod) else "wait"
    says = f"by service/{', service/'.join(mine)}"
    return [*chain, Link(state, "reachable", says if state == "ok" else f"not {says}")]


CHAINS: dict[str, Callable[[Cloud, Object], list[Link]]] = {
    "pod": pod_chain_of,
    "service": service_chain,
    "deployment": deployment_chain,
    "replicaset": replica_set_chain,
    "node": node_chain,
    "namespace": namespace_chain,
}
