"""matchConditions: expressions that all have to hold before a webhook is asked.

The compiler is loaded with the first webhook that has some.
Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#matching-requests-matchconditions
"""

from __future__ import annotations

from typing import Any

from jindou.control.api import status
from jindou.control.api.access.guard import Access
from jindou.control.api.admission.chain import Review
from jindou.control.api.resources.registry import Resource
from jindou.objects.errors import Fault
from jindou.objects.kinds import Kind, Object


class Conditions:
    """Of one webhook. `ignore`: with an error the webhook is passed over (failurePolicy)."""

    def __init__(self, held: list[Object], ignore: bool) -> None:
        self._held = held
        self._ignore = ignore
        self._compiled: Any = None

    def hold(
        self, review: Review, shown: Review, resource: Resource, kind: Kind, access: Access
    ) -> bool:
        """`shown` has the objects in the version of `resource`. Raises Forbidden."""
        from jindou.control.api.expressions.language.values import CelError
        from jindou.control.api.policies import authorizer, compiled, variables

        if self._compiled is None:
            self._compiled = compiled.compiled({"matchConditions": self._held})
        values = {
            "object": shown.object,
            "oldObject": shown.old,
            "request": variables.request_of(review, resource, kind),
            "namespaceObject": None,
            **authorizer.variables(access, review),
        }
        try:
            evaluation = compiled.Evaluation(self._compiled, values, variables.MATCH_BUDGET)
            return compiled.matches(evaluation, self._compiled.conditions)
        except CelError as error:
            if self._ignore:
                return False
            raise status.forbidden(review.resource.kind, review.name, str(error)) from None


def judge(obj: Object, old: Object | None) -> list[Fault]:
    """What of a configuration can't be compiled; what was there before is not judged again."""
    known = {text for _, text in _texts(old)} if old is not None else set()
    new = [(at, text) for at, text in _texts(obj) if text not in known]
    if not new:
        return []
    from jindou.control.api.policies.rules import Expressions

    compiler = Expressions({}, "")
    return [fault for at, text in new for fault in compiler.condition(text, at)]


def _texts(configuration: Object) -> list[tuple[str, str]]:
    return [
        (f"webhooks[{n}].matchConditions[{i}].expression", text)
        for n, hook in enumerate(configuration.get("webhooks") or ())
        for i, condition in enumerate(hook.get("matchConditions") or ())
        if (text := (condition.get("expression") or "").strip())
    ]
