"""metrics.k8s.io: rates out of counters, and the answers that kubectl top reads."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jindou.control.api.metrics.samples import (
    NODE,
    Counters,
    Look,
    Used,
    base_of,
    duration,
    kept,
    parse,
    rates,
)
from jindou.control.api.metrics.source import Metrics
from jindou.objects.errors import Unavailable
from jindou.transport import Peer
from tests.control.apis import on_api

TEXT = """# HELP node_cpu_usage_seconds_total Cumulative
node_cpu_usage_seconds_total {cpu}
node_memory_working_set_bytes 1048576
container_cpu_usage_seconds_total{{container="c",namespace="default",pod="p"}} {used}
container_memory_working_set_bytes{{container="c",namespace="default",pod="p"}} 2.5e+06
container_start_time_seconds{{container="c",namespace="default",pod="p"}} 5
resource_scrape_error 0
"""
SOMEBODY = Peer("127.0.0.1:2", "somebody")
PLACE = ("default", "p", "c")


def test_the_text_of_a_node_is_read():
    assert parse(TEXT.format(cpu=12.5, used=3)) == {
        NODE: Counters(12.5, 1048576.0),
        PLACE: Counters(3.0, 2.5e6, 5.0),
    }
    assert parse('container_cpu_usage_seconds_total{pod="a\\"b",container="c"} 1 1700000') == {
        ("", 'a\\"b', "c"): Counters(1.0)
    }


def test_a_rate_is_of_the_time_between_or_since_the_start():
    before = Look(100.0, {NODE: Counters(10.0), PLACE: Counters(9.0, 1.0, 5.0)})
    after = Look(110.0, {NODE: Counters(15.0), PLACE: Counters(2.0, 4096.0, 106.0)})
    assert dict(rates(before, after)) == {NODE: Used(0.5, 0.0), PLACE: Used(0.5, 4096.0)}
    assert Used(0.25, 3072.0).amounts() == {"cpu": "250m", "memory": "3Ki"}
    assert Used(0.0000001234, 10.0).amounts() == {"cpu": "123n", "memory": "10"}


def test_looks_are_kept_apart_and_forgotten():
    looks: list[Look] = []
    for at in (0.0, 15.0, 30.0, 32.0, 34.0, 200.0):
        looks = kept(looks, Look(at, {}))
        if at == 34.0:
            assert [look.at for look in looks] == [0.0, 15.0, 30.0, 34.0]
            assert base_of(looks) == Look(15.0, {})
    assert [look.at for look in looks] == [200.0]
    assert base_of(looks) is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(15.302, "15.302s"), (1.0, "1s"), (62.5, "1m2.5s"), (0.5, "0.5s")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


class PlayedNodes:
    def __init__(self) -> None:
        self.now = 1000.0
        self.asked: list[str] = []

    async def read(self, node: str, path: str) -> bytes:
        assert path == "/metrics/resource"
        self.asked.append(node)
        await asyncio.sleep(0)
        if node == "silent":
            raise Unavailable("no")
        return TEXT.format(cpu=self.now * 0.5, used=self.now * 0.25).encode()

    async def pause(self, seconds: float) -> None:
        self.now += seconds


async def cluster(api: Any) -> tuple[Metrics, PlayedNodes]:
    nodes = PlayedNodes()
    metrics = Metrics(api.server.engine, nodes.read, lambda: nodes.now, nodes.pause)
    api.server.handler._metrics = metrics
    for name in ("here", "silent"):
        await api.ask("POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": {"n": name}}})
    url = "/api/v1/namespaces/default"
    await api.ask("POST", f"{url}/serviceaccounts", {"metadata": {"name": "default"}})
    for name, node in (("p", "here"), ("q", "silent"), ("late", "here")):
        spec = {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}
        meta = {"name": name, "labels": {"app": name}}
        await api.ask("POST", f"{url}/pods", {"metadata": meta, "spec": spec})
        if name != "late":
            running = {"status": {"phase": "Running"}}
            patch = "application/merge-patch+json"
            await api.ask("PATCH", f"{url}/pods/{name}/status", running, content_type=patch)
    return metrics, nodes


def test_lists_objects_selectors_and_tables():
    async def scenario(api):
        _, nodes = await cluster(api)
        base = "/apis/metrics.k8s.io/v1beta1"
        told = (await api.ask("GET", f"{base}/nodes")).json
        assert told["kind"] == "NodeMetricsList"
        (node,) = told["items"]
        assert node["usage"] == {"cpu": "500m", "memory": "1Mi"}
        assert node["window"] == "1s"
        assert node["metadata"]["labels"] == {"n": "here"}
        nodes.now += 15
        (pod,) = (await api.ask("GET", f"{base}/pods")).json["items"]
        assert pod["containers"] == [{"name": "c", "usage": {"cpu": "250m", "memory": "2500000"}}]
        assert pod["window"] == "16s"
        one = await api.ask("GET", f"{base}/namespaces/default/pods/p")
        assert one.json["metadata"]["name"] == "p"
        v1 = await api.ask("GET", "/apis/metrics.k8s.io/v1/namespaces/default/pods/p")
        assert v1.json["apiVersion"] == "metrics.k8s.io/v1"
        gone = await api.ask("GET", f"{base}/namespaces/default/pods/zz")
        assert gone.status == 404
        assert gone.json["message"] == 'pods.metrics.k8s.io "default/zz" not found'
        none = await api.ask("GET", f"{base}/pods?labelSelector=app%3Dx")
        assert none.json["items"] == []
        wrong = await api.ask("GET", f"{base}/pods?fieldSelector=spec.nodeName%3Dhere")
        assert wrong.status == 400
        table = "application/json;as=Table;v=v1;g=meta.k8s.io"
        shown = (await api.ask("GET", f"{base}/nodes", accept=table)).json
        assert [row["cells"] for row in shown["rows"]] == [["here", "500m", "1Mi", "16s"]]
        assert (await api.ask("POST", f"{base}/nodes", {})).status == 405
        assert (await api.ask("GET", f"{base}/nodes", peer=SOMEBODY)).status == 403

    on_api(scenario)


def test_nobody_is_asked_before_somebody_asks_and_once_for_many():
    async def scenario(api):
        metrics, nodes = await cluster(api)
        assert nodes.asked == []
        pods = api.server.registry.by_url("metrics.k8s.io", "v1beta1", "pods")
        told = await asyncio.gather(*(metrics.find(pods, "default") for _ in range(5)))
        assert all(len(one) == 1 for one in told)
        assert sorted(nodes.asked) == ["here", "here", "silent"]
        await metrics.find(pods, "default", fields="metadata.name=p")
        assert nodes.asked.count("here") == 2

    on_api(scenario)


def test_a_node_that_never_ends_its_answer_is_left_out_like_a_silent_one():
    async def scenario(api):
        _, nodes = await cluster(api)

        async def read(node: str, path: str) -> bytes:
            if node == "silent":
                await asyncio.Event().wait()
            return await nodes.read(node, path)

        metrics = Metrics(api.server.engine, read, lambda: nodes.now, nodes.pause, patience=0.05)
        kind = api.server.registry.by_url("metrics.k8s.io", "v1beta1", "nodes")
        async with asyncio.timeout(10):
            assert [node["metadata"]["name"] for node in await metrics.find(kind, "")] == ["here"]

    on_api(scenario)


def test_it_is_discovered_and_read_in_process():
    async def scenario(api):
        await cluster(api)
        group = (await api.ask("GET", "/apis/metrics.k8s.io")).json
        assert [v["version"] for v in group["versions"]] == ["v1", "v1beta1"]
        listed = (await api.ask("GET", "/apis/metrics.k8s.io/v1beta1")).json["resources"]
        assert {(r["name"], r["kind"], r["namespaced"]) for r in listed} == {
            ("nodes", "NodeMetrics", False),
            ("pods", "PodMetrics", True),
        }
        document = await api.ask("GET", "/openapi/v3/apis/metrics.k8s.io/v1beta1")
        assert "io.k8s.metrics.v1beta1.PodMetrics" in document.json["components"]["schemas"]

    on_api(scenario)
