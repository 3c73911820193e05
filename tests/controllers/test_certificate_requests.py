"""Certificates on request: asked for, approved, signed or refused, and forgotten."""

from __future__ import annotations

import base64
import datetime
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from jindou.control.api.access import certificates
from jindou.control.api.access.guard import User
from jindou.control.api.access.signing import sign
from jindou.control.controllers.certificate_requests import (
    AGAIN,
    CLIENT,
    KUBELET_CLIENT,
    KUBELET_SERVING,
    REQUEST,
    CertificateRequests,
    left_of,
    life_of,
    refusal,
)
from jindou.control.controllers.groundwork import times
from jindou.objects.errors import Forbidden, Invalid
from jindou.objects.kinds import Kind, Ref
from tests.controllers.world import in_world

SIGN, CLIENTS, SERVER = "digital signature", "client auth", "server auth"


def asked(name="jane", *organizations, sans=()):
    key = ec.generate_private_key(ec.SECP256R1())
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, one) for one in organizations]
    subject = x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    return builder.sign(key, hashes.SHA256())


def request_object(csr, signer=CLIENT, name="r", usages=(SIGN, CLIENTS), **spec):
    pem = csr.public_bytes(serialization.Encoding.PEM)
    held = {
        "request": base64.b64encode(pem).decode(),
        "signerName": signer,
        "usages": list(usages),
        **spec,
    }
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": held,
    }


NODE = ("system:node:n", "system:nodes")
DNS = x509.DNSName("n")


@pytest.mark.parametrize(
    ("signer", "csr", "usages", "says"),
    [
        (CLIENT, asked(), (SIGN, CLIENTS), ""),
        (CLIENT, asked(), (SIGN,), "missing required usage for client certificate: client auth"),
        (CLIENT, asked(), (CLIENTS, SERVER), "invalid usage for client certificate: server auth"),
        (KUBELET_CLIENT, asked(*NODE), (SIGN, CLIENTS), ""),
        (KUBELET_CLIENT, asked("n", "system:nodes"), (SIGN, CLIENTS), "subject common name does not begin with system:node:"),
        (KUBELET_CLIENT, asked("system:node:n"), (SIGN, CLIENTS), "subject organization is not system:nodes"),
        (KUBELET_CLIENT, asked(*NODE, sans=[DNS]), (SIGN, CLIENTS), "DNS subjectAltNames are not allowed"),
        (KUBELET_CLIENT, asked(*NODE), (CLIENTS,), "usages did not match [client auth digital signature key encipherment]"),
        (KUBELET_SERVING, asked(*NODE, sans=[DNS]), (SIGN, SERVER), ""),
        (KUBELET_SERVING, asked(*NODE), (SIGN, SERVER), "DNS or IP subjectAltName is required"),
        (KUBELET_SERVING, asked(*NODE, sans=[DNS, x509.UniformResourceIdentifier("a:b")]), (SIGN, SERVER), "URI subjectAltNames are not allowed"),
    ],
)  # fmt: skip
def test_what_each_signer_certifies(signer, csr, usages, says):
    assert refusal(signer, csr, usages) == says


def test_a_signed_certificate_has_what_was_asked_and_no_more(tmp_path):
    certificates.ensure(tmp_path, [])
    pem = asked(*NODE, sans=[DNS]).public_bytes(serialization.Encoding.PEM)
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    made = x509.load_pem_x509_certificate(
        sign(tmp_path, pem, (SIGN, SERVER), datetime.timedelta(hours=1), now)
    )
    assert made.not_valid_after_utc - now == datetime.timedelta(hours=1)
    assert now - made.not_valid_before_utc == datetime.timedelta(minutes=5)
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["n"]
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    authority = x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())
    made.verify_directly_issued_by(authority)


def test_lives_are_bounded():
    assert life_of(None) == datetime.timedelta(days=365)
    assert life_of(60) == datetime.timedelta(minutes=10)
    assert life_of(3600) == datetime.timedelta(hours=1)
    assert life_of(10**9) == datetime.timedelta(days=365)


def test_requests_are_forgotten_in_time():
    now = times.now()

    def held(age, *said):
        since = times.text(now - age)
        conditions = [{"type": kind, "lastUpdateTime": since} for kind in said]
        meta = {"creationTimestamp": times.text(now - age)}
        return {"metadata": meta, "status": {"conditions": conditions}}

    for age, said, gone in (
        (3700, (), False), (86500, (), True), (3700, ("Denied",), True), (3500, ("Denied",), False),
        (3700, ("Approved",), False), (86500, ("Approved",), True), (3700, ("Failed", "Approved"), True),
    ):  # fmt: skip
        left = left_of(held(age, *said), now)
        assert left is not None
        assert (left <= 0) is gone, (age, said)


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    certificates.ensure(tmp_path, [])
    return tmp_path


def controllers(pki):
    return lambda server: [CertificateRequests(partial(sign, pki))]


