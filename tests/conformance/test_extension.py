"""Custom kinds: what their definitions say is kept, for every write, read, watch and document."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.wire import APPLY, MERGE, PATIENCE, STRATEGIC, Answer, Api

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
COLUMNS = [
    {"name": "Color", "type": "string", "jsonPath": ".spec.color"},
    {"name": "Size", "type": "integer", "jsonPath": ".spec.size", "priority": 1},
]
SCALE = {
    "specReplicasPath": ".spec.replicas",
    "statusReplicasPath": ".status.replicas",
    "labelSelectorPath": ".status.selector",
}


class Widgets:
    """One custom kind of this test's own, in a group that nobody else has."""

    def __init__(self, api: Api, ns: str) -> None:
        self.api, self.ns, self.group = api, ns, f"{ns}.example.com"
        self.crd = f"{DEFINITIONS}/widgets.{self.group}"

    def path(self, name: str = "", version: str = "v1") -> str:
        path = f"/apis/{self.group}/{version}/namespaces/{self.ns}/widgets"
        return f"{path}/{name}" if name else path

    def widget(self, name: str, version: str = "v1", **spec: Any) -> dict[str, Any]:
        return {
            "apiVersion": f"{self.group}/{version}", "kind": "Widget",
            "metadata": {"name": name}, "spec": spec,
        }  # fmt: skip

    def definition(self, properties: Any, *rules: Any, **version: Any) -> dict[str, Any]:
        """`properties` are those of the spec, `rules` are of the spec."""
        spec: dict[str, Any] = {"type": "object", "properties": properties}
        if rules:
            spec["x-kubernetes-validations"] = [
                {"rule": rule} if isinstance(rule, str) else rule for rule in rules
            ]
        status = {
            "type": "object",
            "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}},
        }
        schema = {"type": "object", "properties": {"spec": spec, "status": status}}
        v1 = {
            "name": "v1", "served": True, "storage": True,
            "schema": {"openAPIV3Schema": schema}, **version,
        }  # fmt: skip
        return {
            "metadata": {"name": f"widgets.{self.group}"},
            "spec": {
                "group": self.group, "scope": "Namespaced",
                "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"]},
                "versions": [v1],
            },
        }  # fmt: skip

    def serve(self, definition: dict[str, Any]) -> None:
        self.api.make(DEFINITIONS, definition)
        self.established()

    def established(self, version: str = "v1") -> None:
        self.api.until(self.crd, lambda crd: condition(crd, "Established") == "True")
        self.soon(lambda: self.api.ask("GET", self.path(version=version)).code == 200)

    def soon(self, holds: Any) -> None:
        """What follows a definition takes another server a moment."""
        limit = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < limit, "it did not come true"

    def make(self, name: str, version: str = "v1", **spec: Any) -> Any:
        return self.api.make(self.path(version=version), self.widget(name, version, **spec))

    def create(self, name: str, query: str = "", **spec: Any) -> Answer:
        return self.api.ask("POST", self.path() + query, self.widget(name, **spec))

    def change(self, name: str, part: str = "", **changes: Any) -> Answer:
        path = self.path(name) + (f"/{part}" if part else "")
        return self.api.ask("PATCH", path, changes, kind=MERGE)


def condition(obj: Any, kind: str) -> str:
    held = obj.get("status", {}).get("conditions") or []
    return next((c["status"] for c in held if c["type"] == kind), "")


def names(listing: Any) -> list[str]:
    return [item["metadata"]["name"] for item in listing["items"]]


@pytest.fixture
def widgets(api: Api, ns: str) -> Iterator[Widgets]:
    made = Widgets(api, ns)
    yield made
    api.ask("DELETE", made.crd)


TEXT, NUMBER = {"type": "string"}, {"type": "integer"}

# ---------------------------------------------------------------- schemas


def test_71_unknown_fields_are_pruned_and_told(widgets: Widgets) -> None:
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    nested = {"type": "object", "properties": {"a": NUMBER}}
    widgets.serve(widgets.definition({"nested": nested, "free": free}))
    answer = widgets.create("a", nested={"a": 1, "b": 2}, free={"x": {"y": 1}}, other=1)
    assert answer.json["spec"] == {"nested": {"a": 1}, "free": {"x": {"y": 1}}}
    warnings = answer.headers.get_all("Warning") or []
    assert {'299 - "unknown field \\"spec.nested.b\\""', '299 - "unknown field \\"spec.other\\""'} == {*warnings}  # fmt: skip
    refused = widgets.create("b", "?fieldValidation=Strict", other=1)
    assert refused.code == 400
    assert 'strict decoding error: unknown field "spec.other"' in refused.message


