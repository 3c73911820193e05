"""x-kubernetes-validations: the rules of a custom resource's schema, compiled once and judged at each write.

What must stay true: of an update only what changed is judged again (ratcheting), rules that name
`oldSelf` see only values that have a counterpart, and all rules of one object share one bound of
cost and time. Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
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
from jindou.control.api.expressions.language.values import ABSENT, CelError, CostExceeded, Optional
from jindou.control.api.expressions.types import Adapt, Schemas, Shape, adapter
from jindou.control.api.resources.schema import MISSING, Schema, from_document
from jindou.control.api.rules.custom import structural
from jindou.control.api.rules.custom.paths import BadPath, field_path
from jindou.control.api.rules.names import quoted
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

KEY = "x-kubernetes-validations"
OBJECT_BUDGET = 10_000_000
NOT_CHECKED = Fault(
    "FieldValueInvalid",
    "Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation",
    "<nil>",
)
BLOCKING = frozenset(
    {"FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"}
)  # fmt: skip
REASONS = ("FieldValueInvalid", "FieldValueRequired", "FieldValueForbidden", "FieldValueDuplicate")


@dataclass(frozen=True)
class Rule:
    program: Program
    said: Mapping[str, Any]  # as in the schema
    message: Program | None = None
    path: str = ""

    @property
    def old(self) -> bool:
        return "oldSelf" in self.program.names

    @property
    def optional(self) -> bool:
        return bool(self.said.get("optionalOldSelf"))

    @property
    def name(self) -> str:
        return str(self.said.get("message") or self.said["rule"]).strip()


@dataclass
class Rules:
    """Those of one node of a schema and of everything below it."""

    schema: Schema
    given: int = 0  # how many there are of this node itself
    own: list[Rule] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)  # why some of them do not compile
    adapt: Adapt | None = None
    properties: dict[str, Rules] = field(default_factory=dict)
    additional: Rules | None = None
    items: Rules | None = None
    together: list[Rules] = field(default_factory=list)  # of allOf

    def __bool__(self) -> bool:
        return bool(self.given or self.properties or self.additional or self.items or self.together)


class Judgement:
    """One object being judged: what is left of its budget, and what was found."""

    def __init__(self) -> None:
        self.left = OBJECT_BUDGET
        self.ends = time.monotonic() + LONGEST
        self.found: list[Fault] = []
        self.kept: list[Fault] = []  # of values that are as they were

    def run(self, program: Program, variables: Mapping[str, Any]) -> Any:
        limit = min(CALL_LIMIT, self.left)
        found, cost = evaluate(program.run, variables, limit, self.ends)
        self.left -= cost
        return found


def compiled(schema: Schema) -> Rules:
    """The rules of a whole custom resource. One that does not compile was refused where the definition
    was written; should there be one all the same, it lets nothing pass."""
    schemas = Schemas()
    todo: list[tuple[Rules, Shape, Mapping[str, Any]]] = []
    rules = _tree(schema, schema, schemas, True, todo)
    environments: dict[tuple[Shape, bool], Environment] = {}
    for node, shape, said in todo:
        kind = shape, bool(said.get("optionalOldSelf"))
        if kind not in environments:
            environments[kind] = environment_of(schemas, shape, optional=kind[1])
        try:
            node.own.append(rule_of(environments[kind], said, node.schema))
        except (CompileError, BadPath) as error:
            node.broken.append(str(error))
        if node.adapt is None:
            node.adapt = adapter(node.schema)
    return rules


def rule_of(environment: Environment, said: Mapping[str, Any], schema: Schema) -> Rule:
    message = None
    if said.get("messageExpression"):
        message = environment.compile(said["messageExpression"])
    path = field_path(said["fieldPath"], schema) if said.get("fieldPath") else ""
    return Rule(environment.compile(said["rule"]), said, message, path)


def environment_of(schemas: Schemas, shape: Shape, *, optional: bool) -> Environment:
    kind = schemas.type(shape)
    return Environment(
        {"self": kind, "oldSelf": f"optional_type<{kind}>" if optional else kind},
        pool=schemas.pool,
    )


def _tree(
    said: Schema,
    node: Schema,
    schemas: Schemas,
    root: bool,
    todo: list[tuple[Rules, Shape, Mapping[str, Any]]],
) -> Rules:
    """`said` holds the rules, `node` the structure that they are about: apart only within allOf."""
    found = Rules(node)
    if own := said.extra.get(KEY):
        shape = schemas.shape(node, root)
        told = [rule for rule in own if rule.get("rule", "").strip()]
        if shape is not None:
            found.given = len(told)
            todo += [(found, shape, rule) for rule in told]
    for name in said.names:
        part, below = said.field(name), node.field(name)
        if part is not None and below is not None and not (root and name == "metadata"):
            inner = _tree(part, below, schemas, below.embedded, todo)
            if inner:
                found.properties[name] = inner
    for kind in ("additional", "items"):
        part, below = getattr(said, kind), getattr(node, kind)
        if part is not None and below is not None:
            inner = _tree(part, below, schemas, below.embedded, todo)
            if inner:
                setattr(found, kind, inner)
    for part in said.extra.get("allOf") or ():
        inner = _tree(from_document(part), node, schemas, root, todo)
        if inner:
            found.together.append(inner)
    return found


# ---------------------------------------------------------------- judging


def judge(
    rules: Rules,
    obj: Object,
    old: Object | None,
    before: list[Fault],
    warnings: list[str] | None = None,
) -> list[Fault]:
    """Every broken rule, unless the object is wrong in a way (`before`) that rules can't bear."""
    if any(fault.reason in BLOCKING for fault in before):
        return [NOT_CHECKED]
    judgement = Judgement()
    _judge(judgement, rules, "", obj, old, Counterpart(old, old is not None))
    if warnings is not None:
        warnings += [f"{fault.field}: {fault.message}" for fault in judgement.kept]
    return judgement.found


