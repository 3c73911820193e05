"""`jindou status`: one screen, golden at 60 and 80 columns, from canned answers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from jindou.cli import services, status
from tests.cli.canned import container, items, pod, stamp

NODE = {
    "metadata": {"name": "atlas", "creationTimestamp": stamp(11520)},
    "spec": {},
    "status": {
        "conditions": [{"type": "Ready", "status": "True"}],
        "images": [{"names": ["debian"], "sizeBytes": 118 << 20}, {"names": ["b"], "sizeBytes": 2 << 20}],
    },
}  # fmt: skip
READY = {"type": "Ready", "status": "True", "lastTransitionTime": stamp(500)}
UNREADY = {"type": "Ready", "status": "False", "lastTransitionTime": stamp(252)}
SERVICE = {
    "metadata": {"name": "guestbook", "namespace": "default"},
    "spec": {"ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}]},
}
ANSWERS = {
    "/api/v1/nodes": items(NODE),
    "/api/v1/services": items(SERVICE),
    "/api/v1/pods": items(
        pod("db-0", conditions=[READY]),
        pod(
            "web-0",
            conditions=[UNREADY],
            containerStatuses=[container(waiting={"reason": "CrashLoopBackOff"})],
        ),
        pod("job", phase="Succeeded"),
        pod("new", phase="Pending", conditions=[{**UNREADY, "lastTransitionTime": stamp(1)}]),
    ),
}
GOLDEN = """\
jindou V on atlas, up 3h 12m: working, 1 warning

machine   load 1.2 on 8 CPUs, 9.4 of 31.2 GiB memory, Linux 6.1.0-26
disk      194.0 GiB of 250.0 GiB free for DATA
images    2 images, 120.0 MiB
running   2 of 4 pods   1 service   1 node

PROCESS  STATE   PID   CPU    MEMORY      UP
server   ok     4121  1.1%  62.0 MiB  3h 12m
node     ok     4130  2.0%  51.0 MiB  3h 12m

ADDRESS                 WHAT
https://127.0.0.1:7443  Kubernetes API
http://127.0.0.1:30080  service default/guestbook

warn  pod default/web-0 not ready for 4m 12s: CrashLoopBackOff
      jindou why pod/web-0
"""


@pytest.fixture
def machine(monkeypatch):
    """A machine whose numbers stand still."""
    ran = [
        services.Running("server", "ok", 4121, 0.011, 62 << 20, 11520.0),
        services.Running("node", "ok", 4130, 0.02, 51 << 20, 11520.0),
    ]
    monkeypatch.setattr(services, "observe", lambda settings: list(ran))
    monkeypatch.setattr(status, "kept", lambda settings: True)
    monkeypatch.setattr(status, "release", lambda: "6.1.0-26")
    gib = 1 << 30
    monkeypatch.setattr(
        status, "memory", lambda: {"total": int(31.2 * gib), "used": int(9.4 * gib)}
    )
    monkeypatch.setattr(os, "getloadavg", lambda: (1.2, 1.0, 1.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr("socket.gethostname", lambda: "atlas")
    disk = os.statvfs_result((4096, 4096, 250 << 18, 194 << 18, 194 << 18, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: disk)
    return ran


def same(text: str, shell) -> str:
    return re.sub(r"jindou \d+\.\d+\.\d+", "jindou V", text.replace(shell.settings.data, "DATA"))


def test_one_screen(shell, machine):
    with shell.server(ANSWERS):
        code, out, err = shell("status")
    assert (code, same(out, shell), err) == (0, GOLDEN, "")
    assert out.isascii()


def test_wide_has_the_remedy_beside_its_trouble(shell, machine):
    with shell.server(ANSWERS):
        _, out, _ = shell("status", COLUMNS="120")
    assert "CrashLoopBackOff   jindou why pod/web-0\n" in out


def test_short_json_and_quiet_have_the_same_exit_code(shell, machine):
    with shell.server(ANSWERS):
        code, out, _ = shell("status", "-o", "short")
        assert (code, same(out, shell)) == (0, GOLDEN.splitlines(True)[0])
        code, out, _ = shell("status", "-o", "json")
        told = json.loads(out)
        assert (code, told["v"], told["running"]) == (0, 1, True)
        assert told["disk"]["free"] == 194 << 30
        assert told["warnings"] == [
            {"pod": "default/web-0", "seconds": 252.0, "reason": "CrashLoopBackOff"}
        ]
        assert shell("status", "-q") == (0, "", "")


def test_colour_only_on_trouble_and_headings(shell, machine):
    with shell.server(ANSWERS):
        _, out, _ = shell("status", "--color", "always")
        assert out.count("\033[33m") == 1
        assert "\033" not in shell("status", FORCE_COLOR="1", NO_COLOR="1")[1]


def test_a_dead_process_is_broken(shell, machine):
    machine[1] = services.Running("node", "FAIL", 0, 0.0, 0, 0.0)
    with shell.server(ANSWERS):
        code, out, _ = shell("status")
    assert code == 1
    assert "broken, the node does not run" in out.splitlines()[0]
    assert "FAIL  the node does not run" in out
    assert "jindou doctor" in out


def test_not_running(shell):
    code, out, err = shell("status")
    assert code == 3
    assert out.endswith("is not running. Start: jindou up\n")
    assert err == ""
    assert shell("status", "-o", "json")[:2] == (3, '{"v":1,"running":false}\n')


def test_others_when_it_is_not_running(shell):
    for words in (("why", "pod/x"), ("image", "list"), ("kubeconfig",)):
        code, out, err = shell(*words)
        assert (code, out) == (3, ""), words
        assert "  do    jindou up" in err
    code, out, err = shell("env")
    assert (code, out) == (3, "")  # eval does nothing
    assert shell("env", "--unset", SHELL="/bin/bash")[:2] == (0, "unset KUBECONFIG\n")
    assert shell("env", "--unset", "--shell", "fish")[:2] == (0, "set -e KUBECONFIG\n")


def test_it_starts_in_an_instant(shell):
    """What would make it slow is not even imported; the time itself is that of this process alone."""
    program = (
        "import sys; from jindou.cli.commands import main; main(['status']);"
        "heavy = {'asyncio', 'dataclasses', 'importlib.metadata', 'http.client', 'yaml', 'ssl',"
        " 'urllib.request', 'logging', 'cryptography'};"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    spent = []
    for _ in range(3):
        before = os.times()
        done = subprocess.run(
            [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {program}"],
            env=shell.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        after = os.times()
        spent.append(
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system
        )
        assert done.stderr == "[]\n"
    assert min(spent) < 0.15
