"""Label and field selectors, as text and as objects.

Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from jindou.objects.errors import BadRequest

Labels = Mapping[str, str]
TOKEN = re.compile(r"\s*(!=|==|=|!|\(|\)|,|>|<|[^\s=!(),<>]+)")
SIGNS = frozenset({"!=", "==", "=", "!", "(", ")", ",", ">", "<"})
NAME = re.compile(
    r"(?:[a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
PARSING = "unable to parse requirement: "
VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


class Requirement(NamedTuple):
    key: str
    operator: str  # in, notin, exists, !, gt, lt
    values: frozenset[str] = frozenset()

    def matches(self, labels: Labels) -> bool:
        value = labels.get(self.key)
        operator = self.operator
        if operator == "in":
            return value in self.values
        if operator == "notin":
            return value not in self.values
        if operator == "exists":
            return value is not None
        if operator == "!":
            return value is None
        if value is None or not value.lstrip("-").isdigit():
            return False
        bound = int(next(iter(self.values)))
        return int(value) > bound if operator == "gt" else int(value) < bound


class Selector(NamedTuple):
    """All requirements have to hold; none means everything matches."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Labels | None) -> bool:
        held = labels or {}
        return all(requirement.matches(held) for requirement in self.requirements)

    def __bool__(self) -> bool:
        return bool(self.requirements)


EVERYTHING = Selector()


@lru_cache(512)
def parse(text: str) -> Selector:
    """`a=b,c!=d,e in (f,g),h,!i`. Raises BadRequest where it is malformed."""
    tokens = TOKEN.findall(text)
    found: list[Requirement] = []
    while tokens:
        if tokens[0] in SIGNS and tokens[0] != "!":
            raise odd(
                tokens, "identifier after ','" if found else "!, identifier, or 'end of string'"
            )
        found.append(_requirement(tokens))
        if not tokens:
            break
        if tokens[0] != ",":
            raise odd(tokens, "',' or 'end of string'")
        tokens.pop(0)
        if not tokens:
            raise odd(tokens, "identifier after ','")
    return Selector(tuple(found))


def odd(tokens: Sequence[str], expected: str, lead: str = "") -> BadRequest:
    return BadRequest(f"{lead}found '{tokens[0] if tokens else ''}', expected: {expected}")


def _requirement(tokens: list[str]) -> Requirement:
    if tokens[0] == "!":
        tokens.pop(0)
        return Requirement(_key(tokens), "!")
    key = _key(tokens)
    if not tokens or tokens[0] == ",":
        return Requirement(key, "exists")
    operator = tokens.pop(0)
    if operator in ("=", "==", "!="):
        value = tokens.pop(0) if tokens and tokens[0] not in SIGNS else ""
        return Requirement(
            key, "notin" if operator == "!=" else "in", frozenset([_value(key, value)])
        )
    if operator in (">", "<") and tokens:
        return Requirement(key, "gt" if operator == ">" else "lt", frozenset([_bound(tokens)]))
    if operator not in ("in", "notin"):
        raise odd([operator], "in, notin, =, ==, !=, gt, lt", PARSING)
    return Requirement(key, operator, _values(key, tokens))


def _values(key: str, tokens: list[str]) -> frozenset[str]:
    if not tokens or tokens[0] != "(":
        raise BadRequest(f"{PARSING}found '{tokens[0] if tokens else ''}' expected: '('")
    tokens.pop(0)
    values = set()
    while tokens and tokens[0] != ")":
        word = tokens.pop(0)
        if word != ",":
            values.add(_value(key, word))
    if not tokens:
        raise odd(tokens, "',' or ')'", PARSING)
    tokens.pop(0)
    return frozenset(values or {""})


def _bound(tokens: list[str]) -> str:
    text = tokens.pop(0)
    if not re.fullmatch(r"[-+]?[0-9]{1,18}", text):
        says = "for 'Gt', 'Lt' operators, the value must be an integer"
        raise BadRequest(f'{PARSING}values[0]: Invalid value: "{text}": {says}')
    return text


def _key(tokens: list[str]) -> str:
    key = tokens.pop(0) if tokens else ""
    if not NAME.fullmatch(key) or len(key.rpartition("/")[0]) > 253:
        raise BadRequest(
            f"{PARSING}<nil>: Invalid value: \"{key}\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
        )
    return key


def _value(key: str, value: str) -> str:
    if VALUE.fullmatch(value):
        return value
    says = (
        "must be no more than 63 bytes"
        if len(value) > 63
        else "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
    )
    raise BadRequest(f'{PARSING}values[0][{key}]: Invalid value: "{value}": {says}')


OPERATORS = {
    "In": "in",
    "NotIn": "notin",
    "Exists": "exists",
    "DoesNotExist": "!",
    "Gt": "gt",
    "Lt": "lt",
}


def from_expressions(expressions: Sequence[Mapping[str, Any]]) -> tuple[Requirement, ...]:
    return tuple(
        Requirement(e["key"], OPERATORS[e["operator"]], frozenset(e.get("values") or ()))
        for e in expressions
    )


def from_object(selector: Mapping[str, Any] | None) -> Selector | None:
    """A LabelSelector. None (absent) selects nothing; an empty one selects everything."""
    if selector is None:
        return None
    equal = tuple(
        Requirement(k, "in", frozenset([v])) for k, v in (selector.get("matchLabels") or {}).items()
    )
    return Selector(equal + from_expressions(selector.get("matchExpressions") or ()))


def from_labels(labels: Labels) -> Selector:
    return Selector(tuple(Requirement(k, "in", frozenset([v])) for k, v in labels.items()))


class FieldRequirement(NamedTuple):
    path: str
    value: str
    equal: bool


@lru_cache(512)
def parse_fields(text: str) -> tuple[FieldRequirement, ...]:
    """`metadata.name=x,status.phase!=Running`; a backslash escapes `,`, `=` and itself."""
    found = []
    for term in re.split(r"(?<!\\),", text):
        if not term:
            continue
        match = re.match(r"((?:[^=!\\]|\\.)*?)(!=|==|=)(.*)$", term, re.S)
        if not match:
            raise BadRequest(f"invalid selector: '{text}'; can't understand '{term}'")
        if bare := re.match(r"(?:[^=\\]|\\.)*(=)", match[3], re.S):
            says = f"unescaped character in value: {ord(bare[1])}"
            raise BadRequest(f"invalid field selector: {says}")
        value = re.sub(r"\\([,=\\])", r"\1", match[3])
        found.append(FieldRequirement(match[1], value, match[2] != "!="))
    return tuple(found)
