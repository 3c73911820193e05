"""What a Pod has before its first container starts: folders, volumes, a place in the network.

SANDBOX is the recipe: each step can be repeated, and pushes what undoes it, so a failure leaves
nothing behind and a node that was killed goes through the same list to adopt what it made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from jindou.machine.network import Plug
from jindou.machine.runtimes import CanExpect
from jindou.node.state import units
from jindou.node.state.parts import Parts
from jindou.objects.errors import CloudError
from jindou.objects.kinds import RUNTIME_CLASS, Object, Ref

SHARED_MEMORY = 65 << 20  # /dev/shm as large as engines make it, and our few files
HOST_MEMORY = Path("/dev/shm")
MACHINE_HOSTS = Path("/etc/hosts")


class SandboxFailed(Exception):
    """Why a Pod's surroundings can't be made; tried again."""


@dataclass
class Sandbox:
    pod: Object
    parts: Parts
    folder: Path
    volumes: Mapping[str, Path] = field(default_factory=dict)
    addresses: tuple[str, ...] = ()
    namespaces: Mapping[str, Path] = field(default_factory=dict)
    runtime: str = ""  # that of the Pod's RuntimeClass

    def files(self, container: str, attempt: int) -> units.Files:
        """Where the files that we keep for a container are."""
        return units.Files(
            self.folder / "hosts",
            self.folder / "hostname",
            self.folder / "resolv.conf",
            termination_file(self.parts, self.pod["metadata"]["uid"], container, attempt),
            HOST_MEMORY if self.pod["spec"].get("hostIPC") else self.folder / "shm",
        )


Step = Callable[[Sandbox, AsyncExitStack], Awaitable[None]]


def folder_of(parts: Parts, uid: str) -> Path:
    """Memory of the Pod's own, limited: containers write to it, and must not fill ours."""
    return Path(parts.settings.run) / "pods" / uid / "own"


def termination_file(parts: Parts, uid: str, container: str, attempt: int) -> Path:
    return folder_of(parts, uid) / "termination" / f"{container}-{attempt}"


async def expect_unit(sandbox: Sandbox, undo: AsyncExitStack) -> None:
    """A container follows soon: what its start waits for can begin beside the rest of this list."""
    if isinstance(sandbox.parts.runtime, CanExpect):
        sandbox.parts.runtime.expect()


async def make_folder(sandbox: Sandbox, undo: AsyncExitStack) -> None:
    """Not undone: the next try finds it, and the Pod's end removes it."""
    sandbox.parts.folders.tmpfs(sandbox.folder, SHARED_MEMORY)
    sandbox.folder.chmod(0o711)
    (sandbox.folder / "termination").mkdir(exist_ok=True)
    shared = sandbox.folder / "shm"
    if not shared.exists():
        shared.mkdir()
        shared.chmod(0o1777)


async def find_runtime(sandbox: Sandbox, undo: AsyncExitStack) -> None:
    name = sandbox.pod["spec"].get("runtimeClassName")
    if not name:
        return
    try:
        found = await sandbox.parts.client.get(Ref(RUNTIME_CLASS, "", name))
    except CloudError as error:
        raise SandboxFailed(f'failed to get RuntimeClass "{name}": {error}') from error
    sandbox.runtime = found["handler"]


async def prepare_volumes(sandbox: Sandbox, undo: AsyncExitStack) -> None:
    """Not undone: what is there already waits for the rest, and is followed meanwhile."""
    sandbox.volumes = await sandbox.parts.volumes.prepare(sandbox.pod)


async def attach_network(sandbox: Sandbox, undo: AsyncExitStack) -> None:
    parts, pod = sandbox.parts, sandbox.pod
    if pod["spec"].get("hostNetwork"):
        sandbox.addresses = parts.host_addresses
        return
    uid = pod["metadata"]["uid"]
    name = units.kernel_name(pod, parts.settings)
    plug = Plug(uid, name, units.sysctls(pod), units.host_ports(pod))
    undo.push_async_callback(parts.network.detach, uid)
    async with parts.starts:
        attachment = await parts.network.attach(plug)
    sandbox.addresses = attachment.addresses
    sandbox.namespaces = attachment.namespaces


async def write_files(sandbox: Sandbox, undo: AsyncExitStack) -> None:
    pod, settings = sandbox.pod, sandbox.parts.settings
    machine = MACHINE_HOSTS.read_text() if pod["spec"].get("hostNetwork") else ""
    files = sandbox.files("", 0)
    # In place: running containers have these very files mounted.
    _write(files.hosts, units.hosts_file(pod, sandbox.addresses, settings, machine))
    _write(files.hostname, units.kernel_name(pod, settings) + "\n")
    _write(files.resolv_conf, sandbox.parts.resolv_conf(pod))


def _write(path: Path, text: str) -> None:
    """A container may have changed its file: only what is missing is written."""
    if not path.exists():
        path.write_text(text)


SANDBOX: tuple[Step, ...] = (
    expect_unit,
    make_folder,
    find_runtime,
    prepare_volumes,
    attach_network,
    write_files,
)


async def make_sandbox(pod: Object, parts: Parts, *, adopted: bool) -> Sandbox:
    """With `adopted` containers may be running in it: a failure then undoes nothing."""
    sandbox = Sandbox(pod, parts, folder_of(parts, pod["metadata"]["uid"]))
    async with AsyncExitStack() as undo:
        try:
            for step in SANDBOX:
                await step(sandbox, undo)
        except BaseException:
            if adopted:
                undo.pop_all()
            raise
        undo.pop_all()
    return sandbox


async def release_sandbox(uid: str, parts: Parts) -> None:
    """Everything that SANDBOX made, whether or not this process made it. May be repeated."""
    await parts.network.detach(uid)
    if (folder := folder_of(parts, uid)).exists():
        await parts.folders.remove(folder)
    parts.delete_group(f"{parts.settings.name}/pods/{uid}")
    await parts.volumes.release(uid)
