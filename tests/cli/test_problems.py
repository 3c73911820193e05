"""Errors in at most five parts; every code is explained; every hint is a command that there is."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from jindou.cli.codes import LONG
from jindou.cli.help import parser
from jindou.cli.problems import Problem
from jindou.cli.table import find
from jindou.cli.term import Terminal
from tests.cli.canned import Shell

SOURCE = Path(__file__).parent.parent.parent / "src" / "jindou"
CODE = re.compile(r"JD-(?:NET|STO|SEC|RUN|IMG|CLI|API)-\d{3}")
STANDS_FOR = {  # what a person puts there
    "GROUP": "network", "N": "7443", "DIR": "/srv/jindou", "CODE": "JD-NET-101", "MODE": "plain",
    "PATH": "examples/guestbook", "COMMAND": "up", "SHELL": "bash",
}  # fmt: skip


def printed() -> set[str]:
    return {
        code
        for path in SOURCE.rglob("*.py")
        if path.name != "codes.py"
        for code in CODE.findall(path.read_text())
    }


def test_every_code_that_is_printed_is_explained_and_no_other():
    assert printed() - LONG.keys() == set()
    assert LONG.keys() - printed() == set()


@pytest.mark.parametrize("code", sorted(LONG))
def test_why_explains_a_code_offline(folder, code):
    shell = Shell(folder)
    exit_code, out, err = shell("why", code.lower())
    title, text = LONG[code]
    assert (exit_code, err) == (0, "")
    assert out.startswith(f"{code}: {title}\n")
    assert " ".join(out.split()) == " ".join(f"{code}: {title} {text}".split())
    assert max(map(len, out.splitlines())) <= 80


class Hints(ast.NodeVisitor):
    """Every command of ours that the sources, or the long texts, tell a person to type."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.add(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        parts = (str(p.value) if isinstance(p, ast.Constant) else "X" for p in node.values)
        self.add("".join(parts))

    def add(self, text: str) -> None:
        if re.match(r"(sudo )?jindou [a-z]+( |$)", text) and not re.match(
            r"jindou (is|needs) ", text
        ):
            self.found.add(text.partition("   ")[0].strip())
        self.found.update(re.findall(r"`((?:sudo )?jindou [^`]+)`", text))


def hints() -> set[str]:
    visitor = Hints()
    for path in [*SOURCE.rglob("cli/*.py"), *SOURCE.rglob("doctor/*.py")]:
        visitor.visit(ast.parse(path.read_text()))
    return visitor.found


@pytest.mark.parametrize("hint", sorted(hints()))
def test_every_hint_is_a_command_that_there_is(hint):
    hint = hint.replace(" X X", " --api-port 7443")
    for part in re.split(r" && | \| ", hint.removeprefix("sudo ")):
        words = shlex.split(part.partition(" > ")[0])
        if (
            words[0] != "jindou"
            or words[1] in ("help", "--help", "server", "node")
            or words[1].isupper()
        ):
            continue
        command, given = find(words[1]), [STANDS_FOR.get(word, word) for word in words[2:]]
        if not given or set(given) & {"-h", "-vv"}:
            continue
        parser(command).parse_args(given)


def test_hints_were_found():
    assert len(hints()) > 40


def test_five_parts():
    problem = Problem(
        "the disk filled up while building image python", "JD-STO-210",
        where="Dockerfile line 3", why="/var (ext4, 40.0 GiB) has 0 B free; this image needs 57 MiB more than that",
        now="debian is kept", said="one\ntwo\n", do=["journalctl --vacuum-size=500M   old logs", "jindou up --data /srv   elsewhere"],
        log="/var/log/jindou/up.log",
    )  # fmt: skip
    assert (
        problem.render(Terminal(env={"COLUMNS": "80"}))
        == """\
error: the disk filled up while building image python                JD-STO-210
  where Dockerfile line 3
  why   /var (ext4, 40.0 GiB) has 0 B free; this image needs 57 MiB more than
        that
  now   debian is kept
  said  | one
        | two
  do    one of:
            journalctl --vacuum-size=500M   old logs
            jindou up --data /srv           elsewhere
  log   /var/log/jindou/up.log""".replace("python                JD", "python" + " " * 17 + "JD")
    )


def test_a_long_sentence_wraps_below_itself():
    problem = Problem("word " * 30, "JD-API-503")
    lines = problem.render(Terminal(env={"COLUMNS": "60"})).splitlines()
    assert lines[0].endswith("JD-API-503")
    assert max(map(len, lines)) <= 60


def test_an_error_is_an_object_too(shell):
    import json

    code, out, err = shell("why", "pod/x", "-o", "json")
    assert code == 3
    told = json.loads(out)
    assert told["errors"][0]["code"] == "JD-API-501"
    assert told["errors"][0]["do"] == ["jindou up"]
    assert "error: jindou is not running" in err


def test_what_nobody_foresaw_is_one_sentence_and_a_trace_in_a_log(shell):
    with shell.server({"/api/v1/pods": "no JSON", "/api/v1/nodes": {"items": []}}):
        code, _, err = shell("status")
    assert code == 1
    assert err.startswith("error: something that was not foreseen: ")
    assert "Traceback" not in err
    log = Path(shell.settings.logs, "cli.log")
    assert f"  log   {log}" in err
    assert "Traceback" in log.read_text()
    with shell.server({"/api/v1/pods": "no JSON", "/api/v1/nodes": {"items": []}}):
        assert "Traceback" in shell("status", "-vv")[2]
