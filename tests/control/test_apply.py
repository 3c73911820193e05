"""Server-side apply and managedFields: golden cases of the real server, and what holds for any object."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jindou.control.api.changes import fields
from jindou.control.api.changes.apply import apply, track
from jindou.control.api.resources.definitions import Root
from jindou.control.api.resources.registry import Registry
from jindou.control.api.resources.schema import copy
from jindou.control.api.rules.defaults.kinds import apply_defaults, start_status
from jindou.objects.errors import BadRequest, Conflict, InternalError
from tests.control.apis import Api, Kubectl, on_kubectl

REGISTRY = Registry()
T1, T2, T3 = (f"2026-01-01T00:00:0{n}Z" for n in (1, 2, 3))


def schema_of(obj: Any) -> Any:
    group, _, version = obj["apiVersion"].rpartition("/")
    found = REGISTRY.by_kind(group, version, obj["kind"])
    assert found is not None
    return found.schema


def tracked(before: Any, after: Any, manager: str, now: str = T1, part: str = "") -> Any:
    after = copy(after)
    track(
        before, after, manager=manager, schema=schema_of(after), api_version=after["apiVersion"],
        subresource=part, now=now,
    )  # fmt: skip
    return after


def applied(
    live: Any,
    config: Any,
    manager: str = "me",
    *,
    force: bool = False,
    now: str = T1,
    part: str = "",
    schema: Any = None,
) -> Any:
    kept = copy(live), copy(config)
    result = apply(
        live, config, manager=manager, force=force, schema=schema or schema_of(config),
        api_version=config["apiVersion"], subresource=part, now=now,
    )  # fmt: skip
    assert (live, config) == kept, "what is given is not changed"
    return result


def owners(obj: Any) -> dict[str, Any]:
    entries = obj["metadata"].get("managedFields", [])
    return {f"{e['manager']}/{e['operation']}": e["fieldsV1"] for e in entries}


def deployment(**spec: Any) -> Any:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "d"},
        "spec": spec,
    }


def config_map(**data: str) -> Any:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c", "namespace": "d"},
        "data": data,
    }


def containers(*held: Any) -> Any:
    return {"spec": {"containers": list(held)}}


POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "a", "namespace": "d", "labels": {"app": "x"}, "uid": "u"},
    "spec": {
        "containers": [
            {
                "name": "c",
                "image": "nginx",
                "ports": [{"containerPort": 80}],
                "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                "livenessProbe": {"httpGet": {"path": "/", "port": 80}},
            }
        ],
        "volumes": [{"name": "v", "configMap": {"name": "x"}}],
        "tolerations": [{"operator": "Exists"}],
    },
}
PROBE = {".": {}, "f:failureThreshold": {}, "f:periodSeconds": {}, "f:successThreshold": {}, "f:timeoutSeconds": {}, "f:httpGet": {".": {}, "f:path": {}, "f:port": {}, "f:scheme": {}}}  # fmt: skip
POD_FIELDS = {
    "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
    "f:spec": {
        "f:containers": {
            'k:{"name":"c"}': {
                ".": {}, "f:name": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:resources": {},
                "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {},
                "f:ports": {
                    ".": {},
                    'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}, "f:protocol": {}},
                },
                "f:env": {
                    ".": {},
                    'k:{"name":"A"}': {".": {}, "f:name": {}, "f:valueFrom": {".": {}, "f:fieldRef": {}}},
                },
                "f:livenessProbe": PROBE,
            }
        },
        "f:volumes": {
            ".": {},
            'k:{"name":"v"}': {".": {}, "f:name": {}, "f:configMap": {".": {}, "f:defaultMode": {}, "f:name": {}}},
        },
        "f:tolerations": {}, "f:dnsPolicy": {}, "f:enableServiceLinks": {}, "f:restartPolicy": {},
        "f:schedulerName": {}, "f:securityContext": {}, "f:terminationGracePeriodSeconds": {},
    },
}  # fmt: skip


def full_pod() -> Any:
    pod = copy(POD)
    kind = REGISTRY.by_kind("", "v1", "Pod")
    assert kind is not None
    apply_defaults(kind.kind, pod)
    start_status(kind.kind, pod)
    return pod


def test_a_created_pod_is_owned_as_the_real_server_writes_it() -> None:
    pod = tracked(None, full_pod(), "kubectl-create")
    [entry] = pod["metadata"]["managedFields"]
    assert entry["fieldsV1"] == POD_FIELDS
    assert {k: v for k, v in entry.items() if k != "fieldsV1"} == {
        "manager": "kubectl-create",
        "operation": "Update",
        "apiVersion": "v1",
        "time": T1,
        "fieldsType": "FieldsV1",
    }
    assert list(entry["fieldsV1"]["f:spec"]) == sorted(entry["fieldsV1"]["f:spec"])


GOLDEN: list[tuple[Any, Any]] = [
    (
        {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "w"},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}},
        },
        {
            "f:spec": {
                "f:progressDeadlineSeconds": {}, "f:replicas": {}, "f:revisionHistoryLimit": {}, "f:selector": {},
                "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}, "f:type": {}},
                "f:template": {
                    "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                    "f:spec": {
                        "f:containers": {
                            'k:{"name":"c"}': {
                                ".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:resources": {},
                                "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {},
                            }
                        },
                        "f:dnsPolicy": {}, "f:restartPolicy": {}, "f:schedulerName": {}, "f:securityContext": {},
                        "f:terminationGracePeriodSeconds": {},
                    },
                },
            }
        },
    ),
    (
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}},
        {
            "f:spec": {
                "f:internalTrafficPolicy": {},
                "f:ports": {".": {}, 'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {}}},
                "f:selector": {}, "f:sessionAffinity": {}, "f:type": {},
            }
        },
    ),
    (
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "annotations": {"x": "y"}}, "data": {"a": "Yg=="}},
        {"f:data": {".": {}, "f:a": {}}, "f:metadata": {"f:annotations": {".": {}, "f:x": {}}}, "f:type": {}},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("obj", "owned"), GOLDEN)
def test_new_objects_are_owned_as_the_real_server_writes_it(obj: Any, owned: Any) -> None:
    obj = copy(obj)
    group, _, version = obj["apiVersion"].rpartition("/")
    resource = REGISTRY.by_kind(group, version, obj["kind"])
    assert resource is not None
    apply_defaults(resource.kind, obj)
    assert owners(tracked(None, obj, "m")) == {"m/Update": owned}


def test_nobody_owns_a_null() -> None:
    meta = {"creationTimestamp": None, "labels": {"a": "b"}}
    made = tracked(None, deployment(template={"metadata": meta}), "m")
    template = owners(made)["m/Update"]["f:spec"]["f:template"]
    assert template == {"f:metadata": {"f:labels": {".": {}, "f:a": {}}}}
    bare = deployment(template={"metadata": {"labels": {"a": "b"}}})
    assert owners(tracked(made, bare, "n", T2)) == owners(made)


def test_an_update_moves_what_it_changes_and_only_that() -> None:
    one = tracked(None, config_map(a="1", b="1"), "one")
    two = copy(one)
    two["data"] = {"a": "2", "c": "1"}
    two = tracked(one, two, "two", T2)
    assert owners(two) == {
        "one/Update": {"f:data": {}},  # the map itself
        "two/Update": {"f:data": {"f:a": {}, "f:c": {}}},
    }
    assert [e["time"] for e in two["metadata"]["managedFields"]] == [T1, T2]


def test_a_write_that_changes_nothing_keeps_every_time() -> None:
    one = tracked(None, config_map(a="1"), "one")
    again = tracked(one, one, "two", T2)
    assert again == one
    bare = copy(one)
    del bare["metadata"]["managedFields"]
    assert tracked(one, bare, "two", T2) == one


def test_the_same_manager_keeps_one_entry_per_subresource() -> None:
    one = tracked(None, deployment(replicas=1), "m")
    two = copy(one)
    two["status"] = {"replicas": 1}
    two = tracked(one, two, "m", T2, "status")
    entries = two["metadata"]["managedFields"]
    assert [(e.get("subresource", ""), e["fieldsV1"]) for e in entries] == [
        ("", {"f:spec": {"f:replicas": {}}}),
        ("status", {"f:status": {"f:replicas": {}}}),
    ]


@pytest.mark.parametrize(
    ("sent", "left"),
    [
        ([{}], {}),
        ([], {}),
        ([{"manager": "x", "operation": "Wish"}], {"m/Update": {"f:data": {"f:a": {}}}, "one/Update": {"f:data": {".": {}, "f:b": {}}}}),
        ([{"manager": "x", "operation": "Apply", "apiVersion": "v1", "fieldsV1": {"f:data": {"f:b": {}}}}], {"m/Update": {"f:data": {"f:a": {}}}, "x/Apply": {"f:data": {"f:b": {}}}}),
    ],
)  # fmt: skip
def test_entries_that_a_client_sends(sent: Any, left: Any) -> None:
    one = tracked(None, config_map(a="1", b="1"), "one")
    two = config_map(a="2", b="1")
    two["metadata"]["managedFields"] = sent
    assert owners(tracked(one, two, "m", T2)) == left


def test_only_ten_updates_are_told_apart() -> None:
    held = tracked(None, config_map(k0="0"), "m0", T1)
    for n in range(1, 15):
        after = copy(held)
        after["data"][f"k{n}"] = "0"
        held = tracked(held, after, f"m{n}", f"2026-01-01T00:01:{n:02}Z")
    names = [e["manager"] for e in held["metadata"]["managedFields"]]
    assert (len(names), names.count("ancient-changes"), names[-1]) == (10, 1, "m14")
    known: dict[str, Any] = {}
    for entry in held["metadata"]["managedFields"]:
        known |= entry["fieldsV1"]["f:data"]
    assert set(known) == {".", *(f"f:k{n}" for n in range(15))}


# ---------------------------------------------------------------- apply


def test_apply_owns_what_it_says_and_nothing_else() -> None:
    made = applied(
        None, deployment(replicas=2, template=containers({"name": "c", "image": "x", "ports": [{"containerPort": 80}]}))
    )  # fmt: skip
    assert owners(made) == {
        "me/Apply": {
            "f:spec": {
                "f:replicas": {},
                "f:template": {
                    "f:spec": {
                        "f:containers": {
                            'k:{"name":"c"}': {
                                ".": {},
                                "f:name": {},
                                "f:image": {},
                                "f:ports": {
                                    'k:{"containerPort":80,"protocol":"TCP"}': {
                                        ".": {},
                                        "f:containerPort": {},
                                    }
                                },
                            }
                        }
                    }
                },
            }
        }
    }


def test_one_conflict_is_told_as_the_real_server_does() -> None:
    live = tracked(None, deployment(replicas=2), "kubectl-client-side-apply")
    with pytest.raises(Conflict) as told:
        applied(live, deployment(replicas=3))
    says = 'conflict with "kubectl-client-side-apply" using apps/v1'
    assert told.value.message == f"Apply failed with 1 conflict: {says}: .spec.replicas"
    assert told.value.details == {
        "causes": [{"reason": "FieldManagerConflict", "message": says, "field": ".spec.replicas"}]
    }


def test_many_conflicts_are_listed_by_manager() -> None:
    live = applied(
        None, deployment(replicas=2, template=containers({"name": "c", "image": "x"})), "b"
    )
    live = applied(live, deployment(paused=True), "a")
    with pytest.raises(Conflict) as told:
        applied(
            live,
            deployment(replicas=3, paused=False, template=containers({"name": "c", "image": "y"})),
        )
    assert told.value.message == (
        'Apply failed with 3 conflicts: conflicts with "a":\n- .spec.paused\nconflicts with "b":\n'
        '- .spec.replicas\n- .spec.template.spec.containers[name="c"].image'
    )


def test_force_takes_and_agreeing_shares() -> None:
    live = applied(None, config_map(a="1", b="1"), "one")
    shared = applied(live, config_map(b="1"), "two", now=T2)
    assert owners(shared) == {
        "one/Apply": {"f:data": {"f:a": {}, "f:b": {}}},
        "two/Apply": {"f:data": {"f:b": {}}},
    }
    taken = applied(shared, config_map(a="2"), "two", force=True, now=T3)
    assert taken["data"] == {"a": "2", "b": "1"}, "b is still said by one"
    assert owners(taken) == {
        "one/Apply": {"f:data": {"f:b": {}}},
        "two/Apply": {"f:data": {"f:a": {}}},
    }
    gone = applied(taken, config_map(), "one", now=T3)
    assert gone["data"] == {"a": "2"}


def test_an_item_that_is_no_longer_said_goes_and_others_stay_in_order() -> None:
    def pods(*names: str) -> Any:
        return deployment(template=containers(*({"name": n, "image": "x"} for n in names)))

    live = applied(None, pods("a", "b"), "one")
    live = applied(live, pods("c", "a"), "two")
    held = live["spec"]["template"]["spec"]["containers"]
    assert [c["name"] for c in held] == ["c", "a", "b"]
    live = applied(live, pods("b"), "one")
    held = live["spec"]["template"]["spec"]["containers"]
    assert [c["name"] for c in held] == ["c", "a", "b"]
    live = applied(live, pods("c"), "two")
    held = live["spec"]["template"]["spec"]["containers"]
    assert [c["name"] for c in held] == ["c", "b"]


def test_an_object_keeps_its_name_when_nothing_else_is_said_of_its_metadata() -> None:
    labelled = config_map()
    labelled["metadata"]["labels"] = {"a": "b"}
    live = applied(None, labelled)
    assert applied(live, config_map())["metadata"]["name"] == "c"
    assert "labels" not in applied(live, config_map())["metadata"]


def test_what_was_there_before_the_first_apply_has_an_owner() -> None:
    live = config_map(a="1")
    made = applied(live, config_map(b="1"))
    assert owners(made) == {
        "before-first-apply/Update": {"f:data": {".": {}, "f:a": {}}},
        "me/Apply": {"f:data": {"f:b": {}}},
    }
    with pytest.raises(Conflict, match='conflict with "before-first-apply" using v1'):
        applied(live, config_map(a="2"))


def test_atomic_lists_and_maps_are_taken_whole() -> None:
    live = applied(None, deployment(selector={"matchLabels": {"a": "1"}}), "one")
    assert owners(live)["one/Apply"] == {"f:spec": {"f:selector": {}}}
    with pytest.raises(Conflict, match=r"\.spec\.selector$"):
        applied(live, deployment(selector={"matchLabels": {"b": "1"}}), "two")


def test_sets_merge_by_value() -> None:
    one = {**config_map(), "metadata": {"name": "c", "namespace": "d", "finalizers": ["x/a"]}}
    two = {**config_map(), "metadata": {"name": "c", "namespace": "d", "finalizers": ["x/b"]}}
    live = applied(applied(None, one, "one"), two, "two")
    assert sorted(live["metadata"]["finalizers"]) == ["x/a", "x/b"]
    held = owners(live)["two/Apply"]["f:metadata"]
    assert held == {"f:finalizers": {'v:"x/b"': {}}}
    bare = {**config_map(), "metadata": {"name": "c", "namespace": "d"}}
    assert applied(live, bare, "one")["metadata"]["finalizers"] == ["x/b"]


def test_kubectl_takes_over_from_its_own_client_side_apply() -> None:
    config = config_map(a="1")
    noted = copy(config)
    noted["metadata"]["annotations"] = {
        "kubectl.kubernetes.io/last-applied-configuration": '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"a":"1"}}\n'
    }
    live = tracked(None, noted, "kubectl-client-side-apply")
    changed = applied(live, config_map(a="2"), "kubectl", now=T2)
    assert changed["data"] == {"a": "2"}
    note = changed["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
    assert '"a":"2"' in note
    with pytest.raises(Conflict):
        applied(live, config_map(a="2"), "someone")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"foo": 1}, ".spec.foo: field not declared in schema"),
        ({"template": containers({"image": "x"})}, '.spec.template.spec.containers: element 0: associative list with keys has an element that omits key field "name" (and doesn\'t have default value)'),
        ({"template": containers({"name": "a"}, {"name": "a"})}, '.spec.template.spec.containers: duplicate entries for key [name="a"]'),
    ],
)  # fmt: skip
def test_what_can_not_be_applied(spec: Any, says: str) -> None:
    with pytest.raises(InternalError) as told:
        applied(None, deployment(**spec))
    assert (
        told.value.message
        == f"failed to create typed patch object (d/web; apps/v1, Kind=Deployment): {says}"
    )


def test_managed_fields_may_not_be_applied() -> None:
    config = config_map()
    config["metadata"]["managedFields"] = [{"manager": "x"}]
    with pytest.raises(BadRequest, match=r"metadata\.managedFields must be nil"):
        applied(None, config)


def test_status_is_owned_through_its_subresource_alone() -> None:
    config = {**deployment(replicas=1), "status": {"replicas": 5}}
    live = applied(None, config)
    assert "status" not in live
    assert owners(live) == {"me/Apply": {"f:spec": {"f:replicas": {}}}}
    there = applied(live, config, part="status")
    assert there["status"] == {"replicas": 5}
    [_, entry] = there["metadata"]["managedFields"]
    assert (entry["subresource"], entry["fieldsV1"]) == (
        "status",
        {"f:status": {"f:replicas": {}}},
    )


# ---------------------------------------------------------------- what holds for any object

ITEM = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "size": {"type": "integer"}, "port": {"type": "integer", "default": 80}},
}  # fmt: skip
DOCUMENT = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "one": {"type": "string"},
                "deep": {"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}}},
                "map": {"type": "object", "additionalProperties": {"type": "string"}},
                "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                "items": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "port"], "items": ITEM},
                "whole": {"type": "array", "items": {"type": "integer"}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        }
    },
}  # fmt: skip
CUSTOM = Root(DOCUMENT, True)

word = st.sampled_from(["a", "b", "c"])
number = st.integers(0, 2)
items = st.lists(
    st.fixed_dictionaries({"name": word}, optional={"size": number, "port": st.sampled_from([80, 81])}),
    max_size=3, unique_by=lambda item: (item["name"], item.get("port", 80)),
)  # fmt: skip
specs = st.fixed_dictionaries(
    {},
    optional={
        "one": word,
        "deep": st.fixed_dictionaries({}, optional={"x": number, "y": number}),
        "map": st.dictionaries(word, word, max_size=3),
        "set": st.lists(word, unique=True, max_size=3),
        "items": items,
        "whole": st.lists(number, max_size=2),
        "free": st.recursive(number, lambda inner: st.dictionaries(word, inner, max_size=2), max_leaves=4).filter(lambda v: isinstance(v, dict)),
    },
)  # fmt: skip


def custom(spec: Any) -> Any:
    return {"apiVersion": "x.io/v1", "kind": "X", "metadata": {"name": "x"}, "spec": spec}


def by(live: Any, spec: Any, manager: str, now: str = T1) -> Any:
    return applied(live, custom(spec), manager, force=True, now=now, schema=CUSTOM)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(specs, specs)
def test_apply_is_idempotent(first: Any, second: Any) -> None:
    live = by(by(None, first, "one"), second, "two")
    assert by(live, second, "two", T2) == live


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(specs, specs)
def test_unapplying_removes_exactly_what_was_owned(first: Any, second: Any) -> None:
    base = by(None, first, "one")
    both = by(base, second, "two")
    plan = fields.plan_of(CUSTOM)
    mine = fields.of_object(fields.said(plan, custom(second)))
    theirs = owners(both).get("one/Apply", {})
    left = by(both, {}, "two", T2)
    before = fields.of_object(fields.everything(plan, both))
    after = fields.of_object(fields.everything(plan, left))
    lost = leaves(before) - leaves(after)
    assert not lost & leaves(theirs), "nobody else's fields go"
    assert not leaves(mine) & leaves(after) - leaves(theirs), "all of one's own go"


def leaves(held: Any, path: str = "") -> set[str]:
    if not held:
        return {path} if path else set()
    return {leaf for key, below in held.items() if key != "." for leaf in leaves(below, path + key)}


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(specs, specs)
def test_every_changed_field_has_its_last_writer(first: Any, second: Any) -> None:
    one, two = custom(first), custom(second)
    options: Any = {"schema": CUSTOM, "api_version": "x.io/v1", "subresource": ""}
    track(None, one, manager="one", now=T1, **options)
    track(one, two, manager="two", now=T2, **options)
    plan = fields.plan_of(CUSTOM)
    held = owners(two)
    everywhere = fields.of_object(fields.everything(plan, two))
    both = fields.join(held.get("one/Update", {}), held.get("two/Update", {}))
    assert fields.without(everywhere, both) == {}, "every field has an owner"
    assert not fields.common(held.get("one/Update", {}), held.get("two/Update", {})), "and one only"


trees = st.recursive(
    st.just({}), lambda inner: st.dictionaries(st.sampled_from([".", "f:a", "f:b", "f:c"]), inner, max_size=3), max_leaves=8
).map(lambda tree: tidy(tree))  # fmt: skip


def tidy(tree: Any) -> Any:
    return {key: {} if key == "." else tidy(below) for key, below in tree.items()}


@given(trees, trees)
def test_the_algebra_of_sets(a: Any, b: Any) -> None:
    a, b = {k: v for k, v in a.items() if k != "."}, {k: v for k, v in b.items() if k != "."}

    def members(tree: Any) -> set[str]:
        return set(fields.paths(tree))

    assert members(fields.join(a, b)) == members(a) | members(b)
    assert members(fields.without(a, b)) == members(a) - members(b)
    assert members(fields.common(a, b)) == members(a) & members(b)


def test_tracking_a_new_pod_is_quick() -> None:
    pod = full_pod()
    options: Any = {
        "manager": "m", "schema": schema_of(pod), "api_version": "v1", "subresource": "", "now": T1,
    }  # fmt: skip
    best = 1.0
    for _ in range(200):
        pod["metadata"].pop("managedFields", None)
        begin = time.perf_counter()
        track(None, pod, **options)
        best = min(best, time.perf_counter() - begin)
    assert best < 150e-6, f"{best * 1e6:.0f} us"


MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: %d
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: c, image: %s, ports: [{containerPort: 80}]}
"""


