"""Questions that are answered at once and kept nowhere: who am I, may I, is this token good, give me one.

Sources: https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/ and
.../authorization-resources/
"""

from __future__ import annotations

import datetime
from typing import Any

import orjson

from jindou.control.api import status
from jindou.control.api.access.guard import Access, Asked, User, user_of
from jindou.control.api.access.tokens import LONGEST, SHORTEST, Tokens
from jindou.control.api.resources.builtin import type_named
from jindou.control.api.resources.registry import Resource
from jindou.control.api.resources.schema import mismatch
from jindou.control.api.rules.names import invalid
from jindou.control.store import Store
from jindou.objects.errors import BadRequest, Conflict, Fault
from jindou.objects.kinds import NODE, POD, SECRET, SERVICE_ACCOUNT, Kind, Object

BINDABLE = {"Pod": POD, "Secret": SECRET, "Node": NODE}
EXACTLY_ONE = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
TOKEN_REQUEST = Kind("authentication.k8s.io", "v1", "TokenRequest", "tokenrequests")


async def review(
    resource: Resource,
    namespace: str,
    name: str,
    body: Object,
    user: User,
    access: Access,
    tokens: Tokens,
    store: Store,
) -> Object:
    """The answer: the question with its status filled in. `name` is of a service account, for a token."""
    kind = resource.kind.name
    if kind in ("ServiceAccount", "TokenRequest"):
        return request_token(namespace, name, body, tokens, store)
    answer = dict(body)
    answer.setdefault("apiVersion", resource.kind.api_version)
    answer.setdefault("kind", kind)
    answer["metadata"] = {"creationTimestamp": None, **(body.get("metadata") or {})}
    if kind == "SelfSubjectReview":
        answer["metadata"] = {"creationTimestamp": _stamp(_now())}
        answer["status"] = {"userInfo": user_info(user)}
    elif kind == "TokenReview":
        answer["status"] = review_token(body.get("spec") or {}, access, tokens)
    elif kind == "SelfSubjectRulesReview":
        answer["status"] = rules_of(user, (body.get("spec") or {}).get("namespace", ""), access)
    else:
        answer["status"] = review_access(
            resource.kind, namespace, body.get("spec") or {}, user, access
        )
    return answer


def user_info(user: User) -> Object:
    info: Object = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    if user.groups:
        info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return info


# ---------------------------------------------------------------- may I?


def review_access(kind: Kind, namespace: str, spec: Object, asker: User, access: Access) -> Object:
    wanted, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    faults: list[Fault] = []
    if (wanted is None) == (path is None):
        shown = {} if wanted is None else wanted
        faults.append(invalid("spec.resourceAttributes", shown, EXACTLY_ONE))
    subject = asker
    if kind.name != "SelfSubjectAccessReview":
        if not spec.get("user") and not spec.get("groups"):
            faults.append(
                invalid(
                    "spec.user",
                    spec.get("user", ""),
                    "at least one of user or group must be specified",
                )
            )
        subject = User(
            spec.get("user", ""),
            tuple(spec.get("groups") or ()),
            spec.get("uid", ""),
            spec.get("extra") or {},
        )
    if kind.name == "LocalSubjectAccessReview":
        held = (wanted or {}).get("namespace", "")
        if held != namespace:
            faults.append(
                invalid(
                    "spec.resourceAttributes.namespace",
                    held,
                    f"must match metadata.namespace: {namespace}",
                )
            )
        if path is not None:
            faults.append(
                invalid("spec.nonResourceAttributes", path, "disallowed on this kind of request")
            )
    if faults:
        raise status.invalid(kind, "", faults)
    allowed = access.allows(subject, asked_of(wanted, path))
    return {"allowed": True} if allowed else {"allowed": False}


def asked_of(wanted: Object | None, path: Object | None) -> Asked:
    if wanted is None:
        held = path or {}
        return Asked(held.get("verb", ""), path=held.get("path", ""))
    resource = wanted.get("resource", "")
    if wanted.get("subresource"):
        resource += f"/{wanted['subresource']}"
    return Asked(
        wanted.get("verb", ""),
        wanted.get("group", ""),
        resource,
        wanted.get("namespace", ""),
        wanted.get("name", ""),
    )


def rules_of(user: User, namespace: str, access: Access) -> Object:
    if not namespace:
        raise BadRequest("no namespace on request")
    resources: list[Any] = []
    urls: list[Any] = []
    for rule in access.rules(user, namespace):
        if rule.get("nonResourceURLs"):
            urls.append({"verbs": rule["verbs"], "nonResourceURLs": rule["nonResourceURLs"]})
        if rule.get("resources"):
            names = ("verbs", "apiGroups", "resources", "resourceNames")
            resources.append({name: rule[name] for name in names if name in rule})
    return {"resourceRules": resources, "nonResourceRules": urls, "incomplete": False}


