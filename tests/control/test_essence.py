"""Specs that are alike but for texts: judged once, with the same fields, and no more alike than that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from jindou.control.api.access.guard import CONTROLLERS
from jindou.control.api.changes import apply as managed
from jindou.control.api.engine.calls import Call
from jindou.control.api.engine.noting import Noting
from jindou.control.api.engine.templates import Witness
from jindou.control.api.resources.registry import Registry
from jindou.control.api.resources.schema import copy
from jindou.control.api.rules.essence import essence
from jindou.control.api.rules.pods import specs
from jindou.control.store.memory import MemoryStore

Spec = dict[str, Any]


def spec(token: str = "kube-api-access-aaaaa") -> Spec:
    return {
        "containers": [
            {
                "name": "web",
                "image": "web:1",
                "args": ["--fast"],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "volumeMounts": [{"name": token, "mountPath": "/token"}],
            }
        ],
        "volumes": [{"name": token, "emptyDir": {}}],
    }


def container(change: dict[str, Any]) -> Callable[[Spec], None]:
    return lambda held: held["containers"][0].update(change)


ALIKE: list[Callable[[Spec], None]] = [
    container({"image": "web:2"}),
    container({"args": ["--slow", ""]}),
    container({"env": [{"name": "A", "value": "3"}, {"name": "B", "value": '"'}]}),
]
UNLIKE: list[Callable[[Spec], None]] = [
    container({"image": ""}),
    container({"image": " web:1"}),
    container({"args": []}),
    container({"command": ["x"]}),
    container({"env": [{"name": "A", "value": "1"}, {"name": "C", "value": "2"}]}),
    container({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": ""}]}),
    container({"env": [{"name": "A", "value": "1"}, {"name": "B"}]}),
    container({"env": [{"name": "A", "value": "1"}, {"value": "2", "valueFrom": {}}]}),
    container({"ports": [{"containerPort": 81, "protocol": "TCP"}]}),
    lambda held: held["volumes"].append({"name": "kube-api-access-bbbbb", "emptyDir": {}}),
    lambda held: held.update(restartPolicy="Never"),
]


def changed(change: Callable[[Spec], None]) -> Spec:
    held = spec()
    change(held)
    return held


@pytest.mark.parametrize("change", ALIKE)
def test_texts_that_no_rule_reads_make_no_difference(change: Callable[[Spec], None]) -> None:
    assert essence(changed(change)) == essence(spec())


@pytest.mark.parametrize("change", UNLIKE)
def test_whatever_a_rule_may_look_at_does(change: Callable[[Spec], None]) -> None:
    assert essence(changed(change)) != essence(spec())


def test_the_name_that_the_volume_of_a_token_was_given_makes_none() -> None:
    assert essence(spec("kube-api-access-zzzzz")) == essence(spec())
    assert essence(spec("other")) != essence(spec())


def test_values_of_variables_of_one_name_are_of_interest() -> None:
    """A warning is told where one hides another, and none where it adds to it."""
    one = container({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]})
    other = container({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}]})
    assert essence(changed(one)) != essence(changed(other))


def test_what_is_wrong_is_found_each_time_and_beside_what_is_right() -> None:
    wrong = changed(container({"ports": [{"containerPort": 0, "protocol": "TCP"}]}))
    for _ in range(2):
        assert specs.spec(spec(), "spec") == []
        assert [fault.field for fault in specs.spec(wrong, "spec")] == [
            "spec.containers[0].ports[0].containerPort"
        ]


METAS: list[dict[str, Any]] = [
    {"name": "a"},
    {"generateName": "a-", "labels": {"app": "x", "b/c": ""}},
    {"labels": {"app": "y", "b/c": "z"}},
    {"labels": {"app": "y"}, "annotations": {"n": "1"}, "finalizers": ["x/y", "x/a"]},
    {"ownerReferences": [{"uid": "u", "name": "n", "kind": "Job", "apiVersion": "batch/v1"}]},
    {"ownerReferences": [{"uid": "v", "name": "n", "kind": "Job", "apiVersion": "batch/v1"}]},
]


def test_the_fields_of_new_pods_are_those_of_the_long_way() -> None:
    resource = Registry().by_url("", "v1", "pods")
    assert resource is not None
    noting, call = Noting(), Call(user=CONTROLLERS, manager="tests")
    for change in (*ALIKE, *UNLIKE, *ALIKE, *UNLIKE):
        for meta in METAS:
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": changed(change)}
            one, other = copy(pod), copy(pod)
            noting.track(resource, None, one, call, "")
            now = one["metadata"]["managedFields"][0]["time"]
            managed.track(
                None, other, manager="tests", schema=resource.schema, api_version="v1",
                subresource="", now=now,
            )  # fmt: skip
            assert one == other


def test_what_admission_reads_is_as_new_as_the_store() -> None:
    async def main() -> None:
        store, told = MemoryStore(), 0

        def changed() -> None:
            nonlocal told
            told += 1

        witness = Witness(store, changed)
        assert witness.get("core/limitranges/a/b") is None
        assert not witness.scan("core/limitranges/a/").items
        made = await store.commit("core/limitranges/a/b", lambda revision: b"{}", expect=0)
        assert told == 1
        assert witness.get("core/limitranges/a/b") == made
        assert witness.scan("core/limitranges/a/").items == [made]
        await store.commit("core/limitranges/a/b", None, expect=made.revision)
        assert witness.get("core/limitranges/a/b") is None
        assert not witness.scan("core/limitranges/a/").items

    asyncio.run(main())
