"""APIServices: what is served here, and servers behind this one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.behind import WHOLE, Behind
from tests.conformance.wire import MERGE, PATIENCE, Api

pytestmark = pytest.mark.slow

BASE = "/apis/apiregistration.k8s.io/v1/apiservices"


class Served:
    """A Service that leads to a server of the test's own, and the APIService that names it."""

    def __init__(self, api: Api, ns: str, behind: Behind) -> None:
        self.api, self.ns, self.behind, self.group = api, ns, behind, behind.group
        self.name = f"v1.{self.group}"
        self.root = f"/apis/{self.group}/v1"
        self.things = f"{self.root}/namespaces/default/things"
        spec = {
            "type": "ExternalName",
            "externalName": "localhost",
            "ports": [{"port": behind.port}],
        }
        api.make(f"/api/v1/namespaces/{ns}/services", {"metadata": {"name": "s"}, "spec": spec})

    def register(self, **spec: Any) -> Any:
        service = {"name": "s", "namespace": self.ns, "port": self.behind.port}
        return self.api.make(
            BASE,
            {
                "metadata": {"name": self.name},
                "spec": {
                    "group": self.group, "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
                    "service": service, "insecureSkipTLSVerify": True, **spec,
                },
            },
        )  # fmt: skip

    def until_available(self, status: str = "True", reason: str = "Passed") -> Any:
        """The Available condition, when it says so."""

        def wanted(obj: Any) -> bool:
            return any(
                (c["status"], c["reason"]) == (status, reason)
                for c in obj.get("status", {}).get("conditions", [])
            )

        return self.api.until(f"{BASE}/{self.name}", wanted)["status"]["conditions"][0]

    def soon(
        self, path: str, wanted: Callable[[Any], bool], accept: str = "application/json"
    ) -> Any:
        """The answer at a path, once what a change of another object does to it has been done."""
        end = time.monotonic() + PATIENCE
        while True:
            answer = self.api.ask("GET", path, accept=accept)
            if answer.code == 200 and wanted(answer.json):
                return answer.json
            assert time.monotonic() < end, answer
            time.sleep(0.05)


@pytest.fixture
def served(api: Api, ns: str, tmp_path: Path) -> Iterator[Served]:
    with Behind(tmp_path, f"{ns}.example.com") as behind:
        made = Served(api, ns, behind)
        yield made
        api.ask("DELETE", f"{BASE}/{made.name}")


