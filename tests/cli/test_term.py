"""Widths, times, sizes, tables, and when there is colour and motion: all pure."""

from __future__ import annotations

import io

import pytest

from jindou.cli.term import (
    Terminal,
    cells,
    count,
    cut,
    duration,
    pad,
    size,
    table,
    wants_colour,
    wants_motion,
)


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0.0s"), (18.24, "18.2s"), (64, "1m 04s"), (11520, "3h 12m"), (432000, "5d")],
)
def test_duration(seconds, shown):
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0 B"),
        (2048, "2 KiB"),
        (5 << 20, "5.0 MiB"),
        (6657199309, "6.2 GiB"),
        (1 << 42, "4096.0 GiB"),
    ],
)
def test_size(number, shown):
    assert size(number) == shown


def test_cells_of_wide_and_combining_letters():
    assert [cells(text) for text in ("abc", "筋斗云", "e\u0301", "a云")] == [3, 6, 1, 3]
    assert pad("云", 4) == "云  "
    assert cut("筋斗云", 5) == "筋斗"
    assert cut("a\x1b[2Jb\n", 99) == "a [2Jb "
    assert [count(1, "pod"), count(2, "pod")] == ["1 pod", "2 pods"]


def test_table_aligns_and_never_ends_a_line_with_spaces():
    rows = [["NAME", "SIZE", "WHAT"], ["云", "9", "x"], ["debian", "118", ""]]
    assert table(rows, right=(1,)) == "NAME    SIZE  WHAT\n云         9  x\ndebian   118"


@pytest.mark.parametrize(
    ("env", "choice", "tty", "wanted"),
    [
        ({"TERM": "xterm"}, "auto", True, True),
        ({"TERM": "xterm"}, "auto", False, False),
        ({}, "auto", True, False),
        ({"TERM": "dumb"}, "auto", True, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, "auto", True, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, "auto", True, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, "auto", False, False),
        ({"FORCE_COLOR": "1"}, "auto", False, True),
        ({"FORCE_COLOR": "0", "TERM": "xterm"}, "auto", False, False),
        ({"CLICOLOR_FORCE": "1"}, "auto", False, True),
        ({"TERM": "xterm", "CLICOLOR": "0"}, "auto", True, False),
        ({"NO_COLOR": "1"}, "always", False, True),
        ({"TERM": "xterm"}, "never", True, False),
    ],
)
def test_colour(env, choice, tty, wanted):
    stream = Tty() if tty else io.StringIO()
    assert wants_colour(stream, env, choice) is wanted


@pytest.mark.parametrize("name", ["CI", "ACCESSIBLE", "JINDOU_PLAIN"])
def test_motion(name):
    assert wants_motion(Tty(), {"TERM": "xterm"})
    assert not wants_motion(Tty(), {"TERM": "xterm", name: "1"})
    assert not wants_motion(Tty(), {"TERM": "dumb"})
    assert not wants_motion(Tty(), {})
    assert not wants_motion(io.StringIO(), {"TERM": "xterm"})


def test_colour_is_only_for_trouble():
    terminal = Terminal(Tty(), Tty(), {"TERM": "xterm"})
    assert terminal.state("ok") == "ok  "
    assert terminal.state("FAIL") == "\033[31;1mFAIL\033[0m"
    assert Terminal(Tty(), Tty(), {"TERM": "xterm"}, colour="never").state("FAIL") == "FAIL"


def test_quiet_says_nothing_but_what_is_to_be_read_on():
    out, err = io.StringIO(), io.StringIO()
    terminal = Terminal(out, err, {}, quiet=True)
    terminal.answer("done")
    terminal.note("working")
    terminal.answer("export A=1", always=True)
    assert (out.getvalue(), err.getvalue()) == ("export A=1\n", "")


def test_width_is_what_there_is_between_sixty_and_a_hundred_and_twenty():
    widths = [
        Terminal(io.StringIO(), io.StringIO(), {"COLUMNS": n}).width for n in ("40", "99", "200")
    ]
    assert widths == [60, 99, 120]
