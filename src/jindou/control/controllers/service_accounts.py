"""What every namespace has: a ServiceAccount for its Pods, and the authority that signs the API."""

from __future__ import annotations

from collections.abc import Sequence

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.control.controllers import Wake
from jindou.objects.errors import AlreadyExists, Forbidden, NotFound
from jindou.objects.kinds import CONFIG_MAP, NAMESPACE, SERVICE_ACCOUNT, Kind, Object, Ref

ROOT_CA = "kube-root-ca.crt"
DESCRIPTION = "kubernetes.io/description"
ABOUT = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints "
    "such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across "
    "distributions of Kubernetes clusters."
)


def _is_active(namespace: Object | None) -> bool:
    return namespace is not None and not namespace["metadata"].get("deletionTimestamp")


class ServiceAccounts:
    kind = NAMESPACE
    owns: Sequence[Kind] = ()
    name = "serviceaccounts"

    def __init__(self, names: Sequence[str] = ("default",)) -> None:
        self._names = names

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._wake = wake
        self._namespaces = informers.of(NAMESPACE)
        self._accounts = informers.of(SERVICE_ACCOUNT)
        self._accounts.on_change(self._changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if new is None and old is not None:
            self._wake(Ref(NAMESPACE, "", old["metadata"]["namespace"]))

    async def reconcile(self, ref: Ref, client: Client) -> float | None:
        if not _is_active(self._namespaces.get("", ref.name)):
            return None
        for name in self._names:
            if self._accounts.has(ref.name, name):
                continue
            account = {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": name, "namespace": ref.name},
            }
            try:
                await client.create(SERVICE_ACCOUNT, account)
            except (AlreadyExists, NotFound, Forbidden):  # there already, or the namespace goes
                continue
        return None


class RootCertificates:
    """`bundle` is the PEM text of the authority's certificate."""

    kind = NAMESPACE
    owns: Sequence[Kind] = ()
    name = "root-ca-certificates"

    def __init__(self, bundle: str) -> None:
        self._bundle = bundle

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._wake = wake
        self._namespaces = informers.of(NAMESPACE)
        self._maps = informers.of(CONFIG_MAP, fields=f"metadata.name={ROOT_CA}")
        self._maps.on_change(self._changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        obj = new if new is not None else old
        assert obj is not None
        if new is None or (new.get("data") or {}).get("ca.crt") != self._bundle:
            self._wake(Ref(NAMESPACE, "", obj["metadata"]["namespace"]))

    async def reconcile(self, ref: Ref, client: Client) -> float | None:
        if not _is_active(self._namespaces.get("", ref.name)):
            return None
        held = self._maps.get(ref.name, ROOT_CA)
        data = {"ca.crt": self._bundle}
        if held is not None and held.get("data") == data:
            return None
        try:
            if held is None:
                meta = {"name": ROOT_CA, "namespace": ref.name, "annotations": {DESCRIPTION: ABOUT}}
                await client.create(
                    CONFIG_MAP,
                    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data},
                )
            else:
                await client.update(CONFIG_MAP, {**held, "data": data})
        except (AlreadyExists, NotFound, Forbidden):
            pass
        return None
