"""ValidatingAdmissionPolicies in the admission chain: what they refuse, warn of and note.

A policy's expressions are compiled when the first write meets it. What must stay true: a policy that
can't be evaluated refuses the write unless its failurePolicy is Ignore.
Source: https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from jindou.control.api.admission.chain import Place, Review
from jindou.control.api.policies.decisions import Decision, Verdict
from jindou.control.api.policies.following import (
    GROUP,
    Binding,
    Followed,
    Misconfigured,
    Policy,
    refused,
)
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

POLICIES = f"{GROUP}/validatingadmissionpolicies/"
BINDINGS = f"{GROUP}/validatingadmissionpolicybindings/"
FAILURE_KEY = "validation.policy.admission.k8s.io/validation_failure"
MOST_FAILURES = 50


class Refusal(NamedTuple):
    policy: str
    binding: str
    decision: Decision

    @property
    def text(self) -> str:
        by = f" with binding '{self.binding}'" if self.binding else ""
        return (
            f"ValidatingAdmissionPolicy '{self.policy}'{by} denied request: {self.decision.message}"
        )


@dataclass
class Findings:
    """What all policies say of one write."""

    refusals: list[Refusal] = field(default_factory=list)
    failures: list[Object] = field(default_factory=list)  # for the audit log
    notes: dict[str, dict[str, list[str]]] = field(default_factory=dict)  # policy -> key -> values


class ValidatingPolicies(Followed):
    policies, bindings, place = POLICIES, BINDINGS, Place.VALIDATING_POLICIES

    async def admit(self, review: Review) -> None:
        findings = Findings()

        def failed(policy: Policy, binding: str, says: str) -> None:
            if not policy.ignore:
                findings.refusals.append(Refusal(policy.name, binding, Decision(True, says)))

        async for policy, binding, param, resource in self.asked(review, failed):
            try:
                values = await self.values(policy, review, resource, param)
            except Misconfigured as error:
                failed(policy, binding.name, f"failed to configure binding: {error}")
                continue
            found = verdict(policy, values)
            if found is not None:
                _gather(policy, binding, found, review, findings)
        _tell(review, findings)


def verdict(policy: Policy, values: Mapping[str, Any]) -> Verdict | None:
    """None: it is not about this write. What evaluates expressions is loaded here."""
    from jindou.control.api.policies import compiled

    if policy.program is None:
        policy.program = compiled.compiled(policy.spec)
    return compiled.verdict(policy.program, values, ignore=policy.ignore)


def _gather(
    policy: Policy, binding: Binding, found: Verdict, review: Review, findings: Findings
) -> None:
    for n, decision in enumerate(found.decisions):
        if decision.denied:
            _act(policy, binding, n, decision, review, findings)
    for says in found.broken:
        findings.refusals.append(Refusal(policy.name, binding.name, Decision(True, says)))
    notes = findings.notes.setdefault(policy.name, {})
    for key, value in found.notes.items():
        if value not in notes.setdefault(key, []):
            notes[key].append(value)


def _tell(review: Review, findings: Findings) -> None:
    for policy, notes in findings.notes.items():
        for key, values in notes.items():
            review.annotations[f"{policy}/{key}"] = ", ".join(values)
    if findings.failures:
        told = findings.failures[:MOST_FAILURES]
        review.annotations[FAILURE_KEY] = orjson.dumps(told).decode()
    if findings.refusals:
        first = findings.refusals[0]
        raise refused(review, first.text, first.decision.reason)


def _act(
    policy: Policy, binding: Binding, n: int, decision: Decision, review: Review, findings: Findings
) -> None:
    """What a binding wants to come of a denial."""
    actions = binding.spec.get("validationActions") or ()
    for action in actions:
        if action == "Deny":
            findings.refusals.append(Refusal(policy.name, binding.name, decision))
        elif action == "Warn":
            review.warnings.append(
                f"Validation failed for ValidatingAdmissionPolicy '{policy.name}' "
                f"with binding '{binding.name}': {decision.message}"
            )
        elif action == "Audit":
            findings.failures.append(
                {
                    "message": decision.message,
                    "policy": policy.name,
                    "binding": binding.name,
                    "expressionIndex": n,
                    "validationActions": list(actions),
                }
            )


def judge(obj: Object, old: Object | None) -> list[Fault]:
    """Is a policy or a binding right? With the first of them, the compiler is loaded."""
    from jindou.control.api.policies import rules

    return (rules.policy if obj.get("kind") == "ValidatingAdmissionPolicy" else rules.binding)(obj)
