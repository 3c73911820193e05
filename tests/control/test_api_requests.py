"""The API as HTTP sees it: verbs, forms, selectors, pages, watches and the words of its errors."""

from __future__ import annotations

import asyncio

import pytest

from jindou.control.api.resources.protobuf import fields
from jindou.control.store import StoreFailed, StoreFull
from jindou.control.store.memory import MemoryStore
from jindou.control.store.table import Window
from tests.control.apis import NOBODY, on_api

NS = "/api/v1/namespaces/default"
MAPS = f"{NS}/configmaps"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
MERGE = "application/merge-patch+json"


def config(name, **more):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **more}


def pod(name="web", **spec):
    containers = [{"name": "main", "image": "busybox:1"}]
    meta = {"name": name, "labels": {"app": name}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"containers": containers, **spec},
    }


async def with_account(api):
    await api.ask("POST", f"{NS}/serviceaccounts", {"metadata": {"name": "default"}})


def test_an_object_is_made_read_changed_and_taken_away():
    async def scenario(api):
        made = await api.ask("POST", MAPS, config("a", data={"k": "v"}))
        assert made.status == 201
        meta = made.json["metadata"]
        assert set(meta) >= {"uid", "resourceVersion", "creationTimestamp", "managedFields"}
        assert list(made.json)[:3] == ["apiVersion", "kind", "metadata"]
        read = await api.ask("GET", f"{MAPS}/a")
        assert read.body == made.body == api.store.get("core/configmaps/default/a").value
        put = await api.ask("PUT", f"{MAPS}/a", {**made.json, "data": {"k": "w"}})
        assert (put.status, put.json["data"]) == (200, {"k": "w"})
        assert int(put.json["metadata"]["resourceVersion"]) > int(meta["resourceVersion"])
        stale = await api.ask("PUT", f"{MAPS}/a", {**made.json, "data": {"k": "x"}})
        assert (stale.status, stale.json["reason"]) == (409, "Conflict")
        assert stale.json["message"] == (
            'Operation cannot be fulfilled on configmaps "a": the object has been modified; '
            "please apply your changes to the latest version and try again"
        )
        gone = await api.ask("DELETE", f"{MAPS}/a")
        assert gone.json["status"] == "Success"
        assert gone.json["details"] == {"name": "a", "kind": "configmaps", "uid": meta["uid"]}
        again = await api.ask("GET", f"{MAPS}/a")
        assert again.body == (
            b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"configmaps \\"a\\" not found",'
            b'"reason":"NotFound","details":{"name":"a","kind":"configmaps"},"code":404}\n'
        )

    on_api(scenario)


REFUSED = [
    ("POST", MAPS, config("A"), {}, 422, 'ConfigMap "A" is invalid: metadata.name: Invalid value: "A": a lowercase RFC 1123 subdomain'),
    ("POST", "/api/v1/namespaces/nope/configmaps", config("a"), {}, 404, 'namespaces "nope" not found'),
    ("POST", MAPS, {**config("a"), "metadata": {"name": "a", "namespace": "other"}}, {}, 400, "the namespace of the provided object does not match"),
    ("POST", MAPS, {**config("a"), "kind": "Secret"}, {}, 400, "cannot be handled as a ConfigMap"),
    ("POST", MAPS, {**config("a"), "apiVersion": "v2"}, {}, 400, "the API version in the data (v2) does not match the expected API version (v1)"),
    ("POST", MAPS, b"{", {}, 400, "json parse error"),
    ("POST", MAPS, b"x", {"content_type": "text/plain"}, 415, "unknown format"),
    ("POST", f"{MAPS}?dryRun=Some", config("a"), {}, 422, 'dryRun: Unsupported value: ["Some"]'),
    ("POST", f"{MAPS}?fieldValidation=Maybe", config("a"), {}, 422, "fieldValidation: Unsupported value"),
    ("POST", f"{MAPS}?fieldValidation=Strict", config("a", foo=1), {}, 400, 'strict decoding error: unknown field "foo"'),
    ("POST", f"{MAPS}?fieldValidation=Strict", b'{"metadata":{"name":"a","name":"b"}}', {}, 400, 'duplicate field "metadata.name"'),
    ("POST", f"{NS}/pods", {"metadata": {"name": "p"}, "spec": {"containers": "x"}}, {}, 400, "cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container"),
    ("POST", f"{MAPS}/a", config("a"), {}, 405, "does not allow this method"),
    ("PUT", MAPS, config("a"), {}, 405, "does not allow this method"),
    ("POST", "/api/v1/configmaps", config("a"), {}, 405, "does not allow this method"),
    ("DELETE", "/api/v1/configmaps", None, {}, 405, "does not allow this method"),
    ("PUT", f"{MAPS}/a", config("b"), {}, 400, "the name of the object (b) does not match the name on the URL (a)"),
    ("PUT", f"{MAPS}/zz", config("zz"), {}, 404, 'configmaps "zz" not found'),
    ("GET", f"{MAPS}?fieldSelector=data=x", None, {}, 400, "\"data\" is not a known field selector"),
    ("GET", f"{MAPS}?labelSelector=a in", None, {}, 400, "unable to parse requirement"),
    ("GET", MAPS, None, {"accept": "image/png"}, 406, "406: Not Acceptable"),
    ("GET", f"{MAPS}?resourceVersionMatch=Exact", None, {}, 422, "resourceVersionMatch is forbidden unless resourceVersion is provided"),
    ("GET", f"{MAPS}?resourceVersion=99999", None, {}, 504, "Too large resource version: 99999, current:"),
    ("GET", f"{MAPS}?continue=xx", None, {}, 400, "continue key is not valid"),
    ("PATCH", f"{MAPS}/a", {}, {"content_type": "text/x"}, 415, "accepted media types include"),
    ("DELETE", "/api/v1/namespaces/default", None, {}, 403, "this namespace may not be deleted"),
    ("DELETE", f"{MAPS}/zz", None, {}, 404, 'configmaps "zz" not found'),
    ("GET", "/api/v1/nonsense", None, {}, 404, "the server could not find the requested resource"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "headers", "status", "says"), REFUSED)
