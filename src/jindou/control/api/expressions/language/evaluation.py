"""A checked expression as a function of its variables, ended when it costs too much or takes too long.

Each node becomes one Python function over a `Frame`; `&&`, `||` and macros see errors as values, as
CEL asks. A value of the frame that is a `Lazy` is worked out when it is first looked at.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from jindou.control.api.expressions.language import functions, operators
from jindou.control.api.expressions.language.frames import (
    LISTED,
    MAPPED,
    STRUCTURED,
    Failed,
    Frame,
    Lazies,
    Run,
)
from jindou.control.api.expressions.language.library import NAMESPACED, OPAQUE
from jindou.control.api.expressions.language.syntax import (
    Call,
    Const,
    Fold,
    Ident,
    ListOf,
    MapOf,
    Node,
    Select,
)  # fmt: skip
from jindou.control.api.expressions.language.values import (
    CelError,
    CostExceeded,
    Opaque,
    Optional,
    Struct,
    TypeName,
    Uint,
    type_of,
)  # fmt: skip

CALL_LIMIT = 1_000_000
LONGEST = 2.0  # seconds
LONGEST_MESSAGE = 5 * 1024
OUT_OF_BUDGET = (
    "validation failed due to running out of cost budget, no further validation rules will be run"
)
TYPES = frozenset(
    {"bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type", "optional_type",
     "google.protobuf.Timestamp", "google.protobuf.Duration", *OPAQUE}
)  # fmt: skip


def evaluate(
    run: Run, variables: Mapping[str, Any], limit: int = CALL_LIMIT, ends: float = 0.0
) -> tuple[Any, int]:
    """The value and what it has cost. Raises CelError, with `CostExceeded` at the limit."""
    frame = Frame(dict(variables), limit, ends or time.monotonic() + LONGEST)
    try:
        found = run(frame)
    except RecursionError:
        raise CelError("the expression is nested too deeply") from None
    frame.glance = frame.left + 1
    frame.spend(0)
    return found, limit - frame.left


def message_of(found: Any) -> str:
    """What a messageExpression has come to; "" where that is no message."""
    said = found.strip() if isinstance(found, str) else ""
    return said if len(said) <= LONGEST_MESSAGE and "\n" not in said else ""


def program(node: Node) -> Run:
    return _build(node, frozenset())


def _build(node: Node, bound: frozenset[str]) -> Run:
    if isinstance(node, Const):
        value = Uint(node.value) if node.uint else node.value
        return lambda frame: value
    if isinstance(node, Ident):
        return _ident(node.name, bound)
    if isinstance(node, Select):
        return _select(node, bound)
    if isinstance(node, Call):
        return _call(node, bound)
    if isinstance(node, ListOf):
        return _list(node, bound)
    if isinstance(node, MapOf):
        return _map(node, bound)
    return _fold(node, bound)


def _ident(name: str, bound: frozenset[str]) -> Run:
    name = name.removeprefix(".")
    if name in TYPES and name not in bound:
        kind = TypeName(name)
        return lambda frame: kind

    def read(frame: Frame) -> Any:
        frame.left -= 1
        try:
            found = frame.variables[name]
        except KeyError:
            raise CelError(f"no such attribute(s): {name}") from None
        if type(found) is Failed:
            raise found.error
        return found

    return read


def dotted(node: Node | None) -> str:
    """`a.b.c` where a node is only names."""
    if isinstance(node, Ident):
        return node.name
    if isinstance(node, Select) and not node.test and (base := dotted(node.operand)):
        return f"{base}.{node.field}"
    return ""


def _select(node: Select, bound: frozenset[str]) -> Run:
    name = node.field
    if (whole := dotted(node)) in TYPES:
        kind = TypeName(whole)
        return lambda frame: kind
    operand = _build(node.operand, bound)
    if node.test:
        return lambda frame: operators.has(operand(frame), name)

    def read(frame: Frame) -> Any:
        held = operand(frame)
        frame.left -= 1
        if type(held) is dict:
            try:
                return held[name]
            except KeyError:
                raise CelError(f"no such key: {name}") from None
        if isinstance(held, Lazies):
            if name not in held:
                raise CelError(f"no such key: {name}")
            return held[name].get(frame)
        return operators.select(held, name)

    return read


def _call(node: Call, bound: frozenset[str]) -> Run:
    name, target = node.function, node.target
    space = dotted(target)
    if space and f"{space}.{name}" in NAMESPACED and space.partition(".")[0] not in bound:
        name, target = f"{space}.{name}", None
    args = [_build(arg, bound) for arg in node.args]
    if (special := SPECIAL.get(name)) is not None and target is None:
        return special(args)
    if target is not None:
        args.insert(0, _build(target, bound))
        if (chained := CHAINED.get(name)) is not None:
            return chained(args)
    return _function(name, args, member=target is not None)


def _function(name: str, args: list[Run], *, member: bool) -> Run:
    known, price = functions.FUNCTIONS.get(name), functions.COSTS.get(name)

    def call(frame: Frame) -> Any:
        given = [arg(frame) for arg in args]
        frame.spend(price(*given) if price is not None else 1)
        if member and isinstance(given[0], Opaque):
            return given[0].held.call(name, *given[1:])
        if known is None:
            return functions.lend(name, tuple(given), member=member)
        try:
            return known(*given)
        except (TypeError, AttributeError, OverflowError):
            raise operators.no_overload() from None
        except (ValueError, ArithmeticError) as error:
            raise CelError(str(error)) from None

    return call


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise operators.no_overload()
    return value


def _settled(answer: bool) -> Callable[[list[Run]], Run]:
    """`||` (True) and `&&` (False): one side that settles it makes an error of the other void."""

    def build(args: list[Run]) -> Run:
        left, right = args

        def run(frame: Frame) -> bool:
            wrong: CelError | None = None
            try:
                if _truth(left(frame)) is answer:
                    return answer
            except CostExceeded:
                raise
            except CelError as error:
                wrong = error
            try:
                if _truth(right(frame)) is answer:
                    return answer
            except CostExceeded:
                raise
            except CelError as error:
                raise wrong or error from None
            if wrong is not None:
                raise wrong
            return not answer

        return run

    return build


def _conditional(args: list[Run]) -> Run:
    test, yes, no = args
    return lambda frame: yes(frame) if _truth(test(frame)) else no(frame)


def _not(args: list[Run]) -> Run:
    def run(frame: Frame) -> bool:
        frame.left -= 1
        return not _truth(args[0](frame))

    return run


def _not_false(args: list[Run]) -> Run:
    """The loop of a macro goes on through an error."""

    def run(frame: Frame) -> bool:
        frame.left -= 1
        try:
            return args[0](frame) is not False
        except CostExceeded:
            raise
        except CelError:
            return True

    return run


def _or_value(args: list[Run]) -> Run:
    def run(frame: Frame) -> Any:
        held = args[0](frame)
        if not isinstance(held, Optional):
            raise operators.no_overload()
        return held.value if held.present else args[1](frame)

    return run


def _or(args: list[Run]) -> Run:
    def run(frame: Frame) -> Any:
        held = args[0](frame)
        if not isinstance(held, Optional):
            raise operators.no_overload()
        return held if held.present else args[1](frame)

    return run


SPECIAL: dict[str, Callable[[list[Run]], Run]] = {
    "_&&_": _settled(False),
    "_||_": _settled(True),
    "_?_:_": _conditional,
    "!_": _not,
    "@not_strictly_false": _not_false,
    "__not_strictly_false__": _not_false,
}
CHAINED: dict[str, Callable[[list[Run]], Run]] = {"orValue": _or_value, "or": _or}


def _list(node: ListOf, bound: frozenset[str]) -> Run:
    parts = [(_build(part, bound), n in node.optional) for n, part in enumerate(node.elements)]

    def run(frame: Frame) -> list[Any]:
        frame.spend(LISTED)
        found = []
        for part, optional in parts:
            held = part(frame)
            if not optional:
                found.append(held)
            elif held.present:
                found.append(held.value)
        return found

    return run


def _map(node: MapOf, bound: frozenset[str]) -> Run:
    parts = [
        (
            entry.key if isinstance(entry.key, str) else _build(entry.key, bound),
            _build(entry.value, bound),
            entry.optional,
        )
        for entry in node.entries
    ]
    price = STRUCTURED if node.message else MAPPED

    def run(frame: Frame) -> dict[Any, Any]:
        frame.spend(price)
        found: dict[Any, Any] = {}
        for key, value, optional in parts:
            name = key if isinstance(key, str) else key(frame)
            if type_of(name) not in ("string", "int", "uint", "bool"):
                raise CelError("unsupported key type")
            if name in found:
                raise CelError(f"Failed with repeated key: {operators.text(name)}")
            held = value(frame)
            if not optional:
                found[name] = held
            elif held.present:
                found[name] = held.value
        return Struct(node.message, found) if node.message else found

    return run


def _fold(node: Fold, bound: frozenset[str]) -> Run:
    inside = bound | {node.variable, node.second, node.result_name}
    over, start = _build(node.over, bound), _build(node.start, bound)
    going_on, step = _build(node.going_on, inside), _build(node.step, inside)
    result = _build(node.result, inside)
    first, second, kept = node.variable, node.second, node.result_name

    def run(frame: Frame) -> Any:
        held = over(frame)
        outer = frame.variables
        frame.variables = {**outer, kept: None}
        try:
            pending = _attempt(start, frame)
            for one, other in _pairs(held, bool(second)):
                inner = frame.variables
                inner[kept] = pending
                inner[first] = one
                if second:
                    inner[second] = other
                frame.spend(0)
                if not going_on(frame):
                    break
                pending = _attempt(step, frame)
            frame.variables[kept] = pending
            return result(frame)
        finally:
            frame.variables = outer

    return run


def _attempt(run: Run, frame: Frame) -> Any:
    try:
        return run(frame)
    except CostExceeded:
        raise
    except CelError as error:
        return Failed(error)


def _pairs(held: Any, two: bool) -> Any:
    if isinstance(held, dict):
        return held.items() if two else ((name, None) for name in held)
    if isinstance(held, list):
        return enumerate(held) if two else ((item, None) for item in held)
    raise operators.no_overload()
