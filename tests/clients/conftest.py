"""Two clouds for all clients, a namespace for each test, and what was left out said at the end."""

from __future__ import annotations

import gc
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.kubectl import Kubectl
from tests.clients.toolchains import LEFT_OUT, kubectl
from tests.cloud import Cloud, settings_for


def running(*images: str, pretend: bool) -> Iterator[Cloud]:
    folder = Path(tempfile.mkdtemp(prefix="jin"))  # short: paths of Unix sockets end at 108 bytes
    made = Cloud(settings_for(folder, pretend=pretend))
    try:
        made.start()
        made.wait_until_ready()
        for image in images:
            path = f"/api/v1/nodes/here/proxy/images/bootstrap?name={image}"
            last = list(made.api.lines("POST", path))[-1]
            assert "image" in last, last
        yield made
    finally:
        made.end()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def pretended() -> Iterator[Cloud]:
    """A cloud whose machine is faked: for clients that need no real container."""
    yield from running(pretend=True)


@pytest.fixture(scope="session")
def real() -> Iterator[Cloud]:
    yield from running("busybox", pretend=False)


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What a client left open is complained of in the test that used it."""
    yield
    gc.collect()


def named(request: pytest.FixtureRequest) -> str:
    """A namespace's name from the test's."""
    return re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:60].strip("-")


def namespace_in(cloud: Cloud, name: str) -> Iterator[str]:
    cloud.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    cloud.api.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def namespace(pretended: Cloud, request: pytest.FixtureRequest) -> Iterator[str]:
    yield from namespace_in(pretended, named(request))


@pytest.fixture
def real_namespace(real: Cloud, request: pytest.FixtureRequest) -> Iterator[str]:
    yield from namespace_in(real, named(request))


@pytest.fixture(params=["installed", "fetched"])
def which(request: pytest.FixtureRequest) -> str:
    """Which kubectl: the matrix of versions."""
    return str(request.param)


@pytest.fixture
def user(pretended: Cloud, namespace: str, which: str, tmp_path: Path) -> Kubectl:
    return Kubectl(kubectl(which), pretended, namespace, tmp_path)


@pytest.fixture
def real_user(real: Cloud, real_namespace: str, which: str, tmp_path: Path) -> Kubectl:
    return Kubectl(kubectl(which), real, real_namespace, tmp_path)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = {
        str(report.longrepr[2]).partition(LEFT_OUT)[2]
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple) and LEFT_OUT in str(report.longrepr[2])
    }
    if reasons:
        terminalreporter.write_line(f"clients: left out: {', '.join(sorted(reasons))}")