# ---------------------------------------------------------------- tokens


def review_token(spec: Object, access: Access, tokens: Tokens) -> Object:
    token = spec.get("token", "")
    audiences = spec.get("audiences") or [tokens.issuer]
    if not token:
        raise status.invalid(
            Kind("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", False),
            "",
            [Fault("FieldValueRequired", "Required value: token is required", "spec.token")],
        )
    shared = []
    claims: dict[str, Any] | None = None
    for audience in audiences:
        found = tokens.verify(token, audience)
        if found is not None:
            shared.append(audience)
            claims = found
    if claims is None or not access.is_current(claims):
        return {"user": {}, "error": "invalid bearer token"}
    return {"authenticated": True, "user": user_info(user_of(claims)), "audiences": shared}


def request_token(namespace: str, name: str, body: Object, tokens: Tokens, store: Store) -> Object:
    stored = store.get(f"core/serviceaccounts/{namespace}/{name}")
    if stored is None:
        raise status.not_found(SERVICE_ACCOUNT, name)
    account = orjson.loads(stored.value)
    if wrong := mismatch(type_named("io.k8s.api.authentication.v1.TokenRequest"), body):
        says = 'TokenRequest in version "v1" cannot be handled as a TokenRequest'
        raise BadRequest(f"{says}: {wrong}")
    spec = body.get("spec") or {}
    seconds = spec.get("expirationSeconds")
    seconds = 3600 if seconds is None else seconds
    faults = []
    at = "spec.expirationSeconds"
    if seconds < SHORTEST:
        faults.append(invalid(at, seconds, "may not specify a duration less than 10 minutes"))
    if seconds > 1 << 32:
        faults.append(invalid(at, seconds, "may not specify a duration larger than 2^32 seconds"))
    if faults:
        raise status.invalid(TOKEN_REQUEST, "", faults)
    bound, node = _bound(namespace, name, spec.get("boundObjectRef"), store)
    audiences = spec.get("audiences") or [tokens.issuer]
    token, expires = tokens.issue(account, audiences, min(seconds, LONGEST), bound, node)
    answer_spec: Object = {
        "audiences": audiences,
        "expirationSeconds": min(seconds, LONGEST),
        "boundObjectRef": bound,
    }
    when = datetime.datetime.fromtimestamp(expires, datetime.UTC)
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "creationTimestamp": _stamp(_now()),
        },
        "spec": answer_spec,
        "status": {"token": token, "expirationTimestamp": _stamp(when)},
    }


def _bound(
    namespace: str, account: str, ref: Object | None, store: Store
) -> tuple[Object | None, Object | None]:
    """The object a token ends with, checked; and the node where it is a Pod that has one."""
    if not ref:
        return None, None
    kind = BINDABLE.get(ref.get("kind", ""))
    if kind is None or ref.get("apiVersion", "v1") != "v1":
        raise BadRequest(
            f"cannot bind token to object of type {ref.get('apiVersion', '')}, Kind={ref.get('kind', '')}"
        )
    name = ref.get("name", "")
    stored = store.get(f"core/{kind.plural}/{namespace if kind.namespaced else ''}/{name}")
    if stored is None:
        raise status.not_found(kind, name)
    found = orjson.loads(stored.value)
    uid = found["metadata"]["uid"]
    if ref.get("uid") and ref["uid"] != uid:
        raise Conflict(
            f'Operation cannot be fulfilled on {kind.name} "{name}": the UID in the bound object reference ({ref["uid"]}) does not match the UID in record. The object might have been deleted and then recreated',
            {"name": name, "kind": kind.name},
        )
    node = None
    if kind is POD:
        spec = found.get("spec") or {}
        if spec.get("serviceAccountName") != account:
            raise BadRequest(
                f'cannot bind token for serviceaccount "{account}" to pod running with different serviceaccount name.'
            )
        node = _node_of(spec.get("nodeName", ""), store)
    bound = {"kind": kind.name, "apiVersion": "v1", "name": name, "uid": uid}
    return bound, node


def _node_of(name: str, store: Store) -> Object | None:
    stored = store.get(f"core/nodes//{name}") if name else None
    if stored is None:
        return None
    return {"name": name, "uid": orjson.loads(stored.value)["metadata"]["uid"]}


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _stamp(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
