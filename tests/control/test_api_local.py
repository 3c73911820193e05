"""The client in this process: the same verbs, errors and watches as over the wire."""

from __future__ import annotations

import asyncio

import pytest

from jindou.control.api.access.guard import User
from jindou.control.store.memory import MemoryStore
from jindou.control.store.sqlite import SqliteStore
from jindou.control.store.table import Window
from jindou.objects.errors import (
    AlreadyExists,
    Conflict,
    Expired,
    Invalid,
    MethodNotAllowed,
    NotFound,
)
from jindou.objects.kinds import CONFIG_MAP, LEASE, NAMESPACE, NODE, POD, SERVICE_ACCOUNT, Ref
from tests.control.apis import on_api

A = Ref(CONFIG_MAP, "default", "a")


def config(name="a", **more):
    return {"metadata": {"name": name, "namespace": "default"}, **more}


def test_every_verb_and_its_errors():
    async def scenario(api):
        client = api.client
        given = config(data={"k": "v"})
        made = await client.create(CONFIG_MAP, given)
        assert given == config(data={"k": "v"})
        assert made["apiVersion"] == "v1"
        assert await client.get(A) == made
        with pytest.raises(AlreadyExists):
            await client.create(CONFIG_MAP, given)
        changed = await client.update(CONFIG_MAP, {**made, "data": {"k": "w"}})
        with pytest.raises(Conflict):
            await client.update(CONFIG_MAP, {**made, "data": {"k": "x"}})
        patched = await client.patch(A, {"metadata": {"labels": {"l": "1"}}})
        assert patched["data"] == changed["data"]
        assert patched["metadata"]["managedFields"][0]["manager"] == "kube-controller-manager"
        found = await client.find(CONFIG_MAP, labels="l=1")
        assert [o["metadata"]["name"] for o in found.items] == ["a"]
        assert found.revision == str(api.store.revision)
        with pytest.raises(Conflict, match="UID in precondition"):
            await client.delete(A, uid="other")
        await client.delete(A)
        with pytest.raises(NotFound):
            await client.get(A)
        with pytest.raises(NotFound):
            await client.patch(A, {})
        with pytest.raises(Invalid) as caught:
            await client.create(CONFIG_MAP, config("B"))
        assert caught.value.faults[0].field == "metadata.name"
        with pytest.raises(MethodNotAllowed):
            await client.connect(Ref(POD, "default", "p"), "exec")

    on_api(scenario)


def test_a_watch_yields_what_there_is_then_what_changes():
    async def scenario(api):
        client = api.client
        await client.create(CONFIG_MAP, config())
        told = []

        async def listen():
            async for event in client.watch(CONFIG_MAP, "default"):
                told.append((event.type, event.object["metadata"]["name"]))
                if event.type == "DELETED":
                    return

        listening = asyncio.create_task(listen())
        await asyncio.sleep(0)
        await client.create(CONFIG_MAP, config("b"))
        await client.patch(A, {"data": {"k": "v"}})
        await client.delete(A)
        await asyncio.wait_for(listening, 5)
        assert told == [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "a")]

    on_api(scenario)


def test_a_watch_of_the_forgotten_has_expired():
    async def scenario(api):
        for n in range(6):
            await api.client.create(CONFIG_MAP, config(f"m{n}"))
        with pytest.raises(Expired):
            await anext(api.client.watch(CONFIG_MAP, after="1"))

    on_api(scenario, MemoryStore(Window(changes=3)))


def test_heartbeats_are_lazy_and_nothing_else_is():
    told = []

    class Recording(MemoryStore):
        async def commit(self, key, value, *, expect=None, lazy=False):
            told.append(lazy)
            return await super().commit(key, value, expect=expect, lazy=lazy)

    async def scenario(api):
        client = api.client
        node = await client.create(NODE, {"metadata": {"name": "n"}, "status": {"phase": "x"}})
        assert node["status"]["phase"] == "x"
        lease = {"metadata": {"name": "n", "namespace": "kube-node-lease"}, "spec": {}}
        lease = await client.create(LEASE, lease)
        told.clear()
        await client.patch(Ref(NODE, "", "n"), {"status": {"phase": "y"}}, "status")
        await client.patch(Ref(NODE, "", "n"), {"spec": {"unschedulable": True}})
        lease["spec"] = {"holderIdentity": "n"}
        await client.update(LEASE, lease)
        assert told == [True, False, True]

    on_api(scenario, Recording())


def on_disk(tmp_path, scenario):
    on_api(scenario, lambda: SqliteStore.open(tmp_path / "s.db"))


def test_writers_on_a_disk_who_meet_begin_again_and_none_is_lost(tmp_path):
    async def scenario(api):
        await api.client.create(CONFIG_MAP, config())
        changes = [{"data": {f"k{n}": "v"}} for n in range(50)]
        await asyncio.gather(*(api.client.patch(A, change) for change in changes))
        assert len((await api.client.get(A))["data"]) == 50
        outcomes = await asyncio.gather(
            *(api.client.create(CONFIG_MAP, config("one")) for _ in range(10)),
            return_exceptions=True,
        )
        assert len([o for o in outcomes if isinstance(o, AlreadyExists)]) == 9

    on_disk(tmp_path, scenario)


def test_a_loser_who_reads_again_sees_the_winner(tmp_path):
    """A refusal comes after what caused it is visible, though that may wait for the disk."""

    async def scenario(api):
        made = await api.client.create(CONFIG_MAP, config())

        async def put(value):
            obj, tries = made, 0
            while True:
                tries += 1
                try:
                    await api.client.update(CONFIG_MAP, {**obj, "data": {"k": value}})
                    return tries
                except Conflict:
                    obj = await api.client.get(A)

        assert max(await asyncio.gather(*(put(str(n)) for n in range(8)))) <= 8

    on_disk(tmp_path, scenario)


def test_bindings_evictions_and_tokens_go_through_create():
    async def scenario(api):
        client = api.client
        await client.create(
            SERVICE_ACCOUNT, {"metadata": {"name": "default", "namespace": "default"}}
        )
        spec = {"containers": [{"name": "c", "image": "i"}]}
        await client.create(POD, {"metadata": {"name": "p", "namespace": "default"}, "spec": spec})
        where = {"metadata": {"name": "p", "namespace": "default"}, "target": {"name": "n"}}
        await client.create(POD, where, "binding")
        pod = await client.get(Ref(POD, "default", "p"))
        assert pod["spec"]["nodeName"] == "n"
        assert pod["status"]["conditions"][0]["type"] == "PodScheduled"
        assert pod["metadata"]["generation"] == 1
        with pytest.raises(Conflict, match="already assigned"):
            await client.create(POD, where, "binding")
        await client.create(POD, {"metadata": {"name": "p", "namespace": "default"}}, "eviction")
        assert "deletionTimestamp" in (await client.get(Ref(POD, "default", "p")))["metadata"]

    on_api(scenario)


def test_another_user_is_named_in_managed_fields():
    async def scenario(api):
        client = api.server.local(User("system:node:here", ("system:nodes",)), manager="node")
        made = await client.create(NAMESPACE, {"metadata": {"name": "x"}})
        assert [e["manager"] for e in made["metadata"]["managedFields"]] == ["node"]

    on_api(scenario)
