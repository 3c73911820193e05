"""The patterns of schemas: RE2, so that no pattern takes longer than its text is long.

Where the library has no build, Python's own expressions stand in; these an author can make run for
ever. Source: https://github.com/google/re2/wiki/Syntax and https://pkg.go.dev/regexp/syntax
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

SAYS = {
    "bad repetition operator": "invalid nested repetition operator",
    "invalid named capture group": "invalid named capture",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid repetition size": "invalid repeat count",
    "missing )": "missing closing )",
    "missing ]": "missing closing ]",
    "no argument for repetition operator": "missing argument to repetition operator",
}
TRAILING = "trailing \\"
LOOK_BEHIND = ("(?<=", "(?<!")


class BadPattern(ValueError):
    """Says it as the original does."""


@lru_cache(1)
def _library() -> tuple[Callable[[str], Any], type[Exception]]:
    """What compiles, and what it raises."""
    try:
        import re2
    except ImportError:
        return (lambda text: re.compile(text.replace("\\z", "\\Z"))), re.error
    options = re2.Options()
    options.log_errors = False
    return (lambda text: re2.compile(text, options)), re2.error


@lru_cache(1024)
def compiled(text: str) -> Any:
    """Something that can `search`. Raises BadPattern."""
    compile_, error = _library()
    try:
        return compile_(text)
    except (error, UnicodeEncodeError) as wrong:
        said = wrong.args[0]
        raise BadPattern(
            told(text, said.decode() if isinstance(said, bytes) else str(wrong))
        ) from None


def told(text: str, said: str) -> str:
    what, _, part = said.partition(": ")
    if what == TRAILING:
        what, part = "trailing backslash at end of expression", ""
    elif part in LOOK_BEHIND:
        what, part = "invalid named capture", text[text.index(part) :]
    return f"error parsing regexp: {SAYS.get(what, what)}: `{part}`"


def matches(text: str, value: str) -> bool:
    """A pattern that can't be right restricts nothing: it is as old as the definition that has it."""
    try:
        return compiled(text).search(value) is not None
    except (BadPattern, UnicodeEncodeError):
        return True
