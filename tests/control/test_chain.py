"""Admission around a write: the order in which everybody is asked, and which writes a rule is about."""

from __future__ import annotations

from typing import Any

import pytest

from jindou.control.api.admission import matching
from jindou.control.api.admission.chain import Chain, Place, Review
from jindou.control.api.resources.registry import Registry, Resource
from jindou.objects.errors import Forbidden
from jindou.objects.kinds import CONFIG_MAP, POD, Kind, Object
from tests.control.apis import Api, on_api

MAPS = "/api/v1/namespaces/default/configmaps"


class Part:
    """Notes that it was asked, and does what it is told."""

    def __init__(self, name: str, seen: list[str], does: Any = None) -> None:
        self.name, self.seen, self.does = name, seen, does

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        return resource.kind == CONFIG_MAP

    async def admit(self, review: Review) -> None:
        self.seen.append(f"{self.name} {review.operation}")
        if self.does is not None:
            self.does(review)


def config_map(name: str, **more: Any) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **more}


# ---------------------------------------------------------------- the chain


def test_everybody_is_asked_in_order_and_only_about_what_concerns_him() -> None:
    async def scenario(api: Api) -> None:
        seen: list[str] = []
        chain = api.server.engine.chain
        for place in reversed(Place):
            chain.plug(place, Part(place.name.lower(), seen))
        assert (await api.ask("POST", MAPS, config_map("a"))).status == 201
        order = [f"{place.name.lower()} CREATE" for place in Place]
        assert seen == order
        await api.ask("POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": "s"}})
        assert seen == order
        seen.clear()
        await api.ask("DELETE", f"{MAPS}/a")
        assert seen == [f"{place.name.lower()} DELETE" for place in Place]

    on_api(scenario)


def test_the_writes_of_our_own_controllers_are_asked_about_too() -> None:
    async def scenario(api: Api) -> None:
        def refuse(review: Review) -> None:
            raise Forbidden(f"not {review.user.name}")

        api.server.engine.chain.plug(Place.VALIDATING_POLICIES, Part("p", [], refuse))
        obj = config_map("a")
        obj["metadata"]["namespace"] = "default"
        with pytest.raises(Forbidden, match="not system:kube-controller-manager"):
            await api.client.create(CONFIG_MAP, obj)

    on_api(scenario)


def test_what_was_taken_for_a_write_is_given_back_where_it_fails() -> None:
    async def scenario(api: Api) -> None:
        taken: list[str] = []

        def take(review: Review) -> None:
            taken.append(review.name)
            review.undo.append(lambda: taken.remove(review.name))

        chain = api.server.engine.chain
        chain.plug(Place.QUOTA, Part("q", [], take))
        assert (await api.ask("POST", MAPS, config_map("a"))).status == 201
        assert taken == ["a"]
        assert (await api.ask("POST", MAPS, config_map("a"))).status == 409
        assert (await api.ask("POST", f"{MAPS}?dryRun=All", config_map("b"))).status == 201
        assert (await api.ask("POST", MAPS, config_map("c", data={"bad key!": ""}))).status == 422
        assert taken == ["a"]

        def refuse(review: Review) -> None:
            raise Forbidden("no")

        chain.plug(Place.QUOTA, Part("last", [], refuse))
        assert (await api.ask("POST", MAPS, config_map("d"))).status == 403
        assert taken == ["a"]

    on_api(scenario)


def test_nobody_can_change_who_an_object_is() -> None:
    async def scenario(api: Api) -> None:
        def change(review: Review) -> None:
            assert review.object is not None
            meta = review.object["metadata"]
            assert "uid" not in meta or review.operation == "UPDATE"
            meta.update(
                uid="mine", creationTimestamp="2001-01-01T00:00:00Z", labels={"seen": "yes"}
            )

        api.server.engine.chain.plug(Place.MUTATING_POLICIES, Part("m", [], change))
        meta = (await api.ask("POST", MAPS, config_map("a"))).json["metadata"]
        assert meta["labels"] == {"seen": "yes"}
        assert meta["uid"] != "mine"
        after = (await api.ask("PUT", f"{MAPS}/a", config_map("a", data={"k": "v"}))).json
        assert after["metadata"]["uid"] == meta["uid"]
        assert after["metadata"]["creationTimestamp"] == meta["creationTimestamp"]

    on_api(scenario)


def test_a_chain_without_configuration_is_asleep() -> None:
    chain, part = Chain(), Part("p", [])
    maps = Registry().of(CONFIG_MAP)
    assert not chain.active
    chain.plug(Place.QUOTA, part, active=False)
    assert not chain.active
    assert chain.hands("CREATE", maps, "") is None
    chain.refresh(part, active=True)
    assert chain.active
    hands = chain.hands("CREATE", maps, "")
    assert hands is not None
    assert hands.validating == (part,)
    assert chain.hands("CREATE", Registry().of(POD), "") is None


# ---------------------------------------------------------------- rules

RULE = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}


@pytest.mark.parametrize(
    ("rule", "sub", "matches"),
    [
        ({}, "", True),
        ({"operations": ["*"]}, "", True),
        ({"operations": ["UPDATE"]}, "", False),
        ({"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}, "", True),
        ({"apiGroups": ["apps"]}, "", False),
        ({"apiVersions": ["v2"]}, "", False),
        ({"resources": ["*"]}, "status", False),
        ({"resources": ["pods/*"]}, "status", True),
        ({"resources": ["pods/*"]}, "", True),
        ({"resources": ["*/status"]}, "status", True),
        ({"resources": ["pods/status"]}, "", False),
        ({"resources": ["*/*"]}, "eviction", True),
        ({"scope": "Namespaced"}, "", True),
        ({"scope": "Cluster"}, "", False),
    ],
)
def test_rules_with_wildcards(rule: dict[str, Any], sub: str, matches: bool) -> None:
    made = matching.rule_of({**RULE, **rule})
    assert made.matches("CREATE", Registry().of(POD), sub) is matches


def test_equivalent_kinds_are_those_of_the_same_objects() -> None:
    registry = Registry()
    events = registry.of(Kind("", "v1", "Event", "events"))
    rules = matching.rules_of(
        [{**RULE, "apiGroups": ["events.k8s.io"], "resources": ["events"]}]
    )  # fmt: skip
    asked = rules, "CREATE", events, ""
    found = matching.matched(*asked, registry, equivalent=True)
    assert found is not None
    assert found.kind.group == "events.k8s.io"
    assert matching.matched(*asked, registry, equivalent=False) is None
