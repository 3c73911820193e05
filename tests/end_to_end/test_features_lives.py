"""The lives of Pods: probes, hooks, ends, messages and the words `kubectl get` has for them."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.cloud import KUBECTL
from tests.end_to_end.test_features_pods import wait_for
from tests.end_to_end.test_pods import pod

pytestmark = [pytest.mark.root, pytest.mark.slow]


def apply(cloud, namespace: str, *documents: str) -> None:
    cloud.kubectl("-n", namespace, "apply", "-f", "-", stdin="\n".join(documents))


def status_of(cloud, namespace: str, name: str, part: str = "containerStatuses") -> dict:
    return cloud.get("-n", namespace, "pod", name)["status"][part][0]


def ended(cloud, namespace: str, name: str, phase: str) -> dict:
    cloud.wait("-n", namespace, f"--for=jsonpath={{.status.phase}}={phase}", f"pod/{name}")
    return status_of(cloud, namespace, name)["state"]["terminated"]


def shown(cloud, namespace: str, name: str, word: str) -> None:
    """Wait until `kubectl get` has this word for it."""
    wait_for(
        lambda: " ".join(cloud.kubectl("-n", namespace, "get", "pod", name, "--no-headers").split()) + " ",
        f" {word} ",
    )  # fmt: skip


SERVER = 'mkdir -p /www/cgi-bin; printf \'#!/bin/sh\\n[ "$HTTP_X_ASK" = you ] && echo "Status: 200" || echo "Status: 500"; echo; env\\n\' > /www/cgi-bin/ask; chmod +x /www/cgi-bin/ask; exec httpd -f -p 8080 -h /www'


def test_http_and_tcp_probes(cloud, namespace):
    ports = {"ports": [{"name": "web", "containerPort": 8080}]}
    every = {"periodSeconds": 1, "failureThreshold": 1}
    asks = {
        "right": {"httpGet": {"path": "/cgi-bin/ask", "port": "web", "httpHeaders": [{"name": "X-Ask", "value": "you"}]}},
        "wrong": {"httpGet": {"path": "/cgi-bin/ask?x=1", "port": 8080}},
        "closed": {"tcpSocket": {"port": 81}},
        "open": {"tcpSocket": {"port": "web"}},
        "elsewhere": {"tcpSocket": {"port": cloud.settings.api_port, "host": "127.0.0.1"}},
        "tls": {"httpGet": {"scheme": "HTTPS", "path": "/livez", "port": cloud.settings.api_port, "host": "127.0.0.1"}},
        "rpc": {"grpc": {"port": 8080}},
    }  # fmt: skip
    apply(
        cloud, namespace,
        *(pod(name, SERVER, container={"readinessProbe": {**ask, **every}, **ports}) for name, ask in asks.items()),
    )  # fmt: skip
    for name in ("right", "open", "elsewhere", "tls"):
        cloud.wait("-n", namespace, "--for=condition=Ready", f"pod/{name}")
    for name, said in (
        ("wrong", "Readiness probe failed: HTTP probe failed with statuscode: 500"),
        ("closed", ":81: connect: connection refused"),
        ("rpc", "Readiness probe failed: "),
    ):
        wait_for(lambda name=name: cloud.kubectl("-n", namespace, "describe", "pod", name), said)
        held = cloud.get("-n", namespace, "pod", name)["status"]
        (ready,) = [c for c in held["conditions"] if c["type"] == "Ready"]
        assert ready["reason"] == "ContainersNotReady"
        assert ready["message"] == "containers with unready status: [c]"


def test_a_startup_probe_comes_before_the_others_and_its_failure_restarts(cloud, namespace):
    slow = {
        "startupProbe": {"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 30},
        "livenessProbe": {"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 1},
    }  # fmt: skip
    never = {"startupProbe": {"exec": {"command": ["sh", "-c", "echo not yet; false"]}, "periodSeconds": 1, "failureThreshold": 1}}  # fmt: skip
    apply(
        cloud, namespace, pod("slow", "sleep 3; touch /tmp/up; sleep 1000", container=slow),
        pod("never", "sleep 1000", container=never),
    )  # fmt: skip
    cloud.wait("-n", namespace, "--for=condition=Ready", "pod/slow")
    held = status_of(cloud, namespace, "slow")
    assert (held["restartCount"], held["started"], held["ready"]) == (0, True, True)
    described = wait_for(
        lambda: cloud.kubectl("-n", namespace, "describe", "pod", "never"),
        "Container c failed startup probe, will be restarted",
    )
    assert "Startup probe failed: not yet" in described
    cloud.wait("-n", namespace, "--for=jsonpath={.status.containerStatuses[0].restartCount}=1", "pod/never")  # fmt: skip


def test_hooks_and_the_order_of_an_end(cloud, namespace, tmp_path):
    volume = {"volumes": [{"name": "v", "hostPath": {"path": str(tmp_path)}}]}
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    main = "trap 'echo TERM >> /v/order; exit 0' TERM; while :; do sleep 0.1; done"
    hooks = {
        "postStart": {"exec": {"command": ["sh", "-c", "echo post >> /v/order"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo pre >> /v/order; sleep 0.5"]}},
    }
    side = {
        "name": "side", "image": "busybox", "restartPolicy": "Always", **mount,
        "command": ["sh", "-c", main.replace("TERM >>", "side >>")],
    }  # fmt: skip
    apply(
        cloud, namespace,
        pod("hooked", main, container={**mount, "lifecycle": hooks}, initContainers=[side], terminationGracePeriodSeconds=20, **volume),
        pod("bad", "sleep 1000", container={"lifecycle": {"postStart": {"exec": {"command": ["false"]}}}}),
        pod("sleepy", "sleep 1000", container={"lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}, terminationGracePeriodSeconds=1),
        pod("deaf", "trap '' TERM; while :; do sleep 1; done", terminationGracePeriodSeconds=3),
    )  # fmt: skip
    cloud.wait("-n", namespace, "--for=condition=Ready", "pod/hooked", "pod/sleepy", "pod/deaf")
    began = time.monotonic()
    cloud.kubectl("-n", namespace, "delete", "pod", "hooked")
    assert time.monotonic() - began < 5
    assert (tmp_path / "order").read_text().split() == ["post", "pre", "TERM", "side"]
    wait_for(lambda: cloud.kubectl("-n", namespace, "describe", "pod", "bad"), "FailedPostStartHook")  # fmt: skip
    began = time.monotonic()
    cloud.kubectl("-n", namespace, "delete", "pod", "deaf")
    assert 2.5 < time.monotonic() - began < 6
    began = time.monotonic()
    cloud.kubectl("-n", namespace, "delete", "pod", "sleepy", "--wait=false")
    shown(cloud, namespace, "sleepy", "Terminating")
    cloud.wait("-n", namespace, "--for=delete", "pod/sleepy")
    assert time.monotonic() - began > 1
    cloud.kubectl("-n", namespace, "delete", "pod", "bad", "--grace-period=0", "--force")


def test_messages_reasons_and_codes_of_ends(cloud, namespace):
    never = {"restartPolicy": "Never"}
    fallback = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    apply(
        cloud, namespace,
        pod("file", "echo out; printf why > /dev/termination-log; exit 5", **never),
        pod("place", "printf there > /tmp/said", container={"terminationMessagePath": "/tmp/said"}, **never),
        pod("log", "echo one; echo two; exit 1", container=fallback, **never),
        pod("quiet", "echo one; exit 0", container=fallback, **never),
        pod("deadline", "sleep 1000", activeDeadlineSeconds=1, **never),
        pod("missing", "", container={"command": ["/no/such/program"]}, **never),
        pod("workdir", "", container={"command": ["sh", "-c", "pwd"], "workingDir": "/not/yet/there"}, **never),
    )  # fmt: skip
    found = ended(cloud, namespace, "file", "Failed")
    assert (found["exitCode"], found["reason"], found["message"]) == (5, "Error", "why")
    assert ended(cloud, namespace, "place", "Succeeded")["message"] == "there"
    assert ended(cloud, namespace, "log", "Failed")["message"] == "one\ntwo\n"
    found = ended(cloud, namespace, "quiet", "Succeeded")
    assert (found["exitCode"], found["reason"], found.get("message")) == (0, "Completed", None)
    ended(cloud, namespace, "deadline", "Failed")
    held = cloud.get("-n", namespace, "pod", "deadline")["status"]
    assert held["reason"] == "DeadlineExceeded"
    assert held["message"] == "Pod was active on the node longer than the specified deadline"
    found = ended(cloud, namespace, "missing", "Failed")
    assert (found["exitCode"], found["reason"]) == (128, "StartError")
    assert "/no/such/program" in found["message"]
    ended(cloud, namespace, "workdir", "Succeeded")
    assert cloud.kubectl("-n", namespace, "logs", "workdir") == "/not/yet/there\n"
    words = {
        line.split()[0]: line.split()[2]
        for line in cloud.kubectl("-n", namespace, "get", "pods", "--no-headers").splitlines()
    }
    assert words == {
        "file": "Error", "place": "Completed", "log": "Error", "quiet": "Completed",
        "deadline": "Error", "missing": "StartError", "workdir": "Completed",
    }  # fmt: skip


def test_restart_policies_and_the_words_on_the_way(cloud, namespace):
    first = {"name": "first", "image": "busybox", "command": ["sh", "-c", "while [ ! -e /tmp/go ]; do sleep 0.1; done"]}  # fmt: skip
    broken = {"name": "broken", "image": "busybox", "command": ["false"]}
    apply(
        cloud, namespace,
        pod("init", "sleep 1000", initContainers=[first]),
        pod("unlucky", "true", initContainers=[broken]),
        pod("lost", "true", initContainers=[broken], restartPolicy="Never"),
        pod("again", "exit 0"),
        pod("onfailure", "[ -e /v/x ] || { touch /v/x; exit 1; }", restartPolicy="OnFailure", volumes=[{"name": "v", "emptyDir": {}}], container={"volumeMounts": [{"name": "v", "mountPath": "/v"}]}),
        pod("norun", "", container={"command": ["/no/such"]}),
        pod("odd", "true", container={"image": "UPPER/case:x"}),
        pod("never", "true", container={"image": "nobody/has:1", "imagePullPolicy": "Never"}),
    )  # fmt: skip
    shown(cloud, namespace, "init", "Init:0/1")
    cloud.kubectl("-n", namespace, "exec", "init", "-c", "first", "--", "touch", "/tmp/go")
    cloud.wait("-n", namespace, "--for=condition=Ready", "pod/init")
    shown(cloud, namespace, "unlucky", "Init:CrashLoopBackOff")
    shown(cloud, namespace, "lost", "Init:Error")
    assert cloud.get("-n", namespace, "pod", "lost")["status"]["phase"] == "Failed"
    cloud.wait("-n", namespace, "--for=jsonpath={.status.phase}=Succeeded", "pod/onfailure")
    assert status_of(cloud, namespace, "onfailure")["restartCount"] == 1
    shown(cloud, namespace, "again", "CrashLoopBackOff")
    held = status_of(cloud, namespace, "again")
    assert held["lastState"]["terminated"]["reason"] == "Completed"
    assert "back-off 10s restarting failed container=c pod=again_" in held["state"]["waiting"]["message"]  # fmt: skip
    shown(cloud, namespace, "norun", "CrashLoopBackOff")
    assert status_of(cloud, namespace, "norun")["lastState"]["terminated"]["reason"] == "StartError"
    shown(cloud, namespace, "odd", "InvalidImageName")
    shown(cloud, namespace, "never", "ErrImageNeverPull")


def test_processes_and_ports_shared(cloud, namespace):
    port = cloud.node_port(7)
    shared = json.loads(pod("shared", "sleep 1234", shareProcessNamespace=True))
    shared["spec"]["containers"].append(
        {"name": "other", "image": "busybox", "command": ["sh", "-c", "sleep 1; ps; sleep 1000"]}
    )
    served = {"ports": [{"containerPort": 8080, "hostPort": port, "hostIP": "127.0.0.1"}]}
    apply(cloud, namespace, json.dumps(shared), pod("served", SERVER, container=served))
    cloud.wait("-n", namespace, "--for=condition=Ready", "pod/shared", "pod/served")
    wait_for(lambda: cloud.kubectl("-n", namespace, "logs", "shared", "-c", "other"), "sleep 1234")
    done = subprocess.run(
        ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--noproxy", "*", f"http://127.0.0.1:{port}/"],
        capture_output=True, text=True, timeout=10,
    )  # fmt: skip
    assert done.stdout == "404"
    # A second Pod with the same port has no place.
    second = {"ports": [{"containerPort": 8080, "hostPort": port}]}
    apply(cloud, namespace, pod("second", SERVER, container=second))
    wait_for(
        lambda: cloud.kubectl("-n", namespace, "describe", "pod", "second"),
        "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.",
    )


def test_too_much_on_the_disk_is_evicted(cloud, namespace):
    fill = "dd if=/dev/zero of={} bs=1M count=20 2>/dev/null; sleep 1000"
    volume = {"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "5Mi"}}]}
    limits = {"resources": {"limits": {"ephemeral-storage": "5Mi"}}}
    apply(
        cloud, namespace,
        pod("volume", fill.format("/v/x"), container={"volumeMounts": [{"name": "v", "mountPath": "/v"}]}, **volume),
        pod("root", fill.format("/x"), container=limits),
    )  # fmt: skip
    for name, said in (
        ("volume", 'Usage of EmptyDir volume "v" exceeds the limit "5Mi". '),
        ("root", "Pod ephemeral local storage usage exceeds the total limit of containers 5Mi. "),
    ):
        cloud.wait("-n", namespace, "--for=jsonpath={.status.reason}=Evicted", f"pod/{name}")
        held = cloud.get("-n", namespace, "pod", name)["status"]
        assert held["phase"] == "Failed"
        assert said in held["message"] + " "
        assert held["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137
        described = cloud.kubectl("-n", namespace, "describe", "pod", name)
        assert "Reason:           Evicted" in described


def test_logs_in_every_way(cloud, namespace):
    script = "for i in 1 2 3; do echo line $i; done; echo err >&2; sleep 2; echo late; sleep 1000"
    many = json.loads(pod("many", script))
    many["spec"]["containers"].append({"name": "two", "image": "busybox", "command": ["sh", "-c", "echo second; sleep 1000"]})  # fmt: skip
    apply(cloud, namespace, json.dumps(many))
    cloud.wait("-n", namespace, "--for=condition=Ready", "pod/many")
    logs = ("-n", namespace, "logs")
    follow = subprocess.Popen(
        [KUBECTL, "--kubeconfig", cloud.kubeconfig, *logs, "-f", "many", "-c", "c"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert follow.stdout is not None
    try:
        assert [follow.stdout.readline() for _ in range(5)][-1] == "late\n"
    finally:
        follow.kill()
        follow.wait()
        follow.stdout.close()
    assert cloud.kubectl(*logs, "many", "-c", "c", "--tail=2") == "err\nlate\n"
    assert cloud.kubectl(*logs, "many", "-c", "c", "--since=1s") in ("late\n", "")
    assert cloud.kubectl(*logs, "many", "-c", "c", "--limit-bytes=6") == "line 1"
    stamped = cloud.kubectl(*logs, "many", "-c", "c", "--timestamps", "--tail=1").split()
    assert stamped[0].endswith("Z")
    assert stamped[1] == "late"
    everything = cloud.kubectl(*logs, "-l", "app=many", "--all-containers", "--prefix", "--tail=-1")
    assert "[pod/many/c] line 1" in everything
    assert "[pod/many/two] second" in everything
    done = cloud.run(*logs, "many", "-c", "none")
    assert "container none is not valid for pod many" in done.stderr
    done = cloud.run(*logs, "many", "-c", "c", "--previous")
    assert 'previous terminated container "c" in pod "many" not found' in done.stderr
    assert 'Defaulted container "c" out of: c, two' in cloud.run(*logs, "many").stderr


def test_a_followed_log_outlives_its_rotation(cloud, namespace):
    lines, width = 13_000, 1000
    script = f"sleep 1; yes $(printf %0{width}d 0) | head -n {lines}; echo the end; sleep 1000"
    apply(cloud, namespace, pod("loud", script))
    cloud.wait("-n", namespace, "--for=condition=Ready", "pod/loud")
    follow = subprocess.Popen(
        [KUBECTL, "--kubeconfig", cloud.kubeconfig, "-n", namespace, "logs", "-f", "loud"],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert follow.stdout is not None
    try:
        seen = 0
        for line in follow.stdout:
            if line == b"the end\n":
                break
            assert len(line) == width + 1
            seen += 1
        assert seen == lines
    finally:
        follow.kill()
        follow.wait()
        follow.stdout.close()
    (folder,) = Path(cloud.settings.logs, "pods").glob(f"{namespace}_loud_*/c")
    deadline = time.monotonic() + 30
    while len(files := list(folder.iterdir())) < 2:
        assert time.monotonic() < deadline, files
        time.sleep(0.1)
    assert cloud.kubectl("-n", namespace, "logs", "loud", "--tail=1") == "the end\n"


def test_what_the_node_itself_refuses(cloud, namespace):
    sysctl = {"sysctls": [{"name": "net.core.somaxconn", "value": "99"}]}
    apply(
        cloud, namespace, pod("unsafe", "true", securityContext=sysctl),
        pod("big", "true", nodeName="here", container={"resources": {"requests": {"cpu": "100"}}}),
        pod("users", "true", hostUsers=False), pod("gated", "true", schedulingGates=[{"name": "example.com/wait"}]),
        pod("gate", "sleep 1000", readinessGates=[{"conditionType": "example.com/fine"}]),
    )  # fmt: skip
    for name, reason, said in (
        ("unsafe", "SysctlForbidden", 'forbidden sysctl: "net.core.somaxconn" not allowlisted'),
        ("big", "OutOfcpu", "Node didn't have enough resource: cpu, requested: 100000, used: "),
        ("users", "UserNamespacesSupport", "user namespaces (hostUsers: false) are not supported"),
    ):
        shown(cloud, namespace, name, reason)
        assert f"Pod was rejected: {said}" in cloud.kubectl("-n", namespace, "describe", "pod", name)  # fmt: skip
    shown(cloud, namespace, "gated", "SchedulingGated")
    cloud.kubectl("-n", namespace, "patch", "pod", "gated", "-p", '{"spec":{"schedulingGates":null}}')  # fmt: skip
    cloud.wait("-n", namespace, "--for=condition=PodScheduled", "pod/gated")
    cloud.wait("-n", namespace, "--for=condition=ContainersReady", "pod/gate")
    ready = '{"status":{"conditions":[{"type":"example.com/fine","status":"True"}]}}'
    assert "ReadinessGatesNotReady" in json.dumps(cloud.get("-n", namespace, "pod", "gate"))
    cloud.kubectl("-n", namespace, "patch", "pod", "gate", "--subresource=status", "-p", ready)
    cloud.wait("-n", namespace, "--for=condition=Ready", "pod/gate")


def test_a_look_into_another_containers_processes(cloud, namespace):
    hook = {"preStop": {"httpGet": {"path": "/stopped", "port": "web"}}}
    container = {"lifecycle": hook, "ports": [{"name": "web", "containerPort": 8080}]}
    script = "mkdir /www; httpd -f -v -p 8080 -h /www & sleep 12345"
    apply(cloud, namespace, pod("target", script, container=container))
    cloud.wait("-n", namespace, "--for=condition=Ready", "pod/target")
    debug = ("debug", "target", "--image=busybox", "--target=c", "--profile=general", "-i", "--quiet")  # fmt: skip
    out = cloud.kubectl("-n", namespace, *debug, "--", "ps")
    assert "sleep 12345" in out
    follow = subprocess.Popen(
        [KUBECTL, "--kubeconfig", cloud.kubeconfig, "-n", namespace, "logs", "-f", "target", "-c", "c"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    cloud.kubectl("-n", namespace, "delete", "pod", "target")
    out, _ = follow.communicate(timeout=20)
    assert "response:404" in out  # the hook asked
    # a Pod on the machine itself, with its files
    out = cloud.kubectl(
        "-n", namespace, "debug", "node/here", "--image=busybox", "--profile=sysadmin", "-i",
        "--quiet", "--", "sh", "-c", "sleep 1; ls -d /host/etc /proc/1/exe; sleep 1",
    )  # fmt: skip
    assert "/host/etc" in out