def test_what_is_wrong_is_refused_in_the_words_of_the_real_server(
    method, path, body, headers, status, says
):
    async def scenario(api):
        await api.ask("POST", MAPS, config("a"))
        path_sent = path.replace(" ", "%20")
        reply = await api.ask(method, path_sent, body, **headers)
        assert (reply.status, reply.json["code"], reply.json["kind"]) == (status, status, "Status")
        assert says in reply.json["message"]

    on_api(scenario)


def test_unknown_fields_are_dropped_and_warned_about_unless_told_otherwise():
    async def scenario(api):
        warned = await api.ask("POST", MAPS, config("a", foo=1))
        assert warned.headers["Warning"] == '299 - "unknown field \\"foo\\""'
        assert "foo" not in warned.json
        silent = await api.ask("POST", f"{MAPS}?fieldValidation=Ignore", config("b", foo=1))
        assert "Warning" not in silent.headers

    on_api(scenario)


def test_names_are_generated_and_system_fields_of_the_client_are_ignored():
    async def scenario(api):
        meta = {
            "generateName": "a-",
            "uid": "mine",
            "creationTimestamp": "2001-01-01T00:00:00Z",
            "generation": 7,
        }
        made = await api.ask("POST", MAPS, {"metadata": meta})
        got = made.json["metadata"]
        assert got["name"].startswith("a-")
        assert len(got["name"]) == 7
        assert got["uid"] != "mine"
        assert not got["creationTimestamp"].startswith("2001")
        assert "generation" not in got

    on_api(scenario)


def test_a_write_that_changes_nothing_is_no_write():
    async def scenario(api):
        made = (await api.ask("POST", MAPS, config("a", data={"k": "v"}))).json
        before = api.store.revision
        same = await api.ask("PUT", f"{MAPS}/a", made)
        patched = await api.ask("PATCH", f"{MAPS}/a", {"data": {"k": "v"}}, content_type=MERGE)
        assert same.json["metadata"] == patched.json["metadata"] == made["metadata"]
        assert api.store.revision == before

    on_api(scenario)


def test_a_dry_run_shows_everything_and_keeps_nothing():
    async def scenario(api):
        before = api.store.revision
        shown = await api.ask("POST", f"{MAPS}?dryRun=All", config("a"))
        assert shown.status == 201
        assert shown.json["metadata"]["uid"]
        assert "resourceVersion" not in shown.json["metadata"]
        await api.ask("POST", MAPS, config("a", data={"k": "v"}))
        again = await api.ask("POST", f"{MAPS}?dryRun=All", config("a"))
        assert again.json["reason"] == "AlreadyExists"
        patched = await api.ask(
            "PATCH", f"{MAPS}/a?dryRun=All", {"data": {"k": "w"}}, content_type=MERGE
        )
        assert patched.json["data"] == {"k": "w"}
        gone = await api.ask("DELETE", f"{MAPS}/a?dryRun=All")
        assert gone.json["status"] == "Success"
        assert (await api.ask("GET", f"{MAPS}/a")).json["data"] == {"k": "v"}
        assert api.store.revision == before + 1

    on_api(scenario)


