"""From the text of an expression to a program: parsed and type-checked, and kept for its next use.

An `Environment` says which variables there are and of what type. The words of a refusal are those
of the real server. Nothing of the library is held but small: an environment is made when it is
asked, and what is kept of an expression is Python.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

from jindou.control.api.expressions.language import engine, literals
from jindou.control.api.expressions.language.evaluation import program
from jindou.control.api.expressions.language.frames import Run
from jindou.control.api.expressions.language.syntax import Node, decode
from jindou.control.api.expressions.language.values import CelError

TRAILER = re.compile(r" \[[A-Z_]+\]$")
STRUCT = re.compile(r" not found in struct '[\w.]+'")
PLACE = re.compile(r"^ERROR: <input>:(\d+):(\d+): ", re.MULTILINE)
MESSAGE_NAME = re.compile(r"\bk\.T\d+\b")
SELECTED = re.compile(r"expression of type '(.*)' cannot be the operand of a select operation")
APPLIED = re.compile(r"found no matching overload for '(\w+)' applied to '\((.*)\)'")
UNDECLARED = re.compile(r"undeclared reference to '([\w.]+)'")
WORDS = (
    ("null_type", "null"),
    ("cannot be the range of", "cannot be range of"),
    ("has() argument must be a field selection", "invalid argument to has() macro"),
)


class CompileError(CelError):
    """An expression that is not right; the message is what the compiler said."""


class Program(NamedTuple):
    run: Run
    result: str  # its type, in the compiler's words: BOOL, STRING, LIST<STRING>
    names: frozenset[str]  # variables that it uses
    tree: Node


class Environment:
    """`types` maps variables to types ("map<string,k.T1>", of `Schemas`); `more` declares functions."""

    def __init__(self, types: Mapping[str, str], *, pool: Any = None, more: str = "") -> None:
        self._types = dict(types)
        self._pool = pool
        self._more = more

    @cached_property
    def _env(self) -> Any:
        by_text = {n: text for n, text in self._types.items() if "optional_type<" in text}
        known = {n: _type(t) for n, t in self._types.items() if n not in by_text}
        config = engine.configuration(self._more, tuple(by_text.items()))
        return engine.cel().NewEnv(self._pool, config=config, variables=known)

    def compile(self, text: str, shown: str = "") -> Program:
        """Raises CompileError, and `engine.Unavailable` where there is no library. `shown` is the text
        in complaints, where it is another one of the same length."""
        try:
            expression = self._checked(text)
            data = expression.serialize()
            checked = decode(data)
            if wrong := literals.complaints(data, checked.tree):
                raise CompileError(_at_places(wrong, shown or text))
            return Program(
                program(checked.tree), expression.return_type().name(), checked.names, checked.tree
            )
        except RuntimeError as error:
            raise CompileError(told(str(error), shown or text)) from None
        except RecursionError:
            raise CompileError("the expression is nested too deeply") from None

    def checked(self, text: str) -> bytes:
        """The checked tree of an expression that compiles, with all that was found of it."""
        found: bytes = self._checked(text).serialize()
        return found

    def _checked(self, text: str) -> Any:
        """The library knows `exists_one` with two variables by another name only."""
        try:
            return self._env.compile(text)
        except RuntimeError as error:
            if ".exists_one(" in text and "undeclared reference to 'exists_one'" in str(error):
                return self._env.compile(text.replace(".exists_one(", ".existsOne("))
            raise


def _type(text: str) -> Any:
    """The library's own value for a type; what it has none for is said in the configuration, which
    is slower to read."""
    types = engine.cel().Type
    if text.startswith("list<"):
        return types.List(_type(text[5:-1]))
    if text.startswith("map<string,"):
        return types.Map(types.STRING, _type(text[11:-1]))
    return getattr(types, text.upper(), None) or types(text)


def _at_places(wrong: list[tuple[int, str]], text: str) -> str:
    lines = text.split("\n")
    found = []
    for place, says in wrong:
        before = text[:place]
        line, column = before.count("\n") + 1, place - (before.rfind("\n") + 1) + 1
        found.append(_shown(line, column, says, lines))
    return "\n".join(found)


def _shown(line: int, column: int, says: str, lines: list[str]) -> str:
    dots = "." * (column - 1)
    return f"ERROR: <input>:{line}:{column}: {says}\n | {lines[line - 1]}\n | {dots}^"


def told(message: str, text: str) -> str:
    """The compiler's complaints as the real server words them, and in its order."""
    message = TRAILER.sub("", message.removeprefix("INVALID_ARGUMENT: "))
    for ours, theirs in WORDS:
        message = message.replace(ours, theirs)
    message = MESSAGE_NAME.sub("object", STRUCT.sub("", message))
    parts = PLACE.split(message)
    if len(parts) < 4:
        return message
    found = []
    lines = text.split("\n")
    for line, column, rest in zip(parts[1::3], parts[2::3], parts[3::3]):
        if "'*error*'" not in rest:
            found.append(_complaint(int(line), int(column), rest.split("\n | ")[0].strip(), lines))
    return "\n".join(
        _shown(line, column, says, lines)
        for line, column, says in sorted(found)
        if line <= len(lines)
    )


def _complaint(line: int, column: int, says: str, lines: list[str]) -> tuple[int, int, str]:
    if match := SELECTED.fullmatch(says):
        return line, column, f"type '{match[1]}' does not support field selection"
    if (match := UNDECLARED.match(says)) and "." in match[1]:
        start = lines[line - 1][:column].rfind(match[1].partition(".")[0]) + 1
        root = match[1].partition(".")[0]
        return line, max(start, 1), says.replace(match[1], root)
    if match := APPLIED.fullmatch(says):
        before = lines[line - 1][: column - 1].rstrip()
        if before.endswith(f".{match[1]}"):
            target, _, rest = _first(match[2])
            return (
                line,
                column,
                f"found no matching overload for '{match[1]}' applied to '{target}.({rest})'",
            )
    return line, column, says


def _first(types: str) -> tuple[str, str, str]:
    """The first of "map(string, int), int", and the rest."""
    depth = 0
    for n, letter in enumerate(types):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            return types[:n], ",", types[n + 1 :].lstrip()
    return types, "", ""
