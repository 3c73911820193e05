"""What of a Pod may change once it is there: images, fewer gates, more tolerations, a shorter life.

Source: https://kubernetes.io/docs/concepts/workloads/pods/#pod-update-and-replacement
"""

from __future__ import annotations

from collections.abc import Iterator

from jindou.control.api.resources.schema import copy
from jindou.control.api.rules.names import forbidden, invalid
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

MAY = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` "
    "(allow it to be set to 1 if it was previously negative)"
)
TOLERATED = "existing toleration can not be modified except its tolerationSeconds"


def pod_update(obj: Object, old: Object) -> list[Fault]:
    new, before = obj.get("spec") or {}, old.get("spec") or {}
    if new == before:
        return []
    for part in ("containers", "initContainers"):
        if len(new.get(part) or ()) != len(before.get(part) or ()):
            says = "pod updates may not add or remove containers"
            return [forbidden(f"spec.{part}", says)]
    found = [*_deadline(new, before), *_tolerations(new, before), *_gates(new, before)]
    if _rest(new, before) != before:
        found.append(forbidden("spec", MAY))
    return found


def _deadline(new: Object, before: Object) -> Iterator[Fault]:
    at, now, then = "spec.activeDeadlineSeconds", *(s.get("activeDeadlineSeconds") for s in (new, before))  # fmt: skip
    if then is None:
        return
    if now is None:
        yield invalid(at, None, "must not update from a positive integer to nil value")
    elif now > then:
        yield invalid(at, now, "must be less than or equal to previous value")


def _tolerations(new: Object, before: Object) -> Iterator[Fault]:
    def plain(toleration: Object) -> Object:
        return {k: v for k, v in toleration.items() if k != "tolerationSeconds"}

    held = [plain(toleration) for toleration in new.get("tolerations") or ()]
    if any(plain(toleration) not in held for toleration in before.get("tolerations") or ()):
        yield forbidden("spec.tolerations", TOLERATED)


def _gates(new: Object, before: Object) -> Iterator[Fault]:
    known = {gate.get("name") for gate in before.get("schedulingGates") or ()}
    for n, gate in enumerate(new.get("schedulingGates") or ()):
        if gate.get("name") not in known:
            says = f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'"
            yield forbidden(f"spec.schedulingGates[{n}].name", says)


def _rest(new: Object, before: Object) -> Object:
    """The new spec with all that may change put back."""
    rest: Object = copy(new)
    for part in ("containers", "initContainers"):
        for container, known in zip(rest.get(part) or (), before.get(part) or (), strict=True):
            _put_back(container, known, "image")
    for name in ("activeDeadlineSeconds", "tolerations", "schedulingGates"):
        _put_back(rest, before, name)
    grace = before.get("terminationGracePeriodSeconds")
    if isinstance(grace, int) and grace < 0 and rest.get("terminationGracePeriodSeconds") == 1:
        rest["terminationGracePeriodSeconds"] = grace
    if before.get("schedulingGates"):  # nobody has looked for a node yet
        wanted, had = rest.get("nodeSelector") or {}, before.get("nodeSelector") or {}
        if had.items() <= wanted.items():
            _put_back(rest, before, "nodeSelector")
    return rest


def _put_back(obj: Object, known: Object, name: str) -> None:
    if name in known:
        obj[name] = known[name]
    else:
        obj.pop(name, None)
