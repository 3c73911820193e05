"""The server itself: health, metrics, odd paths, errors in one form, times, many writers, a restart."""

from __future__ import annotations

import gzip
import json
import re
from contextlib import closing
from typing import Any

import pytest

from tests.conformance.wire import MERGE, Api

ORDER = ["kind", "apiVersion", "metadata", "status", "message", "reason", "details", "code"]
LEASES = "apis/coordination.k8s.io/v1"


def at(ns: str, plural: str, group: str = "api/v1") -> str:
    return f"/{group}/namespaces/{ns}/{plural}"


def text(api: Api, path: str, **query: Any) -> tuple[int, str]:
    answer = api.ask("GET", path, accept="*/*", **query)
    return answer.code, answer.body.decode()


# ---------------------------------------------------------------- 79


@pytest.mark.parametrize("root", ["livez", "readyz", "healthz"])
def test_79_health_in_one_word_or_check_by_check(api: Api, root: str) -> None:
    assert text(api, f"/{root}") == (200, "ok")
    with closing(api.bare()) as nobody:
        assert text(nobody, f"/{root}")[0] == 200
    assert text(api, f"/{root}/ping") == (200, "ok")
    assert text(api, f"/{root}/etcd") == (200, "ok")
    code, told = text(api, f"/{root}?verbose")
    lines = told.splitlines()
    assert code == 200
    assert {"[+]ping ok", "[+]etcd ok"} <= set(lines)
    assert lines[-1] == f"{root} check passed"
    assert text(api, f"/{root}/nothing") == (404, "404 page not found\n")


def test_79_what_is_excluded_is_not_asked(api: Api) -> None:
    _, told = text(api, "/readyz?verbose&exclude=etcd&exclude=nothing")
    assert "[+]etcd excluded: ok" in told.splitlines()
    assert 'warn: some health checks cannot be excluded: no matches for "nothing"' in told
    assert "[+]shutdown ok" in text(api, "/readyz?verbose")[1]
    assert "shutdown" not in text(api, "/livez?verbose")[1]


def test_79_the_version(api: Api) -> None:
    with closing(api.bare()) as nobody:
        found = nobody.get("/version")
        assert found == api.get("/version")
        assert (found["major"], found["minor"]) == ("1", "37")
        assert re.match(r"v1\.37\.\d+", found["gitVersion"])
        assert found["platform"].startswith("linux/")
        assert set(found) == {
            "major", "minor", "emulationMajor", "emulationMinor", "minCompatibilityMajor",
            "minCompatibilityMinor", "gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion",
            "compiler", "platform",
        }  # fmt: skip


def test_79_the_index_of_paths(api: Api) -> None:
    paths = api.get("/")["paths"]
    assert paths == sorted(paths)
    assert {
        "/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/healthz", "/livez", "/livez/ping",
        "/metrics", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/readyz/shutdown",
        "/version", "/.well-known/openid-configuration",
    } <= set(paths)  # fmt: skip


def test_79_metrics_that_people_chart(api: Api, ns: str) -> None:
    api.make(at(ns, "secrets"), {"metadata": {"name": "a"}})
    for method in ("GET", "HEAD", "OPTIONS"):
        api.ask(method, f"{at(ns, 'secrets')}/a")
    with api.watch(at(ns, "secrets")) as watch:
        watch.next()
        answer = api.ask("GET", "/metrics", accept="text/plain")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    samples: dict[str, list[tuple[dict[str, str], float]]] = {}
    types = {}
    lines = answer.body.decode().splitlines()
    series = [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]
    assert len(series) == len(set(series))
    for line in lines:
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            types[name] = kind
        elif not line.startswith("#"):
            name, labels, value = sample(line)
            samples.setdefault(name, []).append((labels, float(value)))
    made = {"verb": "POST", "resource": "secrets", "group": "", "version": "v1", "code": "201"}
    assert counted(samples["apiserver_request_total"], made) >= 1
    del made["code"]
    name = "apiserver_request_duration_seconds"
    total = counted(samples[f"{name}_count"], made)
    assert total >= 1
    assert counted(samples[f"{name}_bucket"], {**made, "le": "+Inf"}) == total
    following = {"verb": "WATCH", "resource": "secrets"}
    assert counted(samples["apiserver_longrunning_requests"], following) >= 1
    assert counted(samples["apiserver_resource_objects"], {"resource": "secrets"}) >= 1
    kinds = {labels["request_kind"] for labels, _ in samples["apiserver_current_inflight_requests"]}
    assert kinds == {"mutating", "readOnly"}
    assert types["apiserver_request_total"] == "counter"
    assert types[name] == "histogram"
    assert {"workqueue_adds_total", "workqueue_depth", "workqueue_retries_total"} <= set(types)
    assert {
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
    } <= set(types)


