"""What the cloud adds to pods and claims on their way in, and what it refuses."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from jindou.control.api.access.guard import CONTROLLERS
from jindou.control.api.admission import limits
from jindou.control.api.admission.chain import Chain, Review
from jindou.control.api.admission.limit_ranger import LimitRanger
from jindou.control.api.admission.plugins import TOKEN_PATH, admit
from jindou.control.api.resources.registry import Registry
from jindou.control.api.resources.schema import copy
from jindou.control.store.memory import MemoryStore
from jindou.objects.errors import Forbidden

REGISTRY = Registry()
ACCOUNT = "core/serviceaccounts/d/default"
Stored = dict[str, Any]


def admitted(obj: Any, stored: Stored, verb: str = "create") -> Any:
    """What becomes of `obj` where `stored` (key -> object) is there."""
    group, _, version = obj["apiVersion"].rpartition("/")
    resource = REGISTRY.by_kind(group, version, obj["kind"])
    assert resource is not None
    obj = copy(obj)

    async def main() -> None:
        store = MemoryStore()
        for key, held in stored.items():
            value = {"metadata": {"name": key.rpartition("/")[2]}, **held}
            await store.commit(key, lambda _, value=value: orjson.dumps(value))  # type: ignore[misc]
        await admit(verb, resource, obj, None, CONTROLLERS, store)
        judge = LimitRanger(store, Chain())
        if judge.concerns(verb.upper(), resource, ""):
            await judge.admit(
                Review("CREATE", resource, "", resource.kind, "d", "", obj, None, None, CONTROLLERS, False, [])
            )  # fmt: skip

    asyncio.run(main())
    return obj


def pod(**spec: Any) -> Any:
    held = {"containers": [{"name": "c", "image": "x"}], **spec}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "d"},
        "spec": held,
    }


def refusal(obj: Any, stored: Stored) -> str:
    with pytest.raises(Forbidden) as told:
        admitted(obj, {ACCOUNT: {}, **stored})
    return told.value.message


# ---------------------------------------------------------------- service accounts


def test_a_pod_gets_the_token_of_its_account() -> None:
    spec = admitted(pod(initContainers=[{"name": "i"}]), {ACCOUNT: {}})["spec"]
    assert spec["serviceAccountName"] == spec["serviceAccount"] == "default"
    [volume] = spec["volumes"]
    assert volume["name"].startswith("kube-api-access-")
    assert len(volume["name"]) == len("kube-api-access-") + 5
    assert volume["projected"] == {
        "defaultMode": 420,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
        ],
    }  # fmt: skip
    mount = {"name": volume["name"], "readOnly": True, "mountPath": TOKEN_PATH}
    assert spec["containers"][0]["volumeMounts"] == [mount]
    assert spec["initContainers"][0]["volumeMounts"] == [mount]


@pytest.mark.parametrize(
    ("account", "spec", "mounted"),
    [
        ({}, {}, True),
        ({"automountServiceAccountToken": False}, {}, False),
        ({"automountServiceAccountToken": False}, {"automountServiceAccountToken": True}, True),
        ({}, {"automountServiceAccountToken": False}, False),
    ],
)
def test_the_pod_says_whether_before_its_account(account: Any, spec: Any, mounted: bool) -> None:
    assert ("volumes" in admitted(pod(**spec), {ACCOUNT: account})["spec"]) is mounted


def test_a_mount_of_its_own_is_kept() -> None:
    own = {"name": "mine", "mountPath": TOKEN_PATH}
    containers = [{"name": "c", "volumeMounts": [own]}]
    spec = admitted(pod(containers=containers), {ACCOUNT: {}})["spec"]
    assert spec["containers"][0]["volumeMounts"] == [own]
    assert "volumes" not in spec


def test_secrets_for_images_come_from_the_account() -> None:
    account = {"imagePullSecrets": [{"name": "s"}]}
    assert admitted(pod(), {ACCOUNT: account})["spec"]["imagePullSecrets"] == [{"name": "s"}]
    kept = admitted(pod(imagePullSecrets=[{"name": "t"}]), {ACCOUNT: account})
    assert kept["spec"]["imagePullSecrets"] == [{"name": "t"}]


def test_an_account_has_to_exist() -> None:
    assert refusal(pod(serviceAccountName="x"), {}) == (
        'pods "p" is forbidden: error looking up service account d/x: serviceaccount "x" not found'
    )


# ---------------------------------------------------------------- priority, tolerations, runtime

CLASSES = {
    "scheduling.k8s.io/priorityclasses//high": {"value": 9, "preemptionPolicy": "Never"},
    "scheduling.k8s.io/priorityclasses//usual": {"value": 3, "globalDefault": True},
}


@pytest.mark.parametrize(
    ("name", "stored", "left"),
    [
        ("", {}, (None, 0, "PreemptLowerPriority")),
        ("", CLASSES, ("usual", 3, "PreemptLowerPriority")),
        ("high", CLASSES, ("high", 9, "Never")),
    ],
)
def test_priority_comes_from_a_class(name: str, stored: Stored, left: Any) -> None:
    spec = admitted(pod(**({"priorityClassName": name} if name else {})), {ACCOUNT: {}, **stored})[
        "spec"
    ]
    assert (spec.get("priorityClassName"), spec["priority"], spec["preemptionPolicy"]) == left


def test_priorities_that_are_refused() -> None:
    assert refusal(pod(priorityClassName="x"), {}) == (
        'pods "p" is forbidden: no PriorityClass with name x was found'
    )
    assert refusal(pod(priority=7), {}) == (
        'pods "p" is forbidden: the integer value of priority (7) must not be provided in pod spec; '
        "priority admission controller computed 0 from the given PriorityClass name"
    )


def test_one_class_is_the_default() -> None:
    other = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "mine"},
        "value": 1,
        "globalDefault": True,
    }
    assert refusal(other, CLASSES) == (
        'priorityclasses.scheduling.k8s.io "mine" is forbidden: PriorityClass usual is already marked as default. Only one default can exist'
    )


@pytest.mark.parametrize(
    ("own", "added"),
    [
        ([], ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]),
        ([{"operator": "Exists"}], []),
        ([{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}], ["node.kubernetes.io/unreachable"]),
        ([{"operator": "Exists", "effect": "NoSchedule"}], ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]),
    ],
)  # fmt: skip
def test_silent_nodes_are_tolerated_for_a_while(own: Any, added: list[str]) -> None:
    held = admitted(pod(tolerations=own), {ACCOUNT: {}})["spec"]["tolerations"]
    assert held[: len(own)] == own
    assert held[len(own) :] == [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
        for key in added
    ]


RUNTIME = {
    "node.k8s.io/runtimeclasses//vm": {
        "handler": "qemu",
        "overhead": {"podFixed": {"memory": "64Mi"}},
        "scheduling": {"nodeSelector": {"kvm": "yes"}, "tolerations": [{"key": "vm"}]},
    }
}


def test_a_runtime_class_adds_what_it_costs_and_where_it_runs() -> None:
    spec = admitted(pod(runtimeClassName="vm", nodeSelector={"a": "b"}), {ACCOUNT: {}, **RUNTIME})["spec"]  # fmt: skip
    assert spec["overhead"] == {"memory": "64Mi"}
    assert spec["nodeSelector"] == {"a": "b", "kvm": "yes"}
    assert {"key": "vm"} in spec["tolerations"]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"runtimeClassName": "x"}, 'RuntimeClass "x" not found'),
        ({"overhead": {"cpu": "1"}}, "Pod Overhead set without corresponding RuntimeClass defined Overhead"),
        ({"runtimeClassName": "vm", "overhead": {"cpu": "1"}}, "Pod's Overhead doesn't match RuntimeClass's defined Overhead"),
        ({"runtimeClassName": "vm", "nodeSelector": {"kvm": "no"}}, "conflict: runtimeClass.scheduling.nodeSelector[kvm] = yes; pod.spec.nodeSelector[kvm] = no"),
    ],
)  # fmt: skip
def test_runtimes_that_are_refused(spec: Any, says: str) -> None:
    assert refusal(pod(**spec), RUNTIME) == f'pods "p" is forbidden: pod rejected: {says}'


# ---------------------------------------------------------------- limits, storage


def limit_range(**item: Any) -> Any:
    return {"spec": {"limits": [{"type": "Container", **item}]}}


RANGE = {
    "core/limitranges/d/l": limit_range(default={"cpu": "500m"}, defaultRequest={"cpu": "100m"})
}


def test_limits_fill_in_what_containers_leave_out() -> None:
    made = pod()
    made["status"] = {"phase": "Pending", "qosClass": "BestEffort"}
    made = admitted(made, {ACCOUNT: {}, **RANGE})
    assert made["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "100m"},
        "limits": {"cpu": "500m"},
    }
    assert made["status"]["qosClass"] == "Burstable"
    assert made["metadata"]["annotations"] == {
        "kubernetes.io/limit-ranger": "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    }


@pytest.mark.parametrize(
    ("item", "resources", "says"),
    [
        ({"min": {"cpu": "100m"}}, {"requests": {"cpu": "50m"}}, "minimum cpu usage per Container is 100m, but request is 50m"),
        ({"max": {"memory": "1Gi"}}, {"limits": {"memory": "2048Mi"}}, "maximum memory usage per Container is 1Gi, but limit is 2Gi"),
        ({"maxLimitRequestRatio": {"cpu": "2"}}, {"requests": {"cpu": "100m"}, "limits": {"cpu": "400m"}}, "cpu max limit to request ratio per Container is 2, but provided ratio is 4.000000"),
    ],
)  # fmt: skip
def test_limits_refuse_too_little_and_too_much(item: Any, resources: Any, says: str) -> None:
    made = pod(containers=[{"name": "c", "resources": resources}])
    stored = {"core/limitranges/d/l": limit_range(**item)}
    assert refusal(made, stored) == f'pods "p" is forbidden: {says}'


def test_limits_of_whole_pods_add_up() -> None:
    spec = {
        "containers": [{"name": n, "resources": {"limits": {"cpu": "600m"}}} for n in "ab"],
        "initContainers": [{"name": "i", "resources": {"limits": {"cpu": "2"}}}],
    }
    held = {"spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}}]}}
    assert limits.pod_faults(spec, held) == [
        "maximum cpu usage per Pod is 1, but limit is 2",
    ]


def claim(**spec: Any) -> Any:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "v", "namespace": "d"},
        "spec": {"resources": {"requests": {"storage": "1Gi"}}, **spec},
    }


def storage_class(day: int, default: str) -> Any:
    return {
        "metadata": {
            "name": f"day{day}",
            "creationTimestamp": f"2026-01-{day:02}T00:00:00Z",
            "annotations": {"storageclass.kubernetes.io/is-default-class": default},
        }
    }


def test_a_claim_gets_the_newest_default_class() -> None:
    stored = {
        f"storage.k8s.io/storageclasses//day{day}": storage_class(day, default)
        for day, default in ((1, "true"), (2, "true"), (3, "false"))
    }
    assert admitted(claim(), stored)["spec"]["storageClassName"] == "day2"
    assert admitted(claim(storageClassName=""), stored)["spec"]["storageClassName"] == ""


def test_a_claim_obeys_limits() -> None:
    held = {"spec": {"limits": [{"type": "PersistentVolumeClaim", "min": {"storage": "2Gi"}}]}}
    assert refusal(claim(), {"core/limitranges/d/l": held}) == (
        'persistentvolumeclaims "v" is forbidden: minimum storage usage per PersistentVolumeClaim is 2Gi, but request is 1Gi'
    )


def test_an_update_gets_its_tolerations_back_and_nothing_else() -> None:
    left = admitted(pod(), {}, "update")
    assert [t["key"] for t in left["spec"].pop("tolerations")] == [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ]
    assert left == pod()