def test_patches_of_every_kind():
    async def scenario(api):
        await with_account(api)
        await api.ask("POST", f"{NS}/pods", pod())
        url = f"{NS}/pods/web"
        merged = await api.ask(
            "PATCH", url, {"metadata": {"labels": {"x": "y"}}}, content_type=MERGE
        )
        assert merged.json["metadata"]["labels"] == {"app": "web", "x": "y"}
        strategic = await api.ask(
            "PATCH", url, {"spec": {"containers": [{"name": "main", "image": "busybox:2"}]}},
            content_type="application/strategic-merge-patch+json",
        )  # fmt: skip
        assert [c["image"] for c in strategic.json["spec"]["containers"]] == ["busybox:2"]
        replace = [{"op": "replace", "path": "/metadata/labels/x", "value": "z"}]
        replaced = await api.ask("PATCH", url, replace, content_type="application/json-patch+json")
        assert replaced.json["metadata"]["labels"]["x"] == "z"
        test = [{"op": "test", "path": "/metadata/labels/x", "value": "nope"}]
        assert (
            await api.ask("PATCH", url, test, content_type="application/json-patch+json")
        ).status == 422
        stale = await api.ask(
            "PATCH",
            url,
            {"metadata": {"resourceVersion": "1", "labels": {"q": "r"}}},
            content_type=MERGE,
        )
        assert stale.status == 409
        forbidden = await api.ask("PATCH", url, {"spec": {"nodeName": "n"}}, content_type=MERGE)
        assert forbidden.json["reason"] == "Invalid"
        assert forbidden.json["details"]["causes"][0]["field"] == "spec"

    on_api(scenario)


def test_server_side_apply_makes_owns_and_conflicts():
    async def scenario(api):
        apply = {"content_type": "application/apply-patch+yaml"}
        one = await api.ask(
            "PATCH", f"{MAPS}/a?fieldManager=one", config("a", data={"k": "1"}), **apply
        )
        assert one.status == 201
        again = await api.ask(
            "PATCH", f"{MAPS}/a?fieldManager=one", config("a", data={"k": "1"}), **apply
        )
        assert (again.status, again.json["metadata"]) == (200, one.json["metadata"])
        other = await api.ask(
            "PATCH", f"{MAPS}/a?fieldManager=two", config("a", data={"k": "2"}), **apply
        )
        assert other.json["reason"] == "Conflict"
        assert other.json["details"]["causes"][0]["reason"] == "FieldManagerConflict"
        forced = await api.ask(
            "PATCH", f"{MAPS}/a?fieldManager=two&force=true", config("a", data={"k": "2"}), **apply
        )
        assert forced.json["data"] == {"k": "2"}
        nobody = await api.ask("PATCH", f"{MAPS}/a", config("a"), **apply)
        assert nobody.status == 422

    on_api(scenario)


def test_parallel_patches_all_count():
    async def scenario(api):
        await api.ask("POST", MAPS, config("a"))
        await asyncio.gather(
            *(
                api.ask("PATCH", f"{MAPS}/a", {"data": {f"k{n}": "v"}}, content_type=MERGE)
                for n in range(40)
            )
        )
        assert len((await api.ask("GET", f"{MAPS}/a")).json["data"]) == 40

    on_api(scenario)


