"""A body that was seen before becomes what it would have become the long way, or goes the long way."""

from __future__ import annotations

from typing import Any

from tests.control.apis import ADMIN, Api, on_api

PODS = "/api/v1/namespaces/default/pods"
OWN = ("name", "uid", "resourceVersion", "creationTimestamp")


def used(api: Api) -> int:
    return api.server.engine.templates.used


def pod(name: str, **meta: Any) -> Any:
    spec = {"containers": [{"name": "c", "image": "x", "ports": [{"containerPort": 80}]}]}
    held = {"name": name, "labels": {"app": "web"}, **meta}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": held, "spec": spec}


def bare(obj: Any) -> Any:
    """Without what each Pod has for itself."""
    meta = {name: held for name, held in obj["metadata"].items() if name not in OWN}
    for entry in meta["managedFields"]:
        del entry["time"]
    volume = obj["spec"]["volumes"][0].pop("name")
    for container in obj["spec"]["containers"]:
        assert container["volumeMounts"][0].pop("name") == volume
    return {**obj, "metadata": meta}


async def account(api: Api) -> None:
    made = {"metadata": {"name": "default"}}
    await api.ask("POST", "/api/v1/namespaces/default/serviceaccounts", made)


def test_the_third_is_as_the_first() -> None:
    async def scenario(api: Api) -> None:
        await account(api)
        watch = api.watch(f"{PODS}?watch=true")
        made = [(await api.ask("POST", PODS, pod(f"p{n}"))) for n in range(3)]
        assert [reply.status for reply in made] == [201] * 3
        assert used(api) == 1
        first, _, third = (reply.json for reply in made)
        assert bare(third) == bare(first)
        assert len({reply.json["metadata"]["uid"] for reply in made}) == 3
        kept = await api.ask("GET", f"{PODS}/p2")
        assert kept.body == made[2].body
        assert int(kept.json["metadata"]["resourceVersion"]) == api.store.revision
        assert [event["object"]["metadata"]["name"] for event in watch.events] == ["p0", "p1", "p2"]

    on_api(scenario)


def test_generated_names() -> None:
    async def scenario(api: Api) -> None:
        await account(api)
        body = pod("")
        body["metadata"] = {"generateName": "web-", "labels": {"app": "web"}}
        made = [(await api.ask("POST", PODS, body)).json for _ in range(4)]
        names = [obj["metadata"]["name"] for obj in made]
        assert len(set(names)) == 4
        assert used(api) == 2
        assert all(name.startswith("web-") for name in names)

    on_api(scenario)


def test_a_name_that_is_taken_or_wrong_is_refused() -> None:
    async def scenario(api: Api) -> None:
        await account(api)
        for n in range(3):
            await api.ask("POST", PODS, pod(f"p{n}"))
        assert used(api) == 1
        assert (await api.ask("POST", PODS, pod("p1"))).json["reason"] == "AlreadyExists"
        for wrong in ("a..b", "A", "a-", "x" * 254):
            assert (await api.ask("POST", PODS, pod(wrong))).status == 422
        dry = await api.ask("POST", f"{PODS}?dryRun=All", pod("dry"))
        assert dry.status == 201
        assert (await api.ask("GET", f"{PODS}/dry")).status == 404

    on_api(scenario)


def test_what_admission_reads_may_change() -> None:
    async def scenario(api: Api) -> None:
        await account(api)
        for n in range(3):
            await api.ask("POST", PODS, pod(f"p{n}"))
        limits = [{"type": "Container", "default": {"cpu": "1"}}]
        made = {"metadata": {"name": "l"}, "spec": {"limits": limits}}
        await api.ask("POST", "/api/v1/namespaces/default/limitranges", made)
        for n in range(3, 6):
            found = (await api.ask("POST", PODS, pod(f"p{n}"))).json
            assert found["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "1"}
        assert used(api) == 1, "a LimitRange has something to say each time"
        await api.ask("DELETE", "/api/v1/namespaces/default/serviceaccounts/default")
        assert (await api.ask("POST", PODS, pod("p6"))).status == 403

    on_api(scenario)


def test_one_template_for_each_namespace_user_and_manager() -> None:
    async def scenario(api: Api) -> None:
        await account(api)
        for n in range(2):
            await api.ask("POST", PODS, pod(f"p{n}"))
        other = await api.ask("POST", f"{PODS}?fieldManager=me", pod("p2"))
        assert other.json["metadata"]["managedFields"][0]["manager"] == "me"
        asked = await api.ask("POST", PODS, pod("p3"), ADMIN._replace(common_name="other"))
        assert asked.status == 201
        await api.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "n"}})
        assert (await api.ask("POST", "/api/v1/namespaces/n/pods", pod("p2"))).status == 403
        assert used(api) == 0

    on_api(scenario)


def test_a_name_elsewhere_is_not_the_name_of_the_object() -> None:
    def body(name: str, inner: str) -> bytes:
        claim = f'{{"metadata":{{"name":"{inner}","labels":{{}}}},"spec":{{"accessModes":["ReadWriteOnce"],"resources":{{"requests":{{"storage":"1Gi"}}}}}}}}'
        return f'{{"spec":{{"containers":[{{"name":"c","image":"x"}}],"volumes":[{{"name":"v","ephemeral":{{"volumeClaimTemplate":{claim}}}}}]}},"metadata":{{"labels":{{"a":"b"}},"name":"{name}"}},"apiVersion":"v1","kind":"Pod"}}'.encode()

    async def scenario(api: Api) -> None:
        await account(api)
        for n in range(4):
            reply = await api.ask("POST", PODS, body(f"p{n}", "inner"))
            assert reply.json["metadata"]["name"] == f"p{n}"
        for n in range(4):
            reply = await api.ask("POST", PODS, body("q", f"inner{n}"))
            assert reply.status == (409 if n else 201)
        assert used(api) == 0

    on_api(scenario)


def test_a_name_behind_a_prefix_stays_the_name() -> None:
    """Of a Pod that is made, deleted and made again with the same words."""

    async def scenario(api: Api) -> None:
        await account(api)
        body = pod("")
        body["metadata"] = {"generateName": "db-", "labels": {"app": "db"}, "name": "db-0"}
        for _ in range(4):
            made = await api.ask("POST", PODS, body)
            assert (made.status, made.json["metadata"]["name"]) == (201, "db-0")
            gone = await api.ask("DELETE", f"{PODS}/db-0", {"gracePeriodSeconds": 0})
            assert gone.status == 200

    on_api(scenario)


def test_a_warning_is_given_each_time() -> None:
    async def scenario(api: Api) -> None:
        await account(api)
        for n in range(4):
            odd = pod(f"p{n}")
            odd["spec"]["nonsense"] = 1
            reply = await api.ask("POST", PODS, odd)
            assert "nonsense" in reply.headers["Warning"]
        assert used(api) == 0

    on_api(scenario)


def test_our_own_controllers_have_them_too() -> None:
    async def scenario(api: Api) -> None:
        await account(api)
        kind = api.server.registry.by_url("", "v1", "pods")
        assert kind is not None
        for n in range(3):
            made = await api.client.create(kind.kind, pod(f"p{n}", namespace="default"))
            assert made["metadata"]["name"] == f"p{n}"
        assert used(api) == 1

    on_api(scenario)
