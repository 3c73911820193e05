"""One real cloud for all tests of this folder: made once, taken away without a trace at the end."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud import Cloud, settings_for


def make(cloud: Cloud, name: str) -> None:
    """Make a base image from packages; fails with what the node said."""
    path = f"/api/v1/nodes/here/proxy/images/bootstrap?name={name}"
    last = list(cloud.api.lines("POST", path))[-1]
    assert "image" in last, last


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    folder = Path(tempfile.mkdtemp(prefix="jin"))  # short: paths of Unix sockets end at 108 bytes
    made = Cloud(settings_for(folder))
    try:
        made.start()
        made.wait_until_ready()
        make(made, "busybox")
        made.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=20s")
        yield made
    finally:
        made.end()
        shutil.rmtree(folder)


@pytest.fixture
def namespace(cloud, request) -> Iterator[str]:
    """A fresh namespace, with its service account there, deleted with all in it afterwards."""
    name = request.node.name.lower().replace("_", "-").replace("[", "-").replace("]", "")[:50]
    name = name.strip("-")
    cloud.kubectl("create", "namespace", name)
    cloud.kubectl("-n", name, "wait", "--for=create", "serviceaccount/default", "--timeout=20s")
    yield name
    cloud.kubectl("delete", "namespace", name, "--timeout=60s")
