"""Who am I, may I, is this token good: answered as the real server does, also when asked by kubectl."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from jindou.control.api.access import certificates
from jindou.control.api.access.guard import AUTHENTICATED, MASTERS, Access, User, user_of
from jindou.control.api.access.reviews import review
from jindou.control.api.access.roles import (
    AGGREGATED,
    BINDINGS,
    ROLES,
    cluster_role,
    cluster_role_binding,
)
from jindou.control.api.access.tokens import Tokens
from jindou.control.api.resources.registry import Registry
from jindou.control.store.memory import MemoryStore
from jindou.objects.errors import BadRequest, CloudError, Conflict, Forbidden, Invalid, NotFound
from jindou.transport import Peer
from jindou.transport.server import HttpRequest
from tests.control.apis import Api, Kubectl, on_kubectl

REGISTRY = Registry()
RBAC = "rbac.authorization.k8s.io/"
BOB = User("bob", ("dev", AUTHENTICATED))
ROOT = User("root", (MASTERS, AUTHENTICATED))
SUBJECT = {"kind": "User", "name": "bob"}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    pki = tmp_path_factory.mktemp("pki")
    certificates.ensure(pki, [])
    return Tokens(pki / "service-accounts.key", "cluster.local")


class World:
    """A store with objects in it, and questions to it."""

    def __init__(self, tokens: Tokens, stored: dict[str, Any]) -> None:
        self.store = MemoryStore()
        self.tokens = tokens
        self.access = Access(self.store, tokens)
        self.put(stored)

    def put(self, stored: dict[str, Any]) -> None:
        async def main() -> None:
            for key, held in stored.items():
                data = orjson.dumps(held) if held is not None else None
                await self.store.commit(key, None if data is None else (lambda _, data=data: data))  # type: ignore[misc]

        asyncio.run(main())

    def ask(self, kind: str, spec: Any, user: User = BOB, namespace: str = "", name: str = "") -> Any:  # fmt: skip
        group = "authentication.k8s.io" if "Token" in kind or kind == "SelfSubjectReview" else "authorization.k8s.io"  # fmt: skip
        resource = REGISTRY.by_kind(group, "v1", kind)
        if kind == "TokenRequest":
            resource = REGISTRY.by_kind("", "v1", "ServiceAccount")
        assert resource is not None
        body = {"apiVersion": f"{group}/v1", "kind": kind, "spec": spec}
        return asyncio.run(
            review(resource, namespace, name, body, user, self.access, self.tokens, self.store)
        )


def role(name: str, *rules: Any, namespace: str = "") -> dict[str, Any]:
    where = f"roles/{namespace}" if namespace else "clusterroles/"
    return {f"{RBAC}{where}/{name}": {"metadata": {"name": name}, "rules": list(rules)}}


def bound(name: str, namespace: str = "", kind: str = "ClusterRole", subject: Any = SUBJECT) -> dict[str, Any]:  # fmt: skip
    where = f"rolebindings/{namespace}" if namespace else "clusterrolebindings/"
    held = {
        "metadata": {"name": name},
        "subjects": [subject],
        "roleRef": {"kind": kind, "name": name},
    }
    return {f"{RBAC}{where}/{name}": held}


def rule(verbs: str, resources: str, group: str = "", names: str = "") -> dict[str, Any]:
    held = {"verbs": verbs.split(), "apiGroups": [group], "resources": resources.split()}
    return {**held, "resourceNames": names.split()} if names else held


READER = {**role("reader", rule("get list", "pods pods/log")), **bound("reader", "d")}


@pytest.mark.parametrize(
    ("user", "asked", "allowed"),
    [
        (BOB, {"verb": "get", "resource": "pods", "namespace": "d"}, True),
        (BOB, {"verb": "get", "resource": "pods", "subresource": "log", "namespace": "d"}, True),
        (BOB, {"verb": "get", "resource": "pods", "subresource": "exec", "namespace": "d"}, False),
        (BOB, {"verb": "get", "resource": "pods", "namespace": "e"}, False),
        (BOB, {"verb": "delete", "resource": "pods", "namespace": "d"}, False),
        (BOB, {"verb": "get", "resource": "pods", "group": "x", "namespace": "d"}, False),
        (ROOT, {"verb": "*", "resource": "*", "group": "*"}, True),
    ],
)
def test_may_i(tokens: Tokens, user: User, asked: Any, allowed: bool) -> None:
    world = World(tokens, READER)
    answer = world.ask("SelfSubjectAccessReview", {"resourceAttributes": asked}, user)
    assert answer["status"] == {"allowed": allowed}
    assert answer["spec"] == {"resourceAttributes": asked}
    other = {"user": user.name, "groups": list(user.groups), "resourceAttributes": asked}
    assert world.ask("SubjectAccessReview", other, ROOT)["status"] == {"allowed": allowed}


def test_names_and_paths(tokens: Tokens) -> None:
    paths = {"verbs": ["get"], "nonResourceURLs": ["/metrics", "/debug/*"]}
    world = World(tokens, {**role("r", rule("get", "secrets", names="one"), paths), **bound("r")})

    def may(**attributes: Any) -> bool:
        held = {
            "nonResourceAttributes" if "path" in attributes else "resourceAttributes": attributes
        }
        allowed: bool = world.ask("SelfSubjectAccessReview", held)["status"]["allowed"]
        return allowed

    assert may(verb="get", resource="secrets", namespace="d", name="one")
    assert not may(verb="get", resource="secrets", namespace="d", name="two")
    assert not may(verb="get", resource="secrets", namespace="d")
    assert may(verb="get", path="/debug/x")
    assert not may(verb="get", path="/debugging")
    assert may(verb="get", path="/version")


@pytest.mark.parametrize(
    ("kind", "namespace", "spec", "says"),
    [
        ("SelfSubjectAccessReview", "", {}, "exactly one of nonResourceAttributes or resourceAttributes must be specified"),
        ("SubjectAccessReview", "", {"resourceAttributes": {"verb": "get"}}, "at least one of user or group must be specified"),
        ("LocalSubjectAccessReview", "d", {"user": "x", "resourceAttributes": {"namespace": "e"}}, "must match metadata.namespace: d"),
    ],
)  # fmt: skip
def test_questions_that_make_no_sense(
    tokens: Tokens, kind: str, namespace: str, spec: Any, says: str
) -> None:
    with pytest.raises(Invalid, match=says) as told:
        World(tokens, {}).ask(kind, spec, ROOT, namespace)
    assert told.value.message.startswith(f'{kind}.authorization.k8s.io "" is invalid: ')


def test_an_aggregated_role_has_what_its_parts_have(tokens: Tokens) -> None:
    mine = role("mine", rule("get", "widgets", "x.io"))
    mine[f"{RBAC}clusterroles//mine"]["metadata"]["labels"] = {f"{RBAC}aggregate-to-view": "true"}
    stored = {f"{RBAC}clusterroles//{name}": cluster_role(name) for name in ROLES}
    world = World(tokens, {**stored, **mine, **bound("admin", "d")})

    def may(verb: str, resource: str, group: str = "") -> bool:
        asked = {"verb": verb, "resource": resource, "group": group, "namespace": "d"}
        allowed: bool = world.ask("SelfSubjectAccessReview", {"resourceAttributes": asked})[
            "status"
        ]["allowed"]
        return allowed

    assert may("get", "widgets", "x.io"), "through view and edit"
    assert may("create", "pods")
    assert may("create", "roles", "rbac.authorization.k8s.io")
    assert not may("create", "widgets", "x.io")
    assert not may("create", "nodes")


def test_the_first_roles_fit_together() -> None:
    assert set(BINDINGS) <= set(ROLES)
    for name in AGGREGATED:
        parts = cluster_role(name)["aggregationRule"]["clusterRoleSelectors"]
        assert all(
            any(
                label.items() <= cluster_role(other)["metadata"]["labels"].items()
                for other in ROLES
                if other != name
            )
            for label in (part["matchLabels"] for part in parts)
        )
    assert cluster_role_binding("cluster-admin")["subjects"] == [
        {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:masters"}
    ]


def test_the_rules_that_apply_to_me(tokens: Tokens) -> None:
    world = World(tokens, READER)
    assert world.ask("SelfSubjectRulesReview", {"namespace": "d"})["status"] == {
        "resourceRules": [rule("get list", "pods pods/log")],
        "nonResourceRules": [],
        "incomplete": False,
    }
    everything, masters = rule("*", "*", "*"), {"kind": "Group", "name": MASTERS}
    admins = {**role("cluster-admin", everything), **bound("cluster-admin", subject=masters)}
    administered = World(tokens, admins)
    told = administered.ask("SelfSubjectRulesReview", {"namespace": "d"}, ROOT)["status"]
    assert told["resourceRules"] == [everything]


def test_who_am_i(tokens: Tokens) -> None:
    user = User("bob", ("dev",), "7", {"scope": ["a"]})
    assert World(tokens, {}).ask("SelfSubjectReview", {}, user)["status"] == {
        "userInfo": {"username": "bob", "groups": ["dev"], "uid": "7", "extra": {"scope": ["a"]}}
    }


# ---------------------------------------------------------------- tokens

HELD: dict[str, Any] = {
    "core/serviceaccounts/d/a": {"metadata": {"name": "a", "namespace": "d", "uid": "sa1"}},
    "core/pods/d/p": {"metadata": {"name": "p", "namespace": "d", "uid": "p1"}, "spec": {"serviceAccountName": "a", "nodeName": "n"}},
    "core/nodes//n": {"metadata": {"name": "n", "uid": "n1"}},
}  # fmt: skip
POD_REF = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "p1"}


def test_a_token_is_good_for_its_audience_and_its_pod(tokens: Tokens) -> None:
    world = World(tokens, HELD)
    spec = {"audiences": ["api", "x"], "expirationSeconds": 3607, "boundObjectRef": POD_REF}
    made = world.ask("TokenRequest", spec, namespace="d", name="a")
    assert made["spec"] == spec
    assert made["metadata"]["name"] == "a"
    token = made["status"]["token"]
    answer = world.ask("TokenReview", {"token": token, "audiences": ["x", "y"]})["status"]
    assert answer["audiences"] == ["x"]
    user = answer["user"]
    assert user["username"] == "system:serviceaccount:d:a"
    assert user["groups"] == [
        "system:serviceaccounts",
        "system:serviceaccounts:d",
        "system:authenticated",
    ]
    assert user["extra"]["authentication.kubernetes.io/pod-uid"] == ["p1"]
    assert user["extra"]["authentication.kubernetes.io/node-name"] == ["n"]
    refused = {"user": {}, "error": "invalid bearer token"}
    assert world.ask("TokenReview", {"token": token})["status"] == refused, "another audience"
    assert world.ask("TokenReview", {"token": token[:-4] + "AAAA"})["status"] == refused
    world.put({"core/pods/d/p": {"metadata": {"name": "p", "uid": "p2"}}})
    assert world.ask("TokenReview", {"token": token, "audiences": ["x"]})["status"] == refused


def test_a_token_ends_with_its_account(tokens: Tokens) -> None:
    world = World(tokens, HELD)
    token = world.ask("TokenRequest", {}, namespace="d", name="a")["status"]["token"]
    request = HttpRequest("GET", "/", {"authorization": f"Bearer {token}"}, Peer("x:1"), False)
    assert world.access.authenticate(request).name == "system:serviceaccount:d:a"
    world.put({"core/serviceaccounts/d/a": None})
    with pytest.raises(CloudError) as told:
        world.access.authenticate(request)
    assert told.value.code == 401


@pytest.mark.parametrize(
    ("name", "spec", "error", "says"),
    [
        ("x", {}, NotFound, 'serviceaccounts "x" not found'),
        ("a", {"expirationSeconds": 10}, Invalid, 'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 10: may not specify a duration less than 10 minutes'),
        ("a", {"boundObjectRef": {"kind": "Pod", "name": "q"}}, NotFound, 'pods "q" not found'),
        ("a", {"boundObjectRef": {**POD_REF, "uid": "z"}}, Conflict, 'Operation cannot be fulfilled on Pod "p": the UID in the bound object reference (z) does not match the UID in record. The object might have been deleted and then recreated'),
        ("a", {"boundObjectRef": {"kind": "Service", "apiVersion": "v1"}}, BadRequest, "cannot bind token to object of type v1, Kind=Service"),
    ],
)  # fmt: skip
def test_tokens_that_are_refused(
    tokens: Tokens, name: str, spec: Any, error: type[CloudError], says: str
) -> None:
    with pytest.raises(error) as told:
        World(tokens, HELD).ask("TokenRequest", spec, namespace="d", name=name)
    assert told.value.message == says


def test_a_token_names_its_account_and_time(tokens: Tokens) -> None:
    made = World(tokens, HELD).ask("TokenRequest", {"expirationSeconds": 600}, namespace="d", name="a")  # fmt: skip
    claims = tokens.verify(made["status"]["token"])
    assert claims is not None
    assert claims["exp"] - claims["iat"] == 600
    assert abs(claims["iat"] - time.time()) < 5
    assert user_of(claims).uid == "sa1"


# ---------------------------------------------------------------- being somebody else


def impersonated(world: World, peer: Peer, **headers: str) -> User:
    named = {f"impersonate-{name.replace('_', '-')}": value for name, value in headers.items()}
    return world.access.authenticate(HttpRequest("GET", "/", named, peer, False))


def test_impersonation(tokens: Tokens) -> None:
    root = Peer("x:1", "root", (MASTERS,))
    world = World(
        tokens,
        {**role("r", rule("impersonate", "users", names="carol")), **bound("r"), **HELD},
    )
    assert impersonated(world, root, user="eve", group="g1, g2", extra_scope="a") == User(
        "eve", ("g1", "g2", AUTHENTICATED), "", {"scope": ["a"]}
    )
    account = impersonated(world, root, user="system:serviceaccount:d:a")
    assert account.groups == ("system:serviceaccounts", "system:serviceaccounts:d", AUTHENTICATED)
    bob = Peer("x:1", "bob")
    assert impersonated(world, bob, user="carol").name == "carol"
    with pytest.raises(Forbidden) as told:
        impersonated(world, bob, user="eve")
    assert told.value.message == (
        'users "eve" is forbidden: User "bob" cannot impersonate resource "users" in API group "" at the cluster scope'
    )
    with pytest.raises(Forbidden):
        impersonated(world, bob, user="carol", group="system:masters")


@pytest.mark.slow
def test_kubectl_asks(tmp_path: Path) -> None:
    async def scenario(kubectl: Kubectl, api: Api) -> None:
        await kubectl("create", "serviceaccount", "robot")
        await kubectl("create", "rolebinding", "bob", "--clusterrole=view", "--user=bob")
        assert await kubectl("auth", "can-i", "delete", "nodes") == "yes\n"
        assert await kubectl("auth", "can-i", "list", "pods", "--as=bob") == "yes\n"
        code, out, _ = await kubectl.run("auth", "can-i", "delete", "pods", "--as=bob")
        assert (code, out) == (1, "no\n")
        assert "kubernetes-admin" in await kubectl("auth", "whoami")
        assert "pods" in await kubectl("auth", "can-i", "--list", "--as=bob")
        assert await kubectl("get", "pods", "--as=bob") == ""
        code, _, says = await kubectl.run("get", "nodes", "--as=bob")
        assert says == (
            'Error from server (Forbidden): nodes is forbidden: User "bob" cannot list resource "nodes" in API group "" at the cluster scope\n'
        )
        token = (await kubectl("create", "token", "robot", "--duration=10m")).strip()
        claims = api.server.tokens.verify(token)
        assert claims is not None
        assert claims["sub"] == "system:serviceaccount:default:robot"
        code, _, says = await kubectl.run("create", "token", "nobody")
        assert says == 'error: failed to create token: serviceaccounts "nobody" not found\n'

    on_kubectl(tmp_path, scenario)
