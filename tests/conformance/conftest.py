"""One cloud with a pretended machine for all tests of this folder; or another cluster, to test the tests.

CONFORMANCE_KUBECONFIG names a cluster to ask instead of our own: run against a kube-apiserver, a
test that fails there is a wrong test. What only a cluster with controllers and nodes can show takes
the fixture `whole`, and is left out there.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud import Cloud, settings_for
from tests.conformance.desk import Desk
from tests.conformance.wire import Api
from tests.hooks import Hooks

ORIGINAL = os.environ.get("CONFORMANCE_KUBECONFIG", "")


@pytest.fixture(scope="session")
def kubeconfig() -> Iterator[str]:
    if ORIGINAL:
        yield ORIGINAL
        return
    folder = Path(tempfile.mkdtemp(prefix="jin"))  # short: paths of Unix sockets end at 108 bytes
    made = Cloud(settings_for(folder, pretend=True))
    try:
        made.start()
        made.wait_until_ready()
        yield made.kubeconfig
    finally:
        made.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def api(kubeconfig: str) -> Iterator[Api]:
    """The cluster, as its administrator."""
    made = Api.of_kubeconfig(kubeconfig)
    yield made
    made.close()


@pytest.fixture
def ns(api: Api) -> Iterator[str]:
    """The name of a fresh namespace that Pods can be created in."""
    name = api.make("/api/v1/namespaces", {"metadata": {"generateName": "t-"}})["metadata"]["name"]
    account = {"metadata": {"name": "default"}}
    answer = api.ask("POST", f"/api/v1/namespaces/{name}/serviceaccounts", account)
    assert answer.code in (201, 409), answer
    yield name
    api.ask("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def desk(api: Api, ns: str, tmp_path: Path) -> Iterator[Desk]:
    """A webhook server of the test's own, and its configurations."""
    with Hooks(tmp_path, f"hook.{ns}.svc") as hooks:
        made = Desk(api, ns, hooks)
        yield made
        made.clean()


@pytest.fixture(scope="session")
def whole() -> None:
    if ORIGINAL:
        pytest.skip("needs controllers and a node")


@pytest.fixture(scope="session")
def controlled() -> None:
    """What controllers show without a node; CONFORMANCE_CONTROLLERS says that the other cluster has them."""
    if ORIGINAL and not os.environ.get("CONFORMANCE_CONTROLLERS"):
        pytest.skip("needs controllers")