def sample(line: str) -> tuple[str, dict[str, str], str]:
    found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
    assert found is not None, line
    return found[1], dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', found[2] or "")), found[3]


def counted(samples: list[tuple[dict[str, str], float]], wanted: dict[str, str]) -> float:
    return sum(value for labels, value in samples if wanted.items() <= labels.items())


def test_79_a_node_is_reached_through_the_server(api: Api, whole: None) -> None:
    (node,) = [node["metadata"]["name"] for node in api.get("/api/v1/nodes")["items"]][:1]
    assert text(api, f"/api/v1/nodes/{node}/proxy/healthz") == (200, "ok")
    assert api.ask("GET", "/api/v1/nodes/nobody/proxy/healthz").reason == "NotFound"


def test_79_proxies_to_nothing(api: Api, ns: str) -> None:
    answer = api.ask("GET", f"{at(ns, 'pods')}/nobody/proxy/")
    assert (answer.code, answer.reason) == (404, "NotFound")
    answer = api.ask("GET", f"{at(ns, 'services')}/nobody/proxy/")
    assert (answer.code, answer.reason) == (503, "ServiceUnavailable")


# ---------------------------------------------------------------- 80


@pytest.mark.parametrize(
    "path", ["/version/", "/api/", "/api/v1/", "/apis/", "/apis/apps/", "/apis/apps/v1/"]
)
def test_80_a_slash_at_the_end(api: Api, path: str) -> None:
    assert api.get(path) == api.get(path.rstrip("/"))


def test_80_a_slash_behind_objects(api: Api, ns: str) -> None:
    made = api.make(at(ns, "secrets"), {"metadata": {"name": "a"}})
    assert api.get(f"{at(ns, 'secrets')}/a/") == made
    assert [item["metadata"]["name"] for item in api.get(f"{at(ns, 'secrets')}/")["items"]] == ["a"]


def test_80_head_has_no_body(api: Api) -> None:
    answer = api.ask("HEAD", "/livez")
    assert (answer.code, answer.body) == (200, b"")
    assert api.ask("HEAD", "/nothing").code == 404


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/v1/secrets", 405), ("/api/v1/namespaces/default", 405), ("/version", 405), ("/api", 405),
        ("/apis/apps/v1", 405), ("/apis", 200), ("/openapi/v2", 200),
    ],
)  # fmt: skip
def test_80_head_is_not_of_every_path(api: Api, path: str, code: int) -> None:
    assert api.ask("HEAD", path).code == code


def test_80_a_method_that_nobody_knows(api: Api, ns: str) -> None:
    for method in ("LIST", "PROPFIND", "get"):
        assert api.ask(method, at(ns, "secrets")).code == 405
        api.close()


@pytest.mark.parametrize(
    "path",
    ["/api/v1//pods", "//api/v1/pods", "/apis//apps/v1", "/apis/apps/v1/namespaces/default//deployments", "/api/v1/secrets//a"],
)  # fmt: skip
def test_80_nothing_is_left_out_within_a_path(api: Api, path: str) -> None:
    assert api.ask("GET", path).code == 404


def test_80_json_for_people_is_indented(api: Api, ns: str) -> None:
    plain = api.ask("GET", at(ns, "secrets"))
    for query, agent, indented in (
        ({"pretty": "true"}, "x", True), ({"pretty": "1"}, "x", True), ({"pretty": "false"}, "curl/8", False),
        ({"pretty": ""}, "x", False), ({}, "curl/8", True), ({}, "Wget/1", True), ({}, "Mozilla/5.0 (X11)", True),
    ):  # fmt: skip
        for path in (at(ns, "secrets"), at(ns, "secrets") + "/none"):
            answer = api.ask("GET", path, headers={"User-Agent": agent}, **query)
            assert answer.body.startswith(b"{\n  ") is indented, (query, agent)
            assert path.endswith("/none") or answer.json.keys() == plain.json.keys()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", ""), ("PATCH", ""), ("POST", "/a"), ("OPTIONS", ""), ("OPTIONS", "/a"), ("TRACE", ""),
    ],
)  # fmt: skip
def test_80_methods_that_a_path_has_not(api: Api, ns: str, method: str, path: str) -> None:
    body = {} if method in ("PUT", "PATCH", "POST") else None
    answer = api.ask(method, at(ns, "secrets") + path, body, kind=MERGE)
    assert (answer.code, answer.reason) == (405, "MethodNotAllowed")
    says = "the server does not allow this method on the requested resource"
    assert answer.message == says


