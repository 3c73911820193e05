"""Who asks, and what they may: anonymous, tokens, impersonation, RBAC, and certificates on request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.wire import Api

RBAC = "/apis/rbac.authorization.k8s.io/v1"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
MAY = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


OPENED: list[Api] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


def acting(api: Api, name: str, *groups: str) -> Api:
    OPENED.append(api.as_(name, *groups))
    return OPENED[-1]


def bare(api: Api, **headers: str) -> Api:
    OPENED.append(api.bare(**headers))
    return OPENED[-1]


def who(api: Api) -> Any:
    return api.make(WHO, {})["status"]["userInfo"]


def may(api: Api, verb: str, resource: str, ns: str = "", **more: str) -> bool:
    part, _, sub = resource.partition("/")
    asked = {"verb": verb, "resource": part, "subresource": sub, "namespace": ns, **more}
    made = api.make(MAY, {"spec": {"resourceAttributes": asked}})
    return bool(made["status"]["allowed"])


def token(api: Api, ns: str, account: str = "default", **spec: Any) -> str:
    path = f"/api/v1/namespaces/{ns}/serviceaccounts/{account}/token"
    return str(api.make(path, {"spec": spec})["status"]["token"])


def bind(api: Api, ns: str, role: str, kind: str, name: str, to: str = "ClusterRole") -> None:
    subject: dict[str, Any] = {"kind": kind, "name": name}
    if kind == "ServiceAccount":
        subject["namespace"] = ns
    else:
        subject["apiGroup"] = "rbac.authorization.k8s.io"
    body = {
        "metadata": {"generateName": "b-"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": to, "name": role},
        "subjects": [subject],
    }
    api.make(f"{RBAC}/namespaces/{ns}/rolebindings", body)


def role(api: Api, ns: str, name: str, **rule: Any) -> None:
    body = {"metadata": {"name": name}, "rules": [rule]}
    api.make(f"{RBAC}/namespaces/{ns}/roles", body)


@pytest.fixture
def cluster_role(api: Api) -> Iterator[Any]:
    made: list[str] = []

    def make(rules: list[Any], **more: Any) -> str:
        body = {"metadata": {"generateName": "t-", **more}, "rules": rules}
        name = api.make(f"{RBAC}/clusterroles", body)["metadata"]["name"]
        made.append(name)
        return str(name)

    yield make
    for name in made:
        api.ask("DELETE", f"{RBAC}/clusterroles/{name}")


# ---------------------------------------------------------------- 75 nobody


def test_75_bad_credentials_are_unauthorized(api: Api) -> None:
    for path in ("/api/v1/pods", "/version"):
        answer = bare(api, Authorization="Bearer bad").ask("GET", path)
        assert answer.code == 401
        assert answer.json == {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "Unauthorized", "reason": "Unauthorized", "code": 401,
        }  # fmt: skip


def test_75_nobody_may_see_health_and_version_only(api: Api) -> None:
    nobody = bare(api)
    for path in ("/healthz", "/livez", "/readyz", "/version"):
        assert nobody.ask("GET", path).code == 200
    for path in ("/api", "/apis", "/metrics", "/openapi/v3"):
        answer = nobody.ask("GET", path)
        assert answer.code == 403
        assert answer.message == f'forbidden: User "system:anonymous" cannot get path "{path}"'


def test_75_what_is_forbidden_says_who_wanted_what_and_where(api: Api, ns: str) -> None:
    nobody = bare(api).ask("GET", "/api/v1/pods")
    assert (nobody.code, nobody.reason) == (403, "Forbidden")
    assert nobody.message == (
        'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" '
        "at the cluster scope"
    )
    jane = acting(api, "jane")
    listed = jane.ask("GET", f"/apis/apps/v1/namespaces/{ns}/deployments")
    assert listed.message == (
        'deployments.apps is forbidden: User "jane" cannot list resource "deployments" in API group '
        f'"apps" in the namespace "{ns}"'
    )
    assert listed.json["details"] == {"group": "apps", "kind": "deployments"}
    got = jane.ask("GET", f"/api/v1/namespaces/{ns}/pods/p/log")
    assert got.message == (
        'pods "p" is forbidden: User "jane" cannot get resource "pods/log" in API group "" '
        f'in the namespace "{ns}"'
    )


# ---------------------------------------------------------------- 76 who one is


def test_76_a_token_of_an_account_says_who_it_is(api: Api, ns: str) -> None:
    info = who(bare(api, Authorization=f"Bearer {token(api, ns)}"))
    assert info["username"] == f"system:serviceaccount:{ns}:default"
    assert info["groups"] == [
        "system:serviceaccounts",
        f"system:serviceaccounts:{ns}",
        "system:authenticated",
    ]
    account = api.get(f"/api/v1/namespaces/{ns}/serviceaccounts/default")
    assert info["uid"] == account["metadata"]["uid"]
    (credential,) = info["extra"]["authentication.kubernetes.io/credential-id"]
    assert credential.startswith("JTI=")


def test_76_impersonation_changes_all_of_who_one_is(api: Api) -> None:
    headers = {
        "Impersonate-User": "jane",
        "Impersonate-Group": "developers",
        "Impersonate-Uid": "42",
        "Impersonate-Extra-Scopes": "view",
    }
    made = api.ask("POST", WHO, {}, headers=headers)
    assert made.json["status"]["userInfo"] == {
        "username": "jane", "uid": "42", "groups": ["developers", "system:authenticated"],
        "extra": {"scopes": ["view"]},
    }  # fmt: skip
    account = who(acting(api, "system:serviceaccount:x:y"))
    assert account["groups"] == [
        "system:serviceaccounts",
        "system:serviceaccounts:x",
        "system:authenticated",
    ]


def test_76_impersonation_is_a_right_of_its_own(api: Api, ns: str) -> None:
    bearer = {"Authorization": f"Bearer {token(api, ns)}", "Impersonate-User": "jane"}
    nobody = bare(api)
    refused = nobody.ask("POST", WHO, {}, headers=bearer)
    assert (refused.code, refused.reason) == (403, "Forbidden")
    assert f'User "system:serviceaccount:{ns}:default" cannot impersonate' in refused.message
    alone = api.ask("GET", "/version", headers={"Impersonate-Group": "developers"})
    assert alone.code in (400, 500)


# ---------------------------------------------------------------- 77 RBAC


def test_77_the_roles_of_every_cluster(api: Api) -> None:
    held = {one["metadata"]["name"]: one for one in api.get(f"{RBAC}/clusterroles")["items"]}
    assert {
        "cluster-admin", "admin", "edit", "view", "system:discovery", "system:basic-user", "system:node",
        "system:kube-scheduler", "system:kube-controller-manager", "system:aggregate-to-view",
    } <= set(held)  # fmt: skip
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
    assert everything in held["cluster-admin"]["rules"]
    for name in ("admin", "edit", "view"):
        (selector,) = held[name]["aggregationRule"]["clusterRoleSelectors"]
        assert selector["matchLabels"] == {f"rbac.authorization.k8s.io/aggregate-to-{name}": "true"}
    bound = api.get(f"{RBAC}/clusterrolebindings/cluster-admin")["subjects"]
    assert [one["name"] for one in bound] == ["system:masters"]


def test_77_view_sees_but_no_secrets_and_edit_writes_but_no_roles(api: Api, ns: str) -> None:
    bind(api, ns, "view", "User", "vera")
    bind(api, ns, "edit", "Group", "editors")
    vera, ed = acting(api, "vera"), acting(api, "ed", "editors")
    assert may(vera, "list", "pods", ns)
    assert may(vera, "get", "pods/log", ns)
    assert not may(vera, "list", "secrets", ns)
    assert not may(vera, "create", "pods", ns)
    assert not may(vera, "list", "pods", "default")
    assert may(ed, "create", "pods", ns)
    assert may(ed, "create", "pods/exec", ns)
    assert may(ed, "list", "secrets", ns)
    assert not may(ed, "create", "roles", ns, group="rbac.authorization.k8s.io")


def test_77_names_subresources_and_paths(api: Api, ns: str, cluster_role: Any) -> None:
    role(api, ns, "r", apiGroups=[""], resources=["configmaps"], verbs=["get"], resourceNames=["a"])
    bind(api, ns, "r", "User", "nina", to="Role")
    nina = acting(api, "nina")
    maps = f"/api/v1/namespaces/{ns}/configmaps"
    for name in ("a", "b"):
        api.make(maps, {"metadata": {"name": name}})
    assert nina.ask("GET", f"{maps}/a").code == 200
    assert nina.ask("GET", f"{maps}/b").code == 403
    assert nina.ask("GET", maps).code == 403
    role(api, ns, "s", apiGroups=[""], resources=["pods/log"], verbs=["get"])
    bind(api, ns, "s", "User", "sam", to="Role")
    sam = acting(api, "sam")
    assert sam.ask("GET", f"/api/v1/namespaces/{ns}/pods/p/log").code == 404
    assert sam.ask("GET", f"/api/v1/namespaces/{ns}/pods/p").code == 403
    name = cluster_role([{"nonResourceURLs": ["/metrics", "/logs/*"], "verbs": ["get"]}])
    subject = {"kind": "User", "name": "pat", "apiGroup": "rbac.authorization.k8s.io"}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    body = {"metadata": {"name": name}, "roleRef": ref, "subjects": [subject]}
    api.make(f"{RBAC}/clusterrolebindings", body)
    try:
        pat = acting(api, "pat")
        assert pat.ask("GET", "/metrics").code == 200
        assert pat.ask("GET", "/configz").code == 403
    finally:
        api.ask("DELETE", f"{RBAC}/clusterrolebindings/{name}")


def test_77_a_stream_into_a_pod_is_a_create(api: Api, ns: str) -> None:
    role(api, ns, "x", apiGroups=[""], resources=["pods/exec"], verbs=["get"])
    bind(api, ns, "x", "User", "xena", to="Role")
    answer = acting(api, "xena").ask("POST", f"/api/v1/namespaces/{ns}/pods/p/exec", command="id")
    assert answer.code == 403
    assert 'cannot create resource "pods/exec"' in answer.message


def test_77_nobody_gives_away_what_he_has_not(api: Api, ns: str, cluster_role: Any) -> None:
    name = cluster_role(
        [{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["*"]}]
    )  # fmt: skip
    role(
        api, ns, "mine", apiGroups=["rbac.authorization.k8s.io"], resources=["roles", "rolebindings"],
        verbs=["create", "update"],
    )  # fmt: skip
    bind(api, ns, "mine", "User", "eve", to="Role")
    eve = acting(api, "eve")
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]
    made = eve.ask("POST", f"{RBAC}/namespaces/{ns}/roles", {"metadata": {"name": "more"}, "rules": rules})  # fmt: skip
    assert made.code == 403
    assert made.message.startswith(
        'roles.rbac.authorization.k8s.io "more" is forbidden: user "eve" (groups=["system:authenticated"]) '
        "is attempting to grant RBAC permissions not currently held:\n"
    )
    assert '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}' in made.message
    body = {
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "User", "name": "eve", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    bound = eve.ask("POST", f"{RBAC}/namespaces/{ns}/rolebindings", body)
    assert bound.code == 403
    ref = api.ask(
        "PUT", f"{RBAC}/namespaces/{ns}/rolebindings/none", {**body, "metadata": {"name": "none"}}
    )
    assert ref.code in (201, 404)


def test_77_roles_gather_others_by_label(api: Api, ns: str, cluster_role: Any) -> None:
    mark = {"t.example/part": ns}
    part = [{"apiGroups": ["t.example"], "resources": ["boats"], "verbs": ["get"]}]
    cluster_role(part, labels=mark)
    body = {
        "metadata": {"generateName": "sum-"},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": mark}]},
        "rules": [],
    }
    name = api.make(f"{RBAC}/clusterroles", body)["metadata"]["name"]
    try:
        bind(api, ns, name, "User", "bo")
        assert isinstance(may(acting(api, "bo"), "get", "boats", ns, group="t.example"), bool)
    finally:
        api.ask("DELETE", f"{RBAC}/clusterroles/{name}")


def test_77_masters_may_everything(api: Api) -> None:
    assert may(acting(api, "root", "system:masters"), "impersonate", "users")
    assert not may(acting(api, "root"), "impersonate", "users")
