"""Certificates on request: what may be asked for, who decides, and what comes of it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.conformance.wire import MERGE, Api

REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
CLIENT = "kubernetes.io/kube-apiserver-client"
USAGES = ["digital signature", "client auth"]
Make = Callable[..., Any]


def asked(name: str = "jane", *organizations: str) -> str:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, one) for one in organizations]
    subject = x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()


def body(request: str = "", signer: str = CLIENT, **spec: Any) -> Any:
    held = {"request": request or asked(), "signerName": signer, "usages": USAGES, **spec}
    return {"metadata": {"generateName": "t-"}, "spec": held}


@pytest.fixture
def make(api: Api) -> Iterator[Make]:
    made: list[str] = []

    def one(as_: Api = api, **more: Any) -> Any:
        found = as_.make(REQUESTS, body(**more))
        made.append(found["metadata"]["name"])
        return found

    yield one
    for name in made:
        api.ask("DELETE", f"{REQUESTS}/{name}")


def decide(api: Api, held: Any, kind: str = "Approved", status: str = "True") -> Any:
    said = {"type": kind, "status": status, "reason": "Test", "message": "said"}
    name = held["metadata"]["name"]
    conditions = [*(held["status"].get("conditions") or ()), said]
    put = {**held, "status": {**held["status"], "conditions": conditions}}
    return api.ask("PUT", f"{REQUESTS}/{name}/approval", put)


def certificate(held: Any) -> x509.Certificate:
    return x509.load_pem_x509_certificate(base64.b64decode(held["status"]["certificate"]))


def test_78_who_asks_is_not_for_him_to_say(api: Api, make: Make) -> None:
    held = make(username="root", groups=["system:masters"], uid="1")
    assert held["spec"]["username"] == "kubernetes-admin"
    assert "uid" not in held["spec"] or held["spec"]["uid"] != "1"
    assert held["status"] == {}


def test_78_an_approved_request_is_signed(api: Api, make: Make, controlled: None) -> None:
    held = make(request=asked("jane", "developers"), expirationSeconds=3600)
    told = decide(api, held)
    assert told.code == 200
    (condition,) = told.json["status"]["conditions"]
    assert condition["lastUpdateTime"]
    assert condition["lastTransitionTime"]
    path = f"{REQUESTS}/{held['metadata']['name']}"
    signed = certificate(api.until(path, lambda one: one["status"].get("certificate")))
    assert signed.subject.rfc4514_string() == "CN=jane,O=developers"
    life = signed.not_valid_after_utc - signed.not_valid_before_utc
    assert life.total_seconds() == 3600 + 300


def test_78_a_denied_request_stays_denied(api: Api, make: Make) -> None:
    told = decide(api, make(), "Denied")
    assert told.code == 200
    both = decide(api, told.json)
    assert both.code == 422
    assert 'must specify at most one of: `conditions[{"type": "Approved"}]`' in both.message
    name = told.json["metadata"]["name"]
    gone = {**told.json, "status": {}}
    taken = api.ask("PUT", f"{REQUESTS}/{name}/approval", gone)
    assert taken.code == 422
    assert 'updates may not remove a condition of type "Denied"' in taken.message


def test_78_a_request_never_changes(api: Api, make: Make) -> None:
    held = make()
    path = f"{REQUESTS}/{held['metadata']['name']}"
    spec = {**held["spec"], "usages": ["any"]}
    assert api.good("PUT", path, {**held, "spec": spec})["spec"] == held["spec"]
    said = {"conditions": [{"type": "Approved", "status": "True"}]}
    other = api.ask("PATCH", f"{path}/status", {"status": said}, kind=MERGE)
    assert other.code == 422
    assert 'updates may not add a condition of type "Approved"' in other.message
    junk = {"status": {"certificate": base64.b64encode(b"junk").decode()}}
    assert api.ask("PATCH", f"{path}/status", junk, kind=MERGE).code == 422


@pytest.mark.parametrize(
    ("spec", "cause"),
    [
        ({"request": base64.b64encode(b"junk").decode()}, ("FieldValueInvalid", "spec.request")),
        ({"usages": []}, ("FieldValueRequired", "spec.usages")),
        ({"usages": ["odd"]}, ("FieldValueNotSupported", "spec.usages[0]")),
        ({"usages": ["any", "any"]}, ("FieldValueDuplicate", "spec.usages[1]")),
        ({"expirationSeconds": 599}, ("FieldValueInvalid", "spec.expirationSeconds")),
        ({"signer": "kubernetes.io/legacy-unknown"}, ("FieldValueInvalid", "spec.signerName")),
        ({"signer": "plain"}, ("FieldValueInvalid", "spec.signerName")),
    ],
)
def test_78_what_may_not_be_asked_for(api: Api, spec: Any, cause: Any) -> None:
    told = api.ask("POST", REQUESTS, body(**spec))
    assert (told.code, told.causes) == (422, [cause])


def test_78_nobody_becomes_a_master_by_a_certificate(api: Api) -> None:
    told = api.ask("POST", REQUESTS, body(request=asked("x", "system:masters")))
    assert told.code == 403
    assert told.message.endswith(f"use of {CLIENT} signer with system:masters group is not allowed")


def test_78_approving_is_a_right_for_each_signer(api: Api, make: Make) -> None:
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    rules = [
        {
            "apiGroups": ["certificates.k8s.io"], "verbs": ["get", "update"],
            "resources": ["certificatesigningrequests", "certificatesigningrequests/approval"],
        }
    ]  # fmt: skip
    name = api.make(f"{rbac}/clusterroles", {"metadata": {"generateName": "t-"}, "rules": rules})[
        "metadata"
    ]["name"]
    subject = {"kind": "User", "name": "ann", "apiGroup": "rbac.authorization.k8s.io"}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    bound = {"metadata": {"name": name}, "roleRef": ref, "subjects": [subject]}
    api.make(f"{rbac}/clusterrolebindings", bound)
    ann = api.as_("ann")
    try:
        told = decide(ann, make())
        assert told.code == 403
        assert told.message.endswith(
            f'user not permitted to approve requests with signerName "{CLIENT}"'
        )
    finally:
        ann.close()
        for kind in ("clusterrolebindings", "clusterroles"):
            api.ask("DELETE", f"{rbac}/{kind}/{name}")


def test_78_each_signer_certifies_what_it_is_for(api: Api, make: Make, controlled: None) -> None:
    held = make(signer="kubernetes.io/kubelet-serving")
    assert decide(api, held).code == 200
    path = f"{REQUESTS}/{held['metadata']['name']}"

    def failed(one: Any) -> bool:
        return any(c["type"] == "Failed" for c in one["status"].get("conditions") or ())

    said = api.until(path, failed)["status"]["conditions"][1]
    assert said["reason"] == "SignerValidationFailure"
    assert said["message"] == "subject organization is not system:nodes"


def test_78_requests_are_found_by_their_signer(api: Api, make: Make) -> None:
    held = make(signer="t.example/mine")
    found = api.get(REQUESTS, fieldSelector="spec.signerName=t.example/mine")["items"]
    assert held["metadata"]["name"] in [one["metadata"]["name"] for one in found]