def test_80_only_what_is_large_is_packed_and_only_for_who_asks(api: Api, ns: str) -> None:
    path = at(ns, "secrets")
    api.make(path, {"metadata": {"name": "a"}})
    asking = {"Accept-Encoding": "gzip"}
    assert "Content-Encoding" not in api.ask("GET", path, headers=asking).headers
    for name in ("b", "c", "d"):
        api.make(path, {"metadata": {"name": name}, "stringData": {"x": 60_000 * "a"}})
    plain = api.ask("GET", path)
    assert len(plain.body) > 128 * 1024
    for refused in ({}, {"Accept-Encoding": "identity"}, {"Accept-Encoding": "gzip;q=0"}):
        assert "Content-Encoding" not in api.ask("GET", path, headers=refused).headers
    packed = api.ask("GET", path, headers=asking)
    body = packed.body  # packing is of no use between two ends of one machine
    if packed.headers["Content-Encoding"] == "gzip":
        body = gzip.decompress(packed.body)
    assert json.loads(body)["items"] == plain.json["items"]


def test_80_every_answer_can_be_told_apart(api: Api, ns: str) -> None:
    ids = {api.ask("GET", at(ns, "secrets")).headers["Audit-Id"] for _ in range(3)}
    assert len(ids) == 3
    mine = api.ask("GET", "/version", headers={"Audit-ID": "mine"})
    assert mine.headers["Audit-Id"] == "mine"
    assert api.ask("GET", "/api/v1/nothing").headers["Audit-Id"]
    assert "no-cache" in mine.headers["Cache-Control"]
    assert mine.headers["Date"].endswith(" GMT")


# ---------------------------------------------------------------- 81


