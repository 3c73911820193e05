"""Services and names in all their kinds, asked from inside Pods and from the machine."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import pytest

from tests.end_to_end.test_features_pods import parts, run, tell, wait_for
from tests.end_to_end.test_pods import pod
from tests.end_to_end.test_services import fetch, web

pytestmark = [pytest.mark.root, pytest.mark.slow]


def service(name: str, selector: dict[str, str] | None, *ports: int | dict, **spec: Any) -> str:
    spec["ports"] = [p if isinstance(p, dict) else {"port": p} for p in ports]
    if selector:
        spec["selector"] = selector
    return json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})  # fmt: skip


def apply(cloud, namespace: str, *documents: str) -> None:
    cloud.kubectl("-n", namespace, "apply", "-f", "-", stdin="\n".join(documents))


def page(name: str, port: int = 8080, **more: Any) -> str:
    """A Pod that answers with its name."""
    container = {"ports": [{"name": "http", "containerPort": port}], "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1}}  # fmt: skip
    document = json.loads(
        pod(name, f"mkdir /www; hostname > /www/index.html; exec httpd -f -p {port} -h /www", container=container, **more)
    )  # fmt: skip
    document["metadata"]["labels"] = {"app": "page", "which": name}
    return json.dumps(document)


def dig(server: str, *words: str) -> str:
    return subprocess.run(
        ["dig", f"@{server}", "+short", "+time=3", "+tries=1", *words], capture_output=True, text=True
    ).stdout.strip()  # fmt: skip


def test_names_of_every_kind_of_service(cloud, namespace):
    named = {"port": 80, "targetPort": "http", "name": "web"}
    apply(
        cloud, namespace,
        page("one", hostname="first", subdomain="group"), page("two", 9090, hostname="second", subdomain="group"),
        pod("unready", "sleep 1000", container={"readinessProbe": {"exec": {"command": ["false"]}}}),
        service("plain", {"app": "page"}, named),
        service("group", {"app": "page"}, named, clusterIP="None"),
        service("early", {"app": "unready"}, 80, clusterIP="None", publishNotReadyAddresses=True),
        service("late", {"app": "unready"}, 80, clusterIP="None"),
        service("alias", None, type="ExternalName", externalName=f"plain.{namespace}.svc.cluster.local"),
        service("outside", None, {"port": 80, "name": "web"}),
        json.dumps({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "outside-1", "labels": {"kubernetes.io/service-name": "outside"}},
            "endpoints": [{"addresses": ["10.200.0.9"]}], "ports": [{"name": "web", "port": 80}],
        }),
    )  # fmt: skip
    cloud.wait("-n", namespace, "--for=condition=Ready", "pod/one", "pod/two")
    # named target ports that differ between Pods: both are reached, by two slices
    seen: set[str] = set()
    address = cloud.get("-n", namespace, "service", "plain")["spec"]["clusterIP"]
    deadline = time.monotonic() + 20
    while seen != {"first", "second"}:
        seen.add(fetch(f"http://{address}"))
        seen.discard("")
        assert time.monotonic() < deadline, seen
    ips = {name: cloud.get("-n", namespace, "pod", name)["status"]["podIP"] for name in ("one", "two", "unready")}  # fmt: skip
    zone = f"{namespace}.svc.cluster.local"
    server = cloud.get("node", "here")["status"]["addresses"][0]["address"]
    assert dig(server, f"plain.{zone}") == address
    assert set(dig(server, f"group.{zone}").split()) == {ips["one"], ips["two"]}
    assert dig(server, f"first.group.{zone}") == ips["one"]
    wait_for(lambda: dig(server, f"early.{zone}"), ips["unready"])
    assert dig(server, f"late.{zone}") == ""
    assert dig(server, f"alias.{zone}").split() == [f"plain.{zone}.", address]
    assert dig(server, "-t", "SRV", f"_web._tcp.plain.{zone}").split() == ["0", "100", "80", f"plain.{zone}."]  # fmt: skip
    many = dig(server, "-t", "SRV", f"_web._tcp.group.{zone}").splitlines()
    assert sorted(line.split()[2:] for line in many) == [
        ["8080", f"first.group.{zone}."], ["9090", f"second.group.{zone}."]
    ]  # fmt: skip
    assert dig(server, "-x", address) == f"plain.{zone}."
    assert dig(server, "-x", ips["one"]) == f"first.group.{zone}."
    assert dig(server, f"{ips['one'].replace('.', '-')}.{namespace}.pod.cluster.local") == ips["one"]  # fmt: skip
    # the peer outside has no address here, but the packet rules lead to it
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True).stdout
    assert "10.200.0.9" in rules
    told = run(
        cloud, namespace, "asks",
        tell(short="wget -qO- http://plain", dns=f"nslookup first.group.{zone}", alias="wget -qO- http://alias"),
    )  # fmt: skip
    assert told["short"] in ("first", "second")
    assert ips["one"] in told["dns"]
    assert told["alias"] in ("first", "second")


def test_a_name_that_nobody_knows_is_answered_at_once(cloud, namespace):
    began = time.monotonic()
    told = run(
        cloud, namespace, "asks",
        tell(gone="time -p nslookup nowhere.default.svc.cluster.local 2>&1", out="time -p nslookup no-such-host.example.com 2>&1; true"),
    )  # fmt: skip
    assert "NXDOMAIN" in told["gone"] or "can't" in told["gone"], told
    assert time.monotonic() - began < 8, told


def test_the_dns_service_is_where_people_look_for_it(cloud, namespace):
    held = cloud.get("-n", "kube-system", "service", "kube-dns")
    address = held["spec"]["clusterIP"]
    assert address.endswith(".10")
    assert {(p["name"], p["port"], p["protocol"]) for p in held["spec"]["ports"]} >= {("dns", 53, "UDP"), ("dns-tcp", 53, "TCP")}  # fmt: skip
    assert held["metadata"]["labels"]["k8s-app"] == "kube-dns"
    kubernetes = cloud.get("service", "kubernetes")["spec"]["clusterIP"]
    for how in ("+notcp", "+tcp"):
        assert dig(address, "kubernetes.default.svc.cluster.local", how) == kubernetes
    told = run(cloud, namespace, "asks", tell(dns=f"nslookup kubernetes.default.svc.cluster.local {address}"))  # fmt: skip
    assert kubernetes in told["dns"]
    assert dig(address, "kube-dns.kube-system.svc.cluster.local") == address
    assert "CoreDNS" in cloud.kubectl("cluster-info")


def test_affinity_and_hairpin(cloud, namespace):
    apply(
        cloud, namespace, page("one"), page("two"),
        service("sticky", {"app": "page"}, {"port": 80, "targetPort": 8080}, sessionAffinity="ClientIP"),
        service("self", {"which": "one"}, {"port": 80, "targetPort": 8080}),
    )  # fmt: skip
    cloud.wait("-n", namespace, "--for=condition=Ready", "pod/one", "pod/two")
    held = cloud.get("-n", namespace, "service", "sticky")["spec"]
    assert held["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}
    wait_for(lambda: fetch(f"http://{held['clusterIP']}") + "!", "o")
    answers = {fetch(f"http://{held['clusterIP']}") for _ in range(12)}
    assert len(answers) == 1
    # through its own Service, from itself
    for _ in range(3):
        assert cloud.kubectl("-n", namespace, "exec", "one", "--", "wget", "-qO-", "http://self") == "one\n"  # fmt: skip


def test_addresses_and_policies(cloud, namespace):
    port = cloud.node_port(8)
    apply(
        cloud, namespace, page("one"),
        service("external", {"app": "page"}, {"port": 8123, "targetPort": 8080}, externalIPs=["192.0.2.77"]),
        service("local", {"app": "page"}, {"port": 80, "targetPort": 8080, "nodePort": port}, type="NodePort", internalTrafficPolicy="Local", externalTrafficPolicy="Local"),
        service("both", {"app": "page"}, {"port": 80, "targetPort": 8080}, ipFamilyPolicy="RequireDualStack"),
        service("six", {"app": "page"}, {"port": 80, "targetPort": 8080}, ipFamilies=["IPv6"]),
        service("prefer", {"app": "page"}, {"port": 80, "targetPort": 8080}, ipFamilyPolicy="PreferDualStack", ipFamilies=["IPv6"]),
    )  # fmt: skip
    cloud.wait("-n", namespace, "--for=condition=Ready", "pod/one")
    specs = {s["metadata"]["name"]: s["spec"] for s in cloud.get("-n", namespace, "services")["items"]}  # fmt: skip
    assert specs["both"]["ipFamilies"] == ["IPv4", "IPv6"]
    assert specs["prefer"]["ipFamilies"] == ["IPv6", "IPv4"]
    assert specs["six"]["ipFamilyPolicy"] == "SingleStack"
    urls = [
        "http://192.0.2.77:8123", f"http://127.0.0.1:{port}", f"http://{specs['local']['clusterIP']}",
        *(f"http://{a}" for a in specs["both"]["clusterIPs"] if ":" not in a),
        *(f"http://[{a}]" for name in ("both", "six", "prefer") for a in specs[name]["clusterIPs"] if ":" in a),
    ]  # fmt: skip
    for url in urls:
        wait_for(lambda url=url: fetch(url), "one", 10)
    for url in urls:
        if "127.0.0.1" not in url:
            assert cloud.kubectl("-n", namespace, "exec", "one", "--", "wget", "-qO-", url) == "one\n"  # fmt: skip
    slices = cloud.get("-n", namespace, "endpointslices", "-l", "kubernetes.io/service-name=both")
    assert sorted(s["addressType"] for s in slices["items"]) == ["IPv4", "IPv6"]

    cloud.kubectl("-n", namespace, "patch", "service", "six", "-p", '{"spec":{"ipFamilyPolicy":"PreferDualStack"}}')  # fmt: skip
    assert len(cloud.get("-n", namespace, "service", "six")["spec"]["clusterIPs"]) == 2
    cloud.kubectl("-n", namespace, "patch", "service", "six", "-p", '{"spec":{"ipFamilyPolicy":"SingleStack"}}')  # fmt: skip
    assert len(cloud.get("-n", namespace, "service", "six")["spec"]["clusterIPs"]) == 1


def test_what_a_service_may_not_ask_for(cloud, namespace):
    free = cloud.node_port(9)

    def refused(said: str, document: str, *words: str) -> None:
        done = cloud.run("-n", namespace, *(words or ("create", "-f", "-")), stdin=document)
        assert done.returncode == 1
        assert said in done.stderr, done.stderr

    ports = {"port": 80, "nodePort": 25000}
    refused(
        "spec.ports[0].nodePort: Invalid value: 25000: provided port is not in the valid range. The range of valid ports is 30000-32767",
        service("low", None, ports, type="NodePort"),
    )
    refused('spec.clusterIPs: Invalid value: ["1.2.3.4"]: failed to allocate IP 1.2.3.4: the provided IP (1.2.3.4) is not in the valid range. The range of valid IPs is', service("far", None, 80, clusterIP="1.2.3.4"))  # fmt: skip
    refused("spec.ports: Required value", service("none", None))
    refused("spec.externalIPs[0]: Invalid value: \"x\": must be a valid IP address", service("x", None, 80, externalIPs=["x"]))  # fmt: skip
    refused('spec.ipFamilyPolicy: Invalid value: "SingleStack": must be RequireDualStack or PreferDualStack when multiple ip families are specified', service("x", None, 80, ipFamilyPolicy="SingleStack", ipFamilies=["IPv4", "IPv6"]))  # fmt: skip

    # a rehearsal takes nothing, and neither does what was refused
    taken = service("a", None, {"port": 80, "nodePort": free}, type="NodePort")
    cloud.kubectl("-n", namespace, "create", "--dry-run=server", "-f", "-", stdin=taken)
    broken = json.loads(taken.replace('"a"', '"c"'))
    broken["spec"]["ports"].append({"port": 81, "name": "b", "nodePort": 1})
    broken["spec"]["ports"][0]["name"] = "a"
    refused("not in the valid range", json.dumps(broken))
    cloud.kubectl("-n", namespace, "create", "-f", "-", stdin=taken.replace('"a"', '"b"'))
    refused("spec.ports[0].nodePort: Invalid value: ", taken)
    cloud.kubectl("-n", namespace, "delete", "service", "b")
    cloud.kubectl("-n", namespace, "create", "-f", "-", stdin=taken)
    cloud.kubectl("-n", namespace, "patch", "service", "a", "-p", '{"spec":{"type":"ClusterIP"}}')
    held = cloud.get("-n", namespace, "service", "a")["spec"]
    assert "nodePort" not in held["ports"][0]
    assert "externalTrafficPolicy" not in held
    refused("spec.clusterIPs[0]: Invalid value: ", "", "patch", "service", "a", "-p", '{"spec":{"clusterIP":"10.1.1.1"}}')  # fmt: skip


def test_a_headless_service_of_a_deployment_and_its_departure(cloud, namespace):
    apply(cloud, namespace, web("web", 2).replace('"ports": [{"port": 80', '"clusterIP": "None", "ports": [{"port": 80'))  # fmt: skip
    cloud.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=60s")
    server = cloud.get("node", "here")["status"]["addresses"][0]["address"]
    name = f"web.{namespace}.svc.cluster.local"
    deadline = time.monotonic() + 10
    while len(dig(server, name).split()) != 2:
        assert time.monotonic() < deadline
    assert len(dig(server, "-t", "AAAA", name).split()) == 0  # single-stack: IPv4 only
    cloud.kubectl("-n", namespace, "delete", "service", "web")
    deadline = time.monotonic() + 10
    while dig(server, name):
        assert time.monotonic() < deadline
    assert parts("") == {}
