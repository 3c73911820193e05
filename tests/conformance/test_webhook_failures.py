"""Admission webhooks that refuse, fail, are not there or not trusted: what the client is told."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.conformance.desk import Desk
from tests.hooks import Raw, allow, deny


def test_73_refusals_in_the_words_of_the_webhook(desk: Desk) -> None:
    desk.configure("validating", desk.hook("/v"))
    by = 'admission webhook "v.hooks.test" denied the request'
    for result, message, code, reason in (
        ({"message": "no way"}, f"{by}: no way", 400, ""),
        ({}, f"{by} without explanation", 400, ""),
        ({"reason": "Because"}, f"{by}: Because", 400, "Because"),
        ({"message": "m", "code": 403, "reason": "Forbidden"}, f"{by}: m", 403, "Forbidden"),
    ):
        desk.hooks["/v"] = lambda review, result=result: deny(review, **result)  # type: ignore[misc]
        answer = desk.make("x")
        assert (answer.code, answer.message, answer.reason) == (code, message, reason)


def test_73_warnings_reach_the_client_also_with_an_error(desk: Desk) -> None:
    desk.hooks["/v"] = lambda review: allow(review, warnings=["careful", "twice"])
    desk.configure("validating", desk.hook("/v"))
    for code in (201, 409):
        answer = desk.make("x")
        assert answer.code == code
        assert answer.headers.get_all("Warning") == ['299 - "careful"', '299 - "twice"']
    gone = desk.api.ask("DELETE", f"{desk.maps}/x")
    assert gone.headers.get_all("Warning") == ['299 - "careful"', '299 - "twice"']


FAILURES = {
    "500": (Raw(500, b"boom", "text/plain"), 'failed to call webhook: an error on the server ("boom") has prevented the request from succeeding'),
    "404": (Raw(404), "failed to call webhook: the server could not find the requested resource"),
    "empty": (Raw(200), "failed to call webhook: 0-length response with status code: 200 and content type: application/json"),
    "no response": ({}, "received invalid webhook response: webhook response was absent"),
    "another review": (
        {"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "response": {}},
        "failed to call webhook: converting (v1beta1.AdmissionReview) to (v1.AdmissionReview): unknown conversion",
    ),
}  # fmt: skip


def test_73_a_webhook_that_fails_refuses_the_write_or_is_passed_over(desk: Desk) -> None:
    answers: list[Any] = [None]
    desk.hooks["/v"] = lambda review: answers[0]
    desk.configure("validating", desk.hook("/v"))
    for answers[0], says in FAILURES.values():
        answer = desk.make("x")
        assert (answer.code, answer.reason) == (500, "InternalError")
        told = f'failed calling webhook "v.hooks.test": {says}'
        assert answer.message == f"Internal error occurred: {told}"
        assert answer.json["details"]["causes"] == [{"message": told}]
    desk.clean()
    desk.configure("validating", desk.hook("/v", failurePolicy="Ignore"), name="open")
    assert desk.make("x").code == 201


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (
            {"url": "https://127.0.0.1:1/x"},
            'Post "https://127.0.0.1:1/x?timeout=3s": dial tcp 127.0.0.1:1: connect: connection refused',
        ),
        (
            {"service": {"name": "none", "namespace": "default", "path": "/p", "port": 8443}},
            'Post "https://none.default.svc:8443/p?timeout=3s": service "none" not found',
        ),
    ],
)
def test_73_where_nobody_is(desk: Desk, config: Any, says: str) -> None:
    hook = desk.hook("/v", clientConfig=config, timeoutSeconds=3)
    desk.configure("validating", hook)
    answer = desk.make("x")
    assert answer.code == 500
    assert answer.message.endswith(f'"v.hooks.test": failed to call webhook: {says}')


def test_73_a_webhook_behind_a_service(desk: Desk) -> None:
    """Its certificate is for the name of the Service, wherever that leads."""
    port = desk.hooks.port
    spec = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}
    path = f"/api/v1/namespaces/{desk.ns}/services"
    desk.api.make(path, {"metadata": {"name": "hook"}, "spec": spec})
    desk.hooks["/v"] = lambda review: deny(review, "by its Service")
    service = {"name": "hook", "namespace": desk.ns, "path": "/v", "port": port}
    config = {"service": service, "caBundle": desk.hooks.bundle}
    desk.configure("validating", desk.hook("/v", clientConfig=config))
    assert desk.make("x").message.endswith("by its Service")


def test_73_a_certificate_that_the_bundle_does_not_vouch_for(desk: Desk) -> None:
    desk.configure("validating", desk.hook("/v", clientConfig={"url": desk.hooks.url + "/v"}))
    assert desk.make("x").message.endswith(
        "tls: failed to verify certificate: x509: certificate signed by unknown authority"
    )


@pytest.mark.slow
def test_73_a_webhook_has_no_longer_than_it_says(desk: Desk) -> None:
    def slow(review: Any) -> Any:
        time.sleep(1.3)
        return allow(review)

    desk.hooks["/v"] = slow
    desk.configure("validating", desk.hook("/v", timeoutSeconds=1))
    answer = desk.make("x")
    assert answer.message.endswith(f'"{desk.hooks.url}/v?timeout=1s": context deadline exceeded')
