"""`jindou doctor`: how verdicts are shown, and that each probe tells the truth on a machine where it is so."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jindou import serve
from jindou.node.doctor import clients, machine, network
from jindou.node.doctor.verdicts import Verdict
from jindou.settings import Settings

VERDICTS = [
    Verdict("containers", "ok", "cgroup v2 with cpu, memory and pids"),
    Verdict("network", "FAIL", "port 6443 is taken", "JD-NET-101", "the Kubernetes API would listen on 127.0.0.1, port 6443, but k3s-server (pid 2210) does", ("systemctl stop k3s   stops that other program", "jindou up --api-port 7443   kept for later runs")),
    Verdict("storage", "warn", "only 2.0 GiB free", "JD-STO-202", "images and logs need room", ("jindou up --data DIR",)),
    Verdict("clients", "skip", "kubectl: not tried"),
]  # fmt: skip
GOLDEN = """\
containers
  ok    cgroup v2 with cpu, memory and pids
network
  FAIL  port 6443 is taken                                            JD-NET-101
        the Kubernetes API would listen on 127.0.0.1, port 6443, but k3s-server
        (pid 2210) does
        do: systemctl stop k3s          stops that other program
        do: jindou up --api-port 7443   kept for later runs
storage
  warn  only 2.0 GiB free                                             JD-STO-202
        images and logs need room
        do: jindou up --data DIR
clients
  skip  kubectl: not tried

