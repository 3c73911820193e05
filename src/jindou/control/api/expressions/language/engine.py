"""The library behind the expressions: cel-cpp, imported when the first expression is compiled.

It parses and type-checks, and it lends its own functions (regular expressions in linear time,
`format`, times) to an evaluation. What must stay true: a machine without the library gets one clear
sentence where an expression is written, and nothing else changes. Source: https://pypi.org/project/cel-expr-python/
"""

from __future__ import annotations

import re
from functools import lru_cache
from types import ModuleType
from typing import Any

import orjson

from jindou.control.api.expressions.language import library
from jindou.control.api.expressions.language.values import CelError, Uint
from jindou.objects.errors import CloudError

CODE = re.compile(r"^[A-Z_]+: ")
GROUP = re.compile(  # none of it is read twice, for a pattern may be anybody's
    r"\\Q.*?(?:\\E|\Z)|\\.|\[\^?\]?(?:\[:\w+:\]|\\.|[^\]\\])*+\]?|\((?!\?)|\(\?P?<[A-Za-z_]\w*>", re.DOTALL
)  # fmt: skip
LONGEST_PATTERN = 16 * 1024
OWN = ("lists", "strings", "regex", "optional")


class Unavailable(CloudError):
    code = 501
    reason = "NotImplemented"


@lru_cache(1)
def cel() -> ModuleType:
    try:
        import cel_expr_python.cel as module
    except ImportError as error:
        raise Unavailable(
            "expressions need the Python package cel-expr-python, which has no build for this machine: "
            f"leave them out, or run the server on Linux with glibc ({error})"
        ) from error
    found: ModuleType = module
    return found


@lru_cache(64)
def configuration(more: str, variables: tuple[tuple[str, str], ...]) -> Any:
    told = library.declared(more, variables)
    return cel().NewEnvConfigFromYaml(orjson.dumps(told).decode())


@lru_cache(1)
def _lent() -> Any:
    told = {"extensions": [{"name": name} for name in OWN]}
    return cel().NewEnvConfigFromYaml(orjson.dumps(told).decode())


@lru_cache(256)
def _expression(text: str, kinds: tuple[str, ...]) -> Any:
    types = cel().Type
    named = {f"a{n}": getattr(types, kind) for n, kind in enumerate(kinds)}
    return cel().NewEnv(config=_lent(), variables=named).compile(text)


def lent(text: str, *values: Any) -> Any:
    """What the library makes of an expression over a0, a1, ...; raises CelError."""
    try:
        found = _expression(text, tuple(_kind(value) for value in values)).eval(
            data={f"a{n}": value for n, value in enumerate(values)}
        )
        name = found.type().name()
        if name == "ERROR":
            raise CelError(CODE.sub("", str(found.value())))
        plain = found.plain_value()
    except (RuntimeError, TypeError, ValueError) as error:
        raise CelError(CODE.sub("", str(error)).split(" [")[0]) from None
    return Uint(plain) if name == "UINT" else plain


def _kind(value: Any) -> str:
    name = type(value).__name__
    return {"datetime": "TIMESTAMP", "timedelta": "DURATION", "Uint": "UINT"}.get(name, "DYN")


def without_groups(pattern: str) -> str:
    """A regular expression that remembers nothing, so that a match is the whole of it."""
    return GROUP.sub(lambda m: "(?:" if m[0].startswith("(") else m[0], pattern)


def find_all(text: str, pattern: str) -> list[str]:
    _bound(pattern)
    found: list[str] = lent("regex.extractAll(a0, a1)", text, without_groups(pattern))
    return found


def matches(text: str, pattern: str) -> bool:
    _bound(pattern)
    return bool(lent("a0.matches(a1)", text, pattern))


def _bound(pattern: str) -> None:
    """To compile a pattern takes longer than anything that is done with it."""
    if len(pattern) > LONGEST_PATTERN:
        raise CelError("error parsing regexp: expression too large")