def test_status_and_spec_are_written_apart_and_generation_counts_the_spec():
    async def scenario(api):
        url = "/apis/apps/v1/namespaces/default/deployments"
        template = {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        }
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
        made = await api.ask(
            "POST", url, {"metadata": {"name": "d"}, "spec": spec, "status": {"replicas": 9}}
        )
        assert made.json["status"] == {}
        assert made.json["metadata"]["generation"] == 1
        body = {
            **made.json,
            "spec": {**made.json["spec"], "replicas": 5},
            "status": {"replicas": 3},
        }
        reported = await api.ask("PUT", f"{url}/d/status", body)
        assert reported.json["status"] == {"replicas": 3}
        assert reported.json["spec"]["replicas"] == 1
        assert reported.json["metadata"]["generation"] == 1
        body["metadata"] = reported.json["metadata"]
        asked = await api.ask("PUT", f"{url}/d", {**body, "status": {}})
        assert (asked.json["spec"]["replicas"], asked.json["status"]) == (5, {"replicas": 3})
        assert asked.json["metadata"]["generation"] == 2
        scale = await api.ask("GET", f"{url}/d/scale")
        assert scale.json["spec"] == {"replicas": 5}
        assert scale.json["status"] == {"replicas": 3, "selector": "a=b"}
        scaled = await api.ask(
            "PATCH", f"{url}/d/scale", {"spec": {"replicas": 7}}, content_type=MERGE
        )
        assert scaled.json["kind"] == "Scale"
        assert (await api.ask("GET", f"{url}/d")).json["spec"]["replicas"] == 7
        wrong = await api.ask(
            "PUT", f"{url}/d/scale", {"metadata": {"name": "d"}, "spec": {"replicas": -1}}
        )
        assert wrong.status == 422

    on_api(scenario)


# ---------------------------------------------------------------- lists


def test_lists_select_and_come_in_the_form_that_is_asked_for():
    async def scenario(api):
        for n in range(4):
            labels = {"even": str(n % 2 == 0).lower(), "n": str(n)}
            await api.ask("POST", MAPS, {"metadata": {"name": f"m{n}", "labels": labels}})
        whole = (await api.ask("GET", MAPS)).json
        assert (whole["kind"], whole["apiVersion"]) == ("ConfigMapList", "v1")
        assert whole["metadata"] == {"resourceVersion": str(api.store.revision)}

        async def names(query):
            return [
                o["metadata"]["name"]
                for o in (await api.ask("GET", f"{MAPS}?{query}")).json["items"]
            ]

        assert await names("labelSelector=even%3Dtrue") == ["m0", "m2"]
        assert await names("labelSelector=n%20notin%20(0,1)") == ["m2", "m3"]
        assert await names("fieldSelector=metadata.name%3Dm1") == ["m1"]
        assert await names("fieldSelector=metadata.name!%3Dm1") == ["m0", "m2", "m3"]
        table = (await api.ask("GET", MAPS, accept=TABLE)).json
        assert table["kind"] == "Table"
        assert [row["cells"][0] for row in table["rows"]] == ["m0", "m1", "m2", "m3"]
        assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
        partial = await api.ask(
            "GET", MAPS, accept="application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
        )
        assert partial.json["kind"] == "PartialObjectMetadataList"
        yaml = await api.ask("GET", f"{MAPS}/m1", accept="application/yaml")
        assert yaml.body.startswith(b"apiVersion: v1\nkind: ConfigMap\n")

    on_api(scenario)


def test_pages_show_one_moment_whatever_happens_between_them():
    async def scenario(api):
        for n in range(5):
            await api.ask("POST", MAPS, config(f"m{n}"))
        first = (await api.ask("GET", f"{MAPS}?limit=2")).json
        assert first["metadata"]["remainingItemCount"] == 3
        await api.ask("DELETE", f"{MAPS}/m3")
        await api.ask("POST", MAPS, config("m31"))
        await api.ask("PATCH", f"{MAPS}/m4", {"data": {"new": "1"}}, content_type=MERGE)
        token = first["metadata"]["continue"]
        second = (await api.ask("GET", f"{MAPS}?limit=2&continue={token}")).json
        assert [o["metadata"]["name"] for o in second["items"]] == ["m2", "m3"]
        assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        last = (
            await api.ask("GET", f"{MAPS}?limit=2&continue={second['metadata']['continue']}")
        ).json
        assert [o["metadata"]["name"] for o in last["items"]] == ["m4"]
        assert "data" not in last["items"][0]
        assert "continue" not in last["metadata"]
        exact = f"{MAPS}?resourceVersionMatch=Exact&resourceVersion={first['metadata']['resourceVersion']}"
        assert len((await api.ask("GET", exact)).json["items"]) == 5

    on_api(scenario)