4 probes in 0.0s: 1 ok, 1 warn, 1 FAIL, 1 skip
"""


@pytest.fixture
def verdicts(monkeypatch):
    told = list(VERDICTS)
    monkeypatch.setattr(serve, "probe", lambda settings: told)
    return told


def test_what_is_shown(shell, verdicts):
    assert shell("doctor") == (1, GOLDEN, "")
    assert GOLDEN.isascii()


def test_short_shows_only_trouble(shell, verdicts):
    _, out, _ = shell("doctor", "-o", "short")
    shown = [line.split()[0] for line in out.splitlines() if line.startswith("  ")]
    assert [word for word in shown if word in ("ok", "warn", "FAIL", "skip")] == ["FAIL", "warn"]
    assert out.splitlines()[-1].startswith("4 probes")
    quiet = shell("doctor", "-q")[1]
    assert "FAIL" in quiet
    assert "warn" not in quiet


def test_groups_strict_and_the_exit_code_in_every_format(shell, verdicts):
    assert shell("doctor", "containers", "storage")[0] == 0
    assert shell("doctor", "containers", "storage", "--strict")[0] == 1
    for form in ("text", "short", "json"):
        assert shell("doctor", "-o", form)[0] == 1
    told = json.loads(shell("doctor", "network", "-o", "json")[1])
    assert told["counts"] == {"ok": 0, "warn": 0, "FAIL": 1, "skip": 0}
    assert told["probes"][0]["do"][1].startswith("jindou up --api-port 7443")
    code, _, err = shell("doctor", "nope")
    assert (code, "there is no group of probes called 'nope'" in err) == (5, True)


# ---------------------------------------------------------------- probes that need no root


def only(probe: Any, settings: Settings) -> Verdict:
    (verdict,) = probe(settings)
    return verdict


def test_a_taken_port_names_who_has_it():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        first, _ = network.ports(Settings(api_port=port, node_port=1, run="/nowhere"))
        other, _ = network.ports(Settings(api_port=port, api_address="127.0.0.9", node_port=1))
    assert (first.state, first.code) == ("FAIL", "JD-NET-101")
    assert f"(pid {os.getpid()}" in first.why
    assert first.do[-1].startswith("jindou up --api-port ")
    assert other.state == "ok", "the same port of another address is not in the way"
    assert next(network.ports(Settings(api_port=port, node_port=1))).state == "ok"


def test_a_network_that_meets_a_route(monkeypatch):
    import ipaddress

    there = [
        (ipaddress.IPv4Network("10.0.0.0/8"), "vpn0"),
        (ipaddress.IPv4Network("0.0.0.0/0"), "eth0"),
    ]
    monkeypatch.setattr(network, "host_routes", lambda: iter(there))
    verdict = only(network.routes, Settings())
    assert (verdict.state, verdict.code) == ("FAIL", "JD-NET-102")
    assert "10.0.0.0/8 on vpn0" in verdict.why
    assert only(network.routes, Settings(pod_cidr="172.30.0.0/16", service_cidr="172.31.0.0/16")).state == "ok"  # fmt: skip


@pytest.mark.parametrize(
    ("free", "state"), [(100 << 20, "FAIL"), (3 << 30, "warn"), (9 << 30, "ok")]
)
def test_little_room(tmp_path, monkeypatch, free, state):
    room = os.statvfs_result((4096, 4096, 1 << 30, free // 4096, free // 4096, 1 << 20, 1 << 20, 1 << 20, 0, 255))  # fmt: skip
    monkeypatch.setattr(os, "statvfs", lambda path: room)
    assert only(machine.disk, Settings(data=str(tmp_path / "not" / "yet"))).state == state


def test_keys_that_others_may_read(tmp_path):
    settings = Settings(data=str(tmp_path))
    assert only(machine.keys, settings).state == "skip"
    pki = tmp_path / "pki"
    pki.mkdir()
    (pki / "ca.key").write_text("")
    (pki / "ca.key").chmod(0o640)
    verdict = only(machine.keys, settings)
    assert (verdict.state, verdict.code) == ("FAIL", "JD-SEC-302")
    subprocess.run(["sh", "-c", verdict.do[0]], check=True)
    assert only(machine.keys, settings).state == "ok"


def certificate(days: int) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(99), now + timedelta(days, 60))  # fmt: skip
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(("days", "state"), [(300, "ok"), (3, "warn"), (-2, "FAIL")])
def test_certificates(tmp_path, days, state):
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "ca.crt").write_bytes(certificate(3000))
    (tmp_path / "pki" / "server.crt").write_bytes(certificate(days))
    verdict = only(machine.certificates, Settings(data=str(tmp_path)))
    assert verdict.state == state
    assert (state == "ok") or "server.crt" in verdict.says
    (tmp_path / "pki" / "server.crt").write_text("no certificate")
    assert [v.state for v in machine.certificates(Settings(data=str(tmp_path)))] == ["FAIL", "ok"]


def test_a_clock_that_went_back(tmp_path):
    store = tmp_path / "store.db"
    store.touch()
    assert only(machine.clock, Settings(data=str(tmp_path))).state == "ok"
    os.utime(store, (4_000_000_000, 4_000_000_000))
    assert only(machine.clock, Settings(data=str(tmp_path))).code == "JD-SEC-303"


def test_kubectl_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(clients, "PATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert only(clients.kubectl, Settings()).code == "JD-CLI-602"
    (tmp_path / "kubectl").write_text("#!/bin/sh\necho broken >&2; exit 1\n")
    (tmp_path / "kubectl").chmod(0o755)
    assert only(clients.kubectl, Settings()).state == "warn"


def test_kubeconfigs_of_another_cloud_or_broken(tmp_path, monkeypatch):
    import base64

    settings = Settings(data=str(tmp_path))
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "ca.crt").write_text("now")
    config = tmp_path / "config"
    (tmp_path / "kubeconfigs").write_text(f"{config}\n")
    entry = "{{clusters: [{{name: {}, cluster: {{certificate-authority-data: {}}}}}]}}"
    now = base64.b64encode(b"now").decode()
    for text, state, code in (
        (entry.format("jindou", now), "ok", ""),
        (entry.format("jindou", "b2xk"), "warn", "JD-CLI-617"),
        (entry.format("work", now), "warn", "JD-CLI-617"),
        ("- no\n", "warn", "JD-CLI-604"),
    ):
        config.write_text(text)
        assert only(clients.kubeconfigs, settings)[1:4:2] == (state, code)
    config.write_text(entry.format("work", now))
    monkeypatch.setenv("KUBECONFIG", str(config))
    assert only(clients.environment, settings).code == "JD-CLI-601"
    config.write_text(entry.format("jindou", now))
    assert list(clients.environment(settings)) == []


def test_a_service_of_an_installation_that_is_gone(tmp_path, monkeypatch):
    from jindou.cli import services

    monkeypatch.setattr(clients, "UNITS", str(tmp_path))
    unit = tmp_path / "jindou-server.service"
    unit.write_text(services.unit(Settings(), "server"))
    assert only(clients.units, Settings()).state == "ok"
    unit.write_text(unit.read_text().replace(sys.executable, "/gone/python"))
    assert only(clients.units, Settings()).code == "JD-RUN-309"


# ---------------------------------------------------------------- a machine where it is really so


def diagnose(folder: Path, setup: str, *groups: str) -> dict[str, dict[str, Any]]:
    """The verdicts by their code ("" for good ones), on a machine of its own made so by `setup`."""
    (folder / "home").mkdir()
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder / "home"),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "JINDOU_CONFIG": str(folder / "config.toml"), "JINDOU_DATA": str(folder / "data"),
        "JINDOU_RUN": str(folder / "run"), "JINDOU_LOGS": str(folder / "logs"),
        "JINDOU_BRIDGE": "jindoc0", "PLACE": str(folder),
    }  # fmt: skip
    words = f"set -e; ip link set lo up; {setup}\n{sys.executable} -m jindou doctor -o json {' '.join(groups)} || true"
    done = subprocess.run(
        ["unshare", "--mount", "--net", "sh", "-c", words],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {probe["code"]: probe for probe in json.loads(done.stdout)["probes"]}


HIDE = "for p in {}; do f=$(PATH=$PATH:/usr/sbin:/sbin command -v $p) && mount --bind /dev/null $(readlink -f $f); done"
REALLY = {
    "no conmon": (HIDE.format("conmon"), "JD-RUN-302", "conmon is missing", "install conmon"),
    "no runtime": (HIDE.format("crun runc"), "JD-RUN-301", "no container runtime works", "crun"),
    "no nft": (HIDE.format("nft"), "JD-NET-103", "nft is missing", "nftables"),
    "another Kubernetes": ("nft add table ip nat; nft add chain ip nat KUBE-SERVICES", "JD-NET-105", "kube-proxy", "nft list ruleset"),
    "a firewall": ("nft add table ip filter; nft add chain ip filter FORWARD '{ type filter hook forward priority 0; policy drop; }'", "JD-NET-106", "ip filter FORWARD", "nft insert rule ip filter FORWARD iifname jindoc0 accept"),
    "ufw": ("nft add table ip filter; nft add chain ip filter ufw-user-forward; nft add chain ip filter FORWARD '{ type filter hook forward priority 0; policy drop; }'", "JD-NET-106", "ip filter FORWARD", "ufw route allow in on jindoc0"),
    "Docker": ("nft add table ip filter; nft add chain ip filter DOCKER-USER; nft add chain ip filter FORWARD '{ type filter hook forward priority 0; policy drop; }'", "JD-NET-106", "ip filter FORWARD", "iptables -I DOCKER-USER -i jindoc0"),
    "firewalld": ("nft add table inet firewalld; nft add chain inet firewalld filter_FORWARD '{ type filter hook forward priority 10; policy accept; }'", "JD-NET-106", "firewalld", "firewall-cmd --permanent --zone=trusted --add-interface=jindoc0"),
    "a disk that can't be written": ("mount -t tmpfs -o ro tmpfs $PLACE/home; export JINDOU_DATA=$PLACE/home/data", "JD-STO-207", "can't be written", "jindou up --data DIR"),
    "a small disk": ("mount -t tmpfs -o size=9m tmpfs $PLACE/home; export JINDOU_DATA=$PLACE/home/data", "JD-STO-202", "only 0.0 GiB", "jindou up --data DIR"),
    "a folder that is itself on an overlay": ("mkdir $PLACE/l $PLACE/u $PLACE/w; mount -t overlay overlay -o lowerdir=$PLACE/l,upperdir=$PLACE/u,workdir=$PLACE/w $PLACE/home; export JINDOU_DATA=$PLACE/home/data", "JD-STO-201", "no overlayfs in", "jindou up --data /srv/jindou"),
}  # fmt: skip


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("name", REALLY)
def test_the_truth_and_a_remedy(folder, name):
    setup, code, says, remedy = REALLY[name]
    group = "network" if "NET" in code else "storage" if "STO" in code else "containers"
    found = diagnose(folder, setup, group)
    assert code in found, found
    assert says in found[code]["says"]
    assert any(remedy in line for line in found[code]["do"]), found[code]
    assert found[code]["state"] in ("warn", "FAIL")


@pytest.mark.root
@pytest.mark.slow
def test_a_firewall_that_knows_the_bridge_is_no_trouble(folder):
    setup = "nft add table ip filter; nft add chain ip filter FORWARD '{ type filter hook forward priority 0; policy drop; }'; nft add rule ip filter FORWARD iifname jindoc0 accept"  # fmt: skip
    assert "JD-NET-106" not in diagnose(folder, setup, "network")
