"""Transcripts: what is typed and what comes, as plain text that a test runs line by line.

    Words at the margin are prose. What is indented by two spaces is a command or its output.

      $ kubectl create configmap a --from-literal=k=v
      configmap/a created
      $ kubectl get configmap b
      Error from server (NotFound): configmaps "b" not found
      [1]

`...` stands for any text in a line, and alone in a line for any number of lines; `> ` continues a
command; `[1]` is the exit code. Each command is a shell's, in one folder for the whole transcript.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Step(NamedTuple):
    line: int
    command: str
    expected: tuple[str, ...]
    code: int


def parse(text: str) -> list[Step]:
    steps: list[Step] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith("  "):
            continue
        body = line[2:]
        if body.startswith("$ "):
            steps.append(Step(number, body[2:], (), 0))
        elif body.startswith("> ") and not steps[-1].expected:
            steps[-1] = steps[-1]._replace(command=f"{steps[-1].command}\n{body[2:]}")
        elif code := re.fullmatch(r"\[(\d+)\]", body):
            steps[-1] = steps[-1]._replace(code=int(code[1]))
        else:
            steps[-1] = steps[-1]._replace(expected=(*steps[-1].expected, body))
    return steps


def matches(expected: Sequence[str], got: Sequence[str]) -> bool:
    pattern = "".join(
        r"(?:.*\n)*" if line == "..." else ".*".join(map(re.escape, line.split("..."))) + r"\n"
        for line in map(narrow, expected)
    )
    return re.fullmatch(pattern, "".join(f"{narrow(line)}\n" for line in got)) is not None


def narrow(line: str) -> str:
    """How wide the columns of a table are, depends on what else is in it."""
    return re.sub(r"(?<=\S)\s+", " ", line.rstrip())


def differences(text: str, folder: Path, environment: Mapping[str, str]) -> list[str]:
    """Every step whose output or exit code is not what the transcript says."""
    found = []
    for step in parse(text):
        done = subprocess.run(
            ["bash", "-c", step.command], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
        )  # fmt: skip
        got = done.stdout.splitlines()
        if done.returncode != step.code or not matches(step.expected, got):
            said = "\n".join(f"    {line}" for line in [*got, f"[{done.returncode}]"])
            wanted = "\n".join(f"    {line}" for line in [*step.expected, f"[{step.code}]"])
            found.append(f"line {step.line}: {step.command}\n  wanted\n{wanted}\n  got\n{said}")
    return found