def test_a_page_that_is_too_old_says_how_to_go_on():
    async def scenario(api):
        for n in range(5):
            await api.ask("POST", MAPS, config(f"m{n}"))
        token = (await api.ask("GET", f"{MAPS}?limit=2")).json["metadata"]["continue"]
        for n in range(8):
            await api.ask("POST", MAPS, config(f"n{n}"))
        late = await api.ask("GET", f"{MAPS}?limit=2&continue={token}")
        assert (late.status, late.json["reason"]) == (410, "Expired")
        fresh = late.json["metadata"]["continue"]
        rest = (await api.ask("GET", f"{MAPS}?continue={fresh}")).json
        assert len(rest["items"]) == 3 + 8
        old = await api.ask("GET", f"{MAPS}?resourceVersionMatch=Exact&resourceVersion=1")
        assert old.status == 410

    on_api(scenario, MemoryStore(Window(changes=4)))


# ---------------------------------------------------------------- watches


def test_a_watch_tells_every_change_in_order_and_the_revision_of_a_deletion():
    async def scenario(api):
        start = api.store.revision
        lines = api.watch(f"{MAPS}?watch=true&resourceVersion={start}")
        await api.ask("POST", MAPS, config("a"))
        await api.ask("PATCH", f"{MAPS}/a", {"data": {"k": "v"}}, content_type=MERGE)
        await api.ask("DELETE", f"{MAPS}/a")
        assert lines.types == ["ADDED", "MODIFIED", "DELETED"]
        told = [int(event["object"]["metadata"]["resourceVersion"]) for event in lines.events]
        assert told == [start + 1, start + 2, start + 3]
        assert lines.events[2]["object"]["data"] == {"k": "v"}
        late = api.watch(f"{MAPS}?watch=true&resourceVersion={start + 1}")
        assert late.events == lines.events[1:]

    on_api(scenario)


def test_objects_enter_and_leave_the_selection_of_a_watch():
    async def scenario(api):
        lines = api.watch(f"{MAPS}?watch=1&labelSelector=on%3Dyes")
        await api.ask("POST", MAPS, config("a"))
        for value in ("yes", "no"):
            await api.ask(
                "PATCH", f"{MAPS}/a", {"metadata": {"labels": {"on": value}}}, content_type=MERGE
            )
        assert lines.types == ["ADDED", "DELETED"]
        gone = lines.events[1]["object"]["metadata"]
        assert gone["labels"] == {"on": "yes"}
        assert gone["resourceVersion"] == str(api.store.revision)

    on_api(scenario)


def test_a_watch_list_sends_what_there_is_then_a_bookmark_then_changes():
    async def scenario(api):
        await api.ask("POST", MAPS, config("a"))
        query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        lines = api.watch(f"{MAPS}?{query}")
        assert lines.types == ["ADDED", "BOOKMARK"]
        mark = lines.events[1]["object"]
        assert mark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert mark["metadata"]["resourceVersion"] == str(api.store.revision)
        await api.ask("DELETE", f"{MAPS}/a")
        assert lines.types == ["ADDED", "BOOKMARK", "DELETED"]
        wrong = await api.ask("GET", f"{MAPS}?watch=true&sendInitialEvents=true")
        assert wrong.status == 422

    on_api(scenario)


def test_a_watch_from_a_forgotten_revision_is_told_so_and_ends():
    async def scenario(api):
        for n in range(8):
            await api.ask("POST", MAPS, config(f"m{n}"))
        lines = api.watch(f"{MAPS}?watch=true&resourceVersion=1")
        assert lines.types == ["ERROR"]
        assert (lines.events[0]["object"]["code"], lines.events[0]["object"]["reason"]) == (
            410,
            "Expired",
        )
        assert lines.closed

    on_api(scenario, MemoryStore(Window(changes=4)))


def test_a_watch_ends_in_its_time_and_tables_have_headings_once():
    async def scenario(api):
        await api.ask("POST", MAPS, config("a"))
        lines = api.watch(f"{MAPS}?watch=true&timeoutSeconds=0", accept=TABLE)
        await api.ask("POST", MAPS, config("b"))
        assert [bool(e["object"]["columnDefinitions"]) for e in lines.events] == [True, False]
        assert not lines.closed
        lines.close()
        await api.ask("POST", MAPS, config("c"))
        assert len(lines.events) == 2

    on_api(scenario)


# ---------------------------------------------------------------- deletion


