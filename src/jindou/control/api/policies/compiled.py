"""A policy ready to be asked: its expressions compiled, and what they say of one write.

Source: https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jindou.control.api.expressions.compiler import CompileError, Environment, Program
from jindou.control.api.expressions.language.evaluation import (
    CALL_LIMIT,
    LONGEST,
    OUT_OF_BUDGET,
    evaluate,
    message_of,
)
from jindou.control.api.expressions.language.frames import Frame, Lazies, Lazy
from jindou.control.api.expressions.language.values import CelError, CostExceeded
from jindou.control.api.expressions.types import Shape
from jindou.control.api.policies import variables as known
from jindou.control.api.policies.decisions import Decision, Verdict
from jindou.objects.kinds import Object

LONGEST_NOTE = 10 * 1024


class OutOfBudget(CelError):
    """Nothing more of a policy can be evaluated for this write."""


@dataclass(frozen=True)
class Expression:
    """`program` None: it does not compile, which `error` tells."""

    text: str
    program: Program | None
    error: str = ""


@dataclass(frozen=True)
class Validation:
    expression: Expression
    message: str
    told: Expression | None  # messageExpression
    reason: str


@dataclass
class Compiled:
    """The expressions of one policy."""

    conditions: list[tuple[str, Expression]] = field(default_factory=list)
    variables: dict[str, Expression] = field(default_factory=dict)
    validations: list[Validation] = field(default_factory=list)
    notes: list[tuple[str, Expression]] = field(default_factory=list)


def compiled(spec: Object) -> Compiled:
    params = spec.get("paramKind") is not None
    found = Compiled()
    shapes = prepare(found, spec)
    whole = known.environment(shapes, params=params)
    messages: Environment | None = None
    for held in spec.get("validations") or ():
        told = None
        if text := held.get("messageExpression"):
            messages = messages or known.environment(shapes, params=params, authorizer=False)
            told = expression(messages, text)
        found.validations.append(
            Validation(
                expression(whole, held["expression"]), held.get("message") or "", told,
                held.get("reason") or "Invalid",
            )
        )  # fmt: skip
    for note in spec.get("auditAnnotations") or ():
        found.notes.append((note["key"], expression(whole, note["valueExpression"])))
    return found


def prepare(found: Compiled, spec: Object) -> dict[str, Shape]:
    """Compile what policies of both sorts have: conditions, and variables, whose types these are."""
    params = spec.get("paramKind") is not None
    plain = known.environment({}, params=params)
    for condition in spec.get("matchConditions") or ():
        found.conditions.append((condition["name"], expression(plain, condition["expression"])))
    shapes: dict[str, Shape] = {}
    for variable in spec.get("variables") or ():
        held = expression(known.environment(shapes, params=params), variable["expression"])
        found.variables[variable["name"]] = held
        shapes[variable["name"]] = known.shape_of(held.program.result if held.program else "DYN")
    return shapes


def expression(environment: Environment, text: str) -> Expression:
    try:
        return Expression(text, environment.compile(text))
    except CompileError as error:
        return Expression(text, None, f"compilation failed: {error}")


class Evaluation:
    """One write before one policy with one parameter."""

    def __init__(self, policy: Compiled, values: Mapping[str, Any], budget: int) -> None:
        self._values = dict(values)
        self._left = budget
        self._ends = time.monotonic() + LONGEST
        self._values["variables"] = Lazies(
            {name: self._lazy(name, held) for name, held in policy.variables.items()}
        )

    def _lazy(self, name: str, held: Expression) -> Lazy:
        def work(frame: Frame) -> Any:
            if held.program is None:
                raise CelError(f'composited variable "{name}" fails to compile: {held.error}')
            outer, frame.variables = frame.variables, dict(self._values)
            try:
                return held.program.run(frame)
            except CostExceeded:
                raise
            except CelError as error:
                raise CelError(f'composited variable "{name}" fails to evaluate: {error}') from None
            finally:
                frame.variables = outer

        return Lazy(work)

    def value(self, held: Expression) -> Any:
        """Raises CelError, or OutOfBudget."""
        if held.program is None:
            raise CelError(f"compilation error: {held.error}")
        limit = min(CALL_LIMIT, self._left)
        try:
            found, cost = evaluate(held.program.run, self._values, limit, self._ends)
        except CostExceeded as error:
            if limit < CALL_LIMIT or time.monotonic() > self._ends:
                raise OutOfBudget(OUT_OF_BUDGET) from None
            self._left -= limit
            raise _told(held, error) from None
        except CelError as error:
            raise _told(held, error) from None
        self._left -= cost
        return found


def _told(held: Expression, error: CelError) -> CelError:
    return CelError(f"expression '{held.text}' resulted in error: {error}")


def matches(evaluation: Evaluation, conditions: Sequence[tuple[str, Expression]]) -> bool:
    """Do all match conditions hold? One that does not is stronger than errors of others, which are
    raised as one CelError."""
    errors = []
    for _, held in conditions:
        try:
            if evaluation.value(held) is False:
                return False
        except OutOfBudget:
            raise
        except CelError as error:
            errors.append(str(error))
    if errors:
        raise CelError(errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]")
    return True


def verdict(policy: Compiled, values: Mapping[str, Any], *, ignore: bool) -> Verdict | None:
    """None: the match conditions do not hold. `ignore`: errors let the write pass (failurePolicy)."""
    first = Evaluation(policy, values, known.MATCH_BUDGET)
    try:
        if not matches(first, policy.conditions):
            return None
        return _judged(policy, Evaluation(policy, values, known.BUDGET), ignore)
    except CelError as error:
        return None if ignore else Verdict([Decision(True, str(error))], {}, [])


def _judged(policy: Compiled, evaluation: Evaluation, ignore: bool) -> Verdict:
    decisions = []
    for validation in policy.validations:
        try:
            right = evaluation.value(validation.expression)
        except OutOfBudget:
            raise
        except CelError as error:
            decisions.append(Decision(not ignore, str(error)))
            continue
        if right is True:
            decisions.append(Decision(False))
        else:
            says = _message(evaluation, validation)
            decisions.append(Decision(True, says, validation.reason))
    return Verdict(decisions, *_notes(policy, evaluation, ignore))


def _message(evaluation: Evaluation, validation: Validation) -> str:
    said = ""
    if validation.told is not None:
        try:
            said = message_of(evaluation.value(validation.told))
        except OutOfBudget:
            raise
        except CelError:
            pass
    text = validation.expression.text.strip()
    return said or validation.message.strip() or f"failed expression: {text}"


def _notes(
    policy: Compiled, evaluation: Evaluation, ignore: bool
) -> tuple[dict[str, str], list[str]]:
    found: dict[str, str] = {}
    broken = []
    for key, held in policy.notes:
        try:
            value = evaluation.value(held)
        except CelError as error:
            if not ignore:
                broken.append(str(error))
            continue
        if isinstance(value, str):
            if value.strip():
                found[key] = value.strip()[:LONGEST_NOTE]
        elif value is not None:
            broken.append(
                f"valueExpression '{held.text}' resulted in unsupported return type: "
                f"{type(value).__name__}. Return type must be either string or null."
            )
    return found, broken
