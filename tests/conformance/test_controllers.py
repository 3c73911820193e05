"""Endpoints, Deployments, events and nodes: what controllers make of objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.conformance.made import LABELS, Json, apps, core, deployment, pod, running, service
from tests.conformance.wire import MERGE, STRATEGIC, Api

# ---------------------------------------------------------------- 64 endpoints


@pytest.fixture
def node(api: Api, ns: str) -> Iterator[str]:
    name = f"n-{ns}"
    api.make("/api/v1/nodes", {"metadata": {"name": name}})
    yield name
    api.ask("DELETE", f"/api/v1/nodes/{name}")


def test_64_pods_behind_a_service(api: Api, ns: str, node: str, controlled: None) -> None:
    running(api, ns, "p", node=node)
    running(api, ns, "q", ready=False, node=node)
    api.make(core(ns, "services"), service())
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{ns}/endpointslices"
    with api.watch(slices) as watch:
        event = watch.until(
            lambda e: e["type"] != "DELETED" and len(e["object"].get("endpoints") or ()) == 2
        )
    held = event["object"]
    assert held["addressType"] == "IPv4"
    assert held["metadata"]["labels"]["kubernetes.io/service-name"] == "s"
    manager = held["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"]
    assert manager == "endpointslice-controller.k8s.io"
    ready = {e["targetRef"]["name"]: e["conditions"]["ready"] for e in held["endpoints"]}
    assert ready == {"p": True, "q": False}
    points = api.until(f"{core(ns, 'endpoints')}/s", lambda one: one.get("subsets"))
    (subset,) = points["subsets"]
    assert [a["targetRef"]["name"] for a in subset["addresses"]] == ["p"]
    assert [a["targetRef"]["name"] for a in subset["notReadyAddresses"]] == ["q"]


def test_64_unready_pods_count_where_a_service_says_so(api: Api, ns: str, controlled: None) -> None:
    running(api, ns, "q", ready=False)
    api.make(core(ns, "services"), service(publishNotReadyAddresses=True))
    points = api.until(f"{core(ns, 'endpoints')}/s", lambda one: one.get("subsets"))
    assert [a["targetRef"]["name"] for a in points["subsets"][0]["addresses"]] == ["q"]


# ---------------------------------------------------------------- 65 Deployments


def observed(one: Json) -> bool:
    status = one.get("status") or {}
    return bool(status.get("observedGeneration") == one["metadata"]["generation"])


def sets_of(api: Api, ns: str) -> list[Json]:
    items: list[Json] = api.get(apps(ns, "replicasets"))["items"]
    return items


def revision_of(one: Json) -> str:
    return str(one["metadata"]["annotations"]["deployment.kubernetes.io/revision"])


def at_revision(number: int) -> Callable[[Json], bool]:
    def look(one: Json) -> bool:
        notes = one["metadata"].get("annotations") or {}
        said = notes.get("deployment.kubernetes.io/revision") == str(number)
        return said and observed(one)

    return look


def image(name: str) -> Json:
    return {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": name}]}}}}


def test_65_a_deployment_makes_replica_sets_and_counts_revisions(
    api: Api, ns: str, controlled: None
) -> None:
    path = apps(ns)
    api.make(path, deployment(replicas=2))
    first = api.until(f"{path}/d", at_revision(1))
    (held,) = sets_of(api, ns)
    mark = held["metadata"]["labels"]["pod-template-hash"]
    assert held["metadata"]["name"] == f"d-{mark}"
    assert held["spec"]["selector"]["matchLabels"] == {**LABELS, "pod-template-hash": mark}
    (owner,) = held["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"]) == (first["metadata"]["uid"], True)
    api.good("PATCH", f"{path}/d", image("j"), kind=STRATEGIC)
    api.until(f"{path}/d", at_revision(2))
    assert sorted(map(revision_of, sets_of(api, ns))) == ["1", "2"]
    api.good("PATCH", f"{path}/d", image("i"), kind=STRATEGIC)
    api.until(f"{path}/d", at_revision(3))
    back = {one["metadata"]["name"]: revision_of(one) for one in sets_of(api, ns)}
    assert back[f"d-{mark}"] == "3"
    assert len(back) == 2


def test_65_surge_is_rounded_up_and_unavailability_down(
    api: Api, ns: str, controlled: None
) -> None:
    path = apps(ns)
    api.make(path, deployment(replicas=5))
    api.until(f"{path}/d", lambda one: (one.get("status") or {}).get("replicas") == 5)
    limits = {"maxSurge": "25%", "maxUnavailable": "25%"}
    made = api.get(f"{path}/d")["spec"]["strategy"]
    assert made == {"type": "RollingUpdate", "rollingUpdate": limits}
    api.good("PATCH", f"{path}/d", image("j"), kind=STRATEGIC)
    found = api.until(
        f"{path}/d",
        lambda one: observed(one) and (one["status"].get("updatedReplicas") or 0) >= 2,
    )
    assert found["status"]["replicas"] <= 7


def test_65_a_paused_deployment_rolls_nothing_out(api: Api, ns: str, controlled: None) -> None:
    path = apps(ns)
    api.make(path, deployment(replicas=1))
    api.until(f"{path}/d", at_revision(1))
    api.good("PATCH", f"{path}/d", {"spec": {"paused": True}}, kind=MERGE)
    api.good("PATCH", f"{path}/d", image("j"), kind=STRATEGIC)
    api.until(f"{path}/d", observed)
    assert len(sets_of(api, ns)) == 1
    api.good("PATCH", f"{path}/d", {"spec": {"paused": None}}, kind=MERGE)
    api.until(f"{path}/d", at_revision(2))


@pytest.mark.slow
def test_65_no_progress_in_time_is_said(api: Api, ns: str, controlled: None) -> None:
    path = apps(ns)
    api.make(path, deployment(replicas=1, progressDeadlineSeconds=1))

    def late(one: Json) -> bool:
        held = (one.get("status") or {}).get("conditions") or ()
        return any(c.get("reason") == "ProgressDeadlineExceeded" for c in held)

    found = api.until(f"{path}/d", late)
    said = {c["type"]: (c["status"], c["reason"]) for c in found["status"]["conditions"]}
    assert said["Progressing"] == ("False", "ProgressDeadlineExceeded")
    assert said["Available"] == ("False", "MinimumReplicasUnavailable")


def test_65_old_replica_sets_are_forgotten(api: Api, ns: str, controlled: None) -> None:
    path = apps(ns)
    api.make(path, deployment(replicas=0, revisionHistoryLimit=1))
    for number, name in enumerate("ijkl", 1):
        api.good("PATCH", f"{path}/d", image(name), kind=STRATEGIC)
        api.until(f"{path}/d", at_revision(number))
    with api.watch(apps(ns, "replicasets")) as watch:
        held = {one["metadata"]["uid"] for one in sets_of(api, ns)}
        while len(held) > 2:
            event = watch.until(lambda e: e["type"] == "DELETED")
            held.discard(event["object"]["metadata"]["uid"])
    assert sorted(map(revision_of, sets_of(api, ns))) == ["3", "4"]


# ---------------------------------------------------------------- 69 events


def test_69_an_event_is_one_object_in_both_groups(api: Api, ns: str) -> None:
    about = {"kind": "Pod", "namespace": ns, "name": "p", "apiVersion": "v1"}
    event = {
        "metadata": {"name": "e", "namespace": ns}, "involvedObject": about, "reason": "Test",
        "message": "said", "type": "Normal", "source": {"component": "test"}, "count": 2,
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:05Z",
    }  # fmt: skip
    made = api.make(core(ns, "events"), event)
    later = f"/apis/events.k8s.io/v1/namespaces/{ns}/events"
    seen = api.get(f"{later}/e")
    assert seen["metadata"]["uid"] == made["metadata"]["uid"]
    assert seen["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    assert (seen["note"], seen["regarding"]) == ("said", about)
    assert (seen["deprecatedCount"], seen["deprecatedSource"]) == (2, {"component": "test"})
    new = {
        "metadata": {"name": "f"}, "regarding": about, "reason": "Test", "note": "told", "type": "Normal",
        "action": "Testing", "reportingController": "example.com/test", "reportingInstance": "t-1",
        "eventTime": "2026-01-01T00:00:00.000001Z",
    }  # fmt: skip
    api.make(later, new)
    old = api.get(f"{core(ns, 'events')}/f")
    assert (old["message"], old["involvedObject"]) == ("told", about)
    assert (old["reportingComponent"], old["eventTime"]) == (
        "example.com/test",
        "2026-01-01T00:00:00.000001Z",
    )
    found = api.get(core(ns, "events"), fieldSelector="involvedObject.name=p,reason=Test")
    assert len(found["items"]) == 2


def test_69_a_series_is_counted_by_patches(api: Api, ns: str) -> None:
    path = f"/apis/events.k8s.io/v1/namespaces/{ns}/events"
    about = {"kind": "Pod", "namespace": ns, "name": "p", "apiVersion": "v1"}
    new = {
        "metadata": {"name": "f"}, "regarding": about, "reason": "Test", "note": "told", "type": "Normal",
        "action": "Testing", "reportingController": "example.com/test", "reportingInstance": "t-1",
        "eventTime": "2026-01-01T00:00:00.000001Z",
    }  # fmt: skip
    api.make(path, new)
    series = {"count": 3, "lastObservedTime": "2026-01-01T00:01:00.000000Z"}
    api.good("PATCH", f"{path}/f", {"series": series}, kind=MERGE)
    assert api.get(f"{core(ns, 'events')}/f")["series"] == series


# ---------------------------------------------------------------- 70 nodes


@pytest.mark.slow
def test_70_a_node_renews_its_lease(api: Api, whole: None) -> None:
    (node,) = api.get("/api/v1/nodes")["items"]
    name = node["metadata"]["name"]
    ready = [c for c in node["status"]["conditions"] if c["type"] == "Ready"]
    assert [c["status"] for c in ready] == ["True"]
    path = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}"
    lease = api.get(path)
    assert lease["spec"]["holderIdentity"] == name
    assert lease["spec"]["leaseDurationSeconds"] == 40
    (owner,) = lease["metadata"]["ownerReferences"]
    assert owner["uid"] == node["metadata"]["uid"]
    before = lease["spec"]["renewTime"]
    after = api.until(path, lambda one: one["spec"]["renewTime"] > before)
    assert after["spec"]["renewTime"] > before


def test_70_a_taint_sends_pods_away_that_do_not_tolerate_it(
    api: Api, ns: str, controlled: None
) -> None:
    name = f"n-{ns}"
    node = {"metadata": {"name": name}, "spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}}
    api.make("/api/v1/nodes", node)
    try:
        stays = [{"key": "k", "operator": "Exists", "effect": "NoExecute"}]
        api.make(core(ns), pod("stays", nodeName=name, tolerations=stays))
        api.make(core(ns), pod("goes", nodeName=name))
        api.until(f"{core(ns)}/goes", lambda one: one["metadata"].get("deletionTimestamp"))
        assert "deletionTimestamp" not in api.get(f"{core(ns)}/stays")["metadata"]
    finally:
        api.ask("DELETE", f"/api/v1/nodes/{name}")
        for one in ("stays", "goes"):
            api.ask("DELETE", f"{core(ns)}/{one}", gracePeriodSeconds=0)
