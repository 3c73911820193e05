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

from jindou.control.api.expressions import engine
from jindou.control.api.expressions.evaluation import Run, program
from jindou.control.api.expressions.syntax import Node, decode
from jindou.control.api.expressions.values import CelError

TRAILER = re.compile(r" \[[A-Z_]+\]$")
STRUCT = re.compile(r" not found in struct '[\w.]+'")
ERROR_AT = re.compile(r"^ERROR: <input>:(\d+):(\d+): ", re.MULTILINE)
OPAQUE_NAME = re.compile(r"\bk\.T\d+\b")


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

    def compile(self, text: str) -> Program:
        """Raises CompileError, and `engine.Unavailable` where there is no library."""
        try:
            expression = self._env.compile(text)
            checked = decode(expression.serialize())
            return Program(
                program(checked.tree), expression.return_type().name(), checked.names, checked.tree
            )
        except RuntimeError as error:
            raise CompileError(told(str(error), text)) from None
        except RecursionError:
            raise CompileError("the expression is nested too deeply") from None


def _type(text: str) -> Any:
    """The library's own value for a type; what it has none for is said in the configuration, which
    is slower to read."""
    types = engine.cel().Type
    if text.startswith("list<"):
        return types.List(_type(text[5:-1]))
    if text.startswith("map<string,"):
        return types.Map(types.STRING, _type(text[11:-1]))
    return getattr(types, text.upper(), None) or types(text)


def told(message: str, text: str) -> str:
    """The compiler's complaint as the real server words it."""
    message = TRAILER.sub("", message.removeprefix("INVALID_ARGUMENT: "))
    message = message.replace("null_type", "null")
    message = OPAQUE_NAME.sub("object", STRUCT.sub("", message))
    return message
