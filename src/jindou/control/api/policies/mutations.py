"""The expressions of a mutating policy, compiled, and what they make of one object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jindou.control.api.expressions.language.values import CelError
from jindou.control.api.policies import patching
from jindou.control.api.policies import variables as known
from jindou.control.api.policies.compiled import (
    Compiled,
    Evaluation,
    Expression,
    matches,
    prepare,
)
from jindou.control.api.resources.schema import Schema
from jindou.objects.kinds import Object

FIELDS = {patching.APPLY: "applyConfiguration", patching.PATCH: "jsonPatch"}


@dataclass
class Mutations(Compiled):
    steps: list[tuple[str, Expression]] = field(default_factory=list)  # patchType, expression


def compiled(spec: Object) -> Mutations:
    params = spec.get("paramKind") is not None
    found = Mutations()
    shapes = prepare(found, spec)
    for mutation in spec.get("mutations") or ():
        how = mutation["patchType"]
        text = mutation[FIELDS[how]]["expression"].strip()
        found.steps.append((how, patching.expression(shapes, how, text, params=params)))
    return found


def mutated(
    policy: Mutations, values: Mapping[str, Any], schema: Schema, obj: Object
) -> tuple[Object | None, list[str]]:
    try:
        if not matches(Evaluation(policy, values, known.MATCH_BUDGET), policy.conditions):
            return None, []
    except CelError as error:
        return None, [str(error)]
    found = obj
    says = []
    for how, held in policy.steps:
        evaluation = Evaluation(policy, {**values, "object": found}, known.BUDGET)
        try:
            value = evaluation.value(held)
            if how == patching.APPLY:
                found = patching.applied(schema, found, value)
            else:
                found = patching.patched(found, value)
        except CelError as error:
            says.append(str(error))
    return found, says
