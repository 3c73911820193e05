"""What a pretended program would do: a few commands of the shell, understood well enough.

`act` is pure: from an argument list to what is written, how long it takes and the exit code. A
program that it does not know runs until it is stopped, as servers do.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import NamedTuple

SHELLS = ("sh", "ash", "bash", "dash")
FOREVER = float("inf")


class Act(NamedTuple):
    output: tuple[tuple[int, bytes], ...] = ()  # (1 or 2, line)
    seconds: float = 0.0
    code: int = 0
    copies_input: bool = False
    known: bool = True


def duration(text: str) -> float:
    """Seconds of `10s`, `500ms`, `1m30s` or a plain number."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if parts and "".join(number + unit for number, unit in parts) == text.strip():
        return sum(float(number) * units[unit] for number, unit in parts)
    return float(text)


def act(argv: Sequence[str]) -> Act:
    if not argv:
        return Act(seconds=FOREVER, known=False)
    name = argv[0].rpartition("/")[2]
    if name in SHELLS and len(argv) > 2 and argv[1] in ("-c", "-ec", "-lc"):
        return _script(argv[2])
    return _command(name, list(argv[1:]))


def _script(text: str) -> Act:
    output: list[tuple[int, bytes]] = []
    seconds, code, copies = 0.0, 0, False
    for line in re.split(r"[;\n]|&&", text):
        try:
            words = shlex.split(line)
        except ValueError:
            words = ["sh"]
        if not words:
            continue
        if words[0] == "exit":
            code = int(words[1]) if len(words) > 1 and words[1].isdigit() else code
            break
        done = _command(words[0], words[1:])
        output += done.output
        seconds, code, copies = seconds + done.seconds, done.code, copies or done.copies_input
    return Act(tuple(output), seconds, code, copies)


def _command(name: str, words: list[str]) -> Act:
    if name == "echo":
        stream = 1
        if words and words[-1] in (">&2", "1>&2"):
            stream, words = 2, words[:-1]
        return Act(((stream, " ".join(words).encode() + b"\n"),))
    if name == "sleep" and words:
        try:
            return Act(seconds=FOREVER if words[0] == "infinity" else duration(words[0]))
        except ValueError:
            return Act(((2, f"sleep: invalid number '{words[0]}'\n".encode()),), code=1)
    if name == "cat":
        return Act(copies_input=not words or words == ["-"])
    if name in ("true", ":", "test", "["):
        return Act()
    if name == "false":
        return Act(code=1)
    return Act(seconds=FOREVER, known=False)
