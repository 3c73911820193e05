"""What a Pod's specification promises, as seen from inside its containers on the real machine."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from jindou.machine.linux.mounts import propagation, unmount
from tests.end_to_end.test_pods import pod

pytestmark = [pytest.mark.root, pytest.mark.slow]


def parts(log: str) -> dict[str, str]:
    """What a script told, cut at its lines of the form `## name`."""
    found = {}
    for piece in ("\n" + log).split("\n## ")[1:]:
        name, _, text = piece.partition("\n")
        found[name] = text.rstrip("\n")
    return found


def tell(**commands: str) -> str:
    return "\n".join(f"echo '## {name}'; {command}" for name, command in commands.items())


def run(cloud, namespace: str, name: str, script: str, **spec: Any) -> dict[str, str]:
    """Run a script to its end in a Pod, and what it told."""
    spec.setdefault("restartPolicy", "Never")
    cloud.kubectl("-n", namespace, "apply", "-f", "-", stdin=pod(name, script, **spec))
    cloud.wait("-n", namespace, "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}")
    return parts(cloud.kubectl("-n", namespace, "logs", name, "-c", "c"))


def wait_for(look, said: str, seconds: float = 20) -> str:
    deadline = time.monotonic() + seconds
    while said not in (found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def test_the_environment_comes_from_everywhere(cloud, namespace):
    cloud.kubectl(
        "-n", namespace, "create", "configmap", "settings", "--from-literal=COLOUR=red",
        "--from-literal=size=10", "--from-literal=not-a-name=x",
    )  # fmt: skip
    cloud.kubectl("-n", namespace, "create", "secret", "generic", "keys", "--from-literal=PIN=42")
    cloud.kubectl("-n", namespace, "create", "service", "clusterip", "my-db", "--tcp=5432:5432")
    fields = {
        "NAME": "metadata.name", "SPACE": "metadata.namespace", "UID_": "metadata.uid",
        "LABEL": "metadata.labels['app']", "NOTE": "metadata.annotations['note']", "NODE": "spec.nodeName",
        "ACCOUNT": "spec.serviceAccountName", "HOST": "status.hostIP", "IP": "status.podIP", "IPS": "status.podIPs",
    }  # fmt: skip
    env = [
        {"name": "PLAIN", "value": "a"},
        {"name": "BOTH", "value": "$(PLAIN)-$(PIN_)-$(LATER)-$$(PLAIN)-$(COLOUR)"},
        {"name": "LATER", "value": "b"},
        {"name": "PIN_", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "PIN"}}},
        {"name": "GONE", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "no", "optional": True}}},
        {"name": "NONE", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "no", "optional": True}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "requests.memory", "divisor": "1Mi"}}},
        {"name": "AFTER", "value": "$(CPU) $(my_COLOUR)"},
        *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()),
    ]  # fmt: skip
    container = {
        "args": ["ignored", "$(PLAIN)", "$$(PLAIN)", "$(NOBODY)"],
        "env": env,
        "envFrom": [
            {"configMapRef": {"name": "settings"}},
            {"configMapRef": {"name": "settings"}, "prefix": "my_"},
            {"secretRef": {"name": "none", "optional": True}},
        ],
        "resources": {"limits": {"cpu": "500m"}, "requests": {"memory": "32Mi"}},
    }
    document = json.loads(pod("env", "echo \"## args\"; echo \"$@\"; echo '## env'; xargs -0 -n1 < /proc/1/environ", restartPolicy="Never", container=container))  # fmt: skip
    document["metadata"]["annotations"] = {"note": "two words"}
    cloud.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(document))
    cloud.wait("-n", namespace, "--for=jsonpath={.status.phase}=Succeeded", "pod/env")
    told = parts(cloud.kubectl("-n", namespace, "logs", "env"))
    env_ = dict(line.split("=", 1) for line in told["env"].splitlines() if "=" in line)
    held = cloud.get("-n", namespace, "pod", "env")
    service = cloud.get("-n", namespace, "service", "my-db")["spec"]["clusterIP"]
    assert told["args"] == "a $(PLAIN) $(NOBODY)"
    expected = {
        "COLOUR": "red", "size": "10", "not-a-name": "x", "my_COLOUR": "red", "PLAIN": "a", "LATER": "b",
        "BOTH": "a-$(PIN_)-$(LATER)-$(PLAIN)-red", "PIN_": "42", "CPU": "500", "MEMORY": "32", "AFTER": "500 red",
        "NAME": "env", "SPACE": namespace, "UID_": held["metadata"]["uid"], "LABEL": "env", "NOTE": "two words",
        "NODE": "here", "ACCOUNT": "default", "HOST": held["status"]["hostIP"], "IP": held["status"]["podIP"],
        "IPS": ",".join(one["ip"] for one in held["status"]["podIPs"]), "HOSTNAME": "env",
        "MY_DB_SERVICE_HOST": service, "MY_DB_SERVICE_PORT": "5432", "MY_DB_PORT": f"tcp://{service}:5432",
        "MY_DB_PORT_5432_TCP_PROTO": "tcp", "KUBERNETES_SERVICE_PORT": "443", "KUBERNETES_SERVICE_PORT_HTTPS": "443",
    }  # fmt: skip
    assert {name: env_.get(name) for name in expected} == expected
    assert not {"GONE", "NONE"} & set(env_)

    quiet = run(cloud, namespace, "quiet", tell(env="env"), enableServiceLinks=False)["env"]
    assert "MY_DB" not in quiet
    assert "KUBERNETES_SERVICE_HOST=" in quiet


def test_a_variable_from_a_file_that_an_init_container_wrote(cloud, namespace):
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    init = {"name": "first", "image": "busybox", "command": ["sh", "-c", "echo \"WORD='of the file'\" > /v/a.env"], **mount}  # fmt: skip
    key = {"volumeName": "v", "path": "a.env", "key": "WORD"}
    env = [
        {"name": "A", "valueFrom": {"fileKeyRef": key}},
        {"name": "B", "valueFrom": {"fileKeyRef": {**key, "key": "NONE", "optional": True}}},
    ]
    told = run(
        cloud, namespace, "file", tell(a="echo $A", b="echo ${B-unset}"), initContainers=[init],
        volumes=[{"name": "v", "emptyDir": {}}], container={"env": env},
    )  # fmt: skip
    assert told == {"a": "of the file", "b": "unset"}


def test_a_missing_key_keeps_the_container_waiting_and_says_which(cloud, namespace):
    env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "a"}}}]
    cloud.kubectl("-n", namespace, "apply", "-f", "-", stdin=pod("waits", "echo $A; sleep 1000", container={"env": env}))  # fmt: skip
    reason = "{.status.containerStatuses[0].state.waiting.reason}"
    cloud.wait("-n", namespace, f"--for=jsonpath={reason}=CreateContainerConfigError", "pod/waits")
    assert "CreateContainerConfigError" in cloud.kubectl("-n", namespace, "get", "pods")
    described = cloud.kubectl("-n", namespace, "describe", "pod", "waits")
    assert 'Error: configmap "later" not found' in described
    cloud.kubectl("-n", namespace, "create", "configmap", "later", "--from-literal=b=2")
    missing = f"couldn't find key a in ConfigMap {namespace}/later"
    message = "{.status.containerStatuses[0].state.waiting.message}"
    cloud.wait("-n", namespace, f"--for=jsonpath={message}={missing}", "pod/waits")
    cloud.kubectl("-n", namespace, "patch", "configmap", "later", "-p", '{"data":{"a":"here"}}')
    cloud.wait("-n", namespace, "--for=condition=Ready", "pod/waits")
    assert cloud.kubectl("-n", namespace, "logs", "waits") == "here\n"


def test_volumes_of_every_source(cloud, namespace, tmp_path):
    cloud.kubectl("-n", namespace, "create", "configmap", "c", "--from-literal=a=1", "--from-literal=b=2")  # fmt: skip
    cloud.kubectl("-n", namespace, "create", "secret", "generic", "s", "--from-literal=k=secret")
    (tmp_path / "file").write_text("host\n")
    resource = {"containerName": "c", "resource": "limits.memory", "divisor": "1Mi"}
    downward = [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "deep/memory", "resourceFieldRef": resource, "mode": 0o400},
    ]
    volumes = [
        {"name": "config", "configMap": {"name": "c", "items": [{"key": "b", "path": "x/y", "mode": 0o600}]}},
        {"name": "secret", "secret": {"secretName": "s", "defaultMode": 0o440}},
        {"name": "maybe", "secret": {"secretName": "no", "optional": True}},
        {"name": "down", "downwardAPI": {"items": downward}},
        {"name": "all", "projected": {"defaultMode": 0o444, "sources": [
            {"configMap": {"name": "c", "items": [{"key": "a", "path": "config/a"}]}},
            {"secret": {"name": "s"}},
            {"secret": {"name": "no", "optional": True}},
            {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
            {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 600}},
        ]}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "disk", "emptyDir": {}},
        {"name": "host", "hostPath": {"path": str(tmp_path), "type": "Directory"}},
        {"name": "made", "hostPath": {"path": str(tmp_path / "made/deep"), "type": "DirectoryOrCreate"}},
        {"name": "one", "hostPath": {"path": str(tmp_path / "new"), "type": "FileOrCreate"}},
    ]  # fmt: skip
    mounts = [{"name": v["name"], "mountPath": f"/v/{v['name']}"} for v in volumes] + [
        {"name": "config", "mountPath": "/etc/only", "subPath": "x/y"},
        {"name": "disk", "mountPath": "/sub", "subPathExpr": "logs/$(POD)"},
        {"name": "host", "mountPath": "/ro", "readOnly": True},
        {"name": "disk", "mountPath": "/nest/inner", "subPath": "inner"},
        {"name": "memory", "mountPath": "/nest", "subPath": "outer"},
    ]
    script = tell(
        config="cat /v/config/x/y; stat -Lc %a /v/config/x/y; ls /v/config; touch /v/config/z 2>&1",
        secret="cat /v/secret/k; stat -Lc ' %a' /v/secret/k; mount | grep -c 'v/secret type tmpfs'",
        maybe="ls /v/maybe",
        down="cat /v/down/labels; echo; cat /v/down/deep/memory; stat -Lc ' %a' /v/down/deep/memory",
        all="cd /v/all; cat config/a k name; stat -Lc ' %a' name; cut -d. -f2 token | tr _- /+ | base64 -d 2>/dev/null; cd /; echo",
        memory="mount | grep -c '/v/memory type tmpfs'; dd if=/dev/zero of=/v/memory/big bs=64k count=32 2>&1 | grep -o 'No space.*'",
        sub="touch /sub/here; ls /v/disk/logs; cat /etc/only; stat -c ' %a' /v/disk; touch /nest/inner/a /nest/b; ls /v/disk/inner /v/memory/outer",
        host="cat /v/host/file; touch /ro/x 2>&1; echo back > /v/host/back; ls -d /v/made; stat -c %F /v/one",
    )
    container = {
        "volumeMounts": mounts, "resources": {"limits": {"memory": "64Mi"}},
        "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
    }  # fmt: skip
    told = run(cloud, namespace, "vols", script, volumes=volumes, container=container)
    assert told["config"] == "2600\nx\ntouch: /v/config/z: Read-only file system"
    assert told["secret"] == "secret 440\n1"
    assert told["maybe"] == ""
    assert told["down"] == 'app="vols"\n64 400'
    assert told["all"].startswith("1secretvols 444\n")
    assert '"aud":["vault"]' in told["all"]
    assert told["memory"] == "1\nNo space left on device"
    assert told["sub"].split() == [
        "vols",
        "2",
        "777",
        "/v/disk/inner:",
        "a",
        "/v/memory/outer:",
        "b",
        "inner",
    ]
    assert told["host"] == "host\ntouch: /ro/x: Read-only file system\n/v/made\nregular empty file"
    assert (tmp_path / "back").read_text() == "back\n"
    assert (tmp_path / "made/deep").is_dir()


def test_a_volume_that_cannot_be_had_is_named(cloud, namespace, tmp_path):
    (tmp_path / "file").write_text("")
    volumes = [
        {"name": "host", "hostPath": {"path": str(tmp_path / "file"), "type": "Directory"}},
        {"name": "conf", "configMap": {"name": "nowhere"}},
    ]
    for volume in volumes:
        spec = pod(volume["name"], "true", volumes=[volume], container={"volumeMounts": [{"name": volume["name"], "mountPath": "/v"}]})  # fmt: skip
        cloud.kubectl("-n", namespace, "apply", "-f", "-", stdin=spec)
    for name, said in (
        ("host", 'MountVolume.SetUp failed for volume "host" : hostPath type check failed: '),
        ("conf", 'MountVolume.SetUp failed for volume "conf" : configmap "nowhere" not found'),
    ):
        found = wait_for(lambda name=name: cloud.kubectl("-n", namespace, "describe", "pod", name), said)  # fmt: skip
        assert "FailedMount" in found
        wait_for(lambda name=name: cloud.kubectl("-n", namespace, "get", "pod", name), "ContainerCreating")  # fmt: skip


def test_a_pod_in_the_namespaces_of_the_machine(cloud, namespace):
    told = run(
        cloud, namespace, "host",
        tell(net="hostname; ls /sys/class/net; cat /etc/resolv.conf", pid="cat /proc/1/comm; ls -d /proc/2", ipc="for n in ipc net pid; do readlink /proc/self/ns/$n; done", dns="nslookup kubernetes.default.svc.cluster.local | tail -3"),
        hostNetwork=True, hostPID=True, hostIPC=True, dnsPolicy="ClusterFirstWithHostNet",
    )  # fmt: skip
    assert os.uname().nodename == told["net"].splitlines()[0]
    assert cloud.settings.bridge in told["net"].split()
    assert told["ipc"].split() == [os.readlink(f"/proc/self/ns/{kind}") for kind in ("ipc", "net", "pid")]  # fmt: skip
    assert cloud.get("service", "kubernetes")["spec"]["clusterIP"] in told["dns"]
    held = cloud.get("-n", namespace, "pod", "host")["status"]
    assert held["podIP"] == held["hostIP"]


def test_names_inside_a_pod(cloud, namespace):
    told = run(
        cloud, namespace, "named", tell(host="hostname; hostname -f", hosts="cat /etc/hosts", resolv="cat /etc/resolv.conf"),
        hostname="first", subdomain="sub", hostAliases=[{"ip": "10.9.8.7", "hostnames": ["far", "away"]}],
        dnsConfig={"nameservers": ["10.1.1.1"], "searches": ["example.org"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]},
    )  # fmt: skip
    full = f"first.sub.{namespace}.svc.cluster.local"
    assert told["host"] == f"first\n{full}"
    assert f"{full}\tfirst" in told["hosts"]
    assert "10.9.8.7\tfar\taway" in told["hosts"]
    lines = told["resolv"].splitlines()
    assert f"search {namespace}.svc.cluster.local svc.cluster.local cluster.local" in told["resolv"]
    assert "example.org" in told["resolv"]
    assert "nameserver 10.1.1.1" in lines
    assert "options ndots:2 edns0" in lines
    none = run(
        cloud, namespace, "none", tell(resolv="cat /etc/resolv.conf"), dnsPolicy="None",
        dnsConfig={"nameservers": ["10.1.1.1"], "searches": ["a.b"]},
    )  # fmt: skip
    assert none["resolv"].split() == ["search", "a.b", "nameserver", "10.1.1.1"]


def test_the_whole_security_context(cloud, namespace):
    status = "grep -E 'CapEff|Seccomp:|NoNewPrivs' /proc/self/status"
    told = run(
        cloud, namespace, "plain",
        tell(status=status, id="id", sysctl="cat /proc/sys/net/ipv4/ip_unprivileged_port_start", masked="touch /proc/sys/kernel/domainname 2>&1; ls -A /sys/firmware | wc -l; wc -c < /proc/keys",
             group="stat -c '%g %A' /g; touch /g/x; stat -c %g /g/x", mine="stat -c %u /proc/self/fd/1; echo ok > /dev/stdout; echo fine > /proc/self/fd/2"),
        securityContext={
            "runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000, "supplementalGroups": [4000], "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "77"}]},
        volumes=[{"name": "g", "emptyDir": {}}], container={"volumeMounts": [{"name": "g", "mountPath": "/g"}]},
    )  # fmt: skip
    assert "uid=1000 gid=3000" in told["id"]
    assert {"2000", "4000"} <= set(told["id"].partition("groups=")[2].replace("(", ",").split(","))
    assert told["status"].split()[1::2][1:] == ["0", "2"]
    assert told["sysctl"] == "77"
    assert told["group"].split() == ["2000", "drwxrwsrwx", "2000"]
    assert "ok" in told["mine"]
    assert told["masked"].split("\n") == ["touch: /proc/sys/kernel/domainname: Read-only file system", "0", "0"]  # fmt: skip

    told = run(
        cloud, namespace, "loose", tell(status=status),
        container={"securityContext": {"seccompProfile": {"type": "Unconfined"}, "capabilities": {"add": ["NET_ADMIN", "SYS_TIME"], "drop": ["CHOWN", "MKNOD"]}}},
    )  # fmt: skip
    held = int(told["status"].split()[1], 16)
    assert held & (1 << 12)
    assert held & (1 << 25)
    assert not held & (1 << 0 | 1 << 27)
    assert told["status"].split()[-1] == "0"

    told = run(
        cloud, namespace, "strong", tell(status=status, devices="ls /dev | wc -l", mount="mount -t tmpfs none /tmp && echo mounted", write="mount | grep -c 'proc/sys.*ro,' || true"),
        container={"securityContext": {"privileged": True}},
    )  # fmt: skip
    bound = int(Path("/proc/self/status").read_text().partition("CapBnd:")[2].split()[0], 16)
    assert int(told["status"].split()[1], 16) == bound
    assert told["status"].split()[-1] == "0"
    assert told["mount"] == "mounted"
    assert told["write"] == "0"
    assert int(told["devices"]) > 20

    spec = pod("refused", "true", securityContext={"runAsNonRoot": True})
    cloud.kubectl("-n", namespace, "apply", "-f", "-", stdin=spec)
    wait_for(
        lambda: cloud.kubectl("-n", namespace, "describe", "pod", "refused"),
        "Error: container has runAsNonRoot and image will run as root",
    )


def test_limits_reach_the_kernel(cloud, namespace):
    files = {
        "quota": "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us || cut -d' ' -f1 /sys/fs/cgroup/cpu.max",
        "shares": "cat /sys/fs/cgroup/cpu/cpu.shares || cat /sys/fs/cgroup/cpu.weight",
        "memory": "cat /sys/fs/cgroup/memory/memory.limit_in_bytes || cat /sys/fs/cgroup/memory.max",
        "pids": "cat /sys/fs/cgroup/pids/pids.max || cat /sys/fs/cgroup/pids.max",
        "score": "cat /proc/self/oom_score_adj",
    }
    told = run(
        cloud, namespace, "limits", tell(**{k: v.replace(" ||", " 2>/dev/null ||") for k, v in files.items()}),
        container={"resources": {"limits": {"cpu": "250m", "memory": "50Mi"}, "requests": {"cpu": "100m", "memory": "50Mi"}}},
    )  # fmt: skip
    assert told["quota"] == "25000"
    assert told["memory"] == str(50 << 20)
    assert told["shares"] in ("102", "4", "17")
    assert told["pids"].isdigit()
    assert 0 < int(told["score"]) < 1000


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_both_runtimes_by_their_class(cloud, namespace, runtime):
    told = run(cloud, namespace, "r", tell(a="echo ran"), runtimeClassName=runtime)
    assert told["a"] == "ran"


def test_mounts_pass_between_machine_and_containers_where_the_machine_shares_its_own(
    cloud, namespace, tmp_path
):
    mount = {"name": "v", "mountPath": "/v"}
    up = json.loads(
        pod("up", "mkdir -p /v/m; mount -t tmpfs x /v/m; touch /v/m/here; sleep 1000", volumes=[{"name": "v", "hostPath": {"path": str(tmp_path)}}],
            container={"securityContext": {"privileged": True}, "volumeMounts": [{**mount, "mountPropagation": "Bidirectional"}]})
    )  # fmt: skip
    for name, how in (("down", "HostToContainer"), ("apart", "None")):
        looks = "while [ ! -e /v/m ]; do sleep 0.1; done; sleep 1; ls /v/m; sleep 1000"
        up["spec"]["containers"].append({"name": name, "image": "busybox", "command": ["sh", "-c", looks], "volumeMounts": [{**mount, "mountPropagation": how}]})  # fmt: skip
    cloud.kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(up))
    _, shared, _ = propagation(tmp_path, cloud.processes["node"].pid)
    if not shared:
        described = wait_for(lambda: cloud.kubectl("-n", namespace, "describe", "pod", "up"), "but it is not a shared")  # fmt: skip
        assert "CreateContainerError" in described
        return
    wait_for(lambda: cloud.kubectl("-n", namespace, "logs", "up", "-c", "down"), "here")
    assert "here" not in cloud.kubectl("-n", namespace, "logs", "up", "-c", "apart")
    assert (tmp_path / "m/here").exists()
    cloud.kubectl("-n", namespace, "delete", "pod", "up")
    unmount(tmp_path / "m")
