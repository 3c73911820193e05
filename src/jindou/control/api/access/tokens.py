"""Tokens of service accounts: JWTs signed with ES256 by our own key, bound to Pods and audiences.

`cryptography` is imported with the first token, not before.
Sources: RFC 7519, RFC 7515; https://kubernetes.io/docs/concepts/security/service-accounts/
"""

from __future__ import annotations

import base64
import hashlib
import time
import uuid
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

ISSUER = "https://kubernetes.default.svc.{domain}"
EARLY = 86400  # seconds by which the clock may have been put back since a token was made
SHORTEST, LONGEST = 600, 365 * 24 * 3600


def pack(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unpack(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Tokens:
    def __init__(self, key_file: Path, domain: str) -> None:
        self._key_file = key_file
        self.issuer = ISSUER.format(domain=domain)
        self._key: Any = None
        self._verified = lru_cache(1024)(self._decode)

    def _private(self) -> Any:
        if self._key is None:
            from cryptography.hazmat.primitives.serialization import load_pem_private_key

            self._key = load_pem_private_key(self._key_file.read_bytes(), None)
        return self._key

    @property
    def key_id(self) -> str:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        der = (
            self._private()
            .public_key()
            .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        )
        return pack(hashlib.sha256(der).digest())

    def issue(
        self,
        account: dict[str, Any],
        audiences: list[str],
        seconds: int,
        bound: dict[str, Any] | None = None,
        node: dict[str, Any] | None = None,
    ) -> tuple[str, float]:
        """A token for a service account object, and when it ends (Unix seconds). It is good only as
        long as the `bound` object lives; `node` says where that is."""
        from cryptography.hazmat.primitives.asymmetric import ec, utils
        from cryptography.hazmat.primitives.hashes import SHA256

        now = int(time.time())
        meta = account["metadata"]
        held: dict[str, Any] = {
            "namespace": meta["namespace"],
            "serviceaccount": {"name": meta["name"], "uid": meta["uid"]},
        }
        if bound:
            held[bound["kind"].lower()] = {"name": bound["name"], "uid": bound.get("uid", "")}
        if node:
            held["node"] = {"name": node["name"], "uid": node["uid"]}
        claims = {
            "aud": audiences or [self.issuer],
            "exp": now + seconds,
            "iat": now,
            "nbf": now,
            "iss": self.issuer,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": held,
            "sub": f"system:serviceaccount:{meta['namespace']}:{meta['name']}",
        }
        signed = f"{pack(orjson.dumps({'alg': 'ES256', 'kid': self.key_id}))}.{pack(orjson.dumps(claims))}"
        r, s = utils.decode_dss_signature(self._private().sign(signed.encode(), ec.ECDSA(SHA256())))
        return f"{signed}.{pack(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}", now + seconds

    def verify(self, token: str, audience: str = "") -> dict[str, Any] | None:
        """The claims of a token that is ours and in its time, or None."""
        claims = self._verified(token)
        if claims is None or not claims["nbf"] - EARLY <= time.time() < claims["exp"]:
            return None
        return claims if (audience or self.issuer) in claims.get("aud", ()) else None

    def _decode(self, token: str) -> dict[str, Any] | None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec, utils
        from cryptography.hazmat.primitives.hashes import SHA256

        try:
            head, body, signature = token.split(".")
            raw = unpack(signature)
            if orjson.loads(unpack(head)).get("alg") != "ES256" or len(raw) != 64:
                return None
            der = utils.encode_dss_signature(
                int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
            )
            self._private().public_key().verify(der, f"{head}.{body}".encode(), ec.ECDSA(SHA256()))
            claims: dict[str, Any] = orjson.loads(unpack(body))
        except (ValueError, InvalidSignature):
            return None
        return claims

    def jwks(self) -> dict[str, Any]:
        numbers = self._private().public_key().public_numbers()
        key = {
            "use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": "ES256",
            "x": pack(numbers.x.to_bytes(32, "big")), "y": pack(numbers.y.to_bytes(32, "big")),
        }  # fmt: skip
        return {"keys": [key]}