def test_71_defaults_are_filled_in_also_when_they_came_later(widgets: Widgets) -> None:
    nested = {"type": "object", "default": {"x": 1}, "properties": {"x": NUMBER, "y": {"type": "integer", "default": 5}}}  # fmt: skip
    definition = widgets.definition({"nested": nested, "nullable": {"type": "string", "nullable": True}, "plain": {"type": "string", "default": "p"}})  # fmt: skip
    widgets.serve(definition)
    made = widgets.make("a", plain=None, nullable=None)
    assert made["spec"] == {"nested": {"x": 1, "y": 5}, "nullable": None, "plain": "p"}
    spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["later"] = {"type": "string", "default": "l"}
    widgets.api.good("PATCH", widgets.crd, {"spec": definition["spec"]}, kind=MERGE)
    widgets.soon(lambda: widgets.api.get(widgets.path("a"))["spec"].get("later") == "l")
    assert widgets.api.get(widgets.path())["items"][0]["spec"]["later"] == "l"


def test_71_a_null_where_none_may_be_is_no_value(widgets: Widgets) -> None:
    definition = widgets.definition({"must": TEXT})
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["required"] = ["must"]  # fmt: skip
    widgets.serve(definition)
    answer = widgets.create("a", must=None)
    assert answer.code == 422
    assert answer.causes == [("FieldValueRequired", "spec.must")]


@pytest.mark.parametrize(
    ("schema", "value", "cause", "says"),
    [
        (NUMBER, "x", "FieldValueTypeInvalid", 'Invalid value: "string": spec.f in body must be of type integer: "string"'),
        ({"x-kubernetes-int-or-string": True}, 1.5, "FieldValueTypeInvalid", 'spec.f in body must be of type integer,string: "number"'),
        ({"type": "string", "enum": ["b", "a"]}, "c", "FieldValueNotSupported", 'Unsupported value: "c": supported values: "b", "a"'),
        ({"type": "string", "pattern": "^a$"}, "a\n", "FieldValueInvalid", "spec.f in body should match '^a$'"),
        ({"type": "string", "pattern": "^(a+)+$"}, "a" * 4000 + "!", "FieldValueInvalid", "spec.f in body should match '^(a+)+$'"),
        ({"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"}, ["a", "a"], "FieldValueDuplicate", 'Duplicate value: "a"'),
    ],
)  # fmt: skip
def test_71_values_are_judged_by_the_schema(
    widgets: Widgets, schema: Any, value: Any, cause: str, says: str
) -> None:
    widgets.serve(widgets.definition({"f": schema}))
    answer = widgets.create("a", f=value)
    assert answer.code == 422
    ((reason, field),) = answer.causes
    assert (reason, field.partition("[")[0]) == (cause, "spec.f")
    assert says in answer.message


def test_71_an_embedded_object_says_what_it_is(widgets: Widgets) -> None:
    embedded = {
        "type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True,
    }  # fmt: skip
    widgets.serve(widgets.definition({"template": embedded}))
    assert widgets.create("a", template={"kind": "Pod"}).causes == [
        ("FieldValueRequired", "spec.template.apiVersion")
    ]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "odd": 1}, "any": {"x": 1}}
    kept = widgets.create("b", template=pod).json["spec"]["template"]
    assert kept == {**pod, "metadata": {"name": "p"}}


def test_71_lists_with_keys_are_applied_by_their_keys(widgets: Widgets) -> None:
    item = {"type": "object", "required": ["k"], "properties": {"k": TEXT, "v": NUMBER}}
    listed = {
        "type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
    }  # fmt: skip
    widgets.serve(widgets.definition({"l": listed}))

    def apply(manager: str, *items: Any) -> Any:
        body = widgets.widget("a", l=list(items))
        query = {"fieldManager": manager}
        return widgets.api.good("PATCH", widgets.path("a"), body, kind=APPLY, **query)

    apply("one", {"k": "a", "v": 1})
    both = apply("two", {"k": "b", "v": 2})
    assert [item["k"] for item in both["spec"]["l"]] == ["a", "b"]
    refused = widgets.api.ask("PATCH", widgets.path("a"), {}, kind=STRATEGIC)
    assert refused.code == 415


