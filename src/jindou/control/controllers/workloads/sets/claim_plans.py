"""The claims of a StatefulSet's Pods: made from its templates, and whom they go away with. Decisions only.

A claim outlives its Pod. With the retention policy Delete it is owned by the set, or, once the set has
been scaled below its number, by the Pod; what another controller owns is left alone.
Source: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#persistentvolumeclaim-retention
"""

from __future__ import annotations

from collections.abc import Mapping

from jindou.control.controllers.groundwork import owners
from jindou.objects.kinds import PERSISTENT_VOLUME_CLAIM, POD, STATEFUL_SET, Kind, Object


def templates_of(owner: Object) -> dict[str, Object]:
    """By name."""
    templates = owner["spec"].get("volumeClaimTemplates") or ()
    return {template["metadata"]["name"]: template for template in templates}


def claim_name(owner: Object, template: str, ordinal: int) -> str:
    return f"{template}-{owner['metadata']['name']}-{ordinal}"


def may_own(owner: Object, name: str) -> bool:
    """Is this the name of a claim of some number of the set?"""
    starts = (claim_name(owner, template, 0)[:-1] for template in templates_of(owner))
    return any(name.startswith(start) and name[len(start) :].isdigit() for start in starts)


def held(owner: Object, ordinal: int, claims: Mapping[str, Object]) -> list[Object]:
    names = [claim_name(owner, name, ordinal) for name in templates_of(owner)]
    return [claims[name] for name in names if name in claims]


def claims_of(owner: Object, ordinal: int) -> list[Object]:
    """What the Pod of this number claims, as it is to be created."""
    found = []
    for name, template in templates_of(owner).items():
        meta = {k: v for k, v in template["metadata"].items() if k in ("labels", "annotations")}
        labels = (owner["spec"].get("selector") or {}).get("matchLabels") or {}
        meta["labels"] = {**(meta.get("labels") or {}), **labels}
        claim = {
            "apiVersion": PERSISTENT_VOLUME_CLAIM.api_version,
            "kind": PERSISTENT_VOLUME_CLAIM.name,
            "metadata": {
                "name": claim_name(owner, name, ordinal),
                "namespace": owner["metadata"]["namespace"],
                **meta,
            },
            "spec": template["spec"],
        }
        found.append(claim)
    return found


def _policy(owner: Object) -> tuple[bool, bool]:
    """Deleted when the set is scaled down; deleted with the set."""
    policy = owner["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    return policy.get("whenScaled") == "Delete", policy.get("whenDeleted") == "Delete"


def _names(reference: Object, kind: Kind, obj: Object) -> bool:
    place = (reference["apiVersion"], reference["kind"], reference["name"])
    return place == (kind.api_version, kind.name, obj["metadata"]["name"])


def stale(owner: Object, ordinal: int, claims: Mapping[str, Object]) -> bool:
    """Does a claim still belong to a Pod of this number that is gone? It will go too."""
    if not _policy(owner)[0]:
        return False
    name = f"{owner['metadata']['name']}-{ordinal}"
    return any(
        _names(reference, POD, {"metadata": {"name": name}})
        for claim in held(owner, ordinal, claims)
        for reference in claim["metadata"].get("ownerReferences") or ()
    )


def conflicting(claim: Object, owner: Object, pod: Object) -> bool:
    """Is it owned by another controller, or by another set or Pod of the same name?"""
    if not any(_policy(owner)):
        return False
    for reference in claim["metadata"].get("ownerReferences") or ():
        for kind, obj in ((STATEFUL_SET, owner), (POD, pod)):
            if _names(reference, kind, obj):
                if reference["uid"] != obj["metadata"]["uid"]:
                    return True
                break
        else:
            if reference.get("controller"):
                return True
    return False


def plan_owners(
    claim: Object, owner: Object, pod: Object, scaled_down: bool
) -> list[Object] | None:
    """The owner references that the claim should have; None where they are right."""
    references = claim["metadata"].get("ownerReferences") or []
    ours = {owner["metadata"]["uid"]: (STATEFUL_SET, owner), pod["metadata"]["uid"]: (POD, pod)}
    for reference in references:
        for kind, obj in ours.values():
            if _names(reference, kind, obj) and reference["uid"] not in ours:
                return None  # of one that is gone: it goes with it
    kept = [one for one in references if one["uid"] not in ours]
    when_scaled, when_deleted = _policy(owner)
    wanted = kept
    if not conflicting(claim, owner, pod):
        if when_scaled and scaled_down:
            wanted = [*kept, owners.reference_to(POD, pod)]
        elif when_deleted:
            wanted = [*kept, owners.reference_to(STATEFUL_SET, owner)]
    return None if wanted == references else wanted
