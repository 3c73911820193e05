"""What a list is narrowed to, and the forms of bodies: selectors, Tables, Accept, Content-Type, size."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.wire import MERGE, Api

META = "g=meta.k8s.io;v=v1"
TABLE = f"application/json;as=Table;{META}"
PARTIALS = f"application/json;as=PartialObjectMetadataList;{META}"
PARTIAL = f"application/json;as=PartialObjectMetadata;{META}"
CONTAINERS = [{"name": "c", "image": "example.org/i:1"}]


def at(ns: str, plural: str, group: str = "api/v1") -> str:
    return f"/{group}/namespaces/{ns}/{plural}"


def names(listing: Any) -> list[str]:
    return [item["metadata"]["name"] for item in listing["items"]]


# ---------------------------------------------------------------- 17


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ("metadata.name=a", ["a"]),
        ("metadata.name==a", ["a"]),
        ("metadata.name!=a", ["b"]),
        ("metadata.namespace=other", []),
        ("spec.restartPolicy=Never", ["b"]),
        ("spec.schedulerName=nobody", ["a", "b"]),
        ("spec.schedulerName=nobody,spec.restartPolicy!=Never", ["a"]),
        ("spec.nodeName=", ["a", "b"]),
        ("spec.serviceAccountName=default", ["a", "b"]),
        ("spec.hostNetwork=false", ["a", "b"]),
        ("status.phase=Pending", ["a", "b"]),
        ("status.podIP=", ["a", "b"]),
        ("status.nominatedNodeName=x", []),
    ],
)
def test_17_fields_of_pods(api: Api, ns: str, field: str, found: list[str]) -> None:
    for name, policy in (("a", "Always"), ("b", "Never")):
        spec = {"containers": CONTAINERS, "schedulerName": "nobody", "restartPolicy": policy}
        api.make(at(ns, "pods"), {"metadata": {"name": name}, "spec": spec})
    assert names(api.get(at(ns, "pods"), fieldSelector=field)) == found


def test_17_fields_of_other_kinds(api: Api, ns: str) -> None:
    api.make(at(ns, "secrets"), {"metadata": {"name": "a"}, "type": "example.org/x"})
    assert names(api.get(at(ns, "secrets"), fieldSelector="type=example.org/x")) == ["a"]
    about = {"kind": "Pod", "name": "p", "namespace": ns, "uid": "u", "fieldPath": "f"}
    event = {"metadata": {"name": "e"}, "involvedObject": about, "reason": "R", "type": "Normal"}
    api.make(at(ns, "events"), {**event, "source": {"component": "c"}})
    for field in (
        "involvedObject.kind=Pod", "involvedObject.name=p", f"involvedObject.namespace={ns}",
        "involvedObject.uid=u", "involvedObject.fieldPath=f", "reason=R", "type=Normal", "source=c",
    ):  # fmt: skip
        assert names(api.get(at(ns, "events"), fieldSelector=field)) == ["e"], field
    for field in ("involvedObject.name=q", "reportingComponent=c"):
        assert names(api.get(at(ns, "events"), fieldSelector=field)) == []
    active = names(api.get("/api/v1/namespaces", fieldSelector="status.phase=Active"))
    assert ns in active
    roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    assert names(api.get(roles, fieldSelector="metadata.namespace=x")) == []
    assert api.ask("GET", "/api/v1/namespaces", fieldSelector="metadata.namespace=x").code == 400


def test_17_jobs_controllers_requests_and_slices(api: Api, ns: str) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": CONTAINERS}}
    spec = {"replicas": 0, "selector": {"a": "b"}, "template": template}
    api.make(at(ns, "replicationcontrollers"), {"metadata": {"name": "rc"}, "spec": spec})
    path = at(ns, "replicationcontrollers")
    assert names(api.get(path, fieldSelector="status.replicas=0")) == ["rc"]
    never = {"spec": {"containers": CONTAINERS, "restartPolicy": "Never"}}
    job = {"metadata": {"name": "j"}, "spec": {"suspend": True, "template": never}}
    api.make(at(ns, "jobs", "apis/batch/v1"), job)
    found = api.get(at(ns, "jobs", "apis/batch/v1"), fieldSelector="status.successful=0")
    assert names(found) == ["j"]
    for path, field in (
        ("/apis/certificates.k8s.io/v1/certificatesigningrequests", "spec.signerName=x/y"),
        ("/apis/resource.k8s.io/v1/resourceslices", "spec.nodeName=x,spec.driver=y"),
    ):
        assert names(api.get(path, fieldSelector=field)) == []


@pytest.mark.parametrize(
    ("plural", "field", "says"),
    [
        ("pods", "spec.nonsense=x", "field label not supported: spec.nonsense"),
        ("secrets", "data=x", "field label not supported: data"),
        ("configmaps", "data=x", '"data" is not a known field selector: only "metadata.name", "m'),
        ("pods", "metadata.name", "invalid selector: 'metadata.name'; can't understand"),
        ("pods", "metadata.name=a=b", "unescaped character in value"),
    ],
)
def test_17_a_field_that_cannot_be_selected(
    api: Api, ns: str, plural: str, field: str, says: str
) -> None:
    for query in ({}, {"watch": "1"}):
        answer = api.ask("GET", at(ns, plural), fieldSelector=field, **query)
        assert (answer.code, answer.reason) == (400, "BadRequest")
        assert says in answer.message


# ---------------------------------------------------------------- 18


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("x=1", ["a"]), ("x==1", ["a"]), ("x!=1", ["b", "c"]), ("x in (1,2)", ["a", "b"]),
        ("x notin (1)", ["b", "c"]), ("x", ["a", "b"]), ("!x", ["c"]), ("x,y", ["b"]),
        ("x=1,x=2", []), ("x,!y", ["a"]), ("x in (1), y notin (1)", ["a"]), ("x=", []),
        ("x>1", ["b"]), ("x<2", ["a"]), ("example.org/z=q", ["c"]), ("", ["a", "b", "c"]),
    ],
)  # fmt: skip
def test_18_label_selectors(api: Api, ns: str, selector: str, found: list[str]) -> None:
    held = {"a": {"x": "1"}, "b": {"x": "2", "y": "1"}, "c": {"example.org/z": "q"}}
    for name, labels in held.items():
        api.make(at(ns, "secrets"), {"metadata": {"name": name, "labels": labels}})
    assert names(api.get(at(ns, "secrets"), labelSelector=selector)) == found


@pytest.mark.parametrize(
    ("selector", "says"),
    [
        ("x in 1", "unable to parse requirement: found '1' expected: '('"),
        ("x in (1", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("x=1 2", "found '2', expected: ',' or 'end of string'"),
        ("=1", "found '=', expected: !, identifier, or 'end of string'"),
        ("x=1,,y", "found ',', expected: identifier after ','"),
        ("x=$", 'values[0][x]: Invalid value: "$": a valid label must be'),
        ("-x=1", 'Invalid value: "-x": name part must consist of'),
        ("x>many", "for 'Gt', 'Lt' operators, the value must be an integer"),
        (f"x>{30 * '9'}", "for 'Gt', 'Lt' operators, the value must be an integer"),
        (f"x={64 * 'a'}", "must be no more than 63 bytes"),
    ],
)
def test_18_a_selector_that_is_malformed(api: Api, ns: str, selector: str, says: str) -> None:
    answer = api.ask("GET", at(ns, "secrets"), labelSelector=selector)
    assert (answer.code, answer.reason) == (400, "BadRequest")
    assert says in answer.message


# ---------------------------------------------------------------- 19


def test_19_the_table_of_pods(api: Api, ns: str) -> None:
    spec = {"containers": CONTAINERS, "schedulerName": "nobody", "restartPolicy": "Never"}
    for name in ("a", "b"):
        api.make(at(ns, "pods"), {"metadata": {"name": name}, "spec": spec})
    api.good("PATCH", f"{at(ns, 'pods')}/b/status", {"status": {"phase": "Succeeded"}}, kind=MERGE)
    table = api.good("GET", at(ns, "pods"), accept=TABLE)
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert int(table["metadata"]["resourceVersion"]) > 0
    columns = [(c["name"], c["priority"]) for c in table["columnDefinitions"]]
    assert columns == [
        ("Name", 0), ("Ready", 0), ("Status", 0), ("Restarts", 0), ("Age", 0), ("IP", 1), ("Node", 1),
        ("Nominated Node", 1), ("Readiness Gates", 1),
    ]  # fmt: skip
    assert table["columnDefinitions"][0]["format"] == "name"
    first, second = table["rows"]
    assert first["cells"][:4] == ["a", "0/1", "Pending", "0"]
    assert first["cells"][5:] == ["<none>"] * 4
    assert first["object"]["kind"] == "PartialObjectMetadata"
    assert first["object"]["metadata"]["name"] == "a"
    assert "conditions" not in first
    assert second["cells"][2] == "Succeeded"
    (condition,) = second["conditions"]
    assert (condition["type"], condition["status"]) == ("Completed", "True")
    assert condition["reason"] == "Succeeded"


def test_19_what_stands_in_a_row(api: Api, ns: str) -> None:
    made = api.make(at(ns, "secrets"), {"metadata": {"name": "a"}})
    for include, wanted in (("Object", made), ("None", None)):
        table = api.good("GET", at(ns, "secrets"), accept=TABLE, includeObject=include)
        assert table["rows"][0]["object"] == wanted
    assert api.ask("GET", at(ns, "secrets"), accept=TABLE, includeObject="Some").code == 400
    one = api.good("GET", f"{at(ns, 'secrets')}/a", accept=TABLE)
    assert [row["cells"][0] for row in one["rows"]] == ["a"]


def test_19_cells_of_kinds_with_more_to_say(api: Api, ns: str) -> None:
    metrics = [
        {"type": "Resource", "resource": {"name": name, "target": {"type": kind, part: value}}}
        for name, kind, part, value in (
            ("cpu", "Utilization", "averageUtilization", 50),
            ("memory", "AverageValue", "averageValue", "1Gi"),
            ("storage", "AverageValue", "averageValue", "2Gi"),
        )
    ]
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}
    scaler = {"maxReplicas": 3, "scaleTargetRef": target, "metrics": metrics}
    policy = {
        "podSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["c", "b"]}]}
    }
    ports = [{"port": 80, "name": "x"}, {"port": 53, "protocol": "UDP", "name": "y"}]
    for path, spec, cells in (
        (
            at(ns, "horizontalpodautoscalers", "apis/autoscaling/v2"),
            scaler,
            [
                "a",
                "Deployment/x",
                "cpu: <unknown>/50%, memory: <unknown>/1Gi + 1 more...",
                "1",
                3,
                0,
            ],
        ),
        (at(ns, "networkpolicies", "apis/networking.k8s.io/v1"), policy, ["a", "a in (b,c)"]),
        (
            at(ns, "services"),
            {"clusterIP": "None", "ports": ports},
            ["a", "ClusterIP", "None", "<none>", "80/TCP,53/UDP"],
        ),
    ):
        api.make(path, {"metadata": {"name": "a"}, "spec": spec})
        table = api.good("GET", f"{path}/a", accept=TABLE)
        assert table["rows"][0]["cells"][: len(cells)] == cells


COLUMNS = {
    "api/v1/events": "Last Seen|Type|Reason|Object|Subobject*|Source*|Message|First Seen*|Count*|Name*",
    "api/v1/limitranges": "Name|Created At",
    "api/v1/podtemplates": "Name|Containers|Images|Pod Labels",
    "api/v1/services": "Name|Type|Cluster-IP|External-IP|Port(s)|Age|Selector*",
    "apis/apps/v1/deployments": "Name|Ready|Up-to-date|Available|Age|Containers*|Images*|Selector*",
    "apis/apps/v1/statefulsets": "Name|Ready|Age|Containers*|Images*",
    "apis/batch/v1/jobs": "Name|Status|Completions|Duration|Age|Containers*|Images*|Selector*",
    "apis/networking.k8s.io/v1/servicecidrs": "Name|CIDRs|Age",
    "apis/storage.k8s.io/v1/csidrivers": "Name|AttachRequired|PodInfoOnMount|StorageCapacity|TokenRequests|RequiresRepublish|Modes|Age",
    "apis/storage.k8s.io/v1/volumeattachments": "Name|Attacher|PV|Node|Attached|Age",
    "apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies": "Name|Validations|ParamKind|Age",
    "apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations": "Name|Webhooks|Age",
    "apis/apiextensions.k8s.io/v1/customresourcedefinitions": "Name|Scope|Versions|Created At|Group*|Kind*|ShortNames*|Established*",
    "apis/flowcontrol.apiserver.k8s.io/v1/flowschemas": "Name|PriorityLevel|MatchingPrecedence|DistinguisherMethod|Age|MissingPL",
    "apis/resource.k8s.io/v1/resourceclaims": "Name|State|Age",
    "apis/certificates.k8s.io/v1/certificatesigningrequests": "Name|Age|SignerName|Requestor|RequestedDuration|Condition",
}  # fmt: skip


@pytest.mark.parametrize("path", COLUMNS)
def test_19_the_columns_of_kinds(api: Api, path: str) -> None:
    table = api.good("GET", f"/{path}", accept=TABLE, limit=1)
    shown = [c["name"] + "*" * c["priority"] for c in table["columnDefinitions"]]
    assert "|".join(shown) == COLUMNS[path]


# ---------------------------------------------------------------- 20


@pytest.mark.parametrize("accept", ["text/html", "application/cbor", "nonsense"])
@pytest.mark.parametrize("name", ["", "/a", "/nobody"])
def test_20_a_form_that_nobody_has(api: Api, ns: str, accept: str, name: str) -> None:
    api.make(at(ns, "secrets"), {"metadata": {"name": "a"}})
    answer = api.ask("GET", at(ns, "secrets") + name, accept=accept)
    assert (answer.code, answer.reason) == (406, "NotAcceptable")
    assert answer.message.startswith("406: Not Acceptable\n\nAvailable representations: ")


def test_20_an_unknown_as(api: Api, ns: str) -> None:
    for accept in (f"application/json;as=Chair;{META}", TABLE.replace("v1", "v9")):
        answer = api.ask("GET", at(ns, "secrets"), accept=accept)
        assert answer.code == 406
        assert answer.message.startswith("only the following media types are accepted: ")


def test_20_the_first_that_can_be_had(api: Api, ns: str) -> None:
    for accept in ("", "*/*", "text/html,application/json;q=0.1", f"{TABLE},application/json"):
        answer = api.ask("GET", at(ns, "secrets"), accept=accept)
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json["kind"] == ("Table" if "Table" in accept else "SecretList")
    dearer = api.ask("GET", at(ns, "secrets"), accept="application/json;q=0.5,application/yaml")
    assert dearer.headers["Content-Type"] == "application/yaml"


def test_20_metadata_alone(api: Api, ns: str) -> None:
    made = api.make(at(ns, "secrets"), {"metadata": {"name": "a"}, "type": "x/y"})
    listing = api.good("GET", at(ns, "secrets"), accept=PARTIALS)
    assert listing["kind"] == "PartialObjectMetadataList"
    (item,) = listing["items"]
    assert item["kind"] == "PartialObjectMetadata"
    assert item["metadata"] == made["metadata"]
    assert "type" not in item
    assert api.good("GET", f"{at(ns, 'secrets')}/a", accept=PARTIAL) == item


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "nonsense"])
def test_20_a_body_of_unknown_form(api: Api, ns: str, kind: str) -> None:
    answer = api.ask("POST", at(ns, "secrets"), '{"metadata":{"name":"a"}}', kind=kind)
    assert (answer.code, answer.reason) == (415, "UnsupportedMediaType")
    assert api.gone(f"{at(ns, 'secrets')}/a")
    api.make(at(ns, "secrets"), {"metadata": {"name": "a"}})
    patch = api.ask("PATCH", f"{at(ns, 'secrets')}/a", "{}", kind=kind)
    assert (patch.code, patch.reason) == (415, "UnsupportedMediaType")


def test_20_json_yaml_and_parameters(api: Api, ns: str) -> None:
    path = at(ns, "secrets")
    api.good("POST", path, "metadata:\n  name: a\n", kind="application/yaml")
    api.good("POST", path, '{"metadata":{"name":"b"}}', kind="application/json; charset=utf-8")
    assert names(api.get(path)) == ["a", "b"]


@pytest.mark.parametrize(("method", "name"), [("POST", ""), ("PATCH", "/a")])
def test_20_three_megabytes_are_the_most(api: Api, ns: str, method: str, name: str) -> None:
    path = at(ns, "secrets")
    api.make(path, {"metadata": {"name": "a"}})
    body = b'{"metadata":{"name":"b"},"x":"' + 3 * 1024 * 1024 * b"a" + b'"}'
    answer = api.ask(method, path + name, body, kind=MERGE if name else "application/json")
    assert (answer.code, answer.reason) == (413, "RequestEntityTooLarge")
    assert names(api.get(path)) == ["a"]
