"""Where an object may be made: in a namespace that is there and stays, of a kind that stays.

Three namespaces stay for ever.
"""

from __future__ import annotations

import orjson

from jindou.control.api import status
from jindou.control.api.resources.registry import Resource
from jindou.control.store import Store
from jindou.objects.errors import Forbidden, MethodNotAllowed
from jindou.objects.kinds import NAMESPACE

NAMESPACES = "core/namespaces/"
DEFINITIONS = "apiextensions.k8s.io/customresourcedefinitions/"
IMMORTAL = ("default", "kube-system", "kube-public")
MOST = 4096


class Places:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[int, bool]] = {}  # key -> revision, is it going

    def admit(self, resource: Resource, namespace: str, name: str) -> None:
        """May something be created here? Raises NotFound, Forbidden or MethodNotAllowed."""
        if resource.kind.namespaced:
            going = self._going(f"{NAMESPACES}/{namespace}")
            if going is None:
                raise status.not_found(NAMESPACE, namespace)
            if going:
                raise terminating(resource, namespace, name)
        if resource.custom and self._going(
            f"{DEFINITIONS}/{resource.kind.plural}.{resource.kind.group}"
        ):
            raise MethodNotAllowed(
                "create not allowed while custom resource definition is terminating"
            )

    def _going(self, key: str) -> bool | None:
        """Is it being deleted? None where it is not there."""
        stored = self._store.get(key)
        if stored is None:
            return None
        known = self._known.get(key)
        if known is None or known[0] != stored.revision:
            if len(self._known) > MOST:
                self._known.clear()
            going = "deletionTimestamp" in orjson.loads(stored.value)["metadata"]
            known = self._known[key] = (stored.revision, going)
        return known[1]

    def check_deletion(self, resource: Resource, name: str) -> None:
        if resource.prefix == NAMESPACES and name in IMMORTAL:
            details = {"name": name, "kind": "namespaces"}
            raise Forbidden(
                f'namespaces "{name}" is forbidden: this namespace may not be deleted', details
            )


def terminating(resource: Resource, namespace: str, name: str) -> Forbidden:
    kind = resource.kind
    label = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
    cause = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {namespace} is being terminated",
        "field": "metadata.namespace",
    }
    details = {
        "name": name,
        **({"group": kind.group} if kind.group else {}),
        "kind": kind.plural,
        "causes": [cause],
    }
    return Forbidden(
        f'{label} "{name}" is forbidden: unable to create new content in namespace {namespace} because it is being terminated',
        details,
    )
