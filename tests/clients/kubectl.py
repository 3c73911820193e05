"""One kubectl program in one namespace of a cloud, with a home of its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.cloud import Cloud


class Kubectl:
    def __init__(self, program: str, cloud: Cloud, namespace: str, home: Path) -> None:
        self.program, self.cloud, self.namespace, self.home = program, cloud, namespace, home
        document = yaml.safe_load(Path(cloud.kubeconfig).read_text())
        document["contexts"][0]["context"]["namespace"] = namespace
        self.config = home / "config"
        self.config.write_text(yaml.safe_dump(document))
        (home / "bin").mkdir(exist_ok=True)
        (home / "bin" / "kubectl").symlink_to(program)
        self.environment = {
            "PATH": f"{home}/bin:{os.environ['PATH']}",
            "HOME": str(home),
            "KUBECONFIG": str(self.config),
            "NS": namespace,
            "NODE": cloud.settings.node,
        }

    def run(self, *words: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, *words], input=stdin, capture_output=True, text=True, timeout=120,
            env=self.environment | more,
        )  # fmt: skip

    def __call__(self, *words: str, stdin: str = "", **more: str) -> str:
        done = self.run(*words, stdin=stdin, **more)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}{done.stdout}"
        return done.stdout

    def read(self, *words: str) -> Any:
        return json.loads(self("get", *words, "-o", "json"))

    def start(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.program, *words], stdout=subprocess.PIPE, text=True, env=self.environment, **more
        )
