"""What needs a real container: exec, attach, cp, port-forward, run, debug, logs, proxy, by two kubectls."""

from __future__ import annotations

import hashlib
import http.client
import os
import random
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.clients.kubectl import Kubectl
from tests.clients.toolchains import kubectl
from tests.clients.transcripts import differences

pytestmark = [pytest.mark.root, pytest.mark.slow]
HERE = Path(__file__).parent
FILES, BYTES = 2000, 50_000_000


def test_transcript_of_a_real_machine(real_user, tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    text = (HERE / "transcripts" / "real" / "containers.txt").read_text()
    found = differences(text, folder, real_user.environment)
    assert not found, "\n" + "\n".join(found)


def test_an_old_kubectl_speaks_spdy(real, real_namespace, tmp_path):
    user = Kubectl(kubectl("old"), real, real_namespace, tmp_path)
    user("run", "box", "--image=busybox", "--command", "--", "sh", "-c", "echo up; exec sleep 1000")
    user("wait", "--for=condition=Ready", "pod/box", "--timeout=30s")
    assert user("exec", "-i", "box", "--", "cat", stdin="words") == "words"
    assert user.run("exec", "box", "--", "sh", "-c", "exit 7").returncode == 7
    assert user("logs", "box") == "up\n"
    assert user("get", "pods", "--no-headers").split()[:3] == ["box", "1/1", "Running"]
    user("create", "configmap", "c", "--from-literal=a=b")
    assert user("apply", "view-last-applied", "configmap/c").strip() == ""
    user("delete", "pod", "box", "--now")


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_large_folder_is_copied_both_ways(real_user, tmp_path):
    source, back = tmp_path / "source", tmp_path / "back"
    made = random.Random(7)
    for number in range(FILES):
        path = source / f"d{number % 40}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made.randbytes(BYTES // FILES))
    real_user("run", "box", "--image=busybox", "--command", "--", "sleep", "1000")
    real_user("wait", "--for=condition=Ready", "pod/box", "--timeout=30s")
    real_user("cp", str(source), "box:/there")
    assert real_user("exec", "box", "--", "sh", "-c", "find /there -type f | wc -l").strip() == str(FILES)  # fmt: skip
    real_user("cp", "box:/there", str(back))
    assert tree(back) == tree(source)
    real_user("delete", "pod", "box", "--now")


@contextmanager
def speaking(process: subprocess.Popen[str], pattern: str) -> Iterator[str]:
    """What a process that stays says first, and its end afterwards."""
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(pattern, line)
        assert found, line
        yield found[1]
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def fetched(connection: http.client.HTTPConnection, path: str) -> str:
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


@pytest.fixture
def web(real_user) -> Kubectl:
    command = "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 8080 -h /www"
    real_user("create", "deployment", "web", "--image=busybox", "--port=8080", "--", "sh", "-c", command)  # fmt: skip
    real_user("expose", "deployment", "web", "--port=80", "--target-port=8080")
    real_user("rollout", "status", "deployment/web", "--timeout=30s")
    slices = ("endpointslice", "-l", "kubernetes.io/service-name=web")
    real_user("wait", "--for=jsonpath={.endpoints[0].conditions.ready}=true", *slices, "--timeout=30s")  # fmt: skip
    return real_user


@pytest.mark.parametrize("to", ["deployment/web", "service/web"])
def test_a_port_is_forwarded(web, to):
    port = "80" if to.startswith("service") else "8080"
    with speaking(web.start("port-forward", to, f":{port}"), r"127.0.0.1:(\d+) ->") as local:
        for _ in range(3):
            assert fetched(http.client.HTTPConnection("127.0.0.1", int(local), 20), "/") == "hello\n"  # fmt: skip


class Unix(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=20)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def test_a_proxy_on_a_port_and_on_a_socket(web, tmp_path):
    base = f"/api/v1/namespaces/{web.namespace}"
    with speaking(
        web.start("proxy", "--port=0", "--reject-paths=^/nothing"), r"127.0.0.1:(\d+)"
    ) as port:
        connection = http.client.HTTPConnection("127.0.0.1", int(port), 20)
        assert '"kind":"PodList"' in fetched(connection, f"{base}/pods")
        assert fetched(connection, f"{base}/services/web:80/proxy/") == "hello\n"
        through = ("--kubeconfig=/dev/null", f"--server=http://127.0.0.1:{port}", "-n", web.namespace)  # fmt: skip
        assert web(*through, "exec", "deploy/web", "-i", "--", "cat", stdin="through") == "through"
    path = os.path.relpath(tmp_path / "s")
    with speaking(web.start("proxy", f"--unix-socket={path}"), r"on (\S+)"):
        assert '"major":"1"' in fetched(Unix(path), "/version").replace(" ", "")
