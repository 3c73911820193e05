"""`authorizer` in an expression: may the user do something else as well?

Source: https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-authorizer-library
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from jindou.control.api.access.guard import AUTHENTICATED, Access, Asked, User
from jindou.control.api.admission.chain import Review
from jindou.control.api.expressions.language import library
from jindou.control.api.expressions.language.values import CelError, Opaque
from jindou.control.api.rules import names


@dataclass(frozen=True)
class Question:
    """What is asked so far; each step of an expression makes a new one."""

    access: Access
    user: User
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    def call(self, function: str, *given: Any) -> Any:
        step = STEPS.get(function)
        if step is None or not all(isinstance(word, str) for word in given):
            raise CelError("no such overload")
        return step(self, *given)


@dataclass(frozen=True)
class Answer:
    allowed: bool

    def call(self, function: str, *given: Any) -> Any:
        answers = {"allowed": self.allowed, "reason": "", "errored": False, "error": ""}
        if function not in answers or given:
            raise CelError("no such overload")
        return answers[function]


def _path(question: Question, path: str) -> Opaque:
    if not path.strip():
        raise CelError("path must not be empty")
    return Opaque(library.PATH_CHECK, replace(question, path=path))


def _resource(question: Question, resource: str) -> Opaque:
    if not resource.strip():
        raise CelError("resource must not be empty")
    return Opaque(library.RESOURCE_CHECK, replace(question, resource=resource))


def _account(question: Question, namespace: str, name: str) -> Opaque:
    if names.subdomain(name):
        raise CelError("Invalid service account name")
    if names.label(namespace):
        raise CelError("Invalid service account namespace")
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    user = User(f"system:serviceaccount:{namespace}:{name}", groups)
    return Opaque(library.AUTHORIZER, replace(question, user=user))


def _part(field: str) -> Callable[[Question, str], Opaque]:
    def step(question: Question, value: str) -> Opaque:
        changed: dict[str, Any] = {field: value}
        return Opaque(library.RESOURCE_CHECK, replace(question, **changed))

    return step


def _check(question: Question, verb: str) -> Opaque:
    if question.path:
        asked = Asked(verb, path=question.path)
    else:
        whole = question.resource
        if question.subresource:
            whole += f"/{question.subresource}"
        asked = Asked(verb, question.group, whole, question.namespace, question.name)
    return Opaque(library.DECISION, Answer(question.access.allows(question.user, asked)))


STEPS: dict[str, Callable[..., Opaque]] = {
    "path": _path,
    "group": lambda question, group: Opaque(library.GROUP_CHECK, replace(question, group=group)),
    "serviceAccount": _account,
    "resource": _resource,
    "subresource": _part("subresource"),
    "namespace": _part("namespace"),
    "name": _part("name"),
    "fieldSelector": lambda question, text: Opaque(library.RESOURCE_CHECK, question),
    "labelSelector": lambda question, text: Opaque(library.RESOURCE_CHECK, question),
    "check": _check,
}


def variables(access: Access, review: Review) -> dict[str, Opaque]:
    """Of the user who writes; `requestResource` is what is written."""
    question = Question(access, review.user)
    kind = review.resource.kind
    own = replace(
        question, group=kind.group, resource=kind.plural, subresource=review.subresource,
        namespace=review.namespace, name=review.name,
    )  # fmt: skip
    written = Opaque(library.RESOURCE_CHECK, own)
    asks = Opaque(library.AUTHORIZER, question, {"requestResource": written})
    return {"authorizer": asks, "authorizer.requestResource": written}
