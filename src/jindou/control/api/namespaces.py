"""Objects live in a namespace that exists and is not being taken down; three namespaces stay for ever."""

from __future__ import annotations

import orjson

from jindou.control.api import status
from jindou.control.api.resources.registry import Resource
from jindou.control.store import Store
from jindou.objects.errors import Forbidden
from jindou.objects.kinds import NAMESPACE

PREFIX = "core/namespaces/"
IMMORTAL = ("default", "kube-system", "kube-public")
MOST = 4096


class Namespaces:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[int, bool]] = {}  # name -> revision, terminating

    def admit(self, resource: Resource, namespace: str, name: str) -> None:
        """May something be created here? Raises NotFound or Forbidden."""
        stored = self._store.get(f"{PREFIX}/{namespace}")
        if stored is None:
            raise status.not_found(NAMESPACE, namespace)
        known = self._known.get(namespace)
        if known is None or known[0] != stored.revision:
            if len(self._known) > MOST:
                self._known.clear()
            going = "deletionTimestamp" in orjson.loads(stored.value)["metadata"]
            known = self._known[namespace] = (stored.revision, going)
        if known[1]:
            raise terminating(resource, namespace, name)

    def check_deletion(self, name: str) -> None:
        if name in IMMORTAL:
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