def test_finalizers_hold_an_object_until_the_last_is_gone():
    async def scenario(api):
        made = {"metadata": {"name": "a", "finalizers": ["x.io/one"]}}
        await api.ask("POST", MAPS, made)
        lines = api.watch(f"{MAPS}?watch=true")
        waiting = await api.ask("DELETE", f"{MAPS}/a", {"propagationPolicy": "Foreground"})
        meta = waiting.json["metadata"]
        assert meta["finalizers"] == ["x.io/one", "foregroundDeletion"]
        assert meta["deletionTimestamp"]
        assert meta["deletionGracePeriodSeconds"] == 0
        more = await api.ask(
            "PATCH", f"{MAPS}/a", {"metadata": {"finalizers": ["y.io/two"]}}, content_type=MERGE
        )
        assert "no new finalizers can be added" in more.json["message"]
        await api.ask("PATCH", f"{MAPS}/a", {"metadata": {"finalizers": None}}, content_type=MERGE)
        assert (await api.ask("GET", f"{MAPS}/a")).status == 404
        assert lines.types == ["ADDED", "MODIFIED", "DELETED"]

    on_api(scenario)


def test_a_running_pod_goes_gracefully_and_the_node_ends_it():
    async def scenario(api):
        await with_account(api)
        made = (await api.ask("POST", f"{NS}/pods", pod())).json
        assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": "web"},
            "target": {"kind": "Node", "name": "n"},
        }
        bound = await api.ask("POST", f"{NS}/pods/web/binding", binding)
        assert (bound.status, bound.json["status"]) == (201, "Success")
        again = await api.ask("POST", f"{NS}/pods/web/binding", binding)
        assert again.json["message"].endswith('pod web is already assigned to node "n"')
        going = (await api.ask("DELETE", f"{NS}/pods/web")).json["metadata"]
        assert going["deletionGracePeriodSeconds"] == 30
        longer = (await api.ask("DELETE", f"{NS}/pods/web", {"gracePeriodSeconds": 60})).json[
            "metadata"
        ]
        assert longer["deletionTimestamp"] == going["deletionTimestamp"]
        shorter = (await api.ask("DELETE", f"{NS}/pods/web", {"gracePeriodSeconds": 5})).json[
            "metadata"
        ]
        assert shorter["deletionTimestamp"] < going["deletionTimestamp"]
        other = await api.ask(
            "DELETE", f"{NS}/pods/web", {"gracePeriodSeconds": 0, "preconditions": {"uid": "other"}}
        )
        assert other.status == 409
        assert "Precondition failed: UID in precondition: other" in other.json["message"]
        ended = await api.ask(
            "DELETE",
            f"{NS}/pods/web",
            {"gracePeriodSeconds": 0, "preconditions": {"uid": made["metadata"]["uid"]}},
        )
        assert ended.json["metadata"]["name"] == "web"
        assert (await api.ask("GET", f"{NS}/pods/web")).status == 404

    on_api(scenario)


def test_a_pod_without_a_node_is_gone_at_once_and_many_go_together():
    async def scenario(api):
        await with_account(api)
        for name in ("a", "b", "c"):
            await api.ask("POST", f"{NS}/pods", pod(name))
        gone = (await api.ask("DELETE", f"{NS}/pods/a")).json["metadata"]
        assert (gone["deletionGracePeriodSeconds"], gone["generation"]) == (0, 2)
        listed = await api.ask("DELETE", f"{NS}/pods?labelSelector=app%3Db")
        assert [o["metadata"]["name"] for o in listed.json["items"]] == ["b"]
        left = (await api.ask("GET", f"{NS}/pods")).json["items"]
        assert [o["metadata"]["name"] for o in left] == ["c"]

    on_api(scenario)


def test_a_namespace_goes_when_its_finalizer_does_and_takes_nothing_new_meanwhile():
    async def scenario(api):
        await api.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "x"}})
        going = (await api.ask("DELETE", "/api/v1/namespaces/x")).json
        assert going["status"]["phase"] == "Terminating"
        late = await api.ask("POST", "/api/v1/namespaces/x/configmaps", config("a"))
        assert late.status == 403
        assert late.json["details"]["causes"][0]["reason"] == "NamespaceTerminating"
        going["spec"]["finalizers"] = []
        put = await api.ask("PUT", "/api/v1/namespaces/x", going)
        assert put.json["spec"]["finalizers"] == ["kubernetes"]
        await api.ask("PUT", "/api/v1/namespaces/x/finalize", going)
        assert (await api.ask("GET", "/api/v1/namespaces/x")).status == 404

    on_api(scenario)


