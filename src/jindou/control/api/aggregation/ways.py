"""The way to a server behind this one: TLS with the certificate of a front proxy, and who asks in headers.

Such a server believes the headers because of the certificate, whose authority is one of its own:
nobody else's certificate is good for it.
Source: https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import orjson

from jindou.control.api.access.certificates import FRONT_PROXY, FRONT_PROXY_CLIENT
from jindou.control.api.access.guard import MASTERS, User
from jindou.control.api.aggregation.objects import Remote
from jindou.control.api.webhooks.clients import endpoint, trusting
from jindou.control.store import Store
from jindou.transport.client import Pool

SELF = User("system:kube-aggregator", (MASTERS,))
HEADERS = "x-remote-"
SAFE = "!#$&'*+-.^_`|~"


class Ways:
    """`pki` is the folder of our certificates."""

    def __init__(self, store: Store, pki: Path) -> None:
        self._store = store
        self._folder = pki / FRONT_PROXY
        self._pools: dict[Remote, tuple[float, Pool]] = {}

    def pool(self, remote: Remote) -> Pool:
        """Raises CallFailed where the bundle holds no certificate."""
        certificate = self._folder / "client.crt"
        age = certificate.stat().st_mtime if certificate.exists() else 0.0
        held = self._pools.get(remote)
        if held is not None and held[0] == age:
            return held[1]
        self.forget(remote)
        name = f"{remote.service}.{remote.namespace}.svc"
        pool = Pool(self._context(remote), server_name=name, host=name)
        self._pools[remote] = (age, pool)
        return pool

    def _context(self, remote: Remote) -> ssl.SSLContext:
        context = trusting(remote.authority)
        if remote.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        certificate = self._folder / "client.crt"
        if certificate.exists():
            context.load_cert_chain(certificate, self._folder / "client.key")
        return context

    def url(self, remote: Remote) -> str:
        """Of one of its endpoints. Raises NotFound or Unavailable."""
        return "https://" + endpoint(self._store, remote.namespace, remote.service, remote.port)

    def forget(self, remote: Remote) -> None:
        held = self._pools.pop(remote, None)
        if held is not None:
            held[1].close()

    def close(self) -> None:
        for _, pool in self._pools.values():
            pool.close()
        self._pools.clear()


def headers_of(user: User) -> Iterator[tuple[str, str]]:
    """Names are UTF-8 on the wire, whose headers are bytes."""
    yield "X-Remote-User", _as_bytes(user.name)
    if user.uid:
        yield "X-Remote-Uid", _as_bytes(user.uid)
    for group in user.groups:
        yield "X-Remote-Group", _as_bytes(group)
    for key, values in user.extra.items():
        for value in values:
            yield f"X-Remote-Extra-{quote(key, safe=SAFE)}", _as_bytes(value)


def _as_bytes(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def published(pki: Path) -> dict[str, str] | None:
    """What such a server has to know, as the data of a ConfigMap; None where we have no certificates."""
    ours, front = pki / "ca.crt", pki / FRONT_PROXY / "ca.crt"
    if not ours.exists() or not front.exists():
        return None

    def listed(*names: str) -> str:
        return orjson.dumps(names).decode()

    return {
        "client-ca-file": ours.read_text(),
        "requestheader-allowed-names": listed(FRONT_PROXY_CLIENT),
        "requestheader-client-ca-file": front.read_text(),
        "requestheader-extra-headers-prefix": listed("X-Remote-Extra-"),
        "requestheader-group-headers": listed("X-Remote-Group"),
        "requestheader-uid-headers": listed("X-Remote-Uid"),
        "requestheader-username-headers": listed("X-Remote-User"),
    }
