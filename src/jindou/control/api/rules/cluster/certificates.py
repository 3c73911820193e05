"""CertificateSigningRequests: what may be asked for, and which of their parts may change through what.

The request itself never changes; only `approval` says whether it is granted, only `status` brings
the certificate, once. Source: https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jindou.control.api.rules.names import (
    duplicate,
    forbidden,
    invalid,
    required,
    subdomain,
    unsupported,
)
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

if TYPE_CHECKING:
    from cryptography.x509 import CertificateSigningRequest

GROUP = "certificates.k8s.io"
USAGES = (
    "signing", "digital signature", "content commitment", "key encipherment", "key agreement",
    "data encipherment", "cert sign", "crl sign", "encipher only", "decipher only", "any", "server auth",
    "client auth", "code signing", "email protection", "s/mime", "ipsec end system", "ipsec tunnel",
    "ipsec user", "timestamping", "ocsp signing", "microsoft sgc", "netscape sgc",
)  # fmt: skip
DECISIONS = ("Approved", "Denied")
ONLY_TRUE = (*DECISIONS, "Failed")
BOTH = tuple(f'conditions[{{"type": "{kind}"}}]' for kind in DECISIONS)
SAYS_ONE = f"must specify at most one of: `{BOTH[0]}`, `{BOTH[1]}`"
SHORTEST = 600  # seconds
CONDITIONS, CERTIFICATE = "status.conditions", "status.certificate"
SAYS_SHORT = "may not specify a duration less than 600 seconds (10 minutes)"
SAYS_SIGNER = "must be a fully qualified domain and path of the form 'example.com/signer-name'"


def decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(str(text or ""), validate=True)
    except (binascii.Error, ValueError):
        return b""


def parse(pem: bytes) -> CertificateSigningRequest:
    """Raises ValueError."""
    from cryptography import x509

    if b"-----BEGIN CERTIFICATE REQUEST-----" not in pem:
        raise ValueError("PEM block type must be CERTIFICATE REQUEST")
    return x509.load_pem_x509_csr(pem)


def organizations(request: CertificateSigningRequest) -> list[str]:
    from cryptography.x509.oid import NameOID

    return [str(a.value) for a in request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]


def signing_request(obj: Object) -> list[Fault]:
    spec, found = obj.get("spec") or {}, []
    try:
        if not parse(decoded(spec.get("request"))).is_signature_valid:
            raise ValueError("x509: the signature of the request is not that of its key")
    except ValueError as error:
        found.append(invalid("spec.request", spec.get("request", ""), str(error)))
    usages = spec.get("usages") or []
    if not usages:
        found.append(required("spec.usages"))
    for n, usage in enumerate(usages):
        if usage not in USAGES:
            found.append(unsupported(f"spec.usages[{n}]", usage, USAGES))
    for n, usage in enumerate(usages):
        if usage in usages[:n]:
            found.append(duplicate(f"spec.usages[{n}]", usage))
    found += signer(spec.get("signerName", ""))
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < SHORTEST:
        found.append(invalid("spec.expirationSeconds", seconds, SAYS_SHORT))
    return found


def signer(name: str) -> Iterator[Fault]:
    at = "spec.signerName"
    if not name:
        yield required(at)
        return
    if name == "kubernetes.io/legacy-unknown":
        yield invalid(at, name, "the legacy signerName is not allowed via this API version")
        return
    domain, slash, path = name.partition("/")
    if not slash or "/" in path:
        yield invalid(at, name, SAYS_SIGNER)
        return
    if wrong := subdomain(domain):
        yield invalid(at, domain, f"validating label {domain!r}: {wrong}".replace("'", '"', 2))
    elif "." not in domain:
        yield invalid(at, domain, "should be a domain with at least two segments separated by dots")
    if wrong := subdomain(path):
        yield invalid(at, path, wrong)


# ---------------------------------------------------------------- changes


def prepare(new: Object, old: Object, part: str, now: str) -> None:
    """Before a change of the status or of the approval is judged; in place."""
    held = list((new.get("status") or {}).get("conditions") or ())
    before = (old.get("status") or {}).get("conditions") or ()
    if part == "status":
        for kind in DECISIONS:
            kept, asked = of_type(before, kind), of_type(held, kind)
            if len(kept) == len(asked):
                same = iter(kept)
                held = [next(same) if c.get("type") == kind else c for c in held]
    for n, condition in enumerate(held):
        same_state = [
            c
            for c in before
            if (c.get("type"), c.get("status")) == (condition.get("type"), condition.get("status"))
        ]
        since = (same_state[0].get("lastTransitionTime") if same_state else None) or now
        held[n] = {
            **condition,
            "lastUpdateTime": condition.get("lastUpdateTime") or now,
            "lastTransitionTime": condition.get("lastTransitionTime") or since,
        }
    if held:
        new.setdefault("status", {})["conditions"] = held


def of_type(conditions: Sequence[Mapping[str, Any]], kind: str) -> list[Any]:
    return [condition for condition in conditions if condition.get("type") == kind]


def change_faults(new: Object, old: Object, part: str) -> list[Fault]:
    held = (new.get("status") or {}).get("conditions") or []
    before = (old.get("status") or {}).get("conditions") or []
    found = list(condition_faults(held, before))
    for kind in ONLY_TRUE:
        if len(of_type(held, kind)) < len(of_type(before, kind)):
            says = f'updates may not remove a condition of type "{kind}"'
            found.append(forbidden(CONDITIONS, says))
    if part != "approval":
        for kind in DECISIONS:
            if len(of_type(held, kind)) > len(of_type(before, kind)):
                says = f'updates may not add a condition of type "{kind}"'
                found.append(forbidden(CONDITIONS, says))
    certificate, kept = ((one.get("status") or {}).get("certificate") for one in (new, old))
    if (certificate or None) != (kept or None):
        if part != "status":
            found.append(forbidden(CERTIFICATE, "updates may not set certificate content"))
        elif kept:
            says = "updates may not modify existing certificate content"
            found.append(forbidden(CERTIFICATE, says))
        elif wrong := certificate_fault(decoded(certificate)):
            found.append(invalid(CERTIFICATE, "<certificate data>", wrong))
    return found


def condition_faults(held: list[Any], before: list[Any]) -> Iterator[Fault]:
    seen: list[str] = []
    for n, condition in enumerate(held):
        kind, status = condition.get("type", ""), condition.get("status", "")
        allowed = ("True",) if kind in ONLY_TRUE else ("False", "True", "Unknown")
        if not kind:
            yield required(f"{CONDITIONS}[{n}].type")
        if not status:
            yield required(f"{CONDITIONS}[{n}].status")
        elif status not in allowed:
            yield unsupported(f"{CONDITIONS}[{n}].status", status, allowed)
        other = {"Approved": "Denied", "Denied": "Approved"}.get(kind)
        if other in seen:
            yield invalid(CONDITIONS, f"{{{BOTH[0]}, {BOTH[1]}}}", SAYS_ONE)
        if kind in seen:
            yield duplicate(f"{CONDITIONS}[{n}].type", kind)
        seen.append(kind)


def certificate_fault(pem: bytes) -> str:
    from cryptography import x509

    if b"-----BEGIN" not in pem:
        return "must contain at least one CERTIFICATE PEM block"
    try:
        x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        return str(error)
    return ""
