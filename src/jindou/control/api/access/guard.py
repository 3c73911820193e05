"""Who asks, and may they? Certificates, tokens and sockets say who; RBAC objects say whether.

Sources: https://kubernetes.io/docs/reference/access-authn-authz/authentication/ and .../rbac/
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

import orjson

from jindou.control.api.access import nodes, roles
from jindou.control.api.access.bearer import token_of
from jindou.control.api.access.tokens import Tokens
from jindou.control.store import Change, Store
from jindou.objects.errors import Forbidden, InternalError, Unauthorized
from jindou.objects.selectors import from_object
from jindou.transport import Request

RBAC = "rbac.authorization.k8s.io/"
ACCOUNT = "system:serviceaccount:"
EXTRA = "impersonate-extra-"
BOUND = {
    "serviceaccount": "serviceaccounts",
    "pod": "pods",
    "secret": "secrets",
    "node": "nodes",
}
MASTERS = "system:masters"
MOST_USERS, MOST_KNOWN = 1024, 16384
NO_NAME = uuid.uuid4().hex  # of no object: what is allowed for it is allowed for all
AUTHENTICATED = "system:authenticated"
OPEN_PATHS = ("/healthz", "/livez", "/readyz", "/version")
DISCOVERY = (
    "/api",
    "/apis",
    "/openapi",
    "/version",
    "/healthz",
    "/livez",
    "/readyz",
    "/.well-known",
    "/openid",
)


class User(NamedTuple):
    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: dict[str, list[str]] = {}


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))
CONTROLLERS = User("system:kube-controller-manager", (MASTERS, AUTHENTICATED))


class Asked(NamedTuple):
    """What a request wants, in the words of RBAC."""

    verb: str
    group: str = ""
    resource: str = ""  # with its subresource: pods/log
    namespace: str = ""
    name: str = ""
    path: str = ""  # of a request that is about no resource
    fields: str = ""  # the field selector of a list or watch


class Access:
    """`owners` are the user ids that are taken for an administrator at the Unix socket.

    What a user may do to every object of a kind is remembered until some RBAC object changes.
    """

    def __init__(self, store: Store, tokens: Tokens, owners: Iterable[int] = (0,)) -> None:
        self._store = store
        self._rights = Rights(store)
        self._tokens = tokens
        self._owners = frozenset(owners)
        self._known: dict[tuple[Any, ...], bool] = {}
        self._users: dict[str, User] = {}  # of tokens
        store.watch(RBAC, store.revision, self._forget)

    def _forget(self, changes: Sequence[Change]) -> None:
        self._known.clear()

    def authenticate(self, request: Request) -> User:
        user = self._who(request)
        headers = request.headers
        if "\nimpersonate-" in "\n" + "\n".join(headers):
            return self._impersonated(user, headers)
        return user

    def _impersonated(self, user: User, headers: dict[str, str]) -> User:
        """Somebody else, where the asker may be them. Raises Forbidden."""
        name = headers.get("impersonate-user", "")
        if not name:
            raise InternalError("requested impersonation without impersonating a user")
        words = headers.get("impersonate-group", "").split(",")
        groups = tuple(word.strip() for word in words if word.strip())
        uid = headers.get("impersonate-uid", "")
        extra = {
            unquote(key.removeprefix(EXTRA)): [value.strip() for value in held.split(",")]
            for key, held in headers.items()
            if key.startswith(EXTRA)
        }
        parts = name.split(":")
        is_account = name.startswith(ACCOUNT) and len(parts) == 4
        if is_account:
            self._may_impersonate(
                user, Asked("impersonate", "", "serviceaccounts", parts[2], parts[3])
            )
        else:
            self._may_impersonate(user, Asked("impersonate", "", "users", "", name))
        for group in groups:
            self._may_impersonate(user, Asked("impersonate", "", "groups", "", group))
        group = "authentication.k8s.io"
        if uid:
            self._may_impersonate(user, Asked("impersonate", group, "uids", "", uid))
        for key, values in extra.items():
            for value in values:
                self._may_impersonate(
                    user, Asked("impersonate", group, f"userextras/{key}", "", value)
                )
        if name == ANONYMOUS.name:
            return User(name, groups or ANONYMOUS.groups, uid, extra)
        if is_account and not groups:
            groups = ("system:serviceaccounts", f"system:serviceaccounts:{parts[2]}")
        return User(name, tuple(dict.fromkeys((*groups, AUTHENTICATED))), uid, extra)

    def _may_impersonate(self, user: User, asked: Asked) -> None:
        if not self.allows(user, asked):
            raise refusal(user, asked)

    def _who(self, request: Request) -> User:
        peer = request.peer
        if peer.uid is not None:
            if peer.uid in self._owners:
                return User("kubernetes-admin", (MASTERS, AUTHENTICATED))
            raise Unauthorized("Unauthorized")
        if peer.common_name:
            return User(peer.common_name, (*peer.organizations, AUTHENTICATED))
        if token := token_of(request):
            claims = self._tokens.verify(token)
            if claims is None or not self.is_current(claims):
                raise Unauthorized("Unauthorized")
            return self._users.get(token) or self._remember(token, user_of(claims))
        return ANONYMOUS

    def _remember(self, token: str, user: User) -> User:
        if len(self._users) >= MOST_USERS:
            self._users.clear()
        self._users[token] = user
        return user

    def is_current(self, claims: dict[str, Any]) -> bool:
        """Do the account of a token, and what it is bound to, still live?"""
        held = claims.get("kubernetes.io", {})
        namespace = held.get("namespace", "")
        for part, plural in BOUND.items():
            if part in held:
                where = "" if part == "node" else namespace
                stored = self._store.get(f"core/{plural}/{where}/{held[part]['name']}")
                if stored is None or uid_of(stored.value) != held[part].get("uid"):
                    return False
        return "serviceaccount" in held

    def check(self, user: User, asked: Asked) -> None:
        if not self.allows(user, asked):
            raise refusal(user, asked)

    def allows(self, user: User, asked: Asked) -> bool:
        verb, group, resource, namespace, _, path, _ = asked
        which = (user.name, user.groups, verb, group, resource, namespace, path)
        always = self._known.get(which)
        if always is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            always = self._known[which] = self._rights.allows(
                user, asked._replace(name=NO_NAME, fields="")
            )
        return always or self._rights.allows(user, asked)

    def rules(self, user: User, namespace: str) -> Iterable[dict[str, Any]]:
        return self._rights.rules(user, namespace)


class Rights:
    """What the RBAC objects of a store allow."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def allows(self, user: User, asked: Asked) -> bool:
        if MASTERS in user.groups:
            return True
        if nodes.GROUP in user.groups and self._node_may(user, asked):
            return True
        if asked.path and asked.path.startswith(OPEN_PATHS):
            return True
        if asked.path and AUTHENTICATED in user.groups and asked.path.startswith(DISCOVERY):
            return True
        if (
            asked.group in ("authorization.k8s.io", "authentication.k8s.io")
            and asked.resource.startswith("self")
            and AUTHENTICATED in user.groups
        ):
            return True
        return any(rule_allows(rule, asked) for rule in self.rules(user, asked.namespace))

    def _node_may(self, user: User, asked: Asked) -> bool:
        node = nodes.name_of(user.name, user.groups)
        if not node or asked.path or asked.name == NO_NAME:
            return False
        verb, group, resource, namespace, name, _, fields = asked
        decided = nodes.decide(self._store, node, verb, group, resource, namespace, name, fields)
        if decided is None:
            return any(rule_allows(rule, asked) for rule in roles.NODE)
        return decided

    def rules(self, user: User, namespace: str) -> Iterable[dict[str, Any]]:
        """The RBAC rules that apply to a user, cluster-wide and in a namespace."""
        for stored in self._store.scan(f"{RBAC}clusterrolebindings/").items:
            binding = decoded(stored.value)
            if binds(binding, user, ""):
                yield from self.of_role(binding["roleRef"], "")
        if namespace:
            for stored in self._store.scan(f"{RBAC}rolebindings/{namespace}/").items:
                binding = decoded(stored.value)
                if binds(binding, user, namespace):
                    yield from self.of_role(binding["roleRef"], namespace)

    def of_role(self, ref: dict[str, str], namespace: str) -> Iterable[dict[str, Any]]:
        plural = "clusterroles/" if ref["kind"] == "ClusterRole" else f"roles/{namespace}"
        stored = self._store.get(f"{RBAC}{plural}/{ref['name']}")
        if stored is None:
            return
        yield from self._rules(decoded(stored.value), set())

    def _rules(self, role: dict[str, Any], seen: set[str]) -> Iterable[dict[str, Any]]:
        """Of a role; one that gathers others has what they have at this moment."""
        gathered = role.get("aggregationRule")
        if gathered is None:
            yield from role.get("rules") or ()
            return
        seen.add(role["metadata"]["name"])
        parts = [decoded(other.value) for other in self._store.scan(f"{RBAC}clusterroles/").items]
        for held in gathered.get("clusterRoleSelectors") or ():
            selector = from_object(held)
            assert selector is not None
            for part in parts:
                meta = part["metadata"]
                if meta["name"] not in seen and selector.matches(meta.get("labels")):
                    yield from self._rules(part, seen)
                    seen.add(meta["name"])