@pytest.mark.slow
def test_kubectl_applies_on_the_servers_side(tmp_path: Path) -> None:
    ssa = ("apply", "--server-side", "-f", "-")

    async def scenario(kubectl: Kubectl, api: Api) -> None:
        one, two = MANIFEST % (2, "nginx"), MANIFEST % (3, "httpd")
        assert "created" in await kubectl("apply", "-f", "-", stdin=one)
        assert await kubectl(*ssa, stdin=two) == "deployment.apps/web serverside-applied\n"
        entries = (await held(kubectl))["metadata"]["managedFields"]
        assert {(e["manager"], e["operation"]) for e in entries} == {
            ("kubectl", "Apply"),
            ("kubectl-last-applied", "Apply"),
        }
        code, _, says = await kubectl.run(*ssa, "--field-manager=other", stdin=one)
        assert code == 1
        assert says.startswith(
            'error: Apply failed with 2 conflicts: conflicts with "kubectl":\n- .spec.replicas\n'
            '- .spec.template.spec.containers[name="c"].image\nPlease review'
        )
        await kubectl("scale", "deploy/web", "--replicas=5")
        code, _, says = await kubectl.run(*ssa, stdin=two)
        assert says.startswith(
            'error: Apply failed with 1 conflict: conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas\n'
        )
        await kubectl(*ssa, "--force-conflicts", stdin=two)
        assert (await held(kubectl))["spec"]["replicas"] == 3
        before = await held(kubectl)
        await kubectl(*ssa, stdin=two)
        assert await held(kubectl) == before, "nothing to do"
        without = two.replace(", labels: {app: web}}\nspec:\n  replicas: 3", "}\nspec:")
        await kubectl(*ssa, stdin=without)
        after = await held(kubectl)
        assert "labels" not in after["metadata"]
        assert after["spec"]["replicas"] == 1, "the default, as nobody asks for more"
        code, _, says = await kubectl.run(*ssa, "--validate=false", stdin=one.replace("replicas", "replica"))  # fmt: skip
        assert "field not declared in schema" in says

    async def held(kubectl: Kubectl) -> Any:
        return json.loads(
            await kubectl("get", "deploy", "web", "-o", "json", "--show-managed-fields")
        )

    on_kubectl(tmp_path, scenario)