@pytest.mark.parametrize(
    ("field", "schema", "says"),
    [
        ("properties[spec].properties[f].type", {}, "Required value: must not be empty for specified object fields"),
        ("properties[spec].properties[f].uniqueItems", {"type": "array", "items": TEXT, "uniqueItems": True}, "Forbidden: uniqueItems cannot be set to true"),
        ("properties[spec].properties[f].pattern", {"type": "string", "pattern": "(?<=a)b"}, "must be a valid regular expression, but isn't: error parsing regexp: invalid named capture: `(?<=a)b`"),
        ("properties[spec].properties[f].pattern", {"type": "string", "pattern": "a**"}, "error parsing regexp: invalid nested repetition operator: `**`"),
        ("properties[spec].properties[f].default", {"type": "integer", "default": "x"}, "must be of type integer"),
    ],
)  # fmt: skip
def test_71_a_schema_has_to_be_structural(
    widgets: Widgets, field: str, schema: Any, says: str
) -> None:
    answer = widgets.api.ask("POST", DEFINITIONS, widgets.definition({"f": schema}))
    assert answer.code == 422
    assert ("spec.validation.openAPIV3Schema." + field) in [at for _, at in answer.causes]
    assert says in answer.message


# ---------------------------------------------------------------- rules


def test_71_rules_of_the_schema_judge_every_write(widgets: Widgets) -> None:
    rule = {
        "rule": "self.min <= self.max", "messageExpression": "'%d is above %d'.format([self.min, self.max])",
        "reason": "FieldValueForbidden", "fieldPath": ".min",
    }  # fmt: skip
    names = {"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 9, "x-kubernetes-validations": [{"rule": "self.startsWith('n-')"}]}}  # fmt: skip
    widgets.serve(widgets.definition({"min": NUMBER, "max": NUMBER, "names": names}, rule))
    answer = widgets.create("a", min=2, max=1, names=["n-1", "x"])
    assert answer.code == 422
    assert answer.causes == [
        ("FieldValueForbidden", "spec.min"),
        ("FieldValueInvalid", "spec.names[1]"),
    ]
    assert "spec.min: Forbidden: 2 is above 1" in answer.message
    assert "Invalid value: \"x\": failed rule: self.startsWith('n-')" in answer.message
    assert widgets.create("a", min=1, max=1, names=["n-1"]).code == 201


def test_71_transition_rules_see_the_older_value(widgets: Widgets) -> None:
    widgets.serve(widgets.definition({"n": NUMBER}, "!has(oldSelf.n) || self.n >= oldSelf.n"))
    widgets.make("a", n=5)
    assert widgets.change("a", spec={"n": 6}).code == 200
    refused = widgets.change("a", spec={"n": 5})
    assert refused.code == 422
    assert refused.causes == [("FieldValueInvalid", "spec")]


def test_71_what_a_new_rule_forbids_may_stay_as_it_was(widgets: Widgets) -> None:
    definition = widgets.definition({"n": NUMBER, "m": NUMBER})
    widgets.serve(definition)
    widgets.make("a", n=9, m=1)
    spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["n"] = {
        "type": "integer", "maximum": 8, "x-kubernetes-validations": [{"rule": "self < 5"}],
    }  # fmt: skip
    widgets.api.good("PATCH", widgets.crd, {"spec": definition["spec"]}, kind=MERGE)
    widgets.soon(lambda: widgets.create("b", "?dryRun=All", n=9).code == 422)
    kept = widgets.change("a", spec={"m": 2})
    assert kept.code == 200
    assert "spec.n: Invalid value: 9: failed rule: self < 5" in kept.headers["Warning"]
    assert widgets.change("a", spec={"n": 7}).causes == [("FieldValueInvalid", "spec.n")]


@pytest.mark.parametrize(
    ("rule", "field", "says"),
    [
        ("self.foo > 1", "rule", "compilation failed: ERROR: <input>:1:5: undefined field 'foo'\n | self.foo > 1\n | ....^"),
        ("self.n > 'x'", "rule", "found no matching overload for '_>_' applied to '(int, string)'"),
        ("self.n", "rule", "cel expression must evaluate to a bool"),
        ({"rule": "true", "messageExpression": "1"}, "messageExpression", "messageExpression must evaluate to a string"),
        ({"rule": "true", "fieldPath": ".foo"}, "fieldPath", 'Invalid value: ".foo": must be a valid path'),
    ],
)  # fmt: skip
def test_71_a_rule_that_does_not_compile_refuses_the_definition(
    widgets: Widgets, rule: Any, field: str, says: str
) -> None:
    answer = widgets.api.ask("POST", DEFINITIONS, widgets.definition({"n": NUMBER}, rule))
    assert answer.code == 422
    place = "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0]"
    assert [at for _, at in answer.causes] == [f"{place}.{field}"]
    assert says in answer.message


# ---------------------------------------------------------------- subresources, columns, selectors


def test_71_status_is_apart(widgets: Widgets) -> None:
    widgets.serve(widgets.definition({"n": NUMBER}, subresources={"status": {}}))
    body = {**widgets.widget("a", n=1), "status": {"replicas": 3}}
    made = widgets.api.make(widgets.path(), body)
    assert "status" not in made
    told = widgets.change("a", "status", status={"replicas": 2}, spec={"n": 9}).json
    assert (told["spec"], told["status"]) == ({"n": 1}, {"replicas": 2})
    assert told["metadata"]["generation"] == 1
    changed = widgets.change("a", spec={"n": 2}, status={"replicas": 9}).json
    assert (changed["status"], changed["metadata"]["generation"]) == ({"replicas": 2}, 2)


def test_71_scale_reads_and_writes_where_the_definition_says(widgets: Widgets) -> None:
    replicas = {"replicas": NUMBER}
    widgets.serve(widgets.definition(replicas, subresources={"status": {}, "scale": SCALE}))
    widgets.make("a", replicas=2)
    widgets.change("a", "status", status={"replicas": 1, "selector": "a=b"})
    scale = widgets.api.get(widgets.path("a") + "/scale")
    assert (scale["kind"], scale["spec"]) == ("Scale", {"replicas": 2})
    assert scale["status"] == {"replicas": 1, "selector": "a=b"}
    assert widgets.change("a", "scale", spec={"replicas": 5}).code == 200
    assert widgets.api.get(widgets.path("a"))["spec"]["replicas"] == 5


def test_71_printer_columns(widgets: Widgets) -> None:
    properties = {"color": TEXT, "size": NUMBER}
    widgets.serve(widgets.definition(properties, additionalPrinterColumns=COLUMNS))
    widgets.make("a", color="red", size=3)
    table = widgets.api.good("GET", widgets.path(), accept=TABLE)
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Color", "Size"]
    assert [c["priority"] for c in table["columnDefinitions"]] == [0, 0, 1]
    assert table["rows"][0]["cells"] == ["a", "red", 3]


def test_71_selectable_fields_in_lists_and_watches(widgets: Widgets) -> None:
    selectable = [{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.size"}]
    properties = {"color": TEXT, "size": NUMBER, "other": TEXT}
    widgets.serve(widgets.definition(properties, selectableFields=selectable))
    widgets.make("a", color="red", size=3)
    widgets.make("b", color="blue")
    listing = widgets.api.get(widgets.path(), fieldSelector="spec.color=red,spec.size=3")
    assert names(listing) == ["a"]
    assert names(widgets.api.get(widgets.path(), fieldSelector="spec.size=")) == ["b"]
    refused = widgets.api.ask("GET", widgets.path(), fieldSelector="spec.other=x")
    assert refused.code == 400
    revision = listing["metadata"]["resourceVersion"]
    query = {"fieldSelector": "spec.color=red", "resourceVersion": revision}
    with widgets.api.watch(widgets.path(), **query) as watch:
        widgets.change("b", spec={"color": "red"})
        widgets.change("b", spec={"color": "green"})
        assert [event["type"] for event in watch.take(2)] == ["ADDED", "DELETED"]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (".spec.foo", "is an invalid path: does not refer to a valid field"),
        (".spec", "must point to a field of type string, boolean or integer"),
        (".spec.l[0]", "is an invalid path: array notation is not allowed"),
    ],
)
def test_71_not_every_field_is_selectable(widgets: Widgets, path: str, says: str) -> None:
    definition = widgets.definition(
        {"l": {"type": "array", "items": TEXT}}, selectableFields=[{"jsonPath": path}]
    )
    answer = widgets.api.ask("POST", DEFINITIONS, definition)
    assert answer.causes == [("FieldValueInvalid", "spec.selectableFields[0].jsonPath")]
    assert says in answer.message


# ---------------------------------------------------------------- versions


def two_versions(widgets: Widgets) -> dict[str, Any]:
    definition = widgets.definition({"n": NUMBER})
    v1 = definition["spec"]["versions"][0]
    v2 = {**v1, "name": "v2", "storage": False, "deprecated": True}
    definition["spec"]["versions"] = [v1, v2]
    return definition


def test_71_versions_show_the_same_objects(widgets: Widgets) -> None:
    widgets.serve(two_versions(widgets))
    widgets.established("v2")
    made = widgets.make("a", "v2", n=1)
    shown = widgets.api.get(widgets.path("a"))
    assert (made["apiVersion"], shown["apiVersion"]) == (f"{widgets.group}/v2", f"{widgets.group}/v1")  # fmt: skip
    for part in ("uid", "resourceVersion"):
        assert made["metadata"][part] == shown["metadata"][part]
    with widgets.api.watch(widgets.path(version="v2"), resourceVersion="0") as watch:
        assert watch.next()["object"]["apiVersion"] == f"{widgets.group}/v2"


def test_71_a_version_that_is_deprecated_says_so(widgets: Widgets) -> None:
    widgets.serve(two_versions(widgets))
    widgets.established("v2")
    answer = widgets.api.ask("GET", widgets.path(version="v2"))
    assert answer.headers["Warning"] == f'299 - "{widgets.group}/v2 Widget is deprecated"'
    assert "Warning" not in widgets.api.ask("GET", widgets.path()).headers


def test_71_a_version_that_was_stored_can_not_just_go(widgets: Widgets) -> None:
    definition = two_versions(widgets)
    widgets.serve(definition)
    v2 = {**definition["spec"]["versions"][1], "storage": True}
    change = {"spec": {"versions": [v2]}}
    answer = widgets.api.ask("PATCH", widgets.crd, change, kind=MERGE)
    assert answer.code == 422
    assert answer.causes[0][1] == "status.storedVersions[0]"


# ---------------------------------------------------------------- definitions


def test_72_conditions_and_names(widgets: Widgets) -> None:
    widgets.serve(widgets.definition({}))
    crd = widgets.api.get(widgets.crd)
    assert condition(crd, "NamesAccepted") == condition(crd, "Established") == "True"
    assert crd["status"]["acceptedNames"] == {
        "plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList",
        "shortNames": ["wd"], "categories": ["all"],
    }  # fmt: skip
    assert crd["status"]["storedVersions"] == ["v1"]


def test_72_two_definitions_may_not_share_a_name(widgets: Widgets) -> None:
    widgets.serve(widgets.definition({}))
    other = widgets.definition({})
    other["metadata"]["name"] = f"gadgets.{widgets.group}"
    other["spec"]["names"] = {"plural": "gadgets", "kind": "Widget"}
    widgets.api.make(DEFINITIONS, other)
    path = f"{DEFINITIONS}/gadgets.{widgets.group}"
    crd = widgets.api.until(path, lambda crd: condition(crd, "NamesAccepted") == "False")
    widgets.api.ask("DELETE", path)
    (accepted,) = [c for c in crd["status"]["conditions"] if c["type"] == "NamesAccepted"]
    assert accepted["reason"] in ("KindConflict", "ListKindConflict")
    assert accepted["message"].endswith("is already in use")


def test_71_an_object_says_what_it_is(widgets: Widgets) -> None:
    widgets.serve(widgets.definition({"f": TEXT}))
    widgets.make("a", f="x")
    for body, says in (
        ({"kind": None}, "the object provided is unrecognized (must be of type Widget): Object 'Kind' is missing in"),
        ({"apiVersion": None}, "the API version in the data () does not match the expected API version"),
    ):  # fmt: skip
        for method, path in (("POST", widgets.path()), ("PUT", widgets.path("a"))):
            sent = {**widgets.widget("a"), **body}
            answer = widgets.api.ask(method, path, {n: v for n, v in sent.items() if v is not None})
            assert (answer.code, answer.reason) == (400, "BadRequest")
            assert answer.message.startswith(says)
    renamed = widgets.api.ask("PATCH", widgets.path("a"), {"apiVersion": f"{widgets.group}/v2"}, kind=MERGE)  # fmt: skip
    assert (renamed.code, renamed.causes) == (422, [("FieldValueInvalid", "apiVersion")])
    assert widgets.api.ask("PATCH", widgets.path("a"), {"kind": None}, kind=MERGE).code == 422


def test_71_versions_that_are_not_served_are_nowhere(widgets: Widgets) -> None:
    widgets.serve(widgets.definition({"f": TEXT}))
    for path in (f"/apis/{widgets.group}/v9", widgets.path(version="v9"), f"/apis/{widgets.group}/v1/others"):  # fmt: skip
        answer = widgets.api.ask("GET", path)
        assert (answer.code, answer.body) == (404, b"404 page not found\n")


def test_72_discovery_and_openapi_follow(widgets: Widgets) -> None:
    widgets.serve(widgets.definition({"n": {"type": "integer", "minimum": 3}}))

    def listed() -> Any:
        answer = widgets.api.ask("GET", f"/apis/{widgets.group}/v1")
        return answer.json["resources"] if answer.code == 200 else []

    widgets.soon(lambda: [r for r in listed() if r["name"] == "widgets"])
    (resource,) = [r for r in listed() if r["name"] == "widgets"]
    assert (resource["kind"], resource["shortNames"]) == ("Widget", ["wd"])
    told = hashlib.sha256(f"{widgets.group}/v1/Widget".encode()).digest()[:8]
    assert resource["storageVersionHash"] == base64.b64encode(told).decode()
    place = f"apis/{widgets.group}/v1"
    widgets.soon(lambda: place in widgets.api.get("/openapi/v3")["paths"])
    url = widgets.api.get("/openapi/v3")["paths"][place]["serverRelativeURL"]
    document = widgets.api.get(url)
    schemas = document["components"]["schemas"]
    (name,) = [name for name in schemas if name.endswith(".v1.Widget")]
    assert schemas[name + "List"]["properties"]["items"]["items"]["$ref"].endswith(name)
    several = f"/apis/{widgets.group}/v1/namespaces/{{namespace}}/widgets"
    assert {*document["paths"]} == {several, f"{several}/{{name}}", f"/apis/{widgets.group}/v1/widgets"}  # fmt: skip
    group = "".join(part.capitalize() for part in widgets.group.replace("-", ".").split("."))
    assert document["paths"][several]["delete"]["operationId"] == f"delete{group}V1CollectionNamespacedWidget"  # fmt: skip
    spec = schemas[name]["properties"]["spec"]["properties"]
    assert spec["n"] == {"type": "integer", "minimum": 3}


def test_72_a_definition_goes_after_its_objects(widgets: Widgets) -> None:
    widgets.serve(widgets.definition({}))
    held = widgets.widget("a")
    held["metadata"]["finalizers"] = ["example.com/wait"]
    widgets.api.make(widgets.path(), held)
    widgets.api.make(widgets.path(), widgets.widget("b"))
    gone = widgets.api.good("DELETE", widgets.crd)
    assert "customresourcecleanup.apiextensions.k8s.io" in gone["metadata"]["finalizers"]
    assert condition(gone, "Terminating") == "True"
    widgets.soon(lambda: names(widgets.api.get(widgets.path())) == ["a"])
    assert widgets.api.get(widgets.crd)["metadata"]["deletionTimestamp"]
    widgets.change("a", metadata={"finalizers": None})
    widgets.api.until_gone(widgets.crd)
    widgets.soon(lambda: widgets.api.ask("GET", widgets.path()).code == 404)


def test_72_a_watch_ends_with_its_kind(widgets: Widgets) -> None:
    widgets.serve(widgets.definition({}))
    widgets.make("a")
    listing = widgets.api.get(widgets.path())
    with widgets.api.watch(
        widgets.path(), resourceVersion=listing["metadata"]["resourceVersion"]
    ) as watch:
        widgets.api.good("DELETE", widgets.crd)
        events = []
        while (event := watch.next()) is not None:
            events.append(event["type"])
        assert events == ["DELETED"]


# ---------------------------------------------------------------- one storage for all versions

SCALER = {"maxReplicas": 3, "minReplicas": 1, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}  # fmt: skip


def test_74_autoscalers_of_both_versions_are_the_same(api: Api, ns: str) -> None:
    def path(version: str, name: str = "") -> str:
        base = f"/apis/autoscaling/{version}/namespaces/{ns}/horizontalpodautoscalers"
        return f"{base}/{name}" if name else base

    spec = {**SCALER, "targetCPUUtilizationPercentage": 60}
    api.make(path("v1"), {"metadata": {"name": "a"}, "spec": spec})
    made, other, again = (api.get(path(version, "a")) for version in ("v1", "v2", "v1"))
    while made["metadata"]["resourceVersion"] != again["metadata"]["resourceVersion"]:
        made, other, again = again, api.get(path("v2", "a")), api.get(path("v1", "a"))
    assert other["apiVersion"] == "autoscaling/v2"
    for part in ("uid", "resourceVersion", "creationTimestamp"):
        assert made["metadata"][part] == other["metadata"][part]
    metric = {"type": "Utilization", "averageUtilization": 60}
    assert other["spec"]["metrics"] == [
        {"type": "Resource", "resource": {"name": "cpu", "target": metric}}
    ]
    api.good("PATCH", path("v2", "a"), {"spec": {"maxReplicas": 7}}, kind=MERGE)
    assert api.get(path("v1", "a"))["spec"]["maxReplicas"] == 7


def test_74_what_the_old_autoscaler_can_not_say_is_in_annotations(api: Api, ns: str) -> None:
    new = f"/apis/autoscaling/v2/namespaces/{ns}/horizontalpodautoscalers"
    old = new.replace("/v2/", "/v1/", 1)
    rps = {"name": "rps", "selector": {"matchLabels": {"a": "b"}}}
    metrics = [
        {"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 50}}},
        {"type": "Pods", "pods": {"metric": rps, "target": {"type": "AverageValue", "averageValue": "5"}}},
        {"type": "External", "external": {"metric": rps, "target": {"type": "Value", "value": "7"}}},
        {"type": "Object", "object": {
            "describedObject": {"kind": "Service", "name": "s", "apiVersion": "v1"}, "metric": {"name": "rps"},
            "target": {"type": "AverageValue", "averageValue": "9"},
        }},
    ]  # fmt: skip
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    spec = {"maxReplicas": 3, "scaleTargetRef": target, "metrics": metrics, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}}}  # fmt: skip
    made = api.make(new, {"metadata": {"name": "a"}, "spec": spec})
    shown = api.get(f"{old}/a")
    notes = {key.rpartition("/")[2]: json.loads(text) for key, text in shown["metadata"]["annotations"].items()}  # fmt: skip
    assert notes["metrics"] == [
        {"type": "Resource", "resource": {"name": "memory", "targetAverageUtilization": 50}},
        {"type": "Pods", "pods": {"metricName": "rps", "targetAverageValue": "5", "selector": rps["selector"]}},
        {"type": "External", "external": {"metricName": "rps", "metricSelector": rps["selector"], "targetValue": "7"}},
        {"type": "Object", "object": {
            "target": {"kind": "Service", "name": "s", "apiVersion": "v1"}, "metricName": "rps",
            "targetValue": "0", "averageValue": "9",
        }},
    ]  # fmt: skip
    down = notes["behavior"]["ScaleDown"]
    assert (down["StabilizationWindowSeconds"], down["Tolerance"]) == (5, None)
    assert down["Policies"] == [{"Type": "Percent", "Value": 100, "PeriodSeconds": 15}]
    assert "targetCPUUtilizationPercentage" not in shown["spec"]
    del shown["metadata"]["resourceVersion"]
    api.good("PUT", f"{old}/a", shown)
    assert api.get(f"{new}/a")["spec"] == made["spec"]


def test_74_events_of_both_groups_are_the_same(api: Api, ns: str) -> None:
    core = f"/api/v1/namespaces/{ns}/events"
    event = {
        "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": ns},
        "reason": "R", "message": "m", "type": "Normal",
    }  # fmt: skip
    made = api.make(core, event)
    other = api.get(f"/apis/events.k8s.io/v1/namespaces/{ns}/events/e")
    assert (other["note"], other["regarding"]["name"]) == ("m", "p")
    for part in ("uid", "resourceVersion"):
        assert made["metadata"][part] == other["metadata"][part]
    api.good("DELETE", f"{core}/e")
    assert api.ask("GET", f"/apis/events.k8s.io/v1/namespaces/{ns}/events/e").code == 404
