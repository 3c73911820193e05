"""A kube-apiserver of the release that go.mod names, with the distribution's etcd, both on one core.

Built once into the user's cache folder; `KUBE_APISERVER` names one that is there already.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from bench.api import etcd
from bench.api.clients import SERVER, H2load, Wrk, on_core
from bench.api.watchers import trusting
from tests.cloud import free_port

HERE = Path(__file__).parent
TOKEN = "bench-token"
PROGRAM = "k8s.io/kubernetes/cmd/kube-apiserver"
VERSION = "k8s.io/component-base/version"
TOOLCHAIN = "go1.27.3"


class CannotBuild(Exception):
    pass


def program() -> Path:
    """kube-apiserver, built now if it has to be. Raises CannotBuild."""
    if given := os.environ.get("KUBE_APISERVER"):
        return Path(given)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jindou" / "bench"
    built = cache / "kube-apiserver"
    stamp = (HERE / "go.sum").stat().st_mtime
    if built.exists() and built.stat().st_mtime > stamp:
        return built
    go = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
    if go is None:
        raise CannotBuild("kube-apiserver is not here, and neither is Go to build it")
    cache.mkdir(parents=True, exist_ok=True)
    print(f"building kube-apiserver into {cache}; this takes minutes, once", flush=True)
    done = subprocess.run(
        [go, "build", f"-ldflags=-s -w -X {VERSION}.gitVersion={release()}", "-o", str(built), PROGRAM],
        cwd=HERE, env={**os.environ, "GOTOOLCHAIN": TOOLCHAIN}, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise CannotBuild(f"kube-apiserver could not be built: {done.stderr.strip()[-200:]}")
    os.utime(built)
    return built


def release() -> str:
    """Of Kubernetes, as go.mod has it."""
    lines = (HERE / "go.mod").read_text().splitlines()
    return next(line.split()[-1] for line in lines if line.startswith("require k8s.io/kubernetes "))


def key(path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path.write_bytes(
        made.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )


class Kubernetes:
    """As `bench.api.ours.Ours`: a port, a token and clients."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.token, self.port = folder, TOKEN, free_port()
        self._stack = contextlib.ExitStack()
        try:
            self._start(program(), self._stack.enter_context(etcd.running(folder)))
        except BaseException:
            self._stack.close()
            raise
        base = f"https://127.0.0.1:{self.port}"
        self.wrk, self.h2load = Wrk(folder, TOKEN, base), H2load(folder, TOKEN, base)

    def _start(self, server: Path, store: int) -> None:
        account, users = self.folder / "account.key", self.folder / "users.csv"
        key(account)
        users.write_text(f'{TOKEN},bench,bench,"system:masters"\n')
        words = [
            f"--etcd-servers=http://127.0.0.1:{store}", "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1", f"--secure-port={self.port}",
            f"--cert-dir={self.folder / 'certificates'}", f"--service-account-key-file={account}",
            f"--service-account-signing-key-file={account}", f"--token-auth-file={users}",
            "--service-account-issuer=https://kubernetes.default.svc", "--authorization-mode=Node,RBAC",
            "--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none",
        ]  # fmt: skip
        with on_core(SERVER), open(self.folder / "log", "w") as log:
            self._process = subprocess.Popen([str(server), *words], stdout=log, stderr=log)
        self._stack.callback(self._stop)
        self._wait()
        account_of_pods = {"metadata": {"name": "default"}}
        self.ask("POST", "/api/v1/namespaces/default/serviceaccounts", account_of_pods)

    def _wait(self) -> None:
        for _ in range(600):
            assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
            with contextlib.suppress(OSError, AssertionError, http.client.HTTPException):
                self.ask("GET", "/readyz")
                self.ask("GET", "/api/v1/namespaces/default")
                return
            time.sleep(0.2)
        raise AssertionError("kube-apiserver does not become ready")

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, context=trusting(False), timeout=120
        )
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            data = answer.read()
            assert answer.status < 400, data
            return json.loads(data) if data[:1] == b"{" else data
        finally:
            connection.close()

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def end(self) -> None:
        self._stack.close()
