"""Every command that README and the pages for users show is run, on a pretended cloud, in this order."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jindou.cli.configuration import as_environment
from tests.cloud import settings_for

ROOT = Path(__file__).parent.parent.parent
PAGES = ("README.md", "docs/how/use.md", "docs/how/extend.md")
NAME = "jindocs"
# What a page shows -> what is run here: "" where other tests run it for real.
SHOWN = {
    "make up": "",  # .ci/run
    "make test": "",
    "jindou up": "",  # tests/end_to_end/test_cli.py
    "jindou up --plan": "jindou up --pretend --plan",
    "jindou up --pretend": "jindou up --pretend",
    "jindou up --deploy PATH": f"jindou up --pretend --deploy {ROOT}/examples/guestbook",
    "jindou up --api-port 7443": "",  # tests/cli/test_configuration.py
    "jindou status": "jindou status",
    "jindou status -o json": "jindou status -o json",
    "jindou doctor": "jindou doctor clients jindou storage security",
    'eval "$(jindou env kubectl)"': 'eval "$(jindou env kubectl)" && kubectl get nodes',
    'eval "$(jindou env kubectl --unset)"': 'eval "$(jindou env kubectl --unset)"',
    "jindou kubeconfig": "jindou kubeconfig",
    "kubectl --context jindou get pods -A": f"kubectl --context {NAME} get pods -A",
    "kubectl --context jindou run shell --image=busybox --restart=Never -it --rm -- sh":
        f"kubectl --context {NAME} run shell --image=busybox --restart=Never",
    "kubectl describe": "kubectl wait --for=condition=Ready pod/shell --timeout=30s && kubectl describe pod shell",
    "kubectl apply -f shelves.yaml": "kubectl apply -f shelves.yaml",
    "kubectl wait --for=condition=Established crd/shelves.example.com":
        "kubectl wait --for=condition=Established crd/shelves.example.com",
    "kubectl explain shelf.spec": "kubectl explain shelf.spec | grep room",
    "kubectl apply -f policy.yaml": "kubectl apply -f policy.yaml",
    "kubectl create configmap ours --from-literal=a=b":
        "kubectl create configmap ours --from-literal=a=b 2>&1 | grep 'who owns ours?'",
    "kubectl get validatingadmissionpolicy owner -o jsonpath={.status}":
        "kubectl get validatingadmissionpolicy owner -o jsonpath={.status}",
    "kubectl delete -f policy.yaml": "kubectl delete -f policy.yaml",
    "kubectl apply -f webhook.yaml": "kubectl apply -f webhook.yaml && kubectl create configmap ours",
    "kubectl get validatingwebhookconfigurations": "kubectl get validatingwebhookconfigurations",
    "kubectl delete -f webhook.yaml": "kubectl delete -f webhook.yaml",
    "kubectl get apiservices": "kubectl get apiservices",
    "jindou why pod/NAME": "jindou why pod/shell",
    "jindou why CODE": "jindou why JD-NET-101",
    "jindou logs server": "jindou logs server",
    "jindou logs node": "jindou logs node",
    "jindou help exit-codes": "jindou help exit-codes",
    "source <(jindou completion bash)": "source <(jindou completion bash)",
    "jindou image bootstrap debian": "jindou image bootstrap debian",
    "jindou image bootstrap busybox debian": "jindou image bootstrap busybox debian --force",
    "jindou image export NAME FILE": "jindou image export busybox app.tar",
    "jindou image import app.tar": "jindou image import app.tar",
    "jindou backup FILE": "jindou backup nightly.tar.gz",
    "jindou restore FILE": "jindou restore nightly.tar.gz --yes",
    "jindou down": "jindou down",
    "jindou uninstall": "jindou uninstall --yes",
    "jindou uninstall --purge": "jindou uninstall --purge --confirm $(hostname)",
}  # fmt: skip


def shown() -> set[str]:
    found = set()
    for page in PAGES:
        text = (ROOT / page).read_text()
        for block in re.findall(r"```sh\n(.*?)```", text, re.S):
            found |= {line.partition(" #")[0].strip() for line in block.splitlines()}
        text = re.sub(r"```.*?```", "", text, flags=re.S)
        for code in re.findall(r"`([^`]+)`", " ".join(text.split())):
            if re.match(r"(jindou|make|kubectl|eval|source) ", code):
                found.add(code)
    return found - {""}


def files_shown(folder: Path) -> None:
    """Those whose YAML begins with their name."""
    for page in PAGES:
        for name, text in re.findall(
            r"```yaml\n# (\S+)\n(.*?)```", (ROOT / page).read_text(), re.S
        ):
            (folder / name).write_text(text)


def test_every_command_shown_is_known_here():
    assert shown() == SHOWN.keys()


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    folder = Path(tempfile.mkdtemp(prefix="jin"))
    settings = settings_for(folder, 8)._replace(name=NAME, pretend=True)
    (folder / "home").mkdir()
    (folder / "bin").mkdir()
    program = folder / "bin" / "jindou"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m jindou "$@"\n')
    program.chmod(0o755)
    made = {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "HOME": str(folder / "home"),
        "SHELL": "/bin/bash",
        "JINDOU_CONFIG": str(folder / "config.toml"),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        **as_environment(settings),
    }
    try:
        yield made
        assert not Path(settings.data).exists(), "uninstall --purge left the data"
        left = [
            path
            for path in (folder / "home").rglob("*")
            if path.is_file() and "cache" not in str(path)
        ]
        assert left == []
    finally:
        subprocess.run([program, "uninstall", "--purge", "--confirm", os.uname().nodename], env=made, capture_output=True)  # fmt: skip
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_every_command_shown_works(environment):
    files_shown(Path(environment["HOME"], ".."))
    for page, command in SHOWN.items():
        if not command:
            continue
        done = subprocess.run(
            ["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=120,
            cwd=environment["HOME"] + "/..", stdin=subprocess.DEVNULL,
        )  # fmt: skip
        told = f"{page}: {command}\n{done.stdout}{done.stderr}"
        assert done.returncode == 0, told
        assert "Traceback" not in done.stderr, told
