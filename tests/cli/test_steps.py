"""Steps as they are told: drawn again on a terminal, dated lines elsewhere, events for programs."""

from __future__ import annotations

import contextlib
import io
import json
import re

import pytest

from jindou.cli.steps import Item, Steps, shown
from jindou.cli.term import Terminal, cells
from tests.cli.test_term import Tty


def terminal(width: int = 80, **more: object) -> Terminal:
    return Terminal(io.StringIO(), Tty(), {"TERM": "xterm", "COLUMNS": str(width)}, **more)


def run(made: Terminal) -> None:
    steps = Steps(made, ["check the machine", "make base images"])
    with steps.step("check the machine") as step:
        step.say("18 probes, nothing in the way")
    with contextlib.suppress(OSError), steps.step("make base images") as step:
        item = step.item("debian")
        item.start()
        if made.progress == "tty" and not made.quiet:
            step._draw()
        raise OSError


def screen(text: str) -> list[str]:
    """What remains on the screen after lines were erased and drawn again."""
    lines = [""]
    for piece in re.split(r"(\n|\r|\033\[\d*[AJ])", text):
        if piece == "\n":
            lines.append("")
        elif found := re.fullmatch(r"\033\[(\d*)A", piece):
            lines[len(lines) - 1 - int(found[1]) :] = [""]
        elif piece == "\033[J":
            lines[-1] = ""
        elif piece != "\r":
            lines[-1] += piece
    return [re.sub(r"\033\[[\d;]*m", "", line) for line in lines]


def test_only_the_end_of_each_step_remains():
    made = terminal()
    run(made)
    assert [line[:11] for line in screen(made.err.getvalue())] == ["  ok    1/2", "  FAIL  2/2", ""]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_line_fits_its_terminal(width):
    made = terminal(width)
    run(made)
    told = re.sub(r"\033\[[\d;]*[mAJ]|\r", "", made.err.getvalue()).splitlines()
    assert max(map(cells, told)) < width
    assert any(line.startswith("  ok    1/2  check the machine") for line in told)
    assert any(line.startswith("  FAIL  2/2  make base images") for line in told)


def test_a_narrow_terminal_loses_details_and_never_wraps():
    made = terminal(30)
    run(made)
    told = re.sub(r"\033\[[\d;]*[mAJ]|\r", "", made.err.getvalue()).splitlines()
    assert max(map(cells, told)) < 30


def test_plain_lines():
    made = terminal(progress="plain")
    run(made)
    said = [re.sub(r"^\S+Z |\(.*\)", "", line) for line in made.err.getvalue().splitlines()]
    assert said == [
        "start 1/2 check the machine",
        "ok    1/2 check the machine: 18 probes, nothing in the way ",
        "start 2/2 make base images",
        "FAIL  2/2 make base images ",
    ]
    assert "\033" not in made.err.getvalue()


def test_a_long_step_says_that_it_lives():
    made = terminal(progress="plain")
    steps = Steps(made, ["make base images"])
    with steps.step("make base images") as step:
        first, second = step.item("debian"), step.item("python")
        first.end()
        second.start()
        second.done, second.total = 51, 100
        step._still()
    assert "still 1/1 make base images: 1 of 2, python 51% (" in made.err.getvalue()


def test_events_for_programs_are_on_stdout_with_output_json_and_on_stderr_with_progress_json():
    made = terminal(output="json")
    run(made)
    events = [json.loads(line) for line in made.out.getvalue().splitlines()]
    assert [(e["v"], e["step"], e["of"], e["state"]) for e in events] == [
        (1, 1, 2, "start"), (1, 1, 2, "ok"), (1, 2, 2, "start"), (1, 2, 2, "FAIL")
    ]  # fmt: skip
    assert events[1]["detail"] == "18 probes, nothing in the way"
    assert isinstance(events[1]["ms"], int)
    assert made.err.getvalue() == ""
    made = terminal(progress="json")
    run(made)
    assert made.out.getvalue() == ""
    assert [json.loads(line)["state"] for line in made.err.getvalue().splitlines()][1] == "ok"


def test_quiet_tells_nothing():
    made = terminal(quiet=True)
    run(made)
    assert (made.out.getvalue(), made.err.getvalue()) == ("", "")


def test_ctrl_c_is_a_stop_and_no_failure():
    made = terminal(progress="plain")
    with pytest.raises(KeyboardInterrupt), Steps(made, ["start services"]).step("start services"):
        raise KeyboardInterrupt
    assert "stop  1/1 start services (" in made.err.getvalue()


def test_an_item_draws_a_bar_where_a_total_is_known():
    item = Item("python")
    item.start()
    item.done, item.total, item.detail = 51, 100, "unpack"
    line = item.text(terminal(80))
    assert "now   python      [############............]  51%  unpack" in line
    assert line.endswith(" 0s")
    item.end("118.0 MiB")
    assert "ok    python      118.0 MiB" in item.text(terminal(80))


def test_what_is_at_work_is_shown_before_what_has_ended():
    items = [Item(f"{n}") for n in range(20)]
    for item in items[:10]:
        item.end()
    items[10].start()
    assert [item.name for item in shown(items, 4)] == ["9", "10", "11", "12"]
    assert shown(items, 0) == []