def test_73_what_is_served_here_is_listed_as_local(api: Api) -> None:
    found = {item["metadata"]["name"]: item for item in api.get(BASE)["items"]}
    core, apps = found["v1."], found["v1.apps"]
    assert core["spec"] == {"version": "v1", "groupPriorityMinimum": 18000, "versionPriority": 1}
    assert apps["spec"] == {
        "group": "apps", "version": "v1", "groupPriorityMinimum": 17800, "versionPriority": 15,
    }  # fmt: skip
    assert apps["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
    (condition,) = apps["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == (
        "Available",
        "True",
        "Local",
    )
    assert condition["message"] == "Local APIServices are always available"


def test_73_a_server_behind_is_discovered(served: Served) -> None:
    served.register()
    condition = served.until_available()
    assert condition["message"] == "all checks passed"
    api, group = served.api, served.group
    listed = served.soon("/apis", lambda doc: any(g["name"] == group for g in doc["groups"]))
    (entry,) = [g for g in listed["groups"] if g["name"] == group]
    version = {"groupVersion": f"{group}/v1", "version": "v1"}
    assert (entry["versions"], entry["preferredVersion"]) == ([version], version)
    assert api.get(f"/apis/{group}")["versions"] == [version]
    assert api.get(served.root)["resources"][0]["name"] == "things"

    def there(doc: Any) -> bool:
        items = [g for g in doc["items"] if g["metadata"].get("name") == group]
        return bool(items) and bool(items[0]["versions"][0].get("resources"))

    whole = served.soon("/apis", there, WHOLE)
    (entry,) = [g for g in whole["items"] if g["metadata"].get("name") == group]
    (version,) = entry["versions"]
    assert (version["version"], version["freshness"]) == ("v1", "Current")
    assert version["resources"][0]["resource"] == "things"


@pytest.mark.slow
def test_73_schemas_of_a_server_behind_are_served(served: Served) -> None:
    served.register()
    served.until_available()
    place = served.root[1:]
    index = served.soon("/openapi/v3", lambda doc: place in doc["paths"])
    url = index["paths"][place]["serverRelativeURL"]
    assert url.startswith(f"/openapi/v3/{place}?hash=")
    assert served.api.get(url)["info"]["title"] == "things"


def test_73_requests_are_handed_on_whole(served: Served) -> None:
    served.register()
    served.until_available()
    api, behind = served.api, served.behind
    assert api.get(f"{served.things}/one")["kind"] == "Thing"
    headers = behind.about(f"{served.things}/one")
    assert headers["x-remote-user"] == ["kubernetes-admin"]
    assert "system:masters" in headers["x-remote-group"]
    assert "authorization" not in headers
    forged = {"X-Remote-User": "somebody", "X-Remote-Group": "others", "X-Remote-Extra-A": "b"}
    api.good("GET", served.things, headers=forged)
    headers = behind.about(served.things)
    assert headers["x-remote-user"] == ["kubernetes-admin"]
    assert "others" not in headers["x-remote-group"]
    assert "x-remote-extra-a" not in headers
    made = api.ask("POST", served.things, {"kind": "Thing", "metadata": {"name": "x"}})
    assert (made.code, made.json["metadata"]) == (201, {"name": "x"})
    missing = api.ask("GET", f"{served.root}/nothing")
    assert (missing.code, missing.message) == (404, "not here")
    with api.watch(served.things) as watch:
        assert [event["object"]["metadata"]["name"] for event in watch.take(2)] == ["a", "b"]
        assert watch.next() is None


def test_73_access_is_judged_before(served: Served) -> None:
    served.register()
    served.until_available()
    nobody = served.api.as_("nobody-special")
    refused = nobody.ask("GET", served.things)
    nobody.close()
    assert refused.code == 403
    assert refused.message == (
        f'things.{served.group} is forbidden: User "nobody-special" cannot list resource "things" '
        f'in API group "{served.group}" in the namespace "default"'
    )
    assert served.things not in [path for _, path, _ in served.behind.asked]


def test_73_a_server_that_is_not_there(served: Served) -> None:
    served.register(service={"name": "none", "namespace": served.ns, "port": 443})
    condition = served.until_available("False", "ServiceNotFound")
    assert condition["message"] == f'service/none in "{served.ns}" is not present'
    answer = served.api.ask("GET", served.things)
    assert (answer.code, answer.body) == (503, b"service unavailable\n")
    assert served.group in [g["name"] for g in served.api.get("/apis")["groups"]]
    services = f"/api/v1/namespaces/{served.ns}/services"
    served.api.make(services, {"metadata": {"name": "none"}, "spec": {"ports": [{"port": 80}]}})
    condition = served.until_available("False", "ServicePortError")
    says = f'service/none in "{served.ns}" is not listening on port 443'
    assert condition["message"] == says
    ports = {"spec": {"ports": [{"name": "web", "port": 443}]}}
    served.api.good("PATCH", f"{services}/none", ports, kind=MERGE)
    condition = served.until_available("False", "EndpointsNotFound")
    says = f'cannot find endpointslices for service/none in "{served.ns}"'
    assert condition["message"] == says


def test_73_a_server_that_is_ill(served: Served) -> None:
    served.behind.healthy = False
    served.register()
    condition = served.until_available("False", "FailedDiscoveryCheck")
    url = f"https://localhost:{served.behind.port}{served.root}"
    assert (
        condition["message"]
        == f"failing or missing response from {url}: bad status from {url}: 500"
    )


def test_73_a_certificate_for_another_name(served: Served) -> None:
    """A server behind has to have one for the Service, whatever leads there."""
    bundle = {"caBundle": served.behind.bundle, "insecureSkipTLSVerify": False}
    served.register(**bundle)
    condition = served.until_available("False", "FailedDiscoveryCheck")
    assert "x509" in condition["message"]
    assert served.api.ask("GET", served.things).code == 503


def test_73_api_services_are_judged(api: Api, ns: str) -> None:
    spec = {
        "group": "x.example",
        "version": "v1",
        "groupPriorityMinimum": 0,
        "versionPriority": 1001,
    }
    service = {"name": "", "namespace": ""}
    wrong = {**spec, "service": service, "insecureSkipTLSVerify": True, "caBundle": "eA=="}
    answer = api.ask("POST", BASE, {"metadata": {"name": "w"}, "spec": wrong}, dryRun="All")
    assert sorted(answer.causes) == [
        ("FieldValueInvalid", "metadata.name"), ("FieldValueInvalid", "spec.groupPriorityMinimum"),
        ("FieldValueInvalid", "spec.insecureSkipTLSVerify"), ("FieldValueInvalid", "spec.versionPriority"),
        ("FieldValueRequired", "spec.service.name"), ("FieldValueRequired", "spec.service.namespace"),
    ]  # fmt: skip


def test_73_what_servers_behind_have_to_know(api: Api) -> None:
    name = "extension-apiserver-authentication"
    data = api.get(f"/api/v1/namespaces/kube-system/configmaps/{name}")["data"]
    assert data["client-ca-file"].startswith("-----BEGIN CERTIFICATE-----")
    assert data["requestheader-client-ca-file"].startswith("-----BEGIN CERTIFICATE-----")
    assert data["requestheader-client-ca-file"] != data["client-ca-file"]
    assert data["requestheader-username-headers"] == '["X-Remote-User"]'
    assert data["requestheader-group-headers"] == '["X-Remote-Group"]'
    assert data["requestheader-extra-headers-prefix"] == '["X-Remote-Extra-"]'
    roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/roles"
    assert api.get(f"{roles}/{name}-reader")["rules"] == [
        {"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": [name]}
    ]  # fmt: skip
