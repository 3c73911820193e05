"""CertificateSigningRequests: approved where a node asks for itself, signed when approved, forgotten in time.

Three signers are ours; each certifies only what it is for. All others are somebody else's.
Source: https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
"""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from jindou.client import Client
from jindou.client.informers import Informers
from jindou.control.controllers import Wake
from jindou.control.controllers.groundwork import times
from jindou.objects.errors import Conflict, NotFound
from jindou.objects.kinds import Kind, Object, Ref

if TYPE_CHECKING:
    from cryptography.x509 import CertificateSigningRequest

REQUEST = Kind(
    "certificates.k8s.io", "v1", "CertificateSigningRequest", "certificatesigningrequests", False
)
REVIEW = Kind("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", False)
CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
SIGNING, SERVER, CLIENTS = "digital signature", "server auth", "client auth"
LONGEST = datetime.timedelta(days=365)
SHORTEST = datetime.timedelta(minutes=10)
HOUR = 3600.0
AGAIN = 300.0  # seconds until a node that may not ask yet is looked at again
PENDING, DECIDED = 24 * HOUR, HOUR  # seconds that requests are kept, without and with an outcome
APPROVALS = (
    ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."),
    ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."),
)

Sign = Callable[[bytes, Collection[str], datetime.timedelta], bytes]  # PEM for PEM


class CertificateRequests:
    kind = REQUEST
    owns: Sequence[Kind] = ()
    name = "certificatesigningrequests"

    def __init__(self, sign: Sign) -> None:
        self._sign = sign

    def follow(self, informers: Informers, wake: Wake) -> None:
        self._requests = informers.of(REQUEST)

    async def reconcile(self, ref: Ref, client: Client) -> float | None:
        held = self._requests.get("", ref.name)
        if held is None:
            return None
        left = left_of(held, times.now())
        if left is not None and left <= 0:
            try:
                await client.delete(ref, uid=held["metadata"]["uid"])
            except (NotFound, Conflict):
                pass
            return None
        said = {c["type"] for c in (held.get("status") or {}).get("conditions") or ()}
        if not (held.get("status") or {}).get("certificate"):
            if "Approved" in said and "Failed" not in said:
                await self._certify(client, held)
            elif not said & {"Approved", "Denied"} and not await self._approve(client, held):
                return AGAIN
        return None if left is None else left + 1

    async def _certify(self, client: Client, held: Object) -> None:
        from cryptography import x509

        spec = held["spec"]
        if spec["signerName"] not in (CLIENT, KUBELET_CLIENT, KUBELET_SERVING):
            return
        pem = base64.b64decode(spec["request"])
        status = held.setdefault("status", {})
        asked = x509.load_pem_x509_csr(pem)
        if why := refusal(spec["signerName"], asked, spec["usages"]):
            failed = {
                "type": "Failed",
                "status": "True",
                "reason": "SignerValidationFailure",
                "message": why,
                "lastUpdateTime": times.text(),
            }
            status["conditions"] = [*(status.get("conditions") or ()), failed]
        else:
            signed = self._sign(pem, spec["usages"], life_of(spec.get("expirationSeconds")))
            status["certificate"] = base64.b64encode(signed).decode()
        await client.update(REQUEST, held, "status")

    async def _approve(self, client: Client, held: Object) -> bool:
        """Only what a node asks for itself, or somebody for a node who may. False: nobody may yet."""
        from cryptography import x509

        spec = held["spec"]
        if spec["signerName"] != KUBELET_CLIENT:
            return True
        asked = x509.load_pem_x509_csr(base64.b64decode(spec["request"]))
        if refusal(KUBELET_CLIENT, asked, spec["usages"]):
            return True
        own = spec.get("username") == common_name(asked)
        for part, message in APPROVALS[0 if own else 1 :]:
            if await may(client, spec, part):
                approved = {
                    "type": "Approved",
                    "status": "True",
                    "reason": "AutoApproved",
                    "message": message,
                }
                status = held.setdefault("status", {})
                status["conditions"] = [*(status.get("conditions") or ()), approved]
                await client.update(REQUEST, held, "approval")
                return True
        return False


