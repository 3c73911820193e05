"""MutatingAdmissionPolicies in the admission chain: objects changed by expressions before they are judged.

What must stay true: a policy that can't be applied refuses the write unless its failurePolicy is
Ignore; one whose reinvocationPolicy is IfNeeded sees the object again when others changed it after.
Source: https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jindou.control.api import status
from jindou.control.api.admission.chain import Place, Review, Rounds
from jindou.control.api.policies.following import (
    GROUP,
    Asked,
    Denied,
    Followed,
    Misconfigured,
    Policy,
    converted,
    name_of,
)
from jindou.control.api.resources.schema import Schema, copy
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

POLICIES = f"{GROUP}/mutatingadmissionpolicies/"
BINDINGS = f"{GROUP}/mutatingadmissionpolicybindings/"
ANYTHING = Schema("object", preserve_unknown=True)


class Refused(Denied):
    """With the reason of an invalid object but the code of a refusal, as the original has it."""

    def __init__(self, message: str, reason: str, details: Object) -> None:
        super().__init__(message, reason, details)
        self.code = 403


class MutatingPolicies(Followed):
    policies, bindings, place = POLICIES, BINDINGS, Place.MUTATING_POLICIES

    async def admit(self, review: Review) -> None:
        rounds: Rounds = review.notes.setdefault("policies", Rounds())
        rounds.begin(review)
        errors: list[tuple[str, str]] = []  # what is told, and its reason

        def failed(policy: Policy, binding: str, says: str, reason: str = "Forbidden") -> None:
            if policy.ignore:
                return
            by = f"policy '{policy.name}' with binding '{binding}'"
            by = by if binding else f'policy "{policy.name}"'
            errors.append((f"{by} denied request: {says}", reason))

        async for asked in self.asked(review, failed):
            try:
                await self._mutate(asked, review, rounds, failed)
            except Misconfigured as error:
                failed(asked.policy, asked.binding.name, f"failed to configure binding: {error}")
        rounds.end(review)
        if errors:
            raise _refused(review, errors)

    async def _mutate(
        self, asked: Asked, review: Review, rounds: Rounds, failed: Callable[..., None]
    ) -> None:
        policy, binding, param, resource = asked
        meta = (param or {}).get("metadata") or {}
        key = policy.name, binding.name, f"{meta.get('namespace', '')}/{meta.get('name', '')}"
        if review.object is None or (review.round and key not in rounds.due):
            return
        foreign = review.kind != review.resource.kind
        shown = copy(review.object)
        other = resource is not review.resource and not foreign
        if other:
            shown = await converted(review.resource, resource, shown)
        values = await self.values(policy, review, resource, param)
        schema = ANYTHING if foreign else resource.schema
        changed, says = mutated(policy, values, schema, shown)
        for text in says:
            failed(policy, binding.name, text, "Invalid")
        if changed is None:
            return
        if changed != shown:
            if other:
                changed = await converted(resource, review.resource, changed)
            review.object = changed
            review.shape()
            review.again = True
            rounds.require()
        if policy.spec.get("reinvocationPolicy") == "IfNeeded":
            rounds.called.add(key)


def mutated(
    policy: Policy, values: Mapping[str, Any], schema: Schema, obj: Object
) -> tuple[Object | None, list[str]]:
    """The object after all mutations, and what went wrong. None: the policy is not about this write."""
    from jindou.control.api.policies import mutations

    if policy.program is None:
        policy.program = mutations.compiled(policy.spec)
    return mutations.mutated(policy.program, values, schema, obj)


def _refused(review: Review, errors: list[tuple[str, str]]) -> Refused:
    says, reason = errors[0]
    told = status.forbidden(review.resource.kind, name_of(review), says)
    return Refused(says, reason, {**told.details, "causes": [{"message": m} for m, _ in errors]})


def judge(obj: Object, old: Object | None) -> list[Fault]:
    """Is a policy or a binding right?"""
    from jindou.control.api.policies import mutation_rules as rules

    return (rules.policy if obj.get("kind") == "MutatingAdmissionPolicy" else rules.binding)(obj)
