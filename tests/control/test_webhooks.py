"""Webhooks from inside: behind Services, over connections that are kept, and conversions that are."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest

from jindou.control.api import status
from jindou.control.api.webhooks import clients, conversion, reviews
from jindou.control.api.webhooks.admission import same
from jindou.control.store import Store
from jindou.control.store.memory import MemoryStore
from jindou.objects.errors import InternalError
from jindou.objects.kinds import Kind, Object, Ref
from tests.control.apis import Api, on_api
from tests.hooks import Hooks, Raw, allow, deny

MAPS = "/api/v1/namespaces/default/configmaps"
HOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
SERVICE = {"name": "hook", "namespace": "default", "path": "/v", "port": 443}


def config_map(name: str, **more: Any) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **more}


RULE = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}


# ---------------------------------------------------------------- Services


def configuration(hooks: Hooks, **more: Any) -> Object:
    rule = {**RULE, "operations": ["*"], "resources": ["configmaps"]}
    hook = {
        "name": "v.hooks.test", "rules": [rule], "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": SERVICE, "caBundle": hooks.bundle}, **more,
    }  # fmt: skip
    return {"metadata": {"name": "c"}, "webhooks": [hook]}


async def endpoints(store: Store, port: int, ready: bool = True) -> None:
    """Of the Service, at 127.0.0.1: written past the API, which refuses such an address."""
    made = {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "hook-1", "namespace": "default", "labels": {clients.SERVICE_NAME: "hook"}},
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": ready}}],
        "ports": [{"name": "web", "port": port}],
    }  # fmt: skip
    await store.commit(f"{clients.SLICES}default/hook-1", lambda _: orjson.dumps(made))


async def service(api: Api) -> None:
    spec = {"ports": [{"name": "web", "port": 443}]}
    made = {"metadata": {"name": "hook"}, "spec": spec}
    assert (await api.ask("POST", "/api/v1/namespaces/default/services", made)).status == 201


def test_a_webhook_behind_a_service_by_its_endpoints(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        with Hooks(tmp_path, "hook.default.svc") as hooks:
            hooks["/v"] = lambda review: deny(review, "no")
            await service(api)
            await api.ask("POST", HOOKS, configuration(hooks))
            answer = await api.ask("POST", MAPS, config_map("a"))
            assert answer.json["message"].endswith(
                'Post "https://hook.default.svc:443/v?timeout=10s": no endpoints available for service "hook"'
            )
            await endpoints(api.store, hooks.port, ready=False)
            assert (await api.ask("POST", MAPS, config_map("a"))).status == 500
            await endpoints(api.store, hooks.port)
            answer = await api.ask("POST", MAPS, config_map("a"))
            assert (
                answer.json["message"] == 'admission webhook "v.hooks.test" denied the request: no'
            )
            assert hooks.headers[-1]["Host"] == "hook.default.svc"
            await api.ask("DELETE", f"{HOOKS}/c")
            assert (await api.ask("POST", MAPS, config_map("a"))).status == 201

    on_api(scenario)


def test_a_webhook_behind_a_service_has_to_bear_its_name(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        with Hooks(tmp_path, "other.default.svc") as hooks:
            await service(api)
            await endpoints(api.store, hooks.port)
            await api.ask("POST", HOOKS, configuration(hooks))
            answer = await api.ask("POST", MAPS, config_map("a"))
            assert "x509: certificate is not valid for any names" in answer.json["message"]

    on_api(scenario)


def test_connections_are_kept_and_a_dead_one_is_replaced(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        with Hooks(tmp_path) as hooks:
            hooks["/v"] = allow
            config = {"clientConfig": hooks.config("/v")}
            await api.ask("POST", HOOKS, configuration(hooks, **config))
            for name in "abc":
                assert (await api.ask("POST", MAPS, config_map(name))).status == 201
            assert hooks.connections == 1
            hooks.hasty = True
            for name in "def":
                assert (await api.ask("POST", MAPS, config_map(name))).status == 201
            assert len(hooks.seen["/v"]) == 6

    on_api(scenario)


def test_validating_webhooks_are_asked_at_once(tmp_path: Path) -> None:
    """Each waits for the other: one after the other, none would ever answer."""

    async def scenario(api: Api) -> None:
        both = threading.Barrier(2, timeout=10)

        def wait(review: Any) -> Any:
            both.wait()
            return allow(review)

        with Hooks(tmp_path) as hooks:
            made = configuration(hooks)
            (first,) = made["webhooks"]
            made["webhooks"] = [
                {**first, "name": f"{name}.hooks.test", "clientConfig": hooks.config(f"/{name}")}
                for name in "ab"
            ]
            hooks["/a"] = hooks["/b"] = wait
            await api.ask("POST", HOOKS, made)
            assert (await api.ask("POST", MAPS, config_map("a"))).status == 201

    on_api(scenario)


def test_conditions_may_ask_what_the_user_may_do_with_the_object(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        with Hooks(tmp_path) as hooks:
            hooks["/v"] = lambda review: deny(review, "no")
            may = "authorizer.requestResource.check('create').allowed()"
            made = configuration(hooks, clientConfig=hooks.config("/v"))
            for expression, status_code in ((may, 400), (f"!{may}", 201)):
                made["webhooks"][0]["matchConditions"] = [{"name": "c", "expression": expression}]
                await api.ask("POST", HOOKS, made)
                assert (await api.ask("POST", MAPS, config_map("a"))).status == status_code
                await api.ask("DELETE", f"{HOOKS}/c")

    on_api(scenario)


def test_of_many_authorities_those_that_were_used_last_are_kept() -> None:
    made = clients.Clients(MemoryStore(), most=2)
    first, second = made.pool("", "a"), made.pool("", "b")
    assert made.pool("", "a") is first
    made.pool("", "c")
    assert made.pool("", "a") is first
    assert made.pool("", "b") is not second
    made.close()


# ---------------------------------------------------------------- answers


def answered(**response: Any) -> Object:
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": "u", "allowed": True, **response},
    }


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (answered(uid="v"), 'expected response.uid="u", got "v"'),
        (answered(patch="W10="), "webhook returned response.patch but not response.patchType"),
        (answered(patchType="JSONPatch"), "webhook returned response.patchType but not response.patch"),
        (answered(patch="e30x", patchType="JSONPatch"), "undecodable patch"),
        (answered(patch="W3sib3AiOiJ4In1d", patchType="Merge"), 'unsupported patch type "Merge"'),
        ([], "couldn't get version/kind"),
        (answered(allowed="true"), "response.allowed"),
        (answered(warnings=5), "response.warnings"),
        (answered(warnings=[5]), "response.warnings"),
        (answered(auditAnnotations={"a": 1}), "response.auditAnnotations"),
        (answered(status="no"), "response.status"),
        (answered(status={"code": "403"}), "response.code"),
        (answered(status={"code": True}), "response.code"),
        (answered(status={"details": "x"}), "response.details"),
    ],
)  # fmt: skip
def test_answers_that_are_none(answer: Any, says: str) -> None:
    with pytest.raises(reviews.Wrong, match=says.replace("(", r"\(")):
        reviews.verdict(answer, "u", "v1", mutating=True)


@pytest.mark.parametrize("patch", [[5], ["x"], [None], [{}], [{"op": "add"}], [{"op": "x", "path": "/a"}], {"op": "x"}])  # fmt: skip
def test_a_patch_that_is_none_does_not_fit(patch: Any) -> None:
    with pytest.raises(reviews.Unfit):
        reviews.patched({"a": 1}, patch)


def test_an_empty_patch_changes_nothing() -> None:
    verdict = reviews.verdict(answered(patch="W10=", patchType="Any"), "u", "v1", mutating=True)
    assert (verdict.allowed, verdict.patch) == (True, None)


# ---------------------------------------------------------------- conversion


def definition(hooks: Hooks) -> Object:
    def version(name: str) -> Object:
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        return {
            "name": name, "served": True, "storage": name == "v1", "schema": {"openAPIV3Schema": schema},
        }  # fmt: skip

    webhook = {"conversionReviewVersions": ["v1"], "clientConfig": hooks.config("/convert")}
    return {
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Cluster",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [version("v1"), version("v2")],
            "conversion": {"strategy": "Webhook", "webhook": webhook},
        },
    }


def convert(review: Any) -> Any:
    asked = review["request"]
    found = [{**obj, "apiVersion": asked["desiredAPIVersion"]} for obj in asked["objects"]]
    result = {"uid": asked["uid"], "result": {"status": "Success"}, "convertedObjects": found}
    return {"apiVersion": review["apiVersion"], "kind": "ConversionReview", "response": result}


THINGS = Kind("example.com", "v2", "Thing", "things", False)


def test_a_conversion_is_asked_for_once_and_lists_in_one_request(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        with Hooks(tmp_path) as hooks:
            hooks["/convert"] = convert
            path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            assert (await api.ask("POST", path, definition(hooks))).status == 201
            for n in range(20):
                body = {
                    "apiVersion": "example.com/v1",
                    "kind": "Thing",
                    "metadata": {"name": f"t{n:02}"},
                }
                assert (await api.ask("POST", "/apis/example.com/v1/things", body)).status == 201
            assert hooks.seen["/convert"] == []
            for _ in range(3):
                listing = (await api.ask("GET", "/apis/example.com/v2/things")).json
                assert {item["apiVersion"] for item in listing["items"]} == {"example.com/v2"}
                assert len(listing["items"]) == 20
            assert len(hooks.seen["/convert"]) == 1
            assert len(hooks.seen["/convert"][0]["request"]["objects"]) == 20
            one = await api.client.get(Ref(THINGS, "", "t00"))
            assert one["apiVersion"] == "example.com/v2"
            assert len(hooks.seen["/convert"]) == 1
            hooks["/convert"] = lambda review: Raw(500)
            with pytest.raises(conversion.Refused, match="prevented the request"):
                await api.client.patch(Ref(THINGS, "", "t00"), {"spec": {"a": "b"}})
            assert (await api.ask("DELETE", f"{path}/things.example.com")).status == 200
            while (await api.ask("GET", f"{path}/things.example.com")).status != 404:  # noqa: ASYNC110
                await asyncio.sleep(0)

    on_api(scenario)


def test_what_is_asked_for_now_is_never_what_is_let_go(tmp_path: Path) -> None:
    """A list that is larger than all the room there is can still be shown."""

    async def scenario(api: Api) -> None:
        with Hooks(tmp_path) as hooks:
            hooks["/convert"] = convert
            own = clients.Clients(api.store)
            made = conversion.Conversion(definition(hooks), own, room=100)
            path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            await api.ask("POST", path, definition(hooks))
            resource = api.server.registry.of(THINGS)
            values = [
                orjson.dumps(
                    {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": f"{n}"}}
                )
                for n in range(9)
            ]
            await made.prepare(resource, values)
            assert [
                orjson.loads(made.found(resource, v))["metadata"]["name"] for v in values
            ] == list("012345678")
            await made.prepare(resource, values[:1])
            assert len(hooks.seen["/convert"]) == 1
            await made.prepare(resource, [values[0] + b" "])
            await made.prepare(resource, values[1:2])
            assert len(hooks.seen["/convert"]) == 3
            own.close()

    on_api(scenario)


def test_what_waits_for_the_rest_is_not_let_go_in_between(tmp_path: Path) -> None:
    """Of two lists the one needs much time, and the other all the room, in between."""

    async def scenario(api: Api) -> None:
        with Hooks(tmp_path) as hooks:
            hooks["/convert"] = convert
            own = clients.Clients(api.store)
            made = conversion.Conversion(definition(hooks), own, room=100)
            path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            await api.ask("POST", path, definition(hooks))
            resource = api.server.registry.of(THINGS)
            here, slow, other = (
                orjson.dumps(
                    {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": name}}
                )
                for name in ("here", "slow", "other")
            )
            await made.prepare(resource, [here])
            asked, go_on = threading.Event(), threading.Event()

            def wait(review: Any) -> Any:
                if review["request"]["objects"][0]["metadata"]["name"] == "slow":
                    asked.set()
                    go_on.wait(10)
                return convert(review)

            hooks["/convert"] = wait
            both = asyncio.create_task(made.prepare(resource, [here, slow]))
            await asyncio.to_thread(asked.wait, 10)
            await made.prepare(resource, [other])
            go_on.set()
            await both
            for value in (here, slow):
                assert b"example.com/v2" in made.found(resource, value)
            own.close()

    on_api(scenario)


@pytest.mark.parametrize(
    "response",
    [
        {"result": "Success", "convertedObjects": []},
        {"result": {"status": "Success"}, "convertedObjects": 5},
        {"result": {"status": "Failed"}},
        "no",
    ],
)
def test_conversions_that_are_none(response: Any) -> None:
    if isinstance(response, dict):
        response["uid"] = "u"
    answer = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "ConversionReview",
        "response": response,
    }
    with pytest.raises(ValueError):
        conversion.converted(answer, "u", "v1")


def test_an_error_without_a_reason_has_none_on_the_wire() -> None:
    assert "reason" not in status.of(conversion.Refused("x"))
    assert status.of(InternalError("x"))["reason"] == "InternalError"


def test_true_is_another_value_than_one() -> None:
    assert same({"a": 1, "b": []}, {"b": [], "a": 1})
    assert not same({"a": 1}, {"a": True})


def test_a_version_that_comes_later_is_equivalent_at_once(tmp_path: Path) -> None:
    async def scenario(api: Api) -> None:
        with Hooks(tmp_path) as hooks:
            hooks["/v"] = lambda review: deny(review, review["request"]["kind"]["version"])
            made = configuration(hooks, clientConfig=hooks.config("/v"))
            made["webhooks"][0]["rules"] = [
                {
                    **RULE,
                    "apiGroups": ["example.com"],
                    "apiVersions": ["v2"],
                    "resources": ["things"],
                }
            ]
            await api.ask("POST", HOOKS, made)
            crd = definition(hooks)
            crd["spec"]["conversion"] = {"strategy": "None"}
            versions = crd["spec"]["versions"]
            crd["spec"]["versions"] = versions[:1]
            path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            await api.ask("POST", path, crd)
            thing = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}}
            assert (await api.ask("POST", "/apis/example.com/v1/things", thing)).status == 201
            crd = (await api.ask("GET", f"{path}/things.example.com")).json
            crd["spec"]["versions"] = versions
            assert (await api.ask("PUT", f"{path}/things.example.com", crd)).status == 200
            thing["metadata"] = {"name": "b"}
            answer = await api.ask("POST", "/apis/example.com/v1/things", thing)
            assert answer.json["message"].endswith(": v2")

    on_api(scenario)