async def may(client: Client, spec: Object, part: str) -> bool:
    attributes = {
        "group": REQUEST.group,
        "resource": REQUEST.plural,
        "verb": "create",
        "subresource": part,
        "version": "*",
    }
    who = {
        name: spec[key]
        for name, key in (("user", "username"), ("uid", "uid"), ("groups", "groups"), ("extra", "extra"))
        if spec.get(key)
    }  # fmt: skip
    review: Object = {"spec": {**who, "resourceAttributes": attributes}}
    told = await client.create(REVIEW, review)
    return bool((told.get("status") or {}).get("allowed"))


def life_of(seconds: int | None) -> datetime.timedelta:
    if seconds is None:
        return LONGEST
    return min(LONGEST, max(SHORTEST, datetime.timedelta(seconds=seconds)))


def common_name(asked: CertificateSigningRequest) -> str:
    from cryptography.x509.oid import NameOID

    held = asked.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(held[0].value) if held else ""


def refusal(signer: str, asked: CertificateSigningRequest, usages: Collection[str]) -> str:
    """Why a signer certifies no such request; "" where it does."""
    wanted = set(usages)
    if signer == CLIENT:
        allowed = {SIGNING, "key encipherment", CLIENTS}
        for usage in usages:
            if usage not in allowed:
                return f"invalid usage for client certificate: {usage}"
        lacking = f"missing required usage for client certificate: {CLIENTS}"
        return "" if CLIENTS in wanted else lacking
    names = alternative_names(asked)
    if organizations(asked) != ["system:nodes"]:
        return "subject organization is not system:nodes"
    serving = signer == KUBELET_SERVING
    if serving and not (names["DNS"] or names["IP"]):
        return "DNS or IP subjectAltName is required"
    for what in ("Email", "URI") if serving else ("DNS", "Email", "IP", "URI"):
        if names[what]:
            return f"{what} subjectAltNames are not allowed"
    purpose = SERVER if serving else CLIENTS
    needed = [purpose, SIGNING, "key encipherment"]
    fits = wanted in ({SIGNING, purpose}, set(needed))
    if serving and not fits:
        return f"usages did not match {shown(needed)}"
    if not common_name(asked).startswith("system:node:"):
        return "subject common name does not begin with system:node:"
    return "" if fits else f"usages did not match {shown(needed)}"


def shown(usages: Collection[str]) -> str:
    return f"[{' '.join(sorted(usages))}]"


def organizations(asked: CertificateSigningRequest) -> list[str]:
    from cryptography.x509.oid import NameOID

    return [str(a.value) for a in asked.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]


def alternative_names(asked: CertificateSigningRequest) -> dict[str, list[Any]]:
    from cryptography import x509

    try:
        held = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return {"DNS": [], "IP": [], "Email": [], "URI": []}
    kinds: tuple[tuple[str, Any], ...] = (
        ("DNS", x509.DNSName),
        ("IP", x509.IPAddress),
        ("Email", x509.RFC822Name),
        ("URI", x509.UniformResourceIdentifier),
    )
    return {name: held.get_values_for_type(kind) for name, kind in kinds}


def left_of(held: Object, now: float) -> float | None:
    """Seconds that a request is kept; None for ever."""
    status = held.get("status") or {}
    conditions = status.get("conditions") or ()
    certificate = status.get("certificate")
    ends: list[float] = []
    if not conditions:
        ends.append(times.parse(held["metadata"].get("creationTimestamp")) + PENDING)
    for condition in conditions:
        since = times.parse(condition.get("lastUpdateTime"))
        if since and condition["type"] in ("Denied", "Failed"):
            ends.append(since + DECIDED)
        elif since and condition["type"] == "Approved":
            ends.append(since + (DECIDED if certificate else PENDING))
            if certificate and (expiry := expires(certificate)) is not None:
                ends.append(expiry)
    return min(ends) - now if ends else None


def expires(certificate: str) -> float | None:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(
            base64.b64decode(certificate)
        ).not_valid_after_utc.timestamp()
    except ValueError:
        return None
