"""Are the rules of a CustomResourceDefinition right? Judged when the definition is written.

The words are those of kube-apiserver, which compiles a rule only where the schema around it is right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from jindou.control.api.expressions.compiler import CompileError, Environment, Program
from jindou.control.api.expressions.cost import estimation
from jindou.control.api.expressions.cost.bounds import bound_of, cardinality
from jindou.control.api.expressions.rules import KEY, REASONS, environment_of
from jindou.control.api.expressions.types import Schemas, Shape
from jindou.control.api.resources.schema import Schema, from_document
from jindou.control.api.rules.custom.paths import BadPath, field_path
from jindou.control.api.rules.names import invalid, required, unsupported
from jindou.objects.errors import Fault

LINE_BREAK = re.compile(r"[\n\r]")
UNTYPED = (
    "Internal error: internal error: failed to construct type information for x-kubernetes-validations rules: "
    "unable to convert structural schema to CEL declarations"
)


class Place(NamedTuple):
    """A node of a schema that has rules."""

    rules: list[Mapping[str, Any]]
    schema: Schema  # whose values they judge
    at: str
    root: bool
    times: int  # how often at most it is in one object; 0: as often as a request can hold it
    loose: str  # the list above whose items have no counterpart in an older object, or ""


def validate(document: Mapping[str, Any], at: str) -> list[Fault]:
    """Of a schema that is structural."""
    schema = from_document(document)
    places = list(_places(document, schema, at, root=True, loose="", times=1))
    found = [fault for place in places for fault in _texts(place)]
    if found:
        return found
    budget = Budget()
    schemas = Schemas()
    shapes = [schemas.shape(place.schema, place.root) for place in places]
    for place, shape in zip(places, shapes):
        if shape is None:
            found.append(Fault("InternalError", UNTYPED, f"{place.at}.{KEY}"))
        else:
            found += _compile(schemas, shape, place, budget)
    return found + budget.faults(at)


def _places(
    node: Mapping[str, Any], schema: Schema, at: str, *, root: bool, loose: str, times: int
) -> Iterator[Place]:
    """From the leaves up, in the order of the original."""
    below_times = times * _repeats(node)
    for name, child in (node.get("properties") or {}).items():
        inner = schema.field(name) if name in schema.names else None
        if isinstance(child, dict) and inner is not None and not (root and name == "metadata"):
            below = f"{at}.properties[{name}]"
            yield from _places(
                child, inner, below, root=inner.embedded, loose=loose, times=below_times
            )
    extra = node.get("additionalProperties")
    if isinstance(extra, dict) and schema.additional is not None:
        below, inner = f"{at}.additionalProperties", schema.additional
        yield from _places(extra, inner, below, root=inner.embedded, loose=loose, times=below_times)
    items = node.get("items")
    if isinstance(items, dict) and schema.items is not None:
        lost = loose or ("" if schema.list_type == "map" else at)
        inner = schema.items
        yield from _places(
            items, inner, f"{at}.items", root=inner.embedded, loose=lost, times=below_times
        )
    for n, part in enumerate(node.get("allOf") or ()):
        if isinstance(part, dict):
            yield from _places(
                part, schema, f"{at}.allOf[{n}]", root=root, loose=loose, times=times
            )
    if rules := node.get(KEY):
        yield Place(list(rules), schema, at, root, times, loose)


def _repeats(node: Mapping[str, Any]) -> int:
    """How often what is below a node may be there; 0: without a limit of its own."""
    if node.get("type") == "object" and node.get("additionalProperties") is not None:
        return int(node.get("maxProperties") or 0)
    if node.get("type") == "array":
        return int(node.get("maxItems") or 0)
    return 1


def _texts(place: Place) -> Iterator[Fault]:
    for n, rule in enumerate(place.rules):
        at = f"{place.at}.{KEY}[{n}]"
        text, message = rule.get("rule", ""), rule.get("message") or ""
        if not text.strip():
            yield required(f"{at}.rule", "rule is not specified")
        elif message and not message.strip():
            yield invalid(f"{at}.message", message, "must be non-empty if specified")
        elif LINE_BREAK.search(message.strip()):
            yield invalid(f"{at}.message", message, "must not contain line breaks")
        elif LINE_BREAK.search(text.strip()) and not message:
            yield required(
                f"{at}.message", "message must be specified if rule contains line breaks"
            )
        told = rule.get("messageExpression") or ""
        if told and not told.strip():
            yield required(
                f"{at}.messageExpression", "messageExpression must be non-empty if specified"
            )
        reason = rule.get("reason")
        if reason is not None and reason not in REASONS:
            yield unsupported(f"{at}.reason", reason, REASONS)
        yield from _path(rule.get("fieldPath") or "", place.schema, f"{at}.fieldPath")


def _path(path: str, schema: Schema, at: str) -> Iterator[Fault]:
    if not path:
        return
    if not path.strip():
        yield invalid(at, path, "must be non-empty if specified")
    if LINE_BREAK.search(path):
        yield invalid(at, path, "must not contain line breaks")
    try:
        field_path(path, schema)
    except BadPath:
        yield invalid(at, path, "must be a valid path")


class Budget:
    """What all rules of a definition may cost together."""

    def __init__(self) -> None:
        self._total = 0
        self._dear: list[tuple[int, str]] = []

    def take(self, name: str, cost: int, at: str) -> Iterator[Fault]:
        self._total += cost
        if cost >= estimation.DEFINITION_LIMIT // 100:
            self._dear.append((cost, at))
        if cost > estimation.RULE_LIMIT:
            yield Fault(
                "FieldValueForbidden", estimation.excess(name, cost, estimation.RULE_LIMIT), at
            )

    def faults(self, at: str) -> list[Fault]:
        if self._total <= estimation.DEFINITION_LIMIT:
            return []
        dearest = sorted(self._dear, key=lambda held: -held[0])[:4]
        found = [Fault("FieldValueForbidden", CONTRIBUTED, place) for _, place in dearest]
        says = estimation.excess(TOTAL, self._total, estimation.DEFINITION_LIMIT)
        return [*found, Fault("FieldValueForbidden", says, at)]


TOTAL = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
CONTRIBUTED = "Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"


def _compile(schemas: Schemas, shape: Shape, place: Place, budget: Budget) -> Iterator[Fault]:
    bound = bound_of(place.schema, place.root)
    assert bound is not None
    times = place.times or cardinality(bound.least)
    plain = environment_of(schemas, shape, optional=False)
    optional = environment_of(schemas, shape, optional=True)
    for n, rule in enumerate(place.rules):
        at = f"{place.at}.{KEY}[{n}]"
        environment = optional if rule.get("optionalOldSelf") else plain
        program, says = compiled(environment, rule["rule"], "BOOL")
        if program is not None:
            cost = estimation.estimate(environment.checked(rule["rule"]), bound) * times
            yield from budget.take("estimated rule cost", cost, f"{at}.rule")
        if program is None:
            yield Fault("FieldValueInvalid", f"Invalid value: {_shown(rule)}: {says}", f"{at}.rule")
        elif rule.get("messageExpression"):
            message, says = compiled(
                environment, rule["messageExpression"], "STRING", "messageExpression "
            )
            if message is None:
                shown = f"Invalid value: {_shown(rule)}: {says}"
                yield Fault("FieldValueInvalid", shown, f"{at}.messageExpression")
            else:
                cost = estimation.estimate(environment.checked(rule["messageExpression"]), bound)
                what = "estimated messageExpression cost"
                yield from budget.take(what, cost, f"{at}.messageExpression")
        old = program is not None and "oldSelf" in program.names
        if old and place.loose:
            yield invalid(
                f"{at}.rule",
                rule["rule"],
                f"oldSelf cannot be used on the uncorrelatable portion of the schema within {place.loose}",
            )
        elif not old and rule.get("optionalOldSelf") is not None:
            yield invalid(
                f"{at}.optionalOldSelf",
                rule["optionalOldSelf"],
                "may not be set if oldSelf is not used in rule",
            )


KINDS = {"BOOL": "a bool", "STRING": "a string"}


def compiled(
    environment: Environment, text: str, kind: str, what: str = ""
) -> tuple[Program | None, str]:
    """The program, or why there is none."""
    try:
        program = environment.compile(text)
    except CompileError as error:
        return None, f"{what}compilation failed: {error}"
    if program.result != kind:
        return None, f"{what or 'cel expression '}must evaluate to {KINDS[kind]}"
    return program, ""


def _shown(rule: Mapping[str, Any]) -> str:
    """A rule as the original prints it."""
    told = {
        "Rule": rule.get("rule", ""),
        "Message": rule.get("message") or "",
        "MessageExpression": rule.get("messageExpression") or "",
        "Reason": rule.get("reason"),
        "FieldPath": rule.get("fieldPath") or "",
        "OptionalOldSelf": rule.get("optionalOldSelf"),
    }
    text = orjson.dumps(told).decode()
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text