async def until(world, name, wanted):
    async def look():
        held = await world.client.get(Ref(REQUEST, "", name))
        return held if wanted(held.get("status") or {}) else None

    return await world.until(look)


async def approve(world, name, kind="Approved"):
    held = await world.client.get(Ref(REQUEST, "", name))
    said = {"type": kind, "status": "True", "reason": "Test", "message": "ok"}
    held.setdefault("status", {}).setdefault("conditions", []).append(said)
    return await world.client.update(REQUEST, held, "approval")


def test_a_request_is_approved_and_signed(pki):
    async def scenario(world):
        made = await world.client.create(REQUEST, request_object(asked(), username="nobody"))
        assert made["spec"]["username"] == "system:kube-controller-manager"
        approved = await approve(world, "r")
        (said,) = approved["status"]["conditions"]
        assert said["lastUpdateTime"]
        assert said["lastTransitionTime"]
        signed = await until(world, "r", lambda status: status.get("certificate"))
        pem = base64.b64decode(signed["status"]["certificate"])
        assert x509.load_pem_x509_certificate(pem).subject.rfc4514_string() == "CN=jane"
        signed["spec"]["usages"] = ["any"]
        kept = await world.client.update(REQUEST, signed)
        assert kept["spec"]["usages"] == [SIGN, CLIENTS]

    in_world(controllers(pki), scenario)


def test_what_a_signer_refuses_fails_and_strangers_are_left_alone(pki):
    async def scenario(world):
        odd = request_object(asked(), KUBELET_CLIENT, "odd")
        other = request_object(asked(), "example.com/mine", "other")
        for one in (odd, other):
            await world.client.create(REQUEST, one)
            await approve(world, one["metadata"]["name"])
        failed = await until(world, "odd", lambda status: len(status.get("conditions", ())) == 2)
        said = failed["status"]["conditions"][1]
        assert (said["type"], said["reason"]) == ("Failed", "SignerValidationFailure")
        await world.settled()
        held = await world.client.get(Ref(REQUEST, "", "other"))
        assert "certificate" not in held["status"]

    in_world(controllers(pki), scenario)


def test_only_what_a_node_asks_for_itself_is_approved_by_itself(pki):
    async def scenario(world):
        role = Kind("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", False)
        bound = Kind("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", False)  # fmt: skip
        rule = {
            "apiGroups": ["certificates.k8s.io"], "verbs": ["create"],
            "resources": ["certificatesigningrequests", "certificatesigningrequests/selfnodeclient"],
        }  # fmt: skip
        await world.client.create(role, {"metadata": {"name": "self"}, "rules": [rule]})
        group = "rbac.authorization.k8s.io"
        await world.client.create(
            bound,
            {
                "metadata": {"name": "self"},
                "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "self"},
                "subjects": [{"kind": "Group", "apiGroup": group, "name": "system:nodes"}],
            },
        )
        node = world.server.local(User("system:node:n", ("system:nodes",)))
        controller = CertificateRequests(partial(sign, pki))
        controller.follow(world.runner.informers, lambda ref: None)
        await node.create(REQUEST, request_object(asked(*NODE), KUBELET_CLIENT, "own"))
        signed = await until(world, "own", lambda status: status.get("certificate"))
        assert signed["status"]["conditions"][0]["reason"] == "AutoApproved"
        other = asked("system:node:m", "system:nodes")
        await node.create(REQUEST, request_object(other, KUBELET_CLIENT, "others"))
        await world.settled()
        held = await world.client.get(Ref(REQUEST, "", "others"))
        assert not held.get("status", {}).get("conditions")
        again = await controller.reconcile(Ref(REQUEST, "", "others"), world.client)
        assert again == AGAIN  # who may ask can change without a word to us

    in_world(controllers(pki), scenario)


def test_who_may_not_ask_approve_or_sign(pki):
    async def scenario(world):
        with pytest.raises(Forbidden, match="with system:masters group is not allowed"):
            await world.client.create(REQUEST, request_object(asked("x", "system:masters")))
        body = request_object(asked())
        body["spec"]["request"] = base64.b64encode(b"none").decode()
        with pytest.raises(Invalid, match=r"spec\.request"):
            await world.client.create(REQUEST, body)
        await world.client.create(REQUEST, request_object(asked()))
        jane = world.server.local(User("jane"))
        held = await world.client.get(Ref(REQUEST, "", "r"))
        held["status"] = {"conditions": [{"type": "Approved", "status": "True"}]}
        with pytest.raises(Forbidden, match='not permitted to approve requests with signerName "'):
            await jane.update(REQUEST, held, "approval")
        with pytest.raises(Invalid, match='may not add a condition of type "Approved"'):
            await world.client.update(REQUEST, held, "status")
        await approve(world, "r", "Denied")
        with pytest.raises(Invalid, match="must specify at most one of"):
            await approve(world, "r")

    in_world(controllers(pki), scenario)
