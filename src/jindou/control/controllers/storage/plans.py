"""Which volume fits a claim, what a new one looks like, and what both say: decisions only.

Our own volumes are folders of one node, made when they are first mounted. They hold the node's name,
so that the scheduler keeps their Pods there; a finalizer keeps them until the node has emptied the folder.
Source: https://kubernetes.io/docs/concepts/storage/persistent-volumes/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jindou.control.controllers.groundwork import conditions, owners, times
from jindou.control.controllers.groundwork.references import object_reference
from jindou.control.controllers.scheduling.cluster import NodeState
from jindou.control.controllers.scheduling.node_terms import matches_term
from jindou.objects import quantities
from jindou.objects.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD, Object
from jindou.objects.selectors import from_object

PROVISIONER = "jindou.io/node-folder"
FOLDER = "jindou.io/node-folder"  # the finalizer
IN_USE = "kubernetes.io/pvc-protection"
BOUND_TO = "kubernetes.io/pv-protection"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
ASKED = (
    "volume.beta.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/storage-provisioner",
)
HOSTNAME = "kubernetes.io/hostname"
UNUSED = "Unused"


def annotation(obj: Object, name: str) -> str:
    return str((obj["metadata"].get("annotations") or {}).get(name, ""))


def phase(obj: Object) -> str:
    return str((obj.get("status") or {}).get("phase") or "Pending")


def is_for(volume: Object, claim: Object) -> bool:
    """Does the volume name this claim, or the claim of this name that may come?"""
    reference = volume["spec"].get("claimRef") or {}
    meta = claim["metadata"]
    return (
        (reference.get("namespace"), reference.get("name")) == (meta["namespace"], meta["name"])
        and reference.get("uid") in (None, "", meta["uid"])
    )  # fmt: skip


def request_of(claim: Object) -> Any:
    return ((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage", "0")


def fits(volume: Object, claim: Object) -> bool:
    """What the claim asks for, whoever else may want the volume."""
    spec, wish = volume["spec"], claim["spec"]
    selector = from_object(wish.get("selector"))
    return (
        (spec.get("storageClassName") or "") == (wish.get("storageClassName") or "")
        and set(wish.get("accessModes") or ()) <= set(spec.get("accessModes") or ())
        and spec.get("volumeMode", "Filesystem") == wish.get("volumeMode", "Filesystem")
        and quantities.value((spec.get("capacity") or {}).get("storage", "0"))
        >= quantities.value(request_of(claim))
        and (selector is None or selector.matches(volume["metadata"].get("labels") or {}))
    )


def plan_volume(
    claim: Object, volumes: Iterable[Object], node: NodeState | None = None
) -> Object | None:
    """The volume made for this claim, else the smallest free one that fits, within reach of `node`."""
    free = []
    for volume in volumes:
        if volume["metadata"].get("deletionTimestamp"):
            continue
        if volume["spec"].get("claimRef"):
            if is_for(volume, claim):
                return volume
        elif phase(volume) == "Available" and fits(volume, claim) and _within_reach(volume, node):
            free.append(volume)
    return min(free, key=_size, default=None)


def _size(volume: Object) -> tuple[int, str]:
    return quantities.value(volume["spec"]["capacity"]["storage"]), volume["metadata"]["name"]


def _within_reach(volume: Object, node: NodeState | None) -> bool:
    required = (volume["spec"].get("nodeAffinity") or {}).get("required") or {}
    terms = required.get("nodeSelectorTerms")
    if node is None or not terms:
        return True
    return any(matches_term(term, node) for term in terms)


def refusal(claim: Object) -> str:
    """Why our own volumes can't be what the claim asks for, or ""."""
    if claim["spec"].get("volumeMode") == "Block":
        return "a folder of a node is no block device"
    if claim["spec"].get("selector") is not None:
        return "claim.Spec.Selector is not supported"
    if claim["spec"].get("dataSource") or claim["spec"].get("dataSourceRef"):
        return "a folder of a node is not filled from a data source"
    return ""


