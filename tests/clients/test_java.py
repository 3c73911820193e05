"""fabric8's client for Java, in a program of our own: writes, watches, informers, leaders, streams."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.toolchains import fetched, folder, left_out, need

pytestmark = pytest.mark.slow
CLIENT = "fabric8"
SOURCE = Path(__file__).parent / "java"


@pytest.fixture(scope="session")
def classpath() -> str:
    """Maven finds the libraries once for each `pom.xml`; what is compiled lies beside them."""
    _, javac, mvn = need(CLIENT, "java", "javac", "mvn")
    pom = (SOURCE / "pom.xml").read_bytes()
    made = folder(f"java-{hashlib.sha256(pom).hexdigest()[:12]}")
    done = made / "fetched"
    if not done.exists():
        shutil.copy(SOURCE / "pom.xml", made)
        fetched(
            CLIENT, mvn, "--batch-mode", "--quiet", "dependency:copy-dependencies",
            "-DoutputDirectory=libraries", "-DincludeScope=runtime", cwd=made,
        )  # fmt: skip
        done.touch()
    built = subprocess.run(
        [javac, "--release", "17", "-proc:none", "-encoding", "UTF-8", "-d", made / "classes",
         "-cp", made / "libraries" / "*", *SOURCE.glob("clients/*.java")],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if "release version 17 not supported" in built.stderr:
        raise left_out(CLIENT, "a JDK before 17")
    assert built.returncode == 0, built.stderr
    return f"{made}/classes:{made}/libraries/*"


def run(classpath: str, part: str, kubeconfig: str, namespace: str) -> None:
    java, *_ = need(CLIENT, "java")
    done = subprocess.run(
        [java, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
         "-cp", classpath, "clients.Main", part, namespace],
        env={"KUBECONFIG": kubeconfig, "HOME": str(SOURCE)}, capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "all was so\n"), done.stdout + done.stderr


@pytest.mark.parametrize("part", ["objects", "watches", "gadgets", "leaders"])
def test_fabric8(classpath, pretended, namespace, part):
    run(classpath, part, pretended.kubeconfig, namespace)


@pytest.mark.root
def test_exec_logs_files_and_a_forwarded_port(classpath, real, real_namespace):
    run(classpath, "streams", real.kubeconfig, real_namespace)