@lru_cache(2048)
def decoded(value: bytes) -> dict[str, Any]:
    """Shared: not to be changed."""
    found: dict[str, Any] = orjson.loads(value)
    return found


@lru_cache(256)
def uid_of(value: bytes) -> str:
    uid: str = orjson.loads(value)["metadata"]["uid"]
    return uid


def user_of(claims: dict[str, Any]) -> User:
    name = claims["sub"]
    namespace = name.split(":")[2]
    held = claims.get("kubernetes.io", {})
    extra = {"authentication.kubernetes.io/credential-id": [f"JTI={claims.get('jti', '')}"]}
    for part in ("node", "pod"):
        if part in held:
            extra[f"authentication.kubernetes.io/{part}-name"] = [held[part]["name"]]
            extra[f"authentication.kubernetes.io/{part}-uid"] = [held[part]["uid"]]
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return User(name, groups, held.get("serviceaccount", {}).get("uid", ""), extra)


def binds(binding: dict[str, Any], user: User, namespace: str) -> bool:
    for subject in binding.get("subjects") or ():
        kind, name = subject.get("kind"), subject.get("name")
        if kind == "User" and name == user.name:
            return True
        if kind == "Group" and name in user.groups:
            return True
        if (
            kind == "ServiceAccount"
            and user.name == f"system:serviceaccount:{subject.get('namespace') or namespace}:{name}"
        ):
            return True
    return False


