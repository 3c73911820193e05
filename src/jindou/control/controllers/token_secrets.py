"""Secrets of the type for it hold a token of their ServiceAccount, for programs outside of Pods.

Such a token is good as long as its Secret and its account are there. It has an end like every
other, so a new one takes its place in time; and a Secret whose account is gone goes as well.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Sequence
from typing import Any

import orjson

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.control.controllers import Wake
from jindou.objects.errors import Conflict, Forbidden, NotFound
from jindou.objects.kinds import SECRET, SERVICE_ACCOUNT, Kind, Object, Ref

TYPE = "kubernetes.io/service-account-token"
ACCOUNT = "kubernetes.io/service-account.name"
ACCOUNT_UID = "kubernetes.io/service-account.uid"
LIFE = 365 * 24 * 3600
EARLY = 60 * 24 * 3600  # seconds before its end that a token is replaced


def account_of(secret: Object) -> str:
    name: str = (secret["metadata"].get("annotations") or {}).get(ACCOUNT, "")
    return name


def end_of(token: str) -> float:
    """When a token ends; 0.0 for what is none."""
    try:
        body = token.split(".")[1]
        claims = orjson.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, ValueError, TypeError):
        return 0.0


class TokenSecrets:
    """`bundle` is the PEM text of the authority's certificate."""

    kind = SERVICE_ACCOUNT
    owns: Sequence[Kind] = ()
    name = "token-secrets"

    def __init__(self, bundle: str) -> None:
        self._bundle = bundle

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._wake = wake
        self._secrets = informers.of(SECRET, fields=f"type={TYPE}")
        self._secrets.index(
            "account", lambda obj: [f"{obj['metadata']['namespace']}/{account_of(obj)}"]
        )
        self._secrets.on_change(self._changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._wake(Ref(SERVICE_ACCOUNT, new["metadata"]["namespace"], account_of(new)))

    async def reconcile(self, ref: Ref, client: Client) -> float | None:
        secrets = self._secrets.by("account", f"{ref.namespace}/{ref.name}")
        if not secrets:
            return None
        try:
            account = await client.get(ref)
        except NotFound:
            for secret in secrets:
                await _remove(client, secret)
            return None
        ends = [await self._fill(client, secret, account) for secret in secrets]
        return max(min(ends) - EARLY - time.time(), 60.0)

    async def _fill(self, client: Client, secret: Object, account: Object) -> float:
        """When its token ends."""
        meta, data = secret["metadata"], secret.get("data") or {}
        uid = (meta.get("annotations") or {}).get(ACCOUNT_UID)
        if uid and uid != account["metadata"]["uid"]:  # it was of one that had the same name
            await _remove(client, secret)
            return time.time() + LIFE
        wanted = {"ca.crt": self._bundle, "namespace": meta["namespace"]}
        parts = {name: _encoded(text) for name, text in wanted.items()}
        end = end_of(_decoded(data.get("token", "")))
        if end < time.time() + EARLY:
            token = await self._request(client, secret, account)
            parts["token"], end = _encoded(token), end_of(token)
        if uid and all(data.get(name) == value for name, value in parts.items()):
            return end
        changes = {
            "metadata": {
                "uid": meta["uid"],
                "annotations": {ACCOUNT_UID: account["metadata"]["uid"]},
            },
            "data": parts,
        }
        try:
            await client.patch(Ref(SECRET, meta["namespace"], meta["name"]), changes)
        except (NotFound, Conflict, Forbidden):  # it goes, or is another's by now: told by a change
            pass
        return end

    async def _request(self, client: Client, secret: Object, account: Object) -> str:
        meta, own = secret["metadata"], account["metadata"]
        bound = {
            "apiVersion": "v1",
            "kind": "Secret",
            "name": meta["name"],
            "uid": meta["uid"],
        }
        asked: dict[str, Any] = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "metadata": {"name": own["name"], "namespace": own["namespace"]},
            "spec": {"audiences": [], "expirationSeconds": LIFE, "boundObjectRef": bound},
        }
        answer = await client.create(SERVICE_ACCOUNT, asked, part="token")
        return str(answer["status"]["token"])


async def _remove(client: Client, secret: Object) -> None:
    meta = secret["metadata"]
    try:
        await client.delete(Ref(SECRET, meta["namespace"], meta["name"]), uid=meta["uid"])
    except (NotFound, Conflict):
        pass


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text).decode()
    except (binascii.Error, ValueError):
        return ""
