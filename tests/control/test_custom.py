"""CustomResourceDefinitions: what is refused and how, and what an accepted one serves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jindou.control.api.custom import CustomResources, faults
from jindou.control.api.resources.definitions import resources_of
from jindou.control.api.resources.registry import Registry
from jindou.control.api.resources.schema import copy
from jindou.control.api.rules.custom.definitions import validate
from jindou.control.store.memory import MemoryStore
from tests.control.apis import Api, Kubectl, on_api, on_kubectl

SPEC: dict[str, Any] = {
    "type": "object",
    "required": ["cronSpec"],
    "properties": {
        "cronSpec": {"type": "string", "pattern": "^[0-9*]+$", "minLength": 2, "maxLength": 5},
        "image": {"type": "string", "default": "busybox", "enum": ["busybox", "debian"]},
        "replicas": {"type": "integer", "minimum": 1, "maximum": 10},
        "part": {"type": "number", "minimum": 0, "exclusiveMinimum": True, "multipleOf": 0.5},
        "when": {"type": "string", "format": "date-time"},
        "size": {"x-kubernetes-int-or-string": True},
        "tags": {
            "type": "array", "maxItems": 3, "minItems": 1, "x-kubernetes-list-type": "set",
            "items": {"type": "string"},
        },
        "ports": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port"],
            "items": {"type": "object", "required": ["port"], "properties": {"port": {"type": "integer"}}},
        },
        "map": {"type": "object", "maxProperties": 1, "additionalProperties": {"type": "integer"}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "empty": {"type": "string", "nullable": True},
        "a": {"type": "integer"},
        "b": {"type": "integer"},
    },
    "oneOf": [{"required": ["a"]}, {"required": ["b"]}, {"properties": {"image": {"enum": ["debian"]}}, "required": ["image"]}],
    "not": {"required": ["a", "part"]},
}  # fmt: skip


def definition(**changes: Any) -> Any:
    crd: dict[str, Any] = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "crontabs.stable.example.com"},
        "spec": {
            "group": "stable.example.com",
            "scope": "Namespaced",
            "names": {
                "plural": "crontabs",
                "kind": "CronTab",
                "shortNames": ["ct"],
                "singular": "crontab",
                "listKind": "CronTabList",
            },
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {
                                "spec": copy(SPEC),
                                "status": {
                                    "type": "object",
                                    "properties": {"replicas": {"type": "integer"}},
                                },
                            },
                        }
                    },
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                        },
                    },
                    "additionalPrinterColumns": [
                        {"name": "Spec", "type": "string", "jsonPath": ".spec.cronSpec"}
                    ],
                    "selectableFields": [{"jsonPath": ".spec.image"}],
                }
            ],
        },
    }
    for path, value in changes.items():
        put(crd, path.split("__"), value)
    return crd


def put(held: Any, path: list[str], value: Any) -> None:
    for name in path[:-1]:
        held = held[int(name) if isinstance(held, list) else name]
    last: Any = int(path[-1]) if isinstance(held, list) else path[-1]
    if value is None:
        del held[last]
    else:
        held[last] = value


def told(crd: Any, old: Any = None) -> list[str]:
    return [f"{f.field}: {f.message}" for f in validate(crd, old)]


V = "spec__versions__0__"
ROOT = f"{V}schema__openAPIV3Schema__"
AT = "spec.validation.openAPIV3Schema"

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"metadata__name": "x.y.z"}, 'metadata.name: Invalid value: "x.y.z": must be spec.names.plural+"."+spec.group'),
    ({"spec__scope": None}, "spec.scope: Required value"),
    ({"spec__scope": "Here"}, 'spec.scope: Unsupported value: "Here": supported values: "Cluster", "Namespaced"'),
    ({"spec__names__kind": None}, "spec.names.kind: Required value"),
    ({"spec__names__listKind": "CronTab"}, 'spec.names.listKind: Invalid value: "CronTab": kind and listKind may not be the same'),
    ({"spec__versions": []}, "spec.versions: Invalid value: []: must have exactly one version marked as storage version"),
    ({f"{V}storage": False}, 'spec.versions: Invalid value: [{"name":"v1","served":true,"storage":false}]: must have exactly one version marked as storage version'),
    ({f"{V}schema": None}, "spec.versions[0].schema.openAPIV3Schema: Required value"),
    ({f"{ROOT}type": None}, f"{AT}.type: Required value: must not be empty at the root"),
    ({f"{ROOT}type": "string"}, f'{AT}.type: Invalid value: "string": must be object at the root'),
    ({f"{ROOT}properties__x": {}}, f"{AT}.properties[x].type: Required value: must not be empty for specified object fields"),
    ({f"{ROOT}properties__x": {"type": "array"}}, f"{AT}.properties[x].items: Required value: must be specified"),
    ({f"{ROOT}properties__x": {"type": "array", "items": {}}}, f"{AT}.properties[x].items.type: Required value: must not be empty for specified array items"),
    ({f"{ROOT}properties__x": {"type": "wish"}}, f'{AT}.properties[x].type: Unsupported value: "wish": supported values: "array", "boolean", "integer", "number", "object", "string"'),
    ({f"{ROOT}properties__x": {"type": "string", "default": 5}}, f'{AT}.properties[x].default: Invalid value: "integer": default in body must be of type string: "integer"'),
    ({f"{ROOT}properties__x": {"type": "string", "pattern": "("}}, "error parsing regexp: missing closing ): `(`"),
    ({f"{ROOT}properties__x": {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}}, f"{AT}.properties[x].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"),
    ({f"{ROOT}properties__x": {"type": "string", "x-kubernetes-preserve-unknown-fields": False}}, f"{AT}.properties[x].x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined"),
    ({f"{ROOT}properties__x": {"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map"}}, f"{AT}.properties[x].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map"),
    ({f"{ROOT}properties__x": {"type": "object", "anyOf": [{"properties": {"z": {}}}]}}, f"{AT}.properties[x].properties[z]: Required value: because it is defined in {AT}.properties[x].anyOf[0].properties[z]"),
    ({f"{ROOT}properties__x": {"type": "string", "not": {"type": "string"}}}, f"{AT}.properties[x].not.type: Forbidden: must be empty to be structural"),
    ({f"{ROOT}properties__metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}, f"{AT}.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified"),
    ({f"{V}additionalPrinterColumns__0__jsonPath": "spec"}, 'spec.additionalPrinterColumns[0].JSONPath: Invalid value: "spec": must be a simple json path starting with .'),
    ({f"{V}subresources__scale__specReplicasPath": ".x"}, 'spec.subresources.scale.specReplicasPath: Invalid value: ".x": should be a json path under .spec'),
    ({"spec__preserveUnknownFields": True}, "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"),
]  # fmt: skip


def test_a_right_definition_has_no_fault() -> None:
    assert told(definition()) == []


@pytest.mark.parametrize(("changes", "says"), WRONG)
def test_a_wrong_definition_is_told_where_and_why(changes: dict[str, Any], says: str) -> None:
    assert any(says in line for line in told(definition(**changes))), told(definition(**changes))


def test_what_may_not_change() -> None:
    old = established()
    new = copy(old)
    new["spec"]["scope"] = "Cluster"
    new["spec"]["versions"][0]["name"] = "v2"
    lines = told(new, old)
    assert lines[0] == 'spec.scope: Invalid value: "Cluster": field is immutable'
    assert lines[1].startswith(
        'status.storedVersions[0]: Invalid value: "v1": missing from spec.versions; v1 was previously a storage version'
    )


def established(**changes: Any) -> Any:
    crd = definition(**changes)
    CustomResources(MemoryStore(), Registry()).complete(crd)
    return crd


def test_completing_fills_in_names_and_status() -> None:
    crd = established()
    names = crd["spec"]["names"]
    assert (names["singular"], names["listKind"]) == ("crontab", "CronTabList")
    status = crd["status"]
    assert status["acceptedNames"] == names
    assert status["storedVersions"] == ["v1"]
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "NamesAccepted": "True",
        "Established": "True",
    }


CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    ({"cronSpec": "x"}, ["spec.cronSpec: Invalid value: \"x\": spec.cronSpec in body should match '^[0-9*]+$'", 'spec.cronSpec: Invalid value: "x": spec.cronSpec in body should be at least 2 chars long']),
    ({"cronSpec": "1234567"}, ["spec.cronSpec: Too long: may not be more than 5 bytes"]),
    ({"cronSpec": None}, ["spec.cronSpec: Required value"]),
    ({"image": "foo"}, ['spec.image: Unsupported value: "foo": supported values: "busybox", "debian"']),
    ({"replicas": 11}, ["spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10"]),
    ({"replicas": "2"}, ['spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"']),
    ({"b": 1, "a": None, "part": 0}, ["spec.part: Invalid value: 0: spec.part in body should be greater than 0"]),
    ({"b": 1, "a": None, "part": 0.7}, ["spec.part: Invalid value: 0.7: spec.part in body should be a multiple of 0.5"]),
    ({"when": "yesterday"}, ['spec.when: Invalid value: "yesterday": spec.when in body must be of type date-time: "yesterday"']),
    ({"when": "2026-01-01T00:00:00Z", "size": "50%"}, []),
    ({"size": True}, ['spec.size: Invalid value: "boolean": spec.size in body must be of type integer,string: "boolean"']),
    ({"tags": []}, ["spec.tags: Invalid value: 0: spec.tags in body should have at least 1 items"]),
    ({"tags": ["a", "b", "a", "c"]}, ["spec.tags: Too many: 4: must have at most 3 items", 'spec.tags[2]: Duplicate value: "a"']),
    ({"ports": [{"port": 1}, {"port": 1}]}, ['spec.ports[1]: Duplicate value: {"port":1}']),
    ({"map": {"x": "y"}}, ['spec.map.x: Invalid value: "string": spec.map.x in body must be of type integer: "string"']),
    ({"free": {"x": [{"y": None}]}}, []),
    ({"a": None}, ['<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found none valid', "spec.a: Required value"]),
    ({"b": 1}, ['<nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives']),
    ({"part": 1}, ['<nil>: Invalid value: "": "spec" must not validate the schema (not)']),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "says"), CASES)
def test_what_an_object_is_told(changes: dict[str, Any], says: list[str]) -> None:
    [resource] = resources_of(established())
    spec: dict[str, Any] = {"cronSpec": "12", "a": 1, **changes}
    spec = {name: value for name, value in spec.items() if value is not None}
    found = faults(resource, {"metadata": {"name": "x"}, "spec": spec})
    assert [f"{f.field}: {f.message}" for f in found] == says


# ---------------------------------------------------------------- through the API

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
OBJECTS = "/apis/stable.example.com/v1/namespaces/default/crontabs"


def crontab(name: str = "x", **spec: Any) -> Any:
    return {
        "apiVersion": "stable.example.com/v1",
        "kind": "CronTab",
        "metadata": {"name": name},
        "spec": {"cronSpec": "12", "a": 1, **spec},
    }


def test_a_definition_is_served_at_once_and_after_a_restart() -> None:
    store = MemoryStore()

    async def first(api: Api) -> None:
        assert (await api.ask("GET", OBJECTS)).status == 404
        assert (await api.ask("POST", DEFINITIONS, definition())).status == 201
        made = await api.ask("POST", OBJECTS, crontab(free={"kept": {"deep": 1}}, lost=1))
        assert made.status == 201
        assert made.json["spec"] == {"cronSpec": "12", "a": 1, "image": "busybox", "free": {"kept": {"deep": 1}}}  # fmt: skip
        fields = made.json["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]
        assert fields == {".": {}, "f:a": {}, "f:cronSpec": {}, "f:free": {".": {}, "f:kept": {".": {}, "f:deep": {}}}, "f:image": {}}  # fmt: skip

    async def second(api: Api) -> None:
        assert (await api.ask("GET", f"{OBJECTS}/x")).json["spec"]["image"] == "busybox"
        listed = await api.ask("GET", f"{OBJECTS}?fieldSelector=spec.image%3Ddebian")
        assert (listed.json["kind"], listed.json["items"]) == ("CronTabList", [])

    on_api(first, store)
    on_api(second, store)


def test_two_definitions_may_not_share_a_name() -> None:
    async def scenario(api: Api) -> None:
        await api.ask("POST", DEFINITIONS, definition())
        other = definition(spec__names={"plural": "others", "kind": "CronTab"})
        other["metadata"]["name"] = "others.stable.example.com"
        made = await api.ask("POST", DEFINITIONS, other)
        assert made.status == 201
        held = {c["type"]: c for c in made.json["status"]["conditions"]}
        assert held["NamesAccepted"]["status"] == held["Established"]["status"] == "False"
        assert held["NamesAccepted"]["message"] == '"CronTabList" is already in use'
        path = "/apis/stable.example.com/v1/namespaces/default/others"
        assert (await api.ask("GET", path)).status == 404

    on_api(scenario)


def test_an_update_of_a_definition_changes_what_is_served() -> None:
    async def scenario(api: Api) -> None:
        await api.ask("POST", DEFINITIONS, definition())
        await api.ask("POST", OBJECTS, crontab())
        held = (await api.ask("GET", f"{DEFINITIONS}/crontabs.stable.example.com")).json
        newer = copy(held["spec"]["versions"][0])
        newer |= {"name": "v2", "storage": False}
        held["spec"]["versions"].append(newer)
        name = held["metadata"]["name"]
        assert (await api.ask("PUT", f"{DEFINITIONS}/{name}", held)).status == 200
        other = await api.ask("GET", f"{OBJECTS.replace('v1', 'v2')}/x")
        assert other.json["apiVersion"] == "stable.example.com/v2"

    on_api(scenario)


@pytest.mark.slow
def test_kubectl_and_a_custom_resource(tmp_path: Path) -> None:
    import json

    async def scenario(kubectl: Kubectl, api: Api) -> None:
        await kubectl("apply", "-f", "-", stdin=json.dumps(definition()))
        await kubectl("wait", "--for=condition=Established", "crd/crontabs.stable.example.com")
        await kubectl("apply", "-f", "-", stdin=json.dumps(crontab(replicas=2)))
        table = await kubectl("get", "ct")
        assert table.split() == ["NAME", "SPEC", "x", "12"]
        await kubectl("scale", "ct/x", "--replicas=3")
        assert await kubectl("get", "ct", "x", "-o", "jsonpath={.spec.replicas}") == "3"
        code, _, says = await kubectl.run("apply", "-f", "-", stdin=json.dumps(crontab(lost=1)))
        assert code == 1
        assert 'unknown field "spec.lost"' in says
        wrong = json.dumps(crontab("y", replicas=20, image="foo"))
        code, _, says = await kubectl.run("apply", "-f", "-", stdin=wrong)
        assert says == (
            'The CronTab "y" is invalid: \n'
            '* spec.image: Unsupported value: "foo": supported values: "busybox", "debian"\n'
            "* spec.replicas: Invalid value: 20: spec.replicas in body should be less than or equal to 10\n"
        )
        bad = json.dumps(definition(spec__scope="Here"))
        code, _, says = await kubectl.run("apply", "-f", "-", stdin=bad)
        assert 'spec.scope: Unsupported value: "Here"' in says
        await kubectl("delete", "crd", "crontabs.stable.example.com", "--timeout=10s")
        code, _, says = await kubectl.run("get", "ct")
        assert code == 1

    on_kubectl(tmp_path, scenario)


JUNK: tuple[Any, ...] = (None, 5, "x", [], {}, True, [1], {"a": 1}, 1.5, -1)


def places(held: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    for key in (
        held if isinstance(held, dict) else range(len(held) if isinstance(held, list) else 0)
    ):
        yield from places(held[key], (*at, key))


def test_junk_anywhere_in_a_schema_is_a_fault_and_no_crash() -> None:
    async def scenario(api: Api) -> None:
        whole = definition()
        for place in places(whole["spec"]["versions"][0]["schema"]):
            for junk in JUNK:
                given = copy(whole)
                held = given["spec"]["versions"][0]
                for key in ("schema", *place)[:-1]:
                    held = held[key]
                held[("schema", *place)[-1]] = junk
                answer = await api.ask("POST", f"{DEFINITIONS}?dryRun=All", given)
                assert answer.status in (201, 400, 422), (place, junk, answer.json)

    on_api(scenario)
