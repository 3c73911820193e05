"""Reads, revisions and watches."""

from __future__ import annotations

from tests.conformance.wire import Api


def test_01_one_revision_counts_the_whole_store(api: Api, ns: str) -> None:
    before = int(api.get(f"/api/v1/namespaces/{ns}/configmaps")["metadata"]["resourceVersion"])
    made = api.make(f"/api/v1/namespaces/{ns}/secrets", {"metadata": {"name": "a"}})
    after = api.get(f"/api/v1/namespaces/{ns}/configmaps")["metadata"]["resourceVersion"]
    assert before < int(made["metadata"]["resourceVersion"]) <= int(after)