def test_eviction_obeys_a_disruption_budget():
    async def scenario(api):
        await with_account(api)
        await api.ask("POST", f"{NS}/pods", pod())
        running = {
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        }
        await api.ask("PATCH", f"{NS}/pods/web/status", running, content_type=MERGE)
        budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
        spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}
        await api.ask("POST", budgets, {"metadata": {"name": "b"}, "spec": spec})
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web"}}
        await api.ask(
            "PATCH",
            f"{budgets}/b/status",
            {"status": {"observedGeneration": 1}},
            content_type=MERGE,
        )
        refused = await api.ask("POST", f"{NS}/pods/web/eviction", eviction)
        assert refused.status == 429
        assert refused.json["details"]["causes"][0]["reason"] == "DisruptionBudget"
        await api.ask(
            "PATCH",
            f"{budgets}/b/status",
            {"status": {"disruptionsAllowed": 1}},
            content_type=MERGE,
        )
        assert (await api.ask("POST", f"{NS}/pods/web/eviction", eviction)).status == 201
        assert (await api.ask("GET", f"{budgets}/b")).json["status"]["disruptionsAllowed"] == 0

    on_api(scenario)


# ---------------------------------------------------------------- the rest


def test_services_are_given_addresses_and_keep_them():
    async def scenario(api):
        url = f"{NS}/services"
        body = {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
        made = (await api.ask("POST", url, body)).json
        spec = made["spec"]
        assert spec["clusterIP"].startswith("10.211.")
        assert 30000 <= spec["ports"][0]["nodePort"] < 32768
        put = (await api.ask("PUT", f"{url}/s", body)).json["spec"]
        assert put["clusterIP"] == spec["clusterIP"]
        clash = {
            "metadata": {"name": "t"},
            "spec": {"clusterIP": spec["clusterIP"], "ports": [{"port": 80}]},
        }
        assert (
            "provided IP is already allocated"
            in (await api.ask("POST", url, clash)).json["message"]
        )

    on_api(scenario)


def test_one_event_has_two_forms():
    async def scenario(api):
        core = {
            "metadata": {"name": "e"}, "message": "hello", "reason": "Because", "type": "Normal",
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        }  # fmt: skip
        made = (await api.ask("POST", f"{NS}/events", core)).json
        url = "/apis/events.k8s.io/v1/namespaces/default/events"
        other = (await api.ask("GET", f"{url}/e")).json
        assert (other["apiVersion"], other["note"], other["regarding"]["name"]) == (
            "events.k8s.io/v1",
            "hello",
            "p",
        )
        assert other["metadata"]["uid"] == made["metadata"]["uid"]
        found = await api.ask(
            "GET", f"{NS}/events?fieldSelector=involvedObject.name%3Dp,involvedObject.kind%3DPod"
        )
        assert len(found.json["items"]) == 1

    on_api(scenario)


def test_who_may_not_is_told_which_verb_on_what():
    async def scenario(api):
        assert (await api.ask("GET", MAPS, peer=NOBODY)).status in (401, 403)
        assert (await api.ask("GET", "/version", peer=NOBODY)).json["major"] == "1"
        user = {"impersonate_user": "jane"}
        refused = await api.ask("GET", f"{NS}/pods", **user)
        assert refused.json["message"] == (
            'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default"'
        )

    on_api(scenario)


def test_health_discovery_and_openapi():
    async def scenario(api):
        for path in ("/healthz", "/livez", "/readyz", "/livez/ping"):
            assert (await api.ask("GET", path)).body == b"ok"
        aggregated = (
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
        )
        groups = await api.ask("GET", "/apis", accept=aggregated)
        assert groups.json["kind"] == "APIGroupDiscoveryList"
        same = await api.ask(
            "GET", "/apis", accept=aggregated, if_none_match=groups.headers["ETag"]
        )
        assert (same.status, same.body) == (304, b"")
        older = await api.ask("GET", "/apis", accept=aggregated.replace("v=v2;", "v=v2beta1;"))
        assert older.json["kind"] == "APIGroupList"
        assert (await api.ask("GET", "/api/v1/")).json["kind"] == "APIResourceList"
        index = (await api.ask("GET", "/openapi/v3")).json["paths"]
        document = await api.ask("GET", index["apis/apps/v1"]["serverRelativeURL"])
        assert "io.k8s.api.apps.v1.Deployment" in document.json["components"]["schemas"]
        v2 = await api.ask("GET", "/openapi/v2", accept="application/xml")
        assert v2.status == 406
        assert b"jindou_store_revision" in (await api.ask("GET", "/metrics")).body
        assert "/api/v1" in (await api.ask("GET", "/")).json["paths"]
        assert (await api.ask("GET", "/nothing")).body == b"404 page not found\n"
        assert (await api.ask("GET", "/api/v1/nothing")).json["reason"] == "NotFound"

    on_api(scenario)


def test_old_clients_read_openapi_v2_in_protobuf():
    def every(data, number):
        return [held for found, held in fields(data) if found == number]

    def named(data):
        return {every(held, 1)[0].decode(): every(held, 2)[0] for held in every(data, 1)}

    async def scenario(api):
        accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
        told = await api.ask("GET", "/openapi/v2", accept=accept)
        assert (
            told.headers["Content-Type"]
            == "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
        )
        assert every(told.body, 1) == [b"2.0"]
        definitions = named(every(told.body, 9)[0])
        spec = definitions["io.k8s.api.apps.v1.DeploymentSpec"]
        replicas = named(every(spec, 25)[0])["replicas"]
        assert every(every(replicas, 22)[0], 1) == [b"integer"]
        assert every(replicas, 2) == [b"int32"]
        assert sorted(every(spec, 19)) == [b"selector", b"template"]
        marks = {
            every(held, 1)[0].decode()
            for held in every(definitions["io.k8s.api.apps.v1.Deployment"], 31)
        }
        assert "x-kubernetes-group-version-kind" in marks

    on_api(scenario)


class Failing(MemoryStore):
    """Its disk fills up once `full` is set."""

    full: Exception | None = None

    async def commit(self, key, value, *, expect=None, lazy=False):
        if self.full is not None:
            raise self.full
        return await super().commit(key, value, expect=expect, lazy=lazy)


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (StoreFull("no space"), "the disk is full: the object was not stored"),
        (StoreFailed("i/o error"), "it is not known whether the request took effect"),
    ],
)
def test_a_disk_that_refuses_is_said_and_reads_go_on(failure, says):
    store = Failing()

    async def scenario(api):
        await api.ask("POST", MAPS, config("a"))
        store.full = failure
        refused = await api.ask("POST", MAPS, config("b"))
        assert refused.status == 500
        assert says in refused.json["message"]
        assert (await api.ask("GET", f"{MAPS}/a")).status == 200

    on_api(scenario, store)


