"""What bundles say, what runtimes' answers mean, which of them works, and what a unit sees inside."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jindou.machine.linux import namespaces
from jindou.machine.runtimes import Limits, Mount, StartFailed, Unit, bundle, conmon, probe
from jindou.machine.runtimes.acting import FOREVER, act, duration
from jindou.machine.runtimes.bundle import CAPABILITIES, Device, Filter, Host
from jindou.machine.runtimes.pretend import plan_role
from jindou.machine.runtimes.signals import signal_number
from jindou.settings import Settings
from tests.machine.containers import OWN, Bench, texts

HOST = Host(False, frozenset((*CAPABILITIES, "CAP_SYS_ADMIN")), True, -1000)
UNIFIED = HOST._replace(unified=True)
UNIT = Unit("one", Path("/r"), ("sh",), namespaces=OWN)


def config(unit=UNIT, host=HOST, **more):
    return bundle.config(unit, host, "/jindou/one", **more)


def changed(**changes):
    from dataclasses import replace

    return replace(UNIT, **changes)


# ---------------------------------------------------------------- bundles


@pytest.mark.parametrize(
    ("given", "types"),
    [
        ({}, {"mount": None, "cgroup": None}),
        (OWN, dict.fromkeys(("mount", "cgroup", "network", "uts", "ipc", "pid"))),
        ({"network": "/n", "uts": "/u"}, {"mount": None, "cgroup": None, "network": "/n", "uts": "/u"}),
    ],
)  # fmt: skip
def test_namespaces(given, types):
    found = config(changed(namespaces=given))["linux"]["namespaces"]
    assert {entry["type"]: entry.get("path") for entry in found} == types


@pytest.mark.parametrize(
    ("uts", "hostname"), [("", "web"), ("/kept/uts", None), (None, None)]
)  # a host name beside a namespace's path is refused by runtimes
def test_the_host_name(uts, hostname):
    namespaces = {} if uts is None else {"uts": uts}
    document = config(changed(namespaces=namespaces, hostname="web"))
    assert document.get("hostname") == hostname


def test_capabilities_are_never_more_than_ours():
    def granted(unit, host=HOST):
        return set(config(unit, host)["process"]["capabilities"]["effective"])

    assert granted(UNIT) == set(CAPABILITIES)
    assert granted(changed(capabilities=())) == set()
    assert granted(changed(capabilities=("CAP_CHOWN", "CAP_SYS_TIME"))) == {"CAP_CHOWN"}
    assert granted(changed(privileged=True)) == HOST.capabilities
    few = HOST._replace(capabilities=frozenset({"CAP_KILL"}))
    assert granted(UNIT, few) == granted(changed(privileged=True), few) == {"CAP_KILL"}


def test_no_capability_is_inherited_and_no_limit_is_touched():
    process = config()["process"]
    assert set(process["capabilities"]) == {"bounding", "effective", "permitted"}
    assert "rlimits" not in process


def test_what_is_hidden():
    linux = config()["linux"]
    assert {"/proc/kcore", "/proc/keys", "/sys/firmware"} <= set(linux["maskedPaths"])
    assert "/proc/sys" in linux["readonlyPaths"]
    for unit in (changed(masked=False), changed(privileged=True)):
        assert "maskedPaths" not in config(unit)["linux"]


def test_privileged():
    document = config(changed(privileged=True), devices=[Device("/dev/x", "c", 1, 9)])
    options = {mount["destination"]: mount["options"] for mount in document["mounts"]}
    assert "rw" in options["/sys"]
    assert "rw" in options["/sys/fs/cgroup"]
    assert document["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert {"type": "cgroup"} not in document["linux"]["namespaces"]


def test_a_unit_s_own_mounts_stand_in_for_the_usual():
    own = Mount("/dev/shm/", "/pod/shm", options=("rbind", "rw"))
    found = config(changed(mounts=(own, Mount("/data", "/d"))))["mounts"]
    places = [mount["destination"] for mount in found]
    assert "/dev/shm" not in places
    assert places[-2:] == ["/dev/shm/", "/data"]
    assert found[-1] == {
        "destination": "/data", "type": "bind", "source": "/d", "options": ["rbind", "rprivate"],
    }  # fmt: skip
    shared = {mount["destination"]: mount for mount in config(changed(namespaces={}))["mounts"]}
    assert shared["/dev/shm"]["source"] == "/dev/shm"


@pytest.mark.parametrize(
    ("limits", "host", "expected"),
    [
        (Limits(), HOST, {}),
        (
            Limits(cpu=0.5, cpu_shares=1, memory=5, pids=3, cpuset="0", hugepages={"2MB": 7}),
            HOST,
            {
                "cpu": {"quota": 50000, "period": 100000, "shares": 2, "cpus": "0"},
                "memory": {"limit": 5, "swap": 5},
                "pids": {"limit": 3},
                "hugepageLimits": [{"pageSize": "2MB", "limit": 7}],
            },
        ),
        (
            Limits(memory=5),
            UNIFIED._replace(swap=False),
            {"memory": {"limit": 5}, "unified": {"memory.oom.group": "1"}},
        ),
    ],
)
def test_resources(limits, host, expected):
    assert bundle.resources(limits, host) == expected


@pytest.mark.parametrize(
    ("unit", "has"),
    [
        (changed(env=("A=1",)), "PATH=/usr/local/sbin"),
        (changed(terminal=True), "TERM=xterm"),
        (changed(env=("PATH=/x",)), "PATH=/x"),
    ],
)
def test_variables(unit, has):
    env = config(unit)["process"]["env"]
    assert any(entry.startswith(has) for entry in env)
    assert len([entry for entry in env if entry.startswith("PATH=")]) == 1


def test_the_oom_score_is_not_lowered_below_what_we_may():
    unit = changed(oom_score_adj=-997)
    assert config(unit)["process"]["oomScoreAdj"] == -997
    assert config(unit, HOST._replace(lowest_oom_score=0))["process"]["oomScoreAdj"] == 0


def test_filters():
    document = config(seccomp=Filter({"defaultAction": "x"}, "QUJD"))
    assert document["linux"]["seccomp"] == {"defaultAction": "x"}
    assert document["annotations"] == {"run.oci.seccomp_bpf_data": "QUJD"}
    assert "annotations" not in config()


def test_another_process_of_the_unit():
    base = config(changed(env=("A=1", "B=2", "PATH=/x")))["process"]
    found = bundle.exec_process(base, ["ls"], ["B=3"], True)
    assert found["args"] == ["ls"]
    assert found["terminal"]
    assert set(found["env"]) == {"A=1", "PATH=/x", "B=3", "TERM=xterm"}
    assert found["capabilities"] == base["capabilities"]


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            'time="2026-11-24T19:42:55Z" level=error msg="runc create failed: unable to start '
            'container process: exec: \\"nosuch\\": executable file not found in $PATH"\n',
            'exec: "nosuch": executable file not found in $PATH',
        ),
        (
            "executable file `nosuch` not found in $PATH: No such file or directory",
            'exec: "nosuch": executable file not found in $PATH',
        ),
        (
            "\x1b[1;31m2026-11-24T19:54:06.696606Z: executable file `x` not found in $PATH: No\x1b[0m",
            'exec: "x": executable file not found in $PATH',
        ),
        ("\x1b[31mERRO\x1b[0m[0000] exec failed: no such thing", "no such thing"),
        ("warning\n\nreal reason\n", "real reason"),
        ("", "the runtime could not create the container"),
    ],
)
def test_a_runtimes_complaint(text, says):
    assert conmon.sentence(text) == says


def test_conmons_answer():
    assert conmon.read_answer(b'{"data": 42}\n') == 42
    with pytest.raises(StartFailed, match="ended before"):
        conmon.read_answer(b"")
    with pytest.raises(StartFailed, match=r"^reason$"):
        conmon.read_answer(b'{"data": -1, "message": "reason"}\n')


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({}, set()),
        ({"terminal": True}, {"-t"}),
        ({"stdin": True}, {"-i", "--leave-stdin-open"}),
        ({"stdin": True, "stdin_once": True}, {"-i"}),
    ],
)
def test_conmons_options(given, options):
    here = Path("/x")
    words = conmon.arguments(conmon.Launch("one", "/crun", here, here, here, here, **given))
    assert {"-t", "-i", "--leave-stdin-open"} & set(words) == options


@pytest.mark.parametrize(
    ("text", "number"),
    [("", 15), ("SIGKILL", 9), ("term", 15), ("15", 15), ("999", 15), ("SIGNOSUCH", 15),
     ("SIGRTMIN+3", 37), ("RTMAX", 64), ("RTMIN+999", 15), ("SIGUSR1", 10)],
)  # fmt: skip
def test_signal_names(text, number):
    assert signal_number(text) == number


# ---------------------------------------------------------------- pretending


@pytest.mark.parametrize(
    ("argv", "output", "seconds", "code"),
    [
        (["true"], [], 0, 0),
        (["/bin/false"], [], 0, 1),
        (["echo", "a", "b"], [(1, b"a b\n")], 0, 0),
        (["sh", "-c", "echo a; echo b >&2; sleep 2s && exit 7"], [(1, b"a\n"), (2, b"b\n")], 2, 7),
        (["sleep", "infinity"], [], FOREVER, 0),
        (["nginx", "-g", "daemon off;"], [], FOREVER, 0),
        ([], [], FOREVER, 0),
    ],
)
def test_acting(argv, output, seconds, code):
    done = act(argv)
    assert (list(done.output), done.seconds, done.code) == (output, seconds, code)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("500ms", 0.5), ("1m30s", 90), ("2", 2), ("1.5s", 1.5)]
)
def test_durations(text, seconds):
    assert duration(text) == seconds


@pytest.mark.parametrize(
    ("notes", "ends", "code"),
    [
        ({}, 1e12, 0),
        ({"run-for": "10s"}, 110, 0),
        ({"run-for": "10s", "exit-code": "7"}, 110, 7),
        ({"exit-code": "7"}, 100, 7),
    ],
)
def test_roles(notes, ends, code):
    unit = changed(
        argv=("nginx",), annotations={f"pretend/{key}": text for key, text in notes.items()}
    )
    role, _ = plan_role(unit, 100)
    assert (role.ends, role.code) == (ends, code)


def test_a_role_that_is_no_role():
    with pytest.raises(StartFailed, match="under pretend/"):
        plan_role(changed(annotations={"pretend/exit-code": "many"}), 0)


# ---------------------------------------------------------------- the probe


def test_verdicts_are_kept_for_this_boot(tmp_path):
    settings = Settings(run=str(tmp_path))
    (verdict,) = probe.probe(settings, ["nosuch"])
    assert (verdict.works, verdict.reason) == (False, "it is not installed")
    cache = tmp_path / "runtimes.json"
    kept = json.loads(cache.read_text())
    kept["nosuch"]["verdict"].update(works=True, reason="kept")  # what does not work is tried again
    cache.write_text(json.dumps(kept))
    assert probe.probe(settings, ["nosuch"])[0].reason == "kept"
    kept["nosuch"]["key"][0] = "another boot"
    cache.write_text(json.dumps(kept))
    assert probe.probe(settings, ["nosuch"])[0].reason == "it is not installed"
    cache.write_text("damaged")
    assert not probe.probe(settings, ["nosuch"])[0].works


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_verdict_comes_from_a_real_container():
    before = set(os.listdir("/tmp"))
    verdicts = probe.probe()
    assert [verdict.name for verdict in verdicts] == ["crun", "runc"]
    for verdict in verdicts:
        assert verdict.works or verdict.reason
    assert not [name for name in set(os.listdir("/tmp")) - before if "jindou-probe" in name]
    assert probe.choose() == next((v for v in verdicts if v.works), None)


# ---------------------------------------------------------------- the mount namespace of the node

ENTER = """
import os, sys
sys.path[:0] = sys.argv[1].split(":")
from pathlib import Path
from jindou.machine.linux.mounts import mount_points
from jindou.machine.linux.namespaces import own_mount_namespace
run = Path(sys.argv[2])
was = os.readlink("/proc/self/ns/mnt")
hybrid = os.path.ismount("/sys/fs/cgroup/unified")
entered = own_mount_namespace(run / sys.argv[3], run, hybrid)
(run / "units" / str(os.getpid())).touch()
print(entered, was != os.readlink("/proc/self/ns/mnt"), os.sched_getaffinity(0) == set(range(os.cpu_count())),
      len(os.listdir(run / "units")), os.path.ismount(run / "units"),
      os.path.exists("/sys/fs/cgroup/unified/cgroup.procs"), os.readlink("/proc/self/ns/mnt"))
