"""A network and mount namespace of its own for one test: the machine is never touched."""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
import threading

NEWNS, NEWNET, PRIVATE = 0x20000, 0x40000000, (1 << 18) | 0x4000
_libc = ctypes.CDLL(None, use_errno=True)


def isolated(test):
    """Run the test in a thread that has left for namespaces of its own; its threads and children
    follow it there, and everything made in them ends with it."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        failed = []

        def inside():
            try:
                if _libc.unshare(NEWNS | NEWNET) or _libc.mount(None, b"/", None, PRIVATE, None):
                    raise OSError(ctypes.get_errno(), "making namespaces for a test")
                test(*args, **kwargs)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]

    return run


def shell(command: str, namespace: os.PathLike[str] | None = None) -> str:
    words = ["nsenter", f"--net={namespace}"] if namespace else []
    done = subprocess.run(
        [*words, "sh", "-ec", command], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout
