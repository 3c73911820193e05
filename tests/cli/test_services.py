"""The text of the units, and the supervisor as it is: it restarts, backs off, rotates, ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jindou.cli import services, supervisor
from jindou.settings import Settings

ODD = Settings(data='/srv/with space/100%/j$x"q', node_name="a\\b")


def test_a_unit_quotes_what_systemd_would_read_otherwise(monkeypatch):
    monkeypatch.setenv("SUDO_UID", "1000")
    monkeypatch.setattr(sys, "executable", "/opt/a b/$HOME/python")
    text = services.unit(ODD, "node")
    assert 'ExecStart="/opt/a b/$$HOME/python" "-P" "-m" "jindou" "node"\n' in text
    assert 'Environment="JINDOU_DATA=/srv/with space/100%%/j$x\\"q"\n' in text
    assert 'Environment="JINDOU_NODE_NAME=a\\\\b"\n' in text
    assert 'Environment="JINDOU_OWNER=1000"\n' in text
    for line in ("KillMode=process", "Delegate=yes", "Restart=always", "StartLimitIntervalSec=0",
                 "After=network.target jindou-server.service"):  # fmt: skip
        assert f"{line}\n" in text
    assert "After=network.target\n" in services.unit(ODD, "server")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_understands_the_units(tmp_path):
    paths = []
    for name in services.NAMES:
        paths.append(tmp_path / f"jindou-{name}.service")
        paths[-1].write_text(services.unit(ODD, name))
    done = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


class Supervised:
    """The supervisor over commands of ours; everything is told by files that they write."""

    def __init__(self, folder: Path, **commands: str) -> None:
        self.folder = folder
        self.pidfile = folder / "supervisor.pid"
        described = [
            json.dumps([name, str(folder / f"{name}.log"), ["/bin/sh", "-c", text]])
            for name, text in commands.items()
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jindou.cli.supervisor", str(self.pidfile), *described],
            stdout=subprocess.PIPE, text=True, cwd=folder,
        )  # fmt: skip

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().partition(" ")[2].rstrip()

    def end(self) -> list[str]:
        self.process.send_signal(signal.SIGTERM)
        rest, _ = self.process.communicate(timeout=30)
        return [line.partition(" ")[2] for line in rest.splitlines()]


@pytest.mark.slow
def test_what_ends_is_started_again_later_each_time(folder):
    made = Supervised(folder, server="exit 3", node="kill -9 $$")
    began = time.monotonic()
    told = [made.line() for _ in range(6)]
    took = time.monotonic() - began
    assert {line.rpartition(" after")[0] for line in told} == {"server ended with 3", "node ended by signal 9"}  # fmt: skip
    assert took >= supervisor.FIRST * 2 + supervisor.FIRST * 4  # two waits before the third end
    assert made.end()[-1] == "stopped"
    assert made.process.returncode == 0
    assert not made.pidfile.exists()


@pytest.mark.slow
def test_it_rests_while_its_children_run_and_ends_them_in_order(folder):
    wait = (
        "trap 'echo {0} >> order; exit 0' TERM; echo up > {0}; while :; do sleep 2 & wait $!; done"
    )
    made = Supervised(folder, server=wait.format("server"), node=wait.format("node"))
    deadline = time.monotonic() + 20
    while not ((folder / "server").exists() and (folder / "node").exists()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    before = Path(f"/proc/{made.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    time.sleep(0.3)
    after = Path(f"/proc/{made.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    assert before == after, "it polls"
    made.end()
    assert (folder / "order").read_text().split() == ["node", "server"]


def test_a_long_log_is_put_aside_before_a_start(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "LONGEST_LOG", 10)
    log = tmp_path / "server.log"
    supervisor.put_aside(str(log))  # nothing there: nothing to do
    log.write_text("short")
    supervisor.put_aside(str(log))
    assert log.exists()
    log.write_text("much too long")
    supervisor.put_aside(str(log))
    assert [path.name for path in tmp_path.iterdir()] == ["server.log.1"]


def test_a_program_that_is_gone_is_tried_again(tmp_path, capsys):
    child = supervisor.Child("server", str(tmp_path / "log"), ["/nonexistent/python"])
    child.start()
    assert (child.pid, child.delay) == (0, supervisor.FIRST * 2)
    assert "server can't be started: No such file" in capsys.readouterr().out


def test_the_last_words_of_a_log_are_each_said_once(tmp_path):
    line = "2026-11-24T21:07:2{}.949Z error   serve port 80 can't be listened on\n"
    (tmp_path / "server.log").write_text(line.format(1) + line.format(2) + "Traceback\n  last\n")
    settings = Settings(logs=str(tmp_path))
    assert (
        services.last_words(settings, "server")
        == "port 80 can't be listened on\nTraceback\n  last\n"
    )
    assert services.last_words(settings, "node") == ""


def test_a_reused_process_id_is_nobody(folder):
    settings = Settings(run=str(folder))
    for text in (str(os.getpid()), "0", "", "x", "999999999"):
        (folder / "server.pid").write_text(text)
        assert services.pid_of(settings, "server") == 0
    assert services.observe(settings)[0].state == "FAIL"


def test_who_waits_for_a_server_that_ends_at_once_is_told_why(folder, monkeypatch):
    from jindou.cli.problems import Problem

    settings = Settings(run=str(folder), logs=str(folder), pretend=True)
    (folder / "server.log").write_text("store.db is damaged: row 7\n")

    def end() -> None:
        with open(folder / "supervisor.log", "w") as file:
            file.write(3 * "2026-01-01T00:00:00Z server ended with 1 after 0.1s\n")

    with pytest.raises(Problem) as raised:
        services.wait_for_socket(settings, 30.0, end)
    assert raised.value.what == "the server did not answer; it ended 3 times"
    assert raised.value.code == "JD-STO-203"
    assert "row 7" in raised.value.said
