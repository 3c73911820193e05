"""Who may approve and sign for which signer, and what no signer of ours certifies.

Source: https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#authorization
"""

from __future__ import annotations

from typing import Any

from jindou.control.api.access.guard import MASTERS, Access, Asked, User
from jindou.control.api.admission.chain import Chain, Place, Review
from jindou.control.api.admission.plugins import refused
from jindou.control.api.resources.registry import Resource
from jindou.control.api.rules.cluster import certificates
from jindou.objects.kinds import Object

PLURAL = "certificatesigningrequests.certificates.k8s.io"
CLIENTS = "kubernetes.io/kube-apiserver-client"
VERBS = {"approval": "approve", "status": "sign"}


class Signers:
    """A `Part` of the admission chain, for CertificateSigningRequests alone."""

    def __init__(self, access: Access, chain: Chain) -> None:
        self._access = access
        chain.plug(Place.VALIDATING_PLUGINS, self)

    def start(self) -> None:
        """Reads nothing of its own."""

    def close(self) -> None:
        """Holds nothing."""

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        kind = resource.kind
        if (kind.group, kind.name) != (certificates.GROUP, "CertificateSigningRequest"):
            return False
        if operation == "CREATE":
            return not subresource
        return operation == "UPDATE" and subresource in VERBS

    async def admit(self, review: Review) -> None:
        """Raises Forbidden."""
        obj, old = review.object, review.old
        assert obj is not None
        if old is None:
            self._no_masters(obj)
            return
        if review.subresource == "status" and _said(obj) == _said(old):
            return
        verb, signer = VERBS[review.subresource], (old.get("spec") or {}).get("signerName", "")
        if not self._may(review.user, verb, signer):
            says = f'user not permitted to {verb} requests with signerName "{signer}"'
            raise refused(PLURAL, obj, says)

    def _may(self, user: User, verb: str, signer: str) -> bool:
        domain = signer.partition("/")[0]
        return any(
            self._access.allows(user, Asked(verb, certificates.GROUP, "signers", "", name))
            for name in (signer, f"{domain}/*")
        )

    def _no_masters(self, obj: Object) -> None:
        spec = obj.get("spec") or {}
        if spec.get("signerName") != CLIENTS:
            return
        try:
            asked = certificates.parse(certificates.decoded(spec.get("request")))
        except ValueError as error:
            raise refused(PLURAL, obj, f"failed to parse CSR: {error}") from None
        if MASTERS in certificates.organizations(asked):
            says = f"use of {CLIENTS} signer with {MASTERS} group is not allowed"
            raise refused(PLURAL, obj, says)


def _said(obj: Object) -> Any:
    status = obj.get("status") or {}
    return status.get("certificate"), status.get("conditions")