def volume_for(claim: Object, storage: Object, node: NodeState, folder: str) -> Object:
    meta, spec = claim["metadata"], claim["spec"]
    name = f"pvc-{meta['uid']}"
    match = {"key": HOSTNAME, "operator": "In", "values": [node.labels.get(HOSTNAME, node.name)]}
    return {
        "apiVersion": PERSISTENT_VOLUME.api_version,
        "kind": PERSISTENT_VOLUME.name,
        "metadata": {
            "name": name,
            "annotations": {PROVISIONED_BY: PROVISIONER},
            "finalizers": [FOLDER],
        },
        "spec": {
            "accessModes": list(spec["accessModes"]),
            "capacity": {"storage": request_of(claim)},
            "claimRef": object_reference(PERSISTENT_VOLUME_CLAIM, claim),
            "hostPath": {"path": f"{folder}/{name}", "type": "DirectoryOrCreate"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [match]}]}},
            "persistentVolumeReclaimPolicy": storage.get("reclaimPolicy") or "Delete",
            "storageClassName": storage["metadata"]["name"],
            "volumeMode": "Filesystem",
            **({"mountOptions": held} if (held := storage.get("mountOptions")) else {}),
        },
    }


def bound_status(claim: Object, volume: Object, used: bool) -> Object:
    """`used`: does a Pod that has not ended name the claim?"""
    spec, status = volume["spec"], claim.get("status") or {}
    return {
        **status,
        "phase": "Bound",
        "accessModes": list(spec.get("accessModes") or ()),
        "capacity": dict(spec.get("capacity") or {}),
        "conditions": with_use(status.get("conditions") or [], used),
    }


def with_use(held: list[Object], used: bool) -> list[Object]:
    wanted = "False" if used else "True"
    old = conditions.among(held, UNUSED)
    if old is not None and old["status"] == wanted:
        return held
    reason, text = (
        ("PodUsingPVC", "A pod is currently referencing this PVC")
        if used
        else ("NoPodsUsingPVC", "No pods are currently referencing this PVC")
    )
    new = {
        "type": UNUSED,
        "status": wanted,
        "lastProbeTime": None,
        "lastTransitionTime": times.text(),
        "reason": reason,
        "message": text,
    }
    return [*conditions.without(held, UNUSED), new]


def has_ended(pod: Object) -> bool:
    return phase(pod) in ("Succeeded", "Failed")


def users_of(claim: Object, pods: Iterable[Object]) -> list[str]:
    """The Pods that have been given to a node and name the claim, ended ones too."""
    name = claim["metadata"]["name"]
    return [
        pod["metadata"]["name"]
        for pod in pods
        if pod["spec"].get("nodeName") and name in claim_names(pod)
    ]


def described_by(pod: Object, name: str) -> Object | None:
    """The claim of this name as the Pod itself describes it."""
    meta = pod["metadata"]
    for volume in pod["spec"].get("volumes") or ():
        wish = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
        if not wish or name != f"{meta['name']}-{volume['name']}":
            continue
        given = wish.get("metadata") or {}
        return {
            "apiVersion": PERSISTENT_VOLUME_CLAIM.api_version,
            "kind": PERSISTENT_VOLUME_CLAIM.name,
            "metadata": {
                **{key: given[key] for key in ("labels", "annotations") if given.get(key)},
                "name": name,
                "namespace": meta["namespace"],
                "ownerReferences": [owners.reference_to(POD, pod)],
            },
            "spec": wish["spec"],
        }
    return None


def claim_names(pod: Mapping[str, Any]) -> set[str]:
    found = set()
    for volume in pod["spec"].get("volumes") or ():
        if held := volume.get("persistentVolumeClaim"):
            found.add(held["claimName"])
        elif volume.get("ephemeral"):
            found.add(f"{pod['metadata']['name']}-{volume['name']}")
    return found
