"""Is a MutatingAdmissionPolicy or its binding right? Judged when it is written, expressions and all."""

from __future__ import annotations

from collections.abc import Sequence

from jindou.control.api.policies import patching, rules
from jindou.control.api.policies.mutations import FIELDS
from jindou.control.api.rules.names import invalid, required, unsupported
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

OPERATIONS = ("*", "CONNECT", "CREATE", "UPDATE")


def policy(obj: Object) -> list[Fault]:
    spec = obj.get("spec") or {}
    expressions = rules.Expressions(spec, "")
    found = rules.frame(spec, "spec")
    constraints = spec.get("matchConstraints") or {}
    found += operations(constraints.get("resourceRules") or (), "spec.matchConstraints")
    found += expressions.conditions(spec.get("matchConditions") or (), "spec.matchConditions")
    for n, variable in enumerate(spec.get("variables") or ()):
        found += expressions.variable(variable, f"spec.variables[{n}]")
    mutations = spec.get("mutations") or ()
    if not mutations:
        found.append(required("spec.mutations", "mutations must contain at least one item"))
    for n, mutation in enumerate(mutations):
        found += _mutation(expressions, mutation, f"spec.mutations[{n}]")
    again = spec.get("reinvocationPolicy")
    if not again:
        found.append(required("spec.reinvocationPolicy"))
    elif again not in ("IfNeeded", "Never"):
        found.append(unsupported("spec.reinvocationPolicy", again, ("IfNeeded", "Never")))
    return found


def operations(held: Sequence[Object], at: str) -> list[Fault]:
    """Only what is made or changed can be changed."""
    return [
        unsupported(f"{at}.resourceRules.operations", operation, OPERATIONS)
        for rule in held
        for operation in rule.get("operations") or ()
        if operation not in OPERATIONS
    ]


def _mutation(expressions: rules.Expressions, mutation: Object, at: str) -> list[Fault]:
    how = mutation.get("patchType")
    if not how:
        return [required(f"{at}.patchType")]
    if how not in FIELDS:
        return [unsupported(f"{at}.patchType", how, tuple(FIELDS))]
    found = []
    name = FIELDS[how]
    (other,) = {*FIELDS.values()} - {name}
    if mutation.get(name) is None:
        found.append(required(f"{at}.{name}", f"must be specified when patchType is {how}"))
    else:
        place, text = f"{at}.{name}.expression", (mutation[name].get("expression") or "").strip()
        if not text:
            found.append(required(place))
        else:
            held = patching.expression(expressions.shapes, how, text, params=expressions.has_params)
            if held.program is None:
                found.append(invalid(place, text, held.error))
    if mutation.get(other) is not None:
        says = f"must not be specified when patchType is {how}"
        found.append(invalid(f"{at}.{other}", f"{{{other}}}", says))
    return found


def binding(obj: Object) -> list[Fault]:
    held = (obj.get("spec") or {}).get("matchResources") or {}
    return rules.bound(obj) + operations(held.get("resourceRules") or (), "spec.matchResources")
