"""System call filters as BPF: a profile compiled once by libseccomp and kept on disk.

A filter's file is named by a digest of all that it depends on: the profile, the library's version
and this file's own rules. crun gets it in base64 as an annotation; what can't be compiled here (no
library, actions with a listener, flags) is left to the runtime.

Sources: libseccomp's manual, seccomp(2), linux/filter.h.
"""

from __future__ import annotations

import base64
import ctypes
import functools
import hashlib
import json
import os
import struct
from pathlib import Path
from typing import Any

from jindou.machine.runtimes.seccomp import ENOSYS, EPERM, Profile

ACTIONS = {
    "SCMP_ACT_ALLOW": 0x7FFF0000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
}
OPERATORS = {
    f"SCMP_CMP_{name}": number
    for number, name in enumerate(("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"), 1)
}
ARCHITECTURES = {  # AUDIT_ARCH_...; x32 is a bit in the call's number, with the number of x86-64
    "SCMP_ARCH_X86_64": 0xC000003E,
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_X32": 0x4000003E,
    "SCMP_ARCH_AARCH64": 0xC00000B7,
    "SCMP_ARCH_ARM": 0x40000028,
    "SCMP_ARCH_PPC64LE": 0xC0000015,
    "SCMP_ARCH_RISCV64": 0xC00000F3,
    "SCMP_ARCH_S390X": 0x80000016,
    "SCMP_ARCH_S390": 0x00000016,
}
X32_BIT = 0x40000000
LOAD, JUMP, JEQ, JGE, JGT, RETURN = 0x20, 0x05, 0x15, 0x35, 0x25, 0x06
NUMBER, ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
NO_NEW_PRIVILEGES = 3  # an attribute of libseccomp


class Unfit(Exception):
    """This profile is better compiled by the runtime."""


class _Compare(ctypes.Structure):
    _fields_ = [
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    ]


class _Version(ctypes.Structure):
    _fields_ = [("major", ctypes.c_uint), ("minor", ctypes.c_uint), ("micro", ctypes.c_uint)]


@functools.cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError as error:
        raise Unfit("libseccomp is not installed") from error
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_version.restype = ctypes.POINTER(_Version)
    for name in (
        "arch_add", "arch_remove", "attr_set", "export_bpf", "release", "rule_add_array",
    ):  # fmt: skip
        function = getattr(library, f"seccomp_{name}")
        function.argtypes = {
            "arch_add": [ctypes.c_void_p, ctypes.c_uint32],
            "arch_remove": [ctypes.c_void_p, ctypes.c_uint32],
            "attr_set": [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32],
            "export_bpf": [ctypes.c_void_p, ctypes.c_int],
            "release": [ctypes.c_void_p],
            "rule_add_array": [
                ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint,
                ctypes.POINTER(_Compare),
            ],
        }[name]  # fmt: skip
    return library


def compiled(profile: Profile, folder: Path) -> str:
    """The filter in base64, from its file if it was compiled before; "" if it can't be."""
    try:
        version = _library().seccomp_version().contents
        key = json.dumps(
            [profile, version.major, version.minor, version.micro, 1], sort_keys=True
        ).encode()
        file = folder / f"{hashlib.sha256(key).hexdigest()}.bpf"
        try:
            program = file.read_bytes()
        except FileNotFoundError:
            program = compile_profile(profile)
            _keep(file, program)
        return base64_of(program)
    except Unfit:
        return ""


def base64_of(program: bytes) -> str:
    return base64.b64encode(program).decode()


def _keep(file: Path, program: bytes) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}")
    part.write_bytes(program)
    part.rename(file)


def compile_profile(profile: Profile) -> bytes:
    """Raw BPF: the check for calls newer than the profile, then what libseccomp makes of it."""
    if profile.get("flags"):
        raise Unfit("flags are the runtime's to set")
    program = _export(profile)
    if profile["defaultAction"] == "SCMP_ACT_ERRNO":
        program = newer_calls(profile) + program
    return program


def _action(name: str, errno: int | None) -> int:
    if name not in ACTIONS:
        raise Unfit(f"{name} needs a listener")
    value = ACTIONS[name]
    return value | (EPERM if errno is None else errno) if name == "SCMP_ACT_ERRNO" else value


def _export(profile: Profile) -> bytes:
    library = _library()
    default = _action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    context = library.seccomp_init(default)
    if not context:
        raise Unfit("libseccomp refused the default action")
    try:
        library.seccomp_attr_set(context, NO_NEW_PRIVILEGES, 0)
        for name in profile["architectures"]:
            if name in ARCHITECTURES:
                library.seccomp_arch_add(context, ARCHITECTURES[name])
        for rule in profile["syscalls"]:
            _add(library, context, rule, default)
        descriptor = os.memfd_create("filter", os.MFD_CLOEXEC)
        try:
            if library.seccomp_export_bpf(context, descriptor) < 0:
                raise Unfit("libseccomp could not compile the profile")
            return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        finally:
            os.close(descriptor)
    finally:
        library.seccomp_release(context)


def _add(library: ctypes.CDLL, context: Any, rule: Profile, default: int) -> None:
    action = _action(rule["action"], rule.get("errnoRet"))
    if action == default:
        return
    arguments = [
        _Compare(each["index"], OPERATORS[each["op"]], each["value"], each.get("valueTwo") or 0)
        for each in rule.get("args") or ()
    ]
    # Two comparisons of one argument mean either, as the runtimes read them: separate rules.
    apart = len({each.arg for each in arguments}) < len(arguments)
    for name in rule["names"]:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number == -1:
            continue
        for group in [[each] for each in arguments] if apart else [arguments]:
            array = (_Compare * max(1, len(group)))(*group)
            result = library.seccomp_rule_add_array(context, action, number, len(group), array)
            if result < 0:
                raise Unfit(f"libseccomp refused the rule for {name}")


def newer_calls(profile: Profile) -> bytes:
    """Instructions that answer ENOSYS to numbers above the highest one in any of the rules."""
    code: list[tuple[int, int, int, int]] = []
    for name, last in _last_calls(profile).items():
        body = [
            (LOAD, 0, 0, NUMBER),
            (JGE, 2, 0, X32_BIT),
            (JGT, 0, 1, last),
            (RETURN, 0, 0, ACTIONS["SCMP_ACT_ERRNO"] | ENOSYS),
        ]
        code += [
            (LOAD, 0, 0, ARCHITECTURE),
            (JEQ, 0, len(body), ARCHITECTURES[name]),
            *body,
        ]
    return b"".join(struct.pack("=HBBI", *step) for step in code)


def _last_calls(profile: Profile) -> dict[str, int]:
    library = _library()
    names = [name.encode() for rule in profile["syscalls"] for name in rule["names"]]
    last: dict[str, int] = {}
    for arch in profile["architectures"]:
        if arch in ARCHITECTURES and arch != "SCMP_ARCH_X32":
            resolve = library.seccomp_syscall_resolve_name_arch
            numbers = [resolve(ctypes.c_uint32(ARCHITECTURES[arch]), name) for name in names]
            last[arch] = max([0, *numbers])
    return last
