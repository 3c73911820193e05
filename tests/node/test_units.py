"""What a container of a Pod becomes on the machine: tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from jindou.machine.network import HostPort
from jindou.machine.runtimes import Mount
from jindou.node.state import resources, security, units
from jindou.node.state.security import ConfigRefused
from jindou.settings import Settings

UID = "bb33185a-b08b-42ac-8b44-f3cfef49d1f9"
SETTINGS = Settings(logs="/logs")
FILES = units.Files(
    Path("/f/hosts"), Path("/f/name"), Path("/f/resolv"), Path("/f/end"), Path("/f/shm")
)


def pod(**spec):
    meta = {"name": "web", "namespace": "shop", "uid": UID, "annotations": {"run.oci.x": "1", "pretend/run-for": "1s"}}  # fmt: skip
    return {"metadata": meta, "spec": {"containers": [], **spec}}


def container(**more):
    return {"name": "main", "image": "busybox", **more}


def merged(pod_context=None, own=None, user=""):
    return security.merge(
        pod(securityContext=pod_context or {}),
        container(securityContext=own or {}),
        user,
        Path("/p"),
    )


def unit(held, image=None, spec=None, **more):
    whole = pod(**(spec or {}))
    given = {
        "id": units.unit_id(UID, "main", 2),
        "root": Path("/root"),
        "config": image or {},
        "environment": [],
        "mounts": [],
        "files": FILES,
        "security": security.merge(whole, held, (image or {}).get("User") or "", Path("/p")),
        "uid": 0,
        "gid": 0,
        "groups": (),
        "namespaces": units.namespaces(whole, {}),
        "log": Path("/log"),
        "memory": 1 << 30,
        **more,
    }
    return units.unit(whole, held, units.Found(**given), SETTINGS)


def test_ids_lead_back():
    for name in ("main", "a-b-3", "x"):
        assert units.parse_id(units.unit_id(UID, name, 12)) == (UID, name, 12)
    assert units.parse_id("something-else") is None
    assert (
        str(units.log_path(SETTINGS, pod(), "main", 2)) == f"/logs/pods/shop_web_{UID}/main/2.log"
    )


@pytest.mark.parametrize(
    ("held", "image", "expected"),
    [
        ({}, {"Entrypoint": ["e"], "Cmd": ["c"]}, ["e", "c"]),
        ({"args": ["a"]}, {"Entrypoint": ["e"], "Cmd": ["c"]}, ["e", "a"]),
        ({"command": ["k"]}, {"Entrypoint": ["e"], "Cmd": ["c"]}, ["k"]),
        ({"command": ["k"], "args": ["a"]}, {"Entrypoint": ["e"]}, ["k", "a"]),
        ({"args": ["a"]}, {}, ["a"]),
        ({}, {"Cmd": None, "Entrypoint": None}, []),
        (
            {"command": ["$(A)", "$$(A)", "$(B)", "$", "a$(A)b"]},
            {},
            ["1", "$(A)", "$(B)", "$", "a1b"],
        ),
    ],
)
def test_arguments(held, image, expected):
    assert units.argv(held, image, {"A": "1"}) == expected


def test_the_environment_of_the_container_wins():
    made = unit(
        container(tty=True),
        {"Env": ["PATH=/image", "A=image", "EMPTY"]},
        environment=[("A", "own"), ("B", "2")],
    )
    assert made.env == ("PATH=/image", "HOSTNAME=web", "A=own", "EMPTY=", "TERM=xterm", "B=2")


def test_only_harmless_annotations_reach_the_runtime():
    assert unit(container()).annotations == {"pretend/run-for": "1s"}


def test_resources():
    held = container(
        resources={"limits": {"cpu": "500m", "memory": "64Mi", "hugepages-2Mi": "4Mi"}, "requests": {"cpu": "250m"}}
    )  # fmt: skip
    limits = resources.limits(held)
    assert (limits.cpu, limits.cpu_shares, limits.memory) == (0.5, 256, 64 << 20)
    assert limits.hugepages == {"2MB": 4 << 20}
    assert limits.pids == resources.PIDS
    assert resources.limits(container()).cpu_shares == 2


GUARANTEED = {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}


@pytest.mark.parametrize(
    ("held", "quality", "score"),
    [
        ({}, "BestEffort", 1000),
        (GUARANTEED, "Guaranteed", -997),
        ({"limits": GUARANTEED["limits"]}, "Guaranteed", -997),
        ({"requests": {"memory": "512Mi"}}, "Burstable", 500),
        ({"requests": {"memory": "2Gi"}}, "Burstable", 3),
        ({"requests": {"cpu": "1"}}, "Burstable", 999),
    ],
)
def test_quality_of_service(held, quality, score):
    one = container(resources=held)
    whole = pod(containers=[one])
    assert resources.qos_class(whole) == quality
    assert resources.oom_score(whole, one, 1 << 30) == score


def test_requests_of_a_pod_are_those_of_its_peak():
    def asks(cpu, **more):
        return container(resources={"requests": {"cpu": cpu}}, **more)

    whole = pod(
        initContainers=[asks("500m"), asks("100m", restartPolicy="Always"), asks("900m")],
        containers=[asks("200m"), asks("300m")],
    )
    assert resources.requests(whole)["cpu"] == 1000


@pytest.mark.parametrize(
    ("shared", "own", "image", "user", "group"),
    [
        ({}, {}, "nginx:www", "nginx:www", None),
        ({"runAsUser": 5}, {}, "nginx", "5", None),
        ({"runAsUser": 5, "runAsGroup": 6}, {"runAsUser": 7}, "nginx", "7", 6),
        ({"runAsUser": 5}, {"runAsUser": 0}, "nginx", "0", None),
    ],
)
def test_users(shared, own, image, user, group):
    found = merged(shared, own, image)
    assert (found.user, found.group) == (user, group)


@pytest.mark.parametrize(
    ("shared", "own", "user", "words"),
    [
        ({"runAsNonRoot": True}, {}, "", "image will run as root"),
        ({"runAsNonRoot": True}, {}, "0:5", "image will run as root"),
        ({"runAsNonRoot": True}, {}, "nginx", "non-numeric user (nginx)"),
        ({"runAsNonRoot": True}, {"runAsUser": 0}, "7", "breaks non-root policy"),
    ],
)
def test_root_is_refused_where_it_must_not_be(shared, own, user, words):
    with pytest.raises(ConfigRefused) as refused:
        merged(shared, own, user)
    assert words in str(refused.value)
    assert f'(pod: "web_shop({UID})", container: main)' in str(refused.value)


def test_root_is_not_refused_where_it_may_be():
    merged({"runAsNonRoot": True}, {"runAsNonRoot": False})
    merged({"runAsNonRoot": True}, {"runAsUser": 5})
    merged({"runAsNonRoot": True}, {}, "1000:1000")


@pytest.mark.parametrize(
    ("asked", "has", "lacks"),
    [
        ({"add": ["NET_ADMIN"]}, "CAP_NET_ADMIN", "CAP_SYS_ADMIN"),
        ({"drop": ["chown"]}, "CAP_KILL", "CAP_CHOWN"),
        ({"drop": ["ALL"], "add": ["CAP_NET_BIND_SERVICE"]}, "CAP_NET_BIND_SERVICE", "CAP_KILL"),
        ({"add": ["ALL"], "drop": ["SYS_TIME"]}, "CAP_SYS_ADMIN", "CAP_SYS_TIME"),
    ],
)
def test_capabilities(asked, has, lacks):
    found = merged({}, {"capabilities": asked}).capabilities
    assert has in found
    assert lacks not in found


def test_confinement():
    assert merged().seccomp == "default"
    assert merged({"seccompProfile": {"type": "Unconfined"}}).seccomp == ""
    assert merged({"seccompProfile": {"type": "Unconfined"}}, {"seccompProfile": {"type": "RuntimeDefault"}}).seccomp == "default"  # fmt: skip
    assert merged({}, {"privileged": True})[4:] == (True, False, False, "", False)
    assert merged({}, {"allowPrivilegeEscalation": False}).no_new_privileges
    assert not merged({}, {"procMount": "Unmasked"}).masked
    with pytest.raises(ConfigRefused):
        merged(
            {}, {"seccompProfile": {"type": "Localhost", "localhostProfile": "../../etc/shadow"}}
        )
    with pytest.raises(ConfigRefused):
        merged({}, {"seccompProfile": {"type": "Localhost", "localhostProfile": "none.json"}})


def test_groups_add_up():
    context = {"supplementalGroups": [7, 8], "fsGroup": 9, "runAsGroup": 5}
    made = unit(container(), spec={"securityContext": context}, gid=3, groups=(7, 4))
    assert (made.gid, made.groups) == (5, (7, 4, 8, 9))


@pytest.mark.parametrize(
    ("spec", "kinds"),
    [
        ({}, {"network", "uts", "ipc", "pid"}),
        ({"hostNetwork": True}, {"ipc", "pid"}),
        ({"hostPID": True}, {"network", "uts", "ipc"}),
        ({"hostIPC": True}, {"network", "uts", "pid"}),
    ],
)
def test_namespaces(spec, kinds):
    assert set(units.namespaces(pod(**spec), {})) == kinds


def test_shared_and_inspected_processes():
    kept = {"network": Path("/n"), "uts": Path("/u"), "ipc": Path("/i")}
    assert units.namespaces(pod(), kept, first=5)["pid"] == ""
    assert (
        units.namespaces(pod(shareProcessNamespace=True), kept, first=5)["pid"] == "/proc/5/ns/pid"
    )
    assert units.namespaces(pod(), kept, first=5, target=9)["pid"] == "/proc/9/ns/pid"
    assert units.namespaces(pod(), kept)["network"] == "/n"


def test_our_files_give_way_to_volumes():
    mounts = unit(container(), mounts=[Mount("/etc/hosts", "/v")]).mounts
    targets = [mount.target for mount in mounts]
    assert targets.count("/etc/hosts") == 1
    assert {"/etc/hostname", "/etc/resolv.conf", "/dev/termination-log", "/dev/shm"} <= set(targets)


def test_a_place_inside_of_another_is_mounted_after_it():
    asked = [Mount("/x/y/z", "/a"), Mount("/x", "/b"), Mount("/etc", "/c"), Mount("/x/y", "/d")]
    targets = [mount.target for mount in unit(container(), mounts=asked).mounts]
    assert [t for t in targets if t.startswith("/x")] == ["/x", "/x/y", "/x/y/z"]
    assert targets.index("/etc") < targets.index("/etc/hosts")
    closed = [Mount("/etc", "/c", options=("rbind", "ro"))]
    targets = [mount.target for mount in unit(container(), mounts=closed).mounts]
    assert [t for t in targets if t.startswith("/etc")] == ["/etc"]


def test_a_read_only_container_can_still_leave_a_message():
    mounts = {
        mount.target: mount
        for mount in unit(container(securityContext={"readOnlyRootFilesystem": True})).mounts
    }
    assert "ro" in mounts["/etc/hosts"].options
    assert "rw" in mounts["/dev/termination-log"].options


def test_hosts():
    aliases = [{"ip": "10.9.9.9", "hostnames": ["db", "db.local"]}]
    whole = pod(hostname="h", subdomain="sub", hostAliases=aliases)
    text = units.hosts_file(whole, ("10.1.1.2",), SETTINGS)
    assert "10.1.1.2\th.sub.shop.svc.cluster.local\th\n" in text
    assert text.endswith("# Entries added by HostAliases.\n10.9.9.9\tdb\tdb.local\n")
    assert units.kernel_name(whole, SETTINGS) == "h"
    whole["spec"]["setHostnameAsFQDN"] = True
    assert units.kernel_name(whole, SETTINGS) == "h.sub.shop.svc.cluster.local"
    shared = units.hosts_file(pod(hostNetwork=True), ("10.1.1.2",), SETTINGS, "127.0.0.1 laptop\n")
    assert "127.0.0.1 laptop\n" in shared


def test_a_long_name_is_cut_to_what_a_host_name_may_be():
    whole = pod()
    whole["metadata"]["name"] = "a" * 62 + "-b"
    assert units.hostname(whole) == "a" * 62


def test_host_ports():
    ports = [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 53, "hostPort": 53, "protocol": "UDP", "hostIP": "127.0.0.1"}, {"containerPort": 9}]  # fmt: skip
    whole = pod(containers=[container(ports=ports)])
    assert units.host_ports(whole) == (
        HostPort("tcp", 8080, 80),
        HostPort("udp", 53, 53, "127.0.0.1"),
    )
    whole["spec"]["hostNetwork"] = True
    assert units.host_ports(whole) == ()


def test_the_rest_of_a_unit():
    made = unit(
        container(stdin=True, stdinOnce=True, tty=True, lifecycle={"stopSignal": "SIGUSR1"}),
        {"WorkingDir": "/srv", "StopSignal": "SIGQUIT"},
    )
    assert (made.cwd, made.stop_signal, made.terminal, made.stdin, made.stdin_once) == (
        "/srv", "SIGUSR1", True, True, True,
    )  # fmt: skip
    assert made.cgroup == f"jindou/pods/{UID}/main-2"
    assert unit(container(workingDir="/w"), {"StopSignal": "SIGQUIT"}).stop_signal == "SIGQUIT"
