"""System call filters: what the profiles say, what the BPF does, and what the kernel does with it."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import platform
import struct
import sys

import pytest

from jindou.machine.linux import mounts
from jindou.machine.runtimes import StartFailed, filters, seccomp
from jindou.machine.runtimes.bundle import CAPABILITIES
from tests.machine.containers import Bench, texts

ALLOW, ERRNO = 0x7FFF0000, 0x00050000
EPERM, ENOSYS = 1, 38
X86_64, X86 = 0xC000003E, 0x40000003
needs_x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of x86-64")


def run_bpf(program: bytes, number: int, args=(), arch: int = X86_64) -> int:
    """What a filter answers: the classic BPF machine, as far as seccomp allows it."""
    padded = [*args, *[0] * (6 - len(args))]
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, arch, 0, *(a % (1 << 64) for a in padded))
    steps = list(struct.iter_unpack("<HBBI", program))
    place, value = 0, 0
    while True:
        code, true, false, k = steps[place]
        place += 1
        if code == 0x20:
            value = struct.unpack_from("<I", data, k)[0]
        elif code == 0x54:
            value &= k
        elif code == 0x05:
            place += k
        elif code == 0x06:
            return k
        else:
            test = {0x15: value == k, 0x25: value > k, 0x35: value >= k, 0x45: bool(value & k)}[
                code
            ]
            place += true if test else false


def answer(profile, name: str, args=()) -> int:
    """What a profile in the OCI form says, read without libseccomp."""
    padded = [*args, *[0] * (6 - len(args))]
    for rule in profile["syscalls"]:
        if name in rule["names"] and all(holds(test, padded) for test in rule.get("args") or ()):
            return action(rule["action"], rule.get("errnoRet"))
    return action(profile["defaultAction"], profile.get("defaultErrnoRet"))


def holds(test, args) -> bool:
    value, wanted = args[test["index"]], test["value"]
    return {
        "SCMP_CMP_EQ": value == wanted,
        "SCMP_CMP_LT": value < wanted,
        "SCMP_CMP_MASKED_EQ": value & wanted == test["valueTwo"],
    }[test["op"]]


def action(name, errno) -> int:
    return ALLOW if name == "SCMP_ACT_ALLOW" else ERRNO | (EPERM if errno is None else errno)


def names():
    """Every call that libseccomp knows here, by number."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_syscall_resolve_num_arch.restype = ctypes.c_char_p
    found = {}
    for number in range(600):
        if name := library.seccomp_syscall_resolve_num_arch(ctypes.c_uint32(X86_64), number):
            found[number] = name.decode()
    return found


ARGUMENTS = [
    (), (1,), (2,), (8,), (0x20008,), (0xFFFFFFFF,), (38,), (39,), (40,), (41,), (45,), (46,),
    (1 << 32 | 40,), (1 << 32,), (0x10000000,), (0x10000,), (0x3D0F00,),
]  # fmt: skip


@needs_x86_64
@pytest.mark.parametrize(
    "capabilities",
    [(), CAPABILITIES, (*CAPABILITIES, "CAP_SYS_ADMIN"), ("CAP_SYS_TIME", "CAP_BPF")],
    ids=["none", "default", "admin", "odd"],
)
def test_the_bpf_says_what_the_profile_says(capabilities):
    profile = seccomp.default_profile(capabilities)
    program = filters.compile_profile(profile)
    last = filters._last_calls(profile)["SCMP_ARCH_X86_64"]
    wrong = [
        (name, args)
        for number, name in names().items()
        for args in ARGUMENTS
        if number <= last and run_bpf(program, number, args) != answer(profile, name, args)
    ]
    assert wrong == []
    assert run_bpf(program, last + 1) == ERRNO | ENOSYS
    assert run_bpf(program, last + 1, arch=X86) == ERRNO | ENOSYS


@needs_x86_64
def test_other_architectures():
    program = filters.compile_profile(seccomp.default_profile(CAPABILITIES))
    assert run_bpf(program, 3, arch=X86) == ALLOW  # read
    assert run_bpf(program, 21, arch=X86) == ERRNO | EPERM  # mount
    assert run_bpf(program, 0x40000000, arch=X86_64) == ALLOW  # read of x32
    assert run_bpf(program, 0, arch=0xC00000B7) == 0  # of another machine: killed


@pytest.mark.parametrize(
    ("name", "args", "capabilities", "expected"),
    [
        ("read", (), (), ALLOW),
        ("mount", (), CAPABILITIES, ERRNO | EPERM),
        ("mount", (), ("CAP_SYS_ADMIN",), ALLOW),
        ("clone", (0x10000000,), CAPABILITIES, ERRNO | EPERM),
        ("clone", (0x3D0F00,), CAPABILITIES, ALLOW),
        ("clone3", (), CAPABILITIES, ERRNO | ENOSYS),
        ("socket", (40,), CAPABILITIES, ERRNO | EPERM),
        ("socket", (38,), CAPABILITIES, ERRNO | EPERM),
        ("socket", (2,), CAPABILITIES, ALLOW),
        ("chroot", (), CAPABILITIES, ALLOW),
        ("chroot", (), (), ERRNO | EPERM),
        ("io_uring_setup", (), CAPABILITIES, ERRNO | EPERM),
        ("keyctl", (), CAPABILITIES, ERRNO | EPERM),
        ("arch_prctl", (), CAPABILITIES, ALLOW),
    ],
)
def test_the_default_profile(name, args, capabilities, expected):
    assert answer(seccomp.default_profile(capabilities, "x86_64"), name, args) == expected


DOCKER = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 38,
    "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": None},
    ],
    "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": None, "comment": "kept out"},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["chroot"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_SYS_CHROOT"]}},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
        {"names": ["kcmp"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "999.0"}},
        {"names": ["cacheflush"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
        {"name": "write", "action": "SCMP_ACT_ALLOW"},
    ],
}


def test_a_profile_in_dockers_form():
    profile = seccomp.resolve(DOCKER, ["CAP_SYS_CHROOT"], "x86_64")
    assert profile == {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["write"], "action": "SCMP_ACT_ALLOW"},
        ],
    }
    other = seccomp.resolve(DOCKER, ["CAP_SYS_ADMIN"], "aarch64")
    assert [rule["names"][0] for rule in other["syscalls"]] == [
        "read", "mount", "chroot", "ptrace", "cacheflush", "write",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [(None, "No such file"), ("{", "cannot load"), ("{}", "defaultAction"), ("[]", "cannot load")],
)
def test_a_profile_that_is_no_profile(tmp_path, text, says):
    path = tmp_path / "profile.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(StartFailed, match=says):
        seccomp.load(path, [])


def test_a_filter_is_compiled_once(tmp_path):
    profile = seccomp.default_profile(CAPABILITIES)
    first = filters.compiled(profile, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"kept")
    assert filters.compiled(profile, tmp_path) != first
    assert filters.compiled(seccomp.default_profile([]), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_what_only_the_runtime_can_compile(tmp_path):
    notify = {**DOCKER, "syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]}
    flags = {**DOCKER, "flags": ["SECCOMP_FILTER_FLAG_LOG"]}
    for document in (notify, flags):
        assert filters.compiled(seccomp.resolve(document, [], "x86_64"), tmp_path) == ""


# Harmless even where they are let through: bad pointers, bad magic numbers, unknown operations.
CALLS = [
    ("add_key", ()), ("bpf", (99,)), ("chroot", (1,)), ("clone3", ()), ("delete_module", (1,)),
    ("fanotify_init", (1 << 31,)), ("fsopen", (1, 99)), ("io_uring_setup", ()), ("ioperm", (1 << 40,)),
    ("kcmp", (-1, -1)), ("kexec_load", (1, 99, 1, 1 << 40)), ("keyctl", (99,)), ("mbind", (1,)),
    ("mount", (1, 1, 1)), ("move_pages", (-1,)), ("open_by_handle_at", (-1, 1)),
    ("perf_event_open", (1,)), ("personality", (0xFFFFFFFF,)), ("personality", (0x40000,)),
    ("pivot_root", (1, 1)), ("process_vm_readv", (-1,)), ("ptrace", (99, -1)), ("quotactl", (99,)),
    ("reboot", ()), ("request_key", ()), ("sethostname", (1, 1 << 40)), ("setns", (-1,)),
    ("settimeofday", (1, 1)), ("socket", (1, 1)), ("socket", (2, 1)), ("socket", (16, 3)),
    ("socket", (38, 1)), ("socket", (40, 1)), ("socket", (1 << 32 | 40, 1)), ("socket", (45, 2)),
    ("swapon", (1,)), ("syslog", (99,)), ("umount2", (1,)), ("unshare", (0x10000000,)),
    ("unshare", (0x20000,)), ("userfaultfd", (1 << 30,)), ("vhangup", ()), ("getpid", ()),
    ("fchmodat2", (-1, 1)), ("statmount", (1, 1)), ("futex_waitv", (1,)), ("memfd_secret", (1 << 30,)),
]  # fmt: skip
NUMBERS = {"statmount": 457}  # newer than the library may know
SCRIPT = """
import ctypes, json, sys
libc = ctypes.CDLL(None, use_errno=True)
found = []
for number, args in json.loads(sys.argv[1]):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, args))
    found.append(ctypes.get_errno() if result == -1 else 0)
print(json.dumps(found))
"""


@needs_x86_64
@pytest.mark.root
@pytest.mark.slow
def test_the_kernel_does_the_same_with_both_runtimes():
    """crun with our BPF and runc with its own compilation of the profile, on real calls."""
    numbers = {name: number for number, name in names().items()} | NUMBERS
    calls = [[numbers[name], list(args)] for name, args in CALLS]
    found = {}
    for kind in ("crun", "runc"):
        for capabilities in (None, (*CAPABILITIES, "CAP_SYS_ADMIN", "CAP_SYS_PTRACE")):

            async def scenario(box, kind=kind, capabilities=capabilities):
                host = box.folder / "host"
                host.mkdir()
                mounts.bind("/", host, read_only=True)
                python = os.path.realpath(sys.executable)
                argv = (python, "-I", "-S", "-c", SCRIPT, json.dumps(calls))
                unit = box.unit(
                    "one", argv=argv, root=host, readonly_root=True, seccomp="default",
                    capabilities=capabilities,
                )  # fmt: skip
                runtime = box.runtime()
                changes = runtime.changes()
                await runtime.start(unit)
                async with asyncio.timeout(20):
                    ended = await anext(changes)
                assert ended.code == 0, box.log("one").read_text()
                found[kind, capabilities] = json.loads(texts(box.log("one"))[0])
                await runtime.remove("one")
                mounts.unmount(host)

            Bench(kind).run(scenario)
    for capabilities in {capabilities for _, capabilities in found}:
        ours, theirs = found["crun", capabilities], found["runc", capabilities]
        different = [
            (call, mine, other) for call, mine, other in zip(CALLS, ours, theirs) if mine != other
        ]
        assert different == []
        profile = seccomp.default_profile(capabilities or CAPABILITIES)
        program = filters.compile_profile(profile)
        for (name, args), errno in zip(CALLS, ours):
            said = run_bpf(program, numbers[name], args)
            if said != ALLOW:
                assert said == ERRNO | errno, name