def rule_allows(rule: dict[str, Any], asked: Asked) -> bool:
    verbs = rule.get("verbs") or ()
    if "*" not in verbs and asked.verb not in verbs:
        return False
    if asked.path:
        return any(
            url == "*"
            or url == asked.path
            or (url.endswith("*") and asked.path.startswith(url[:-1]))
            for url in rule.get("nonResourceURLs") or ()
        )
    groups, resources = rule.get("apiGroups") or (), rule.get("resources") or ()
    if "*" not in groups and asked.group not in groups:
        return False
    _, _, sub = asked.resource.partition("/")
    if (
        "*" not in resources
        and asked.resource not in resources
        and not (sub and f"*/{sub}" in resources)
    ):
        return False
    names = rule.get("resourceNames") or ()
    return not names or asked.name in names


def refusal(user: User, asked: Asked) -> Forbidden:
    if asked.path:
        return Forbidden(f'forbidden: User "{user.name}" cannot {asked.verb} path "{asked.path}"')
    where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    plural = asked.resource.partition("/")[0]
    label = f"{plural}.{asked.group}" if asked.group else plural
    quoted = f' "{asked.name}"' if asked.name else ""
    details = {
        **({"name": asked.name} if asked.name else {}),
        **({"group": asked.group} if asked.group else {}),
        "kind": plural,
    }
    return Forbidden(
        f'{label}{quoted} is forbidden: User "{user.name}" cannot {asked.verb} resource "{asked.resource}" in API group "{asked.group}" {where}',
        details,
    )