def test_apply_to_the_status_leaves_the_rest():
    async def scenario(api):
        await with_account(api)
        made = (await api.ask("POST", f"{NS}/pods", pod())).json
        applied = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web"},
            "status": {"podIP": "10.1.2.3"},
        }
        url = f"{NS}/pods/web/status?fieldManager=node"
        reply = await api.ask("PATCH", url, applied, content_type="application/apply-patch+yaml")
        assert reply.json["spec"] == made["spec"]
        assert reply.json["status"] == {**made["status"], "podIP": "10.1.2.3"}
        entry = next(e for e in reply.json["metadata"]["managedFields"] if e["manager"] == "node")
        assert (entry["operation"], entry["subresource"]) == ("Apply", "status")
        absent = await api.ask(
            "PATCH",
            url.replace("web", "zz"),
            {**applied, "metadata": {"name": "zz"}},
            content_type="application/apply-patch+yaml",
        )
        assert absent.status == 404

    on_api(scenario)


def test_small_bodies_that_stand_for_huge_objects_are_refused():
    async def scenario(api):
        await api.ask("POST", MAPS, config("a", data={"k": "v" * 1000}))
        lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
        for before, name in zip("abcdefgh", "bcdefghi", strict=True):
            lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
        bomb = await api.ask(
            "POST", MAPS, "\n".join(lines).encode(), content_type="application/yaml"
        )
        assert (bomb.status, "excessive aliasing" in bomb.json["message"]) == (400, True)
        copies = [{"op": "add", "path": "/metadata/annotations", "value": {"x": {}}}]
        copies += [
            {"op": "copy", "from": "/metadata", "path": f"/metadata/annotations/x/{n}"}
            for n in range(40)
        ]
        grown = await api.ask(
            "PATCH", f"{MAPS}/a", copies, content_type="application/json-patch+json"
        )
        assert (grown.status, "exceeding the limit" in grown.json["message"]) == (422, True)
        deep = b'{"metadata": {"name": "d"}, "data": ' + b"[" * 900 + b"]" * 900 + b"}"
        assert (await api.ask("POST", MAPS, deep)).status == 400

    on_api(scenario)
