"""System call filters: the field's default profile as one table, profiles from files, and BPF.

A profile is resolved for a unit's capabilities and this processor into the OCI form, which any
runtime compiles itself, for 10 to 25 ms each time. crun takes ready BPF instead, so it is compiled
once by libseccomp and kept under a name made of everything that it depends on.

The default refuses with EPERM. Calls with numbers above all that a profile names are newer than the
profile: they get ENOSYS, so that C libraries fall back to older calls. libseccomp can't say that,
so a few instructions before its own do, as runc's do.

Sources: seccomp(2), libseccomp's manual, the OCI runtime specification, and the published default
profiles of Docker and containerd for what is allowed.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Collection
from pathlib import Path
from typing import Any

from jindou.machine.runtimes import StartFailed

EPERM, ENOSYS = 1, 38
NEW_NAMESPACES = 0x7E020000  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}

ALLOWED = """
accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32
clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3
epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64
fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl
fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64
fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait
futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64
getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername
getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32
getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr
getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy
io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set ipc
kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link
linkat listen listmount listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat
lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod
mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive
mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv
msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat _newselect open openat
openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll
ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv
process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead readlink
readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr
removexattrat rename renameat renameat2 restart_syscall riscv_hwprobe rmdir rseq rt_sigaction
rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min
sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler
sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64
sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid
setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32
setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid
setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4
sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx
symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete
timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64
ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork
vmsplice wait4 waitid waitpid write writev
"""

# Allowed to those who hold one of these capabilities, refused to all others.
BY_CAPABILITY = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYSLOG": "syslog",
    "CAP_SYS_ADMIN": """bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie
        lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount
        open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount
        umount2 unshare""",
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
}

BY_MACHINE = {
    "x86_64": "arch_prctl modify_ldt",
    "aarch64": "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    "ppc64le": "sync_file_range2 swapcontext",
    "riscv64": "riscv_flush_icache",
    "s390x": "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
}
PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
# Socket families: all but AF_ALG (38, the kernel's ciphers) and AF_VSOCK (40, the hypervisor, past
# any network namespace). Named one by one, as "greater than" would let in values whose upper half,
# which the kernel ignores, is set.
FAMILIES_BELOW, FAMILIES = 38, (39, 41, 42, 43, 44, 45)

NAMES = {  # platform.machine() -> (the runtimes' name, OCI architectures)
    "x86_64": ("amd64", ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32")),
    "aarch64": ("arm64", ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM")),
    "ppc64le": ("ppc64le", ("SCMP_ARCH_PPC64LE",)),
    "riscv64": ("riscv64", ("SCMP_ARCH_RISCV64",)),
    "s390x": ("s390x", ("SCMP_ARCH_S390X", "SCMP_ARCH_S390")),
}

Profile = dict[str, Any]


def default_profile(capabilities: Collection[str], machine: str = "") -> Profile:
    """The default, in the OCI form, for a unit that holds these capabilities."""
    machine = machine or platform.machine()
    held = set(capabilities)
    allowed = set(ALLOWED.split()) | set(BY_MACHINE.get(machine, "").split())
    for capability, names in BY_CAPABILITY.items():
        if capability in held:
            allowed.update(names.split())
    syscalls = [_rule(allowed)]
    for value in PERSONALITIES:
        syscalls.append(_rule({"personality"}, args=[_argument(0, value)]))
    syscalls.append(_rule({"socket"}, args=[_argument(0, FAMILIES_BELOW, "SCMP_CMP_LT")]))
    for family in FAMILIES:
        syscalls.append(_rule({"socket"}, args=[_argument(0, family)]))
    if "clone" not in allowed:
        index = 1 if machine == "s390x" else 0
        only = _argument(index, NEW_NAMESPACES, "SCMP_CMP_MASKED_EQ")
        syscalls.append(_rule({"clone"}, args=[only]))
    if "clone3" not in allowed:  # its flags are behind a pointer: callers must fall back to clone
        syscalls.append(_rule({"clone3"}, "SCMP_ACT_ERRNO", errnoRet=ENOSYS))
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": list(architectures(machine)),
        "syscalls": syscalls,
    }


def _rule(names: Collection[str], action: str = "SCMP_ACT_ALLOW", **more: Any) -> Profile:
    return {"names": sorted(names), "action": action, **more}


def _argument(index: int, value: int, op: str = "SCMP_CMP_EQ", second: int = 0) -> Profile:
    return {"index": index, "value": value, "valueTwo": second, "op": op}


def architectures(machine: str = "") -> tuple[str, ...]:
    return NAMES.get(machine or platform.machine(), ("", ()))[1]


def load(path: Path, capabilities: Collection[str], machine: str = "") -> Profile:
    """A profile from a file in Docker's or the OCI form. Raises StartFailed with what is wrong."""
    try:
        document = json.loads(path.read_bytes())
        return resolve(document, capabilities, machine)
    except OSError as error:
        raise StartFailed(f"cannot load seccomp profile {str(path)!r}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StartFailed(f"cannot load seccomp profile {str(path)!r}: {error}") from error


def resolve(document: Profile, capabilities: Collection[str], machine: str = "") -> Profile:
    """The rules that count for these capabilities on this processor, in the OCI form."""
    machine = machine or platform.machine()
    name, native = NAMES.get(machine, (machine, ()))
    profile: Profile = {"defaultAction": document["defaultAction"]}
    if document.get("defaultErrnoRet") is not None:
        profile["defaultErrnoRet"] = document["defaultErrnoRet"]
    if document.get("flags"):
        profile["flags"] = document["flags"]
    chosen = document.get("architectures") or [
        arch
        for entry in document.get("archMap") or ()
        if native and entry["architecture"] == native[0]
        for arch in (entry["architecture"], *(entry.get("subArchitectures") or ()))
    ]
    profile["architectures"] = chosen or list(native[:1])
    rules = []
    for rule in document.get("syscalls") or ():
        if not _counts(rule, set(capabilities), name):
            continue
        names = rule.get("names") or [rule["name"]]
        kept = {key: rule[key] for key in ("errnoRet", "args") if rule.get(key) is not None}
        rules.append({"names": names, "action": rule["action"], **kept})
    profile["syscalls"] = rules
    return profile


def _counts(rule: Profile, held: Collection[str], name: str) -> bool:
    """Docker's conditions: all of `includes` and none of `excludes`."""
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    if includes.get("arches") and name not in includes["arches"]:
        return False
    if any(capability not in held for capability in includes.get("caps") or ()):
        return False
    if includes.get("minKernel") and not _kernel_has(includes["minKernel"]):
        return False
    if name in (excludes.get("arches") or ()):
        return False
    if excludes.get("minKernel") and _kernel_has(excludes["minKernel"]):
        return False
    return not any(capability in held for capability in excludes.get("caps") or ())


def _kernel_has(least: str) -> bool:
    mine = [int(part) for part in platform.release().split("-")[0].split(".")[:2]]
    return mine >= [int(part) for part in least.split(".")[:2]]
