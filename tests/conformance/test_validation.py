"""What may not change, what is refused and with which words, dry runs, and fields nobody knows."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.conformance.wire import APPLY, JSON_PATCH, MERGE, STRATEGIC, Answer, Api

LABELS = {"app": "a"}
POD_SPEC: dict[str, Any] = {"containers": [{"name": "c", "image": "i"}]}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": POD_SPEC}
ONCE = {"spec": {**POD_SPEC, "restartPolicy": "Never"}}
WORKLOAD = {"replicas": 0, "selector": {"matchLabels": LABELS}, "template": TEMPLATE}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
RBAC = "rbac.authorization.k8s.io"


def place(group: str, plural: str, ns: str = "") -> str:
    root = f"/apis/{group}/v1" if group else "/api/v1"
    return f"{root}/namespaces/{ns}/{plural}" if ns else f"{root}/{plural}"


def refused(answer: Answer) -> Answer:
    assert (answer.code, answer.reason) == (422, "Invalid"), answer.body
    return answer


# ---------------------------------------------------------------- 32 immutable fields

OTHER = {"matchLabels": {"app": "b"}}
CHANGES: list[tuple[str, str, Any, Any, str]] = [
    ("apps", "deployments", {"spec": WORKLOAD}, {"spec": {"selector": OTHER, "template": {"metadata": {"labels": {"app": "b"}}}}}, "spec.selector"),
    ("apps", "replicasets", {"spec": WORKLOAD}, {"spec": {"selector": OTHER, "template": {"metadata": {"labels": {"app": "b"}}}}}, "spec.selector"),
    ("apps", "daemonsets", {"spec": {"selector": {"matchLabels": LABELS}, "template": TEMPLATE}}, {"spec": {"selector": OTHER, "template": {"metadata": {"labels": {"app": "b"}}}}}, "spec.selector"),
    ("apps", "statefulsets", {"spec": {**WORKLOAD, "serviceName": "s"}}, {"spec": {"serviceName": "t"}}, "spec.serviceName"),
    ("batch", "jobs", {"spec": {"template": ONCE}}, {"spec": {"template": {"spec": {"activeDeadlineSeconds": 5}}}}, "spec.template"),
    ("batch", "jobs", {"spec": {"template": ONCE, "suspend": True}}, {"spec": {"completionMode": "Indexed"}}, "spec.completionMode"),
    ("", "services", {"spec": {"ports": [{"port": 80}]}}, {"spec": {"clusterIP": "None", "clusterIPs": ["None"]}}, "spec.clusterIPs[0]"),
    ("", "secrets", {"type": "Opaque"}, {"type": "example.com/other"}, "type"),
    ("", "persistentvolumeclaims", {"spec": CLAIM}, {"spec": {"accessModes": ["ReadOnlyMany"]}}, "spec"),
    ("", "pods", {"spec": POD_SPEC}, {"spec": {"hostname": "h"}}, "spec"),
    ("", "pods", {"spec": {**POD_SPEC, "tolerations": [{"key": "k", "operator": "Exists"}]}}, {"spec": {"tolerations": []}}, "spec.tolerations"),
    (RBAC, "rolebindings", {"roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "r"}}, {"roleRef": {"name": "s"}}, "roleRef"),
    ("discovery.k8s.io", "endpointslices", {"addressType": "IPv4", "endpoints": []}, {"addressType": "IPv6"}, "addressType"),
    ("apps", "controllerrevisions", {"revision": 1, "data": {"a": 1}}, {"data": {"a": 2}}, "data"),
]  # fmt: skip


@pytest.mark.parametrize("case", CHANGES, ids=lambda case: f"{case[1]}-{case[4]}")
def test_32_some_fields_never_change(
    api: Api, ns: str, case: tuple[str, str, Any, Any, str]
) -> None:
    group, plural, body, change, field = case
    path = place(group, plural, ns)
    api.make(path, {"metadata": {"name": "a"}, **body})
    answer = refused(api.ask("PATCH", f"{path}/a", change, kind=MERGE))
    assert field in [where for _, where in answer.causes], answer.body


CLASSES: list[tuple[str, str, Any, Any, str]] = [
    ("storage.k8s.io", "storageclasses", {"provisioner": "e.io/p"}, {"provisioner": "e.io/q"}, "provisioner"),
    ("storage.k8s.io", "storageclasses", {"provisioner": "e.io/p"}, {"parameters": {"a": "b"}}, "parameters"),
    ("storage.k8s.io", "storageclasses", {"provisioner": "e.io/p"}, {"volumeBindingMode": "WaitForFirstConsumer"}, "volumeBindingMode"),
    ("scheduling.k8s.io", "priorityclasses", {"value": 5}, {"value": 6}, "value"),
    ("node.k8s.io", "runtimeclasses", {"handler": "h"}, {"handler": "i"}, "handler"),
    ("networking.k8s.io", "ingressclasses", {"spec": {"controller": "e.io/c"}}, {"spec": {"controller": "e.io/d"}}, "spec.controller"),
    (RBAC, "clusterrolebindings", {"roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "r"}}, {"roleRef": {"name": "s"}}, "roleRef"),
]  # fmt: skip


@pytest.mark.parametrize("case", CLASSES, ids=lambda case: f"{case[1]}-{case[4]}")
def test_32_nor_do_some_of_a_cluster(
    api: Api, ns: str, case: tuple[str, str, Any, Any, str]
) -> None:
    group, plural, body, change, field = case
    path, name = place(group, plural), f"{ns}-a"
    api.make(path, {"metadata": {"name": name}, **body})
    try:
        answer = refused(api.ask("PATCH", f"{path}/{name}", change, kind=MERGE))
        assert field in [where for _, where in answer.causes], answer.body
    finally:
        api.good("DELETE", f"{path}/{name}")


def test_32_the_words_for_it(api: Api, ns: str) -> None:
    path = place("", "pods", ns)
    api.make(path, {"metadata": {"name": "a"}, "spec": POD_SPEC})
    answer = refused(api.ask("PATCH", f"{path}/a", {"spec": {"hostname": "h"}}, kind=MERGE))
    assert answer.message.startswith(
        'Pod "a" is invalid: spec: Forbidden: pod updates may not change fields other than '
    )
    path = place("apps", "deployments", ns)
    api.make(path, {"metadata": {"name": "a"}, "spec": WORKLOAD})
    change = {"spec": {"selector": OTHER, "template": {"metadata": {"labels": {"app": "b"}}}}}
    answer = refused(api.ask("PATCH", f"{path}/a", change, kind=MERGE))
    assert answer.message.endswith("field is immutable")


POD_MAY: list[Any] = [
    {"spec": {"containers": [{"name": "c", "image": "j"}]}},
    {"spec": {"activeDeadlineSeconds": 10}},
    {"spec": {"tolerations": [{"key": "more", "operator": "Exists"}]}},
    {"metadata": {"labels": {"x": "y"}}},
]


@pytest.mark.parametrize("change", POD_MAY, ids=lambda change: str(change)[:30])
def test_32_what_of_a_pod_may_change(api: Api, ns: str, change: Any) -> None:
    path = place("", "pods", ns)
    held = api.make(path, {"metadata": {"name": "a"}, "spec": POD_SPEC})
    spec = dict(change.get("spec", {}))
    if "tolerations" in spec:
        spec["tolerations"] = [*held["spec"]["tolerations"], *spec["tolerations"]]
    api.good("PATCH", f"{path}/a", {**change, "spec": spec}, kind=STRATEGIC)


# ---------------------------------------------------------------- 33, 34 ConfigMaps and Secrets


@pytest.mark.parametrize("plural", ["configmaps", "secrets"])
def test_33_what_is_marked_immutable_stays(api: Api, ns: str, plural: str) -> None:
    path = place("", plural, ns)
    api.make(path, {"metadata": {"name": "a"}, "data": {"a": "aGk="}, "immutable": True})
    for change, field in (
        ({"data": {"a": "aG8="}}, "data"),
        ({"data": {"b": "aG8="}}, "data"),
        ({"immutable": False}, "immutable"),
        ({"immutable": None}, "immutable"),
    ):
        answer = refused(api.ask("PATCH", f"{path}/a", change, kind=MERGE))
        assert answer.causes == [("FieldValueForbidden", field)]
        assert answer.message.endswith("field is immutable when `immutable` is set")
    api.good("PATCH", f"{path}/a", {"metadata": {"labels": LABELS}}, kind=MERGE)


def test_34_plain_strings_of_a_secret_are_written_only(api: Api, ns: str) -> None:
    path = place("", "secrets", ns)
    sent = {"data": {"a": "aGk=", "b": "aGk="}, "stringData": {"b": "plain"}}
    held = api.make(path, {"metadata": {"name": "a"}, **sent})
    assert "stringData" not in held
    assert held["type"] == "Opaque"
    assert held["data"] == {"a": "aGk=", "b": base64.b64encode(b"plain").decode()}
    held = api.good("PATCH", f"{path}/a", {"stringData": {"a": "new"}}, kind=MERGE)
    assert held["data"]["a"] == base64.b64encode(b"new").decode()


NEEDED = [
    ("kubernetes.io/tls", {}, ["data[tls.crt]", "data[tls.key]"]),
    ("kubernetes.io/dockerconfigjson", {}, ["data[.dockerconfigjson]"]),
    ("kubernetes.io/dockerconfigjson", {".dockerconfigjson": "bm8="}, ["data[.dockerconfigjson]"]),
    ("kubernetes.io/dockercfg", {".dockercfg": "bm8="}, ["data[.dockercfg]"]),
    ("kubernetes.io/basic-auth", {}, ["data[username]", "data[password]"]),
    ("kubernetes.io/ssh-auth", {}, ["data[ssh-privatekey]"]),
    ("kubernetes.io/service-account-token", {}, ["metadata.annotations[kubernetes.io/service-account.name]"]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "data", "fields"), NEEDED)
def test_34_each_type_of_secret_needs_its_keys(
    api: Api, ns: str, kind: str, data: Any, fields: list[str]
) -> None:
    answer = api.ask(
        "POST", place("", "secrets", ns), {"metadata": {"name": "a"}, "type": kind, "data": data}
    )
    assert [field for _, field in refused(answer).causes] == fields


# ---------------------------------------------------------------- 35 Invalid


def test_35_an_invalid_names_every_field(api: Api, ns: str) -> None:
    spec = {
        "restartPolicy": "Sometimes",
        "containers": [{"image": "i"}, {"name": "B", "image": "i"}, {"name": "c", "image": "i", "ports": [{"containerPort": 70000}]}],
    }  # fmt: skip
    answer = refused(
        api.ask("POST", place("", "pods", ns), {"metadata": {"name": "x"}, "spec": spec})
    )
    status = answer.json
    assert status["details"]["name"] == "x"
    assert status["details"]["kind"] == "Pod"
    assert sorted(answer.causes) == sorted(
        [
            ("FieldValueRequired", "spec.containers[0].name"),
            ("FieldValueInvalid", "spec.containers[1].name"),
            ("FieldValueInvalid", "spec.containers[2].ports[0].containerPort"),
            ("FieldValueNotSupported", "spec.restartPolicy"),
        ]
    )
    assert answer.message.startswith(
        'Pod "x" is invalid: [spec.containers[0].name: Required value, spec.containers[1].name: Invalid value: "B": '
    )


def test_35_one_cause_stands_without_brackets(api: Api, ns: str) -> None:
    sent = {"metadata": {"name": "x"}, "spec": {"containers": []}}
    answer = refused(api.ask("POST", place("", "pods", ns), sent))
    assert answer.message == 'Pod "x" is invalid: spec.containers: Required value'
    assert answer.json["details"]["causes"] == [
        {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.containers"}
    ]


# ---------------------------------------------------------------- 36 dry runs


def test_36_a_dry_run_keeps_nothing(api: Api, ns: str) -> None:
    path = place("", "configmaps", ns)
    told = api.good("POST", path, {"metadata": {"generateName": "a-"}}, dryRun="All")
    assert told["metadata"]["uid"]
    assert told["metadata"]["name"].startswith("a-")
    assert "resourceVersion" not in told["metadata"]
    assert api.gone(f"{path}/{told['metadata']['name']}")
    held = api.make(path, {"metadata": {"name": "a"}})
    with api.watch(path, resourceVersion=held["metadata"]["resourceVersion"]) as watch:
        changed = {**held, "data": {"a": "b"}}
        assert api.good("PUT", f"{path}/a", changed, dryRun="All")["data"] == {"a": "b"}
        told = api.good("PATCH", f"{path}/a", {"data": {"c": "d"}}, kind=MERGE, dryRun="All")
        assert told["data"] == {"c": "d"}
        assert told["metadata"]["resourceVersion"] == held["metadata"]["resourceVersion"]
        assert api.good("DELETE", f"{path}/a", dryRun="All")["status"] == "Success"
        assert api.good("DELETE", path, dryRun="All")["items"]
        assert api.get(f"{path}/a") == held
        api.make(path, {"metadata": {"name": "z"}})
        assert watch.next()["object"]["metadata"]["name"] == "z"


def test_36_a_dry_run_is_judged_and_defaulted(api: Api, ns: str) -> None:
    path = place("apps", "deployments", ns)
    told = api.good("POST", path, {"metadata": {"name": "a"}, "spec": WORKLOAD}, dryRun="All")
    assert told["spec"]["strategy"]["type"] == "RollingUpdate"
    sent = {"metadata": {"name": "a"}, "spec": {"selector": {"matchLabels": LABELS}}}
    refused(api.ask("POST", path, sent, dryRun="All"))


def test_36_only_all_is_a_dry_run(api: Api, ns: str) -> None:
    sent = {"metadata": {"name": "a"}}
    answer = refused(api.ask("POST", place("", "configmaps", ns), sent, dryRun="Some"))
    assert answer.message == (
        'CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Some"]: supported values: "All"'
    )


# ---------------------------------------------------------------- 37 fieldValidation

ODD = '{"metadata":{"name":"NAME"},"spec":{"foo":1,"containers":[{"name":"c","image":"i","image":"j","bar":{}}]}}'
SAYS = [
    'unknown field "spec.containers[0].bar"', 'unknown field "spec.foo"', 'duplicate field "spec.containers[0].image"'
]  # fmt: skip


def test_37_unknown_and_duplicate_fields_are_told(api: Api, ns: str) -> None:
    path = place("", "pods", ns)
    answer = api.ask("POST", path, ODD.replace("NAME", "a"))
    assert answer.code == 201
    told = answer.headers.get_all("Warning") or []
    for says in SAYS:
        assert f'299 - "{says.replace(chr(34), chr(92) + chr(34))}"' in told
    assert "foo" not in answer.json["spec"]
    assert answer.json["spec"]["containers"][0]["image"] == "j"


def test_37_strict_refuses_them(api: Api, ns: str) -> None:
    answer = api.ask("POST", place("", "pods", ns), ODD, fieldValidation="Strict")
    assert (answer.code, answer.reason) == (400, "BadRequest")
    assert answer.message.startswith(
        'Pod in version "v1" cannot be handled as a Pod: strict decoding error: '
    )
    for says in SAYS:
        assert says in answer.message


def test_37_ignore_says_nothing(api: Api, ns: str) -> None:
    answer = api.ask(
        "POST", place("", "pods", ns), ODD.replace("NAME", "b"), fieldValidation="Ignore"
    )
    assert answer.code == 201
    assert not answer.headers.get_all("Warning")


def test_37_other_words_are_refused(api: Api, ns: str) -> None:
    sent = {"metadata": {"name": "a"}}
    answer = refused(api.ask("POST", place("", "configmaps", ns), sent, fieldValidation="Maybe"))
    assert answer.message == (
        'CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Maybe": '
        'supported values: "", "Ignore", "Strict", "Warn"'
    )


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (MERGE, {"foo": 1}),
        (STRATEGIC, {"foo": 1}),
        (JSON_PATCH, [{"op": "add", "path": "/foo", "value": 1}]),
        ("application/yaml", 'metadata: {name: a}\nfoo: 1\n'),
    ],
)  # fmt: skip
def test_37_also_in_patches_and_yaml(api: Api, ns: str, kind: str, body: Any) -> None:
    path = place("", "configmaps", ns)
    api.make(path, {"metadata": {"name": "a"}})
    method = "PUT" if isinstance(body, str) else "PATCH"
    warned = api.ask(method, f"{path}/a", body, kind=kind)
    assert warned.code == 200
    assert warned.headers.get_all("Warning") == ['299 - "unknown field \\"foo\\""']
    answer = api.ask(method, f"{path}/a", body, kind=kind, fieldValidation="Strict")
    assert answer.code in (400, 422)
    assert 'unknown field "foo"' in answer.message


def test_37_an_applied_configuration_has_to_fit(api: Api, ns: str) -> None:
    sent = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "foo": 1}
    answer = api.ask(
        "PATCH", f"{place('', 'configmaps', ns)}/a", sent, kind=APPLY, fieldManager="m"
    )
    assert answer.code == 500
    assert ".foo: field not declared in schema" in answer.message
