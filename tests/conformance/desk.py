"""Webhook configurations of a test: for its own namespace only, in force when they are made, gone with it."""

from __future__ import annotations

import time
from typing import Any

from tests.conformance.wire import PATIENCE, Answer, Api
from tests.hooks import Hooks, deny

BASE = "/apis/admissionregistration.k8s.io/v1"
BOTH = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations")


def by_administrator(review: Any) -> bool:
    """What the cluster's own controllers write is nothing that a test counts with."""
    return bool(review["request"]["userInfo"]["username"] == "kubernetes-admin")


class Desk:
    """Configurations that go with the test, each for one namespace only."""

    def __init__(self, api: Api, ns: str, hooks: Hooks) -> None:
        self.api, self.ns, self.hooks = api, ns, hooks
        self.maps = f"/api/v1/namespaces/{ns}/configmaps"
        hooks.mine = by_administrator

    def hook(self, path: str, *resources: str, **more: Any) -> dict[str, Any]:
        rule = {
            "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": list(resources or ("configmaps",)),
        }  # fmt: skip
        return {
            "name": f"{path.strip('/')}.hooks.test", "rules": [rule], "clientConfig": self.hooks.config(path),
            "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.ns}}, **more,
        }  # fmt: skip

    def configure(self, sort: str, *hooks: dict[str, Any], name: str = "a") -> None:
        """Returns when it is in force: until then a probe, in a dry run, is not answered by ours."""
        probe = self.hook("/probe", "configmaps", name="probe.hooks.test")
        probe["objectSelector"] = {"matchLabels": {"probe": "yes"}}
        self.hooks["/probe"] = lambda review: deny(review, "in force")
        body = {
            "metadata": {"name": f"{self.ns}-{name}", "labels": {"of": self.ns}},
            "webhooks": [probe, *hooks],
        }
        self.api.make(f"{BASE}/{sort}webhookconfigurations", body)
        asked = len(self.hooks.seen["/probe"])
        end = time.monotonic() + PATIENCE
        while len(self.hooks.seen["/probe"]) == asked:
            assert time.monotonic() < end, "the configuration is not in force"
            labels = {"probe": "yes"}
            self.make("probe", labels=labels, dryRun="All")
            if len(self.hooks.seen["/probe"]) == asked:
                time.sleep(0.05)

    def make(
        self, name: str = "", labels: Any = None, data: Any = None, generate: str = "", **query: Any
    ) -> Answer:
        meta = {"name": name} if name else {"generateName": generate}
        if labels:
            meta["labels"] = labels
        body = {"metadata": meta, **({"data": data} if data else {})}
        return self.api.ask("POST", self.maps, body, **query)

    def asked(self, path: str) -> Any:
        """The request of the last review that came there."""
        return self.hooks.seen[path][-1]["request"]

    def clean(self) -> None:
        for plural in BOTH:
            self.api.ask("DELETE", f"{BASE}/{plural}", labelSelector=f"of={self.ns}")
