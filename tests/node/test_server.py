"""The node's endpoint over real sockets: who may ask, what is answered, images and their progress."""

from __future__ import annotations

import asyncio
import json

import pytest

from jindou.control.api.access import certificates
from jindou.control.api.access.certificates import Leaf
from jindou.machine.images import Image, ImageError, Progress
from jindou.node.endpoint.server import NodeServer, log_wish, not_allowed, stream_options
from jindou.node.streams import Options
from jindou.objects.errors import BadRequest
from jindou.settings import Settings
from jindou.transport import Peer
from jindou.transport.client import Pool
from jindou.transport.server import listening, serve
from jindou.transport.tls import client_context, server_context
from tests.node.endpoint import NoImages, OnePod, ProcessRuntime, serving


class Images(NoImages):
    def __init__(self):
        self.held = {"busybox": Image("sha256:1", ("docker.io/library/busybox:latest",), {}, 100)}
        self.calls = []

    def find(self, name):
        return self.held.get(name)

    def all(self):
        return list(self.held.values())

    async def delete(self, name):
        if name not in self.held:
            raise ImageError(f"{name} is not here", missing=True)
        del self.held[name]

    async def bootstrap(self, name, force=False):
        self.calls.append(("bootstrap", name, force))
        yield Progress("packages", 1, 2, "libc6")
        if name == "bad":
            raise ImageError("no such recipe")
        self.held[name] = Image("sha256:2", (name,), {}, 5)

    async def load(self, path):
        self.calls.append(("load", str(path)))
        yield Progress("unpack", 1, 1, "busybox")

    async def save(self, reference, path, form="oci"):
        self.calls.append(("save", reference, str(path), form))
        yield Progress("write", 1, 1)


def on_endpoint(tmp_path, scenario, **parts):
    async def main():
        async with serving(tmp_path, **parts) as (port, _runtime, containers):
            pool = Pool()

            async def ask(method, path):
                answer = await pool.request(method, f"http://127.0.0.1:{port}{path}")
                return answer.status, (await answer.read()).decode()

            try:
                await asyncio.wait_for(scenario(ask, containers), 20)
            finally:
                pool.close()

    asyncio.run(main())


def test_paths_answer_as_the_kubelets_do(tmp_path):
    async def scenario(ask, containers):
        assert await ask("GET", "/healthz") == (200, "ok")
        assert (await ask("GET", "/nothing"))[0] == 404
        _status, text = await ask("GET", "/pods")
        held = json.loads(text)
        assert (held["kind"], held["items"][0]["metadata"]["name"]) == ("PodList", "web")
        assert await ask("GET", "/containerLogs/default/none/main") == (
            404, 'pod "none" does not exist\n',
        )  # fmt: skip
        assert await ask("GET", "/containerLogs/default/web/main?previous=true") == (
            400, 'previous terminated container "main" in pod "web" not found\n',
        )  # fmt: skip
        assert (await ask("GET", "/containerLogs/default/web/main?tailLines=x"))[0] == 400
        assert await ask("GET", "/containerLogs/default/web/main") == (200, "")
        assert await ask("GET", "/stop") == (405, "405: Method Not Allowed\n")
        assert await ask("POST", "/stop") == (200, '{"stopped":1}')
        assert containers.stopped

    on_endpoint(tmp_path, scenario)


def test_logs_by_every_parameter(tmp_path):
    (tmp_path / "0.log").write_text(
        "2026-01-01T00:00:00.5Z stdout F one\n2026-01-02T00:00:00.5Z stderr F two\n"
    )

    async def scenario(ask, containers):
        path = "/containerLogs/default/web/main?"
        assert await ask("GET", path + "tailLines=1&timestamps=true") == (
            200,
            "2026-01-02T00:00:00.5Z two\n",
        )
        assert await ask("GET", path + "sinceTime=2026-01-01T12:00:00Z") == (200, "two\n")
        assert await ask("GET", path + "stream=Stdout&limitBytes=2") == (200, "on")
        containers.runs = False
        assert await ask("GET", path + "follow=true") == (200, "one\ntwo\n")

    on_endpoint(tmp_path, scenario)


def test_figures_in_the_kubelets_forms(tmp_path):
    async def scenario(ask, containers):
        _, text = await ask("GET", "/stats/summary")
        summary = json.loads(text)
        assert summary["node"]["nodeName"] == "here"
        assert summary["node"]["cpu"]["usageCoreNanoSeconds"] > 0
        pod = summary["pods"][0]
        assert pod["podRef"] == {"name": "web", "namespace": "default", "uid": "u1"}
        container = pod["containers"][0]
        assert container["cpu"]["usageCoreNanoSeconds"] == 1_500_000_000
        assert container["memory"]["workingSetBytes"] == 800
        assert container["rootfs"]["usedBytes"] == 4096
        _, text = await ask("GET", "/metrics/resource")
        assert (
            'container_cpu_usage_seconds_total{container="main",namespace="default",pod="web"} 1.5\n'
            in text
        )
        assert 'pod_memory_working_set_bytes{namespace="default",pod="web"} 800\n' in text
        assert "# TYPE node_memory_working_set_bytes gauge\n" in text
        _status, text = await ask("GET", "/metrics/cadvisor")
        assert "container_memory_working_set_bytes{" in text
        assert (await ask("GET", "/metrics"))[0] == 404

    on_endpoint(tmp_path, scenario)