class Counterpart:
    """The value of before that a value is compared with. `known` False: there can't be one here, and
    the nearest value above that has one (`above`) decides whether this one is new."""

    __slots__ = ("above", "known", "value")

    def __init__(self, value: Any, known: bool, above: bool | None = None) -> None:
        self.value = value
        self.known = known
        self.above = above

    def unchanged(self, value: Any) -> bool:
        return value == self.value if self.known else bool(self.above)

    def below(self, value: Any, old: Any, known: bool) -> Counterpart:
        if not self.known:
            return self
        return Counterpart(old, known, None if known else self.unchanged(value))


def _judge(
    judgement: Judgement, rules: Rules, at: str, value: Any, old: Any, counterpart: Counterpart
) -> bool:
    """False: nothing more can be judged."""
    if value is None:
        return True
    if rules.given and not _own(judgement, rules, at, value, old, counterpart):
        return False
    for part in rules.together:
        if not _judge(judgement, part, at, value, old, Counterpart(None, False, counterpart.above)):
            return False
    return all(
        _judge(judgement, below, place, held, before, next_)
        for below, place, held, before, next_ in _children(rules, at, value, old, counterpart)
    )


def _children(
    rules: Rules, at: str, value: Any, old: Any, counterpart: Counterpart
) -> Iterator[tuple[Rules, str, Any, Any, Counterpart]]:
    if isinstance(value, list) and rules.items is not None:
        earlier = structural.matched(rules.schema, old)
        for n, held in enumerate(value):
            before = earlier(held)
            next_ = counterpart.below(value, before, before is not MISSING)
            before = None if before is MISSING else before
            yield rules.items, f"{at}[{n}]", held, before, next_
    elif isinstance(value, dict):
        earlier_map = old if isinstance(old, dict) else {}
        for name, held in value.items():
            below = rules.properties.get(name)
            place = f"{at}.{name}" if at else name
            if below is None and name not in rules.schema.names:
                below, place = rules.additional, f"{at}[{name}]"
            if below is not None:
                before = earlier_map.get(name)
                known = name in earlier_map
                yield below, place, held, before, counterpart.below(value, before, known)


def _own(
    judgement: Judgement, rules: Rules, at: str, value: Any, old: Any, counterpart: Counterpart
) -> bool:
    kind = rules.schema.type
    if judgement.left <= 0:
        judgement.found.append(_fault(at, kind, OUT_OF_BUDGET))
        return False
    for says in rules.broken:
        judgement.found.append(_fault(at, kind, f"rule compile error: {says}"))
    seen = value if rules.adapt is None else rules.adapt(value)
    seen_old = old if rules.adapt is None or old is None else rules.adapt(old)
    for rule in rules.own:
        if rule.old and old is None and not rule.optional:
            continue
        held: Any = seen_old
        if rule.optional:
            held = ABSENT if old is None else Optional(True, seen_old)
        variables = {"self": seen, "oldSelf": held}
        try:
            right = judgement.run(rule.program, variables)
        except CostExceeded:
            says = OUT_OF_BUDGET
            if judgement.left > CALL_LIMIT:
                says = f"'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: {rule.name}"
            judgement.found.append(_fault(at, kind, says))
            return False
        except CelError as error:
            judgement.found.append(_fault(at, kind, _told(error, rule)))
            continue
        if right is True:
            continue
        kept = not rule.old and counterpart.unchanged(value)
        told = judgement.kept if kept else judgement.found
        told.append(_broken(judgement, rule, at, kind, value, variables))
    return True


def _told(error: CelError, rule: Rule) -> str:
    if str(error) == "no such overload":
        return f"'{error}': call arguments did not match a supported operator, function or macro signature for rule: {rule.name}"
    return f"{error} evaluating rule: {rule.name}"


def _broken(
    judgement: Judgement,
    rule: Rule,
    at: str,
    kind: str,
    value: Any,
    variables: Mapping[str, Any],
) -> Fault:
    says = _message(judgement, rule, variables)
    place = _joined(at, rule.path)
    reason = rule.said.get("reason") or "FieldValueInvalid"
    if reason == "FieldValueForbidden":
        return Fault(reason, f"Forbidden: {says}", place)
    if reason == "FieldValueRequired":
        return Fault(reason, f"Required value: {says}", place)
    shown = "" if kind in ("object", "array") else f": {quoted(value)}"
    if reason == "FieldValueDuplicate":
        return Fault(reason, f"Duplicate value{shown}", place)
    return Fault(reason, f"Invalid value{shown}: {says}", place)


def _joined(at: str, path: str) -> str:
    if not at:
        return path or "<nil>"
    if not path:
        return at
    return f"{at}{path}" if path.startswith("[") else f"{at}.{path}"


def _message(judgement: Judgement, rule: Rule, variables: Mapping[str, Any]) -> str:
    if rule.message is not None:
        try:
            said = message_of(judgement.run(rule.message, variables))
        except CelError:
            said = ""
        if said:
            return said
    if rule.said.get("message"):
        return str(rule.said["message"]).strip()
    return f"failed rule: {rule.said['rule'].strip()}"


def _fault(at: str, kind: str, says: str) -> Fault:
    return Fault("FieldValueInvalid", f"Invalid value: {quoted(kind)}: {says}", at or "<nil>")