ERRORS: dict[str, tuple[str, str, Any, int]] = {
    "a path of no resource": ("GET", "/api/v1/nothing", None, 404),
    "a group's path of no resource": ("GET", "/apis/apps/v1/nothing", None, 404),
    "nobody": ("GET", "NS/secrets/nobody", None, 404),
    "a method": ("PUT", "NS/secrets", {}, 405),
    "no JSON": ("POST", "NS/secrets", "{", 400),
    "an empty body": ("POST", "NS/secrets", "", 400),
    "an invalid object": ("POST", "NS/secrets", {"metadata": {"name": "A b"}}, 422),
    "another kind": ("POST", "NS/secrets", {"kind": "Pod", "apiVersion": "v1"}, 400),
    "a selector": ("GET", "NS/secrets?labelSelector=%3D", None, 400),
    "an option": ("GET", "NS/secrets?resourceVersionMatch=Exact", None, 422),
    "a dry run": ("POST", "NS/secrets?dryRun=Some", {"metadata": {"name": "a"}}, 422),
    "no namespace": (
        "POST",
        "/api/v1/namespaces/nowhere/secrets",
        {"metadata": {"name": "a"}},
        404,
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_81_every_error_is_a_status_in_one_form(api: Api, ns: str, case: str) -> None:
    method, path, body, code = ERRORS[case]
    answer = api.ask(method, path.replace("NS", f"/api/v1/namespaces/{ns}"), body)
    assert answer.code == code, answer.body
    assert answer.headers["Content-Type"] == "application/json"
    raw = answer.body.decode()
    assert raw.endswith("}\n")
    assert raw.count("\n") == 1
    told = json.loads(raw)
    assert list(told) == [name for name in ORDER if name in told]
    assert (told["kind"], told["apiVersion"]) == ("Status", "v1")
    assert (told["metadata"], told["status"], told["code"]) == ({}, "Failure", code)
    compact = raw.replace("\\u003c", "<").replace("\\u003e", ">")  # as some write these two
    assert json.dumps(told, separators=(",", ":")) == compact.rstrip("\n")


def test_81_who_may_not_gets_a_status_too(api: Api, ns: str) -> None:
    with closing(api.bare(Authorization="Bearer nonsense")) as stranger:
        answer = stranger.ask("GET", "/version")
    assert answer.body == (
        b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized",'
        b'"reason":"Unauthorized","code":401}\n'
    )
    with closing(api.as_("jane")) as jane:
        other = jane.ask("GET", at(ns, "secrets"))
    assert list(other.json) == ORDER
    assert other.json["details"] == {"kind": "secrets"}


def test_81_it_is_told_in_the_form_that_was_asked_for(api: Api, ns: str) -> None:
    answer = api.ask("GET", f"{at(ns, 'secrets')}/none", accept="application/yaml")
    assert (answer.code, answer.headers["Content-Type"]) == (404, "application/yaml")
    assert answer.body == (
        b"apiVersion: v1\ncode: 404\ndetails:\n  kind: secrets\n  name: none\nkind: Status\n"
        b'message: secrets "none" not found\nmetadata: {}\nreason: NotFound\nstatus: Failure\n'
    )


@pytest.mark.parametrize("query", [{}, {"watch": "true"}])
def test_81_a_revision_that_is_no_number_has_no_reason(
    api: Api, ns: str, query: dict[str, str]
) -> None:
    name = "" if query else "/a"
    api.make(at(ns, "secrets"), {"metadata": {"name": "a"}})
    answer = api.ask("GET", at(ns, "secrets") + name, resourceVersion="x", **query)
    assert answer.code == 500
    assert "reason" not in answer.json
    assert answer.message == (
        'resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax'
    )


@pytest.mark.parametrize("path", ["/nothing", "/apis/nobody.example.org/v1/things", "/openapi"])
def test_81_where_nothing_is_served_it_is_plain(api: Api, path: str) -> None:
    answer = api.ask("GET", path)
    assert (answer.code, answer.body) == (404, b"404 page not found\n")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


# ---------------------------------------------------------------- 82


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"),
        ("2020-01-01T00:00:00.75Z", "2020-01-01T00:00:00Z"),
        ("2020-01-01T02:00:00+02:00", "2020-01-01T00:00:00Z"),
    ],
)
def test_82_times_are_of_seconds_and_in_utc(api: Api, ns: str, sent: str, kept: str) -> None:
    event = {"metadata": {"name": "e"}, "involvedObject": {"namespace": ns}, "reason": "R"}
    made = api.make(at(ns, "events"), {**event, "firstTimestamp": sent})
    assert made["firstTimestamp"] == kept


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("2020-01-01T00:00:00.123456Z", "2020-01-01T00:00:00.123456Z"),
        ("2020-01-01T00:00:00.000001+01:00", "2019-12-31T23:00:00.000001Z"),
    ],
)
def test_82_leases_know_microseconds(api: Api, ns: str, sent: str, kept: str) -> None:
    lease = {"metadata": {"name": "a"}, "spec": {"renewTime": sent}}
    made = api.make(at(ns, "leases", LEASES), lease)
    assert made["spec"]["renewTime"] == kept


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        ("2020-01-01T00:00:00Z", 'cannot parse "Z" as ".000000"'),
        ("2020-13-01T00:00:00.000000Z", "month out of range"),
        ("yesterday", 'cannot parse "yesterday" as "2006"'),
        ("", 'cannot parse "" as "2006"'),
    ],
)
def test_82_what_is_no_time(api: Api, ns: str, sent: str, says: str) -> None:
    lease = {"metadata": {"name": "a"}, "spec": {"renewTime": sent}}
    answer = api.ask("POST", at(ns, "leases", LEASES), lease)
    assert (answer.code, answer.reason) == (400, "BadRequest")
    assert answer.message.startswith(
        'Lease in version "v1" cannot be handled as a Lease: parsing time '
    )
    assert answer.message.endswith(says)


def test_82_no_time_of_creation_is_no_fault_anywhere(api: Api, ns: str) -> None:
    meta = {"name": "a", "creationTimestamp": None}
    template = {
        "metadata": {"creationTimestamp": None, "labels": {"x": "y"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    spec = {"replicas": 0, "selector": {"matchLabels": {"x": "y"}}, "template": template}
    path = at(ns, "replicasets", "apis/apps/v1")
    made = api.make(path, {"metadata": meta, "spec": spec}, fieldValidation="Strict")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", made["metadata"]["creationTimestamp"])
    assert "creationTimestamp" not in made["spec"]["template"]["metadata"]