"""


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("propagation", ["private", "shared"])
@pytest.mark.parametrize("keep", ["mounts", "keep/mounts"])
def test_the_node_finds_its_mounts_again(tmp_path, propagation, keep):
    script = tmp_path / "enter.py"
    script.write_text(ENTER)
    enter = f"{sys.executable} {script} '{':'.join(sys.path)}' {tmp_path} {keep}"
    outside = f"ls {tmp_path}/units | wc -l; umount {tmp_path}/{keep}"
    command = f"mount --make-r{propagation} / && {enter} && {enter} && {outside}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", command], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    first, second, seen = done.stdout.splitlines()
    *made, namespace = first.split()
    *found, again = second.split()
    assert made == ["False", "True", "True", "1", "True", "False"]
    assert found == ["True", "True", "True", "2", "True", "False"]
    assert namespace == again
    assert seen == "0"  # nothing of ours is seen by others


# ---------------------------------------------------------------- inside

LOOK = r"""
echo id $(id -u) $(id -g) $(id -G)
grep -E '^(CapEff|CapBnd|CapAmb|CapInh|NoNewPrivs|Seccomp):' /proc/self/status | while read a b; do echo $a $b; done
for ns in pid mnt net ipc uts cgroup; do echo ns:$ns $(readlink /proc/self/ns/$ns); done
for file in kcore keys timer_list sched_debug; do echo $file $(head -c 5 /proc/$file 2>/dev/null | wc -c); done
touch /sys/x 2>/dev/null && echo sys writable
touch /root-write 2>/dev/null && echo root writable
(echo 1 > /proc/sys/kernel/panic) 2>/dev/null && echo sysctl writable
group=/sys/fs/cgroup/pids; [ -d $group ] || group=/sys/fs/cgroup
mkdir $group/x 2>/dev/null && rmdir $group/x && echo cgroup writable
mount -t tmpfs tmpfs /tmp 2>/dev/null && echo mount allowed
echo dev $(ls /dev)
echo fds $(ls /proc/self/fd | wc -w)
echo procs $(ls -d /proc/[0-9]* | wc -w)
echo oom $(cat /proc/self/oom_score_adj)
echo host $(hostname)
echo port $(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)
echo cwd $(pwd)
"""
APPLETS = "grep readlink head wc touch mkdir rmdir mount ls id hostname pwd cat tr mknod test"


async def look(box, script=LOOK, **changes):
    for name in APPLETS.split():
        if not (box.root / "bin" / name).is_symlink():
            (box.root / "bin" / name).symlink_to("busybox")
    runtime = box.runtime()
    await runtime.start(box.unit("one", script, **changes))
    for _ in range(1000):
        if (await runtime.observe())["one"].phase == "exited":
            break
        await asyncio.sleep(0.01)
    found = {}
    for line in texts(box.log("one")):
        key, _, rest = line.partition(" ")
        found[key.rstrip(":")] = rest
    await runtime.remove("one")
    return found


def mask(names):
    from jindou.machine.runtimes.host import CAPABILITY_NAMES

    numbers = {f"CAP_{name}": bit for bit, name in enumerate(CAPABILITY_NAMES.split())}
    return sum(1 << numbers[name] for name in names)


real = pytest.mark.parametrize("kind", ["crun", "runc"])


@pytest.mark.root
@real
def test_an_ordinary_unit_is_shut_in(kind):
    async def scenario(box):
        found = await look(
            box,
            seccomp="default",
            no_new_privileges=True,
            readonly_root=True,
            hostname="web",
            oom_score_adj=200,
            groups=(7, 8),
            cwd="/tmp",
            sysctls={"net.ipv4.ip_unprivileged_port_start": "80"},
        )
        assert found["id"] == "0 0 0 7 8"
        assert int(found["CapEff"], 16) == int(found["CapBnd"], 16) == mask(CAPABILITIES)
        assert int(found["CapAmb"], 16) == int(found["CapInh"], 16) == 0
        assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
        for kind in ("pid", "mnt", "net", "ipc", "uts", "cgroup"):
            assert found[f"ns:{kind}"] != os.readlink(f"/proc/self/ns/{kind}")
        assert {found[file] for file in ("kcore", "keys", "timer_list", "sched_debug")} == {"0"}
        assert not {"sys", "root", "sysctl", "cgroup", "mount"} & set(found)
        assert set(found["dev"].split()) <= {
            "console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm",
            "stderr", "stdin", "stdout", "tty", "urandom", "zero",
        }  # fmt: skip
        assert int(found["fds"]) <= 4  # the three, and that of the folder itself
        assert int(found["procs"]) <= 4  # its shell, and that of the pipe
        assert (found["oom"], found["host"], found["port"]) == ("200", "web", "80")
        assert found["cwd"] == "/tmp"

    Bench(kind).run(scenario)


@pytest.mark.root
@real
def test_a_user_of_no_privilege(kind):
    async def scenario(box):
        found = await look(box, uid=1000, gid=1001, groups=(1002,))
        assert found["id"] == "1000 1001 1001 1002"
        assert int(found["CapEff"], 16) == 0
        assert found["Seccomp"] == "0"

    Bench(kind).run(scenario)


@pytest.mark.root
@real
def test_a_privileged_unit(kind):
    async def scenario(box):
        found = await look(box, privileged=True, seccomp="default")
        from jindou.machine.runtimes.host import own_capabilities

        assert int(found["CapEff"], 16) == mask(own_capabilities())
        assert found["Seccomp"] == "0"
        assert {"root", "mount"} <= set(found)
        assert found["ns:cgroup"] == os.readlink("/proc/self/ns/cgroup")
        lent = [
            name for name in ("kmsg", "mem", "fuse", "loop-control") if Path("/dev", name).exists()
        ]
        assert set(lent) <= set(found["dev"].split())

    Bench(kind).run(scenario)


@pytest.mark.root
@real
def test_a_device_is_lent(kind):
    async def scenario(box):
        script = (
            "head -c 3 /dev/lent | wc -c; mknod /tmp/kmsg c 1 11; head -c 1 /tmp/kmsg || echo no"
        )
        found = await look(box, script, devices=("/dev/zero:/dev/lent:r",))
        assert "3" in found
        assert "no" in found

    Bench(kind).run(scenario)


@pytest.mark.root
@real
def test_mounts_of_a_unit(kind):
    async def scenario(box):
        data = box.folder / "data-volume"
        data.mkdir()
        (data / "file").write_text("text here\n")
        found = await look(
            box,
            "cat /data/file; touch /data/x 2>/dev/null || echo read only; grep ' /scratch ' /proc/mounts",
            mounts=(
                Mount("/data", str(data), options=("rbind", "rprivate", "ro")),
                Mount("/scratch", "tmpfs", "tmpfs", ("size=1m", "nosuid")),
            ),
        )
        assert found["text"] == "here"
        assert found["read"] == "only"
        assert "size=1024k" in found["tmpfs"]

    Bench(kind).run(scenario)


@pytest.mark.root
@real
def test_processes_may_be_shared_between_units(kind):
    async def scenario(box):
        runtime = box.runtime()
        first = await runtime.start(box.unit("first"))
        namespaces = {**OWN, "pid": f"/proc/{first.pid}/ns/pid"}
        await runtime.start(
            box.unit("second", "sleep 1001 & ps; sleep 1000", namespaces=namespaces)
        )
        deadline = time.monotonic() + 5
        while "sleep 1001" not in "".join(texts(box.log("second"))):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        await runtime.stop("second", 0)
        await runtime.remove("second")  # also its other process, which outlived the first
        assert runtime.cgroups.processes(f"{box.group}/second") == []
        assert len(runtime.cgroups.processes(f"{box.group}/first")) == 1
        await runtime.remove("first")
        assert not any(box.left().values())

    Bench(kind).run(scenario)


@pytest.mark.root
@real
def test_the_host_s_namespaces(kind):
    async def scenario(box):
        found = await look(box, namespaces={}, seccomp="default")
        for name in ("pid", "net", "ipc", "uts"):
            assert found[f"ns:{name}"] == os.readlink(f"/proc/thread-self/ns/{name}")
        assert found["ns:mnt"] != os.readlink("/proc/thread-self/ns/mnt")
        assert "sysctl" not in found

    Bench(kind).run(scenario)


@pytest.mark.root
@real
def test_kept_namespaces(kind):
    async def scenario(box):
        paths = {name: box.folder / f"ns.{name}" for name in ("network", "uts", "ipc")}
        await asyncio.to_thread(namespaces.make, paths, "kept", lambda: None)
        try:
            given = {name: str(path) for name, path in paths.items()} | {"pid": ""}
            found = await look(box, namespaces=given, hostname="not this")
            assert found["host"] == "kept"
            for name, path in (("net", paths["network"]), ("ipc", paths["ipc"])):
                assert found[f"ns:{name}"] == f"{name}:[{path.stat().st_ino}]"
        finally:
            namespaces.free(paths.values())

    Bench(kind).run(scenario)


@pytest.mark.root
@real
def test_a_profile_of_the_user_s(kind):
    async def scenario(box):
        profile = box.folder / "profile.json"
        profile.write_text(
            json.dumps(
                {
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [
                        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}
                    ],
                }
            )
        )
        found = await look(box, "mkdir /tmp/x 2>&1", seccomp=str(profile))
        assert "No space left" in found["mkdir"]

    Bench(kind).run(scenario)