def test_images_and_the_jobs_that_tell_their_progress(tmp_path):
    images = Images()

    async def scenario(ask, containers):
        status, text = await ask("GET", "/images")
        busybox = {"names": ["docker.io/library/busybox:latest"], "digest": "sha256:1", "size": 100}
        assert (status, json.loads(text)) == (200, {"images": [busybox]})
        status, text = await ask("POST", "/images/bootstrap?name=debian&force=true")
        lines = [json.loads(line) for line in text.splitlines()]
        assert lines == [
            {"step": "packages", "done": 1, "total": 2, "detail": "libc6"},
            {"image": {"names": ["debian"], "digest": "sha256:2", "size": 5}},
        ]
        status, text = await ask("POST", "/images/bootstrap?name=bad")
        assert json.loads(text.splitlines()[-1]) == {"error": "no such recipe"}
        status, text = await ask("POST", "/images/import?path=/tmp/a.tar")
        assert json.loads(text.splitlines()[-1]) == {"image": busybox}
        status, text = await ask(
            "POST", "/images/export?name=busybox&path=/tmp/b.tar&format=docker"
        )
        assert json.loads(text.splitlines()[-1]) == {"image": busybox}
        assert images.calls == [
            ("bootstrap", "debian", True), ("bootstrap", "bad", False), ("load", "/tmp/a.tar"),
            ("save", "busybox", "/tmp/b.tar", "docker"),
        ]  # fmt: skip
        assert (await ask("DELETE", "/images?name=busybox"))[0] == 200
        assert await ask("DELETE", "/images?name=busybox") == (404, "busybox is not here\n")
        for method, path, code in (
            ("DELETE", "/images", 400), ("GET", "/images/bootstrap?name=x", 405),
            ("POST", "/images/import?path=relative", 400), ("POST", "/images/nothing", 404),
            ("POST", "/images/export?name=x&path=/y&format=zip", 400),
        ):  # fmt: skip
            assert (await ask(method, path))[0] == code, path

    on_endpoint(tmp_path, scenario, images=images)


@pytest.mark.parametrize(
    ("peer", "code"),
    [
        (Peer("unix", uid=0), None),
        (Peer("unix", uid=12345), 403),
        (Peer("1.2.3.4:5"), 401),
        (Peer("1.2.3.4:5", "kube-apiserver-kubelet-client"), None),
        (Peer("1.2.3.4:5", "kubernetes-admin", ("system:masters",)), None),
        (Peer("1.2.3.4:5", "system:node:other", ("system:nodes",)), 403),
        (Peer("1.2.3.4:5", "someone", ("developers",)), 403),
    ],
)
def test_who_may_ask(peer, code):
    refusal = not_allowed(peer, "GET")
    assert (refusal.status if refusal else None) == code


def test_over_tls_only_those_that_the_authority_knows_get_in(tmp_path):
    certificates.ensure(
        tmp_path,
        [
            Leaf("node", "system:node:here", ("system:nodes",), ("127.0.0.1",)),
            Leaf("proxy", "kube-apiserver-kubelet-client", ("system:masters",)),
        ],
    )
    ca, paths = (
        str(tmp_path / "ca.crt"),
        [str(tmp_path / name) for name in ("node.crt", "node.key")],
    )

    async def main():
        sock = listening("127.0.0.1", 0)
        endpoint = NodeServer(
            Settings(node_name="here", data=str(tmp_path)),
            OnePod(tmp_path / "0.log"), ProcessRuntime(), NoImages(),
        )  # fmt: skip
        server = await serve(endpoint.handler, [sock], server_context(*paths, ca))
        url = f"https://127.0.0.1:{sock.getsockname()[1]}/pods"
        codes = []
        for own in (("proxy.crt", "proxy.key"), ("node.crt", "node.key"), ()):
            pool = Pool(client_context(ca, *(str(tmp_path / name) for name in own)))
            answer = await pool.request("GET", url)
            await answer.read()
            codes.append(answer.status)
            pool.close()
        assert codes == [200, 403, 401]
        await server.close(0.2)

    asyncio.run(main())


def test_what_is_wanted_of_a_log():
    def wish(**query):
        return log_wish({name: [value] for name, value in query.items()}, 1000.0)

    assert wish() == (False, -1, 0.0, False, -1, "")
    assert wish(sinceSeconds="10", follow="true", stream="Stderr")[:3] == (True, -1, 990.0)
    assert wish(tailLines="0").tail == 0
    for wrong in (
        {"tailLines": "-1"},
        {"sinceSeconds": "0"},
        {"limitBytes": "x"},
        {"sinceTime": "x"},
        {"stream": "x"},
    ):
        with pytest.raises(BadRequest):
            wish(**wrong)


def test_what_is_wanted_of_a_process():
    assert stream_options({"input": ["1"], "output": ["1"], "error": ["0"]}) == Options(True, True)
    assert stream_options({"stdout": ["true"], "stderr": ["true"], "tty": ["true"]}) == Options(
        stdout=True, terminal=True
    )
