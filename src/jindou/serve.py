"""The whole cloud, wired. The only file that imports everything; read it to see what runs.

`server` and `node` are the two processes; each imports its own half only, so that the other's
modules cost it neither memory nor start-up time. `probe`, `clean`, `backup` and `restore` are what
the command line does to this machine without them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jindou import telemetry
from jindou.settings import Settings

if TYPE_CHECKING:
    from jindou.control.api.server import ApiServer
    from jindou.control.controllers import CanRun, Controller
    from jindou.machine.images import Images
    from jindou.machine.network import Network
    from jindou.machine.runtimes import Runtime
    from jindou.machine.volumes import Volumes
    from jindou.node.doctor.verdicts import Verdict

log = logging.getLogger("jindou.serve")
SHUT_DOWN = 20.0  # seconds that containers get when the machine goes down; systemd gives us 30


# ---------------------------------------------------------------- the two processes


def server(settings: Settings) -> int:
    """The API, the store and the controllers. Needs no privilege."""
    return run(serve_api(settings), loop_factory())


def node(settings: Settings) -> int:
    """The node: makes this machine match the Pods bound to it. Root, unless it pretends."""
    if not settings.pretend:
        from jindou.machine.linux.namespaces import own_mount_namespace

        run_folder = Path(settings.run)
        run_folder.mkdir(parents=True, exist_ok=True)
        own_mount_namespace(run_folder / "mounts", run_folder, hide_unified=hybrid())
        os.chdir(run_folder)  # where conmon stands, it leaves a file when memory ran out
    # The plain loop: the node has few connections, and waits for descriptors of its own besides.
    return run(serve_node(settings), asyncio.new_event_loop)


def hybrid() -> bool:
    """Is the second cgroup version mounted beside the first? crun then has to be kept from seeing it."""
    return os.path.ismount("/sys/fs/cgroup/unified")


def run(main: Coroutine[Any, Any, int], factory: Callable[[], asyncio.AbstractEventLoop]) -> int:
    """Run until SIGTERM or SIGINT; the exit code says whether the supervisor should worry."""
    telemetry.configure()
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Transports that hold little for an idle connection, on whichever loop is there."""
    try:
        import aiofastnet
    except ImportError:
        import uvloop

        return uvloop.new_event_loop
    base: Callable[[], asyncio.AbstractEventLoop] = aiofastnet.loop_factory()

    def made() -> asyncio.AbstractEventLoop:
        loop = base()
        # What it leaves as it was: 260 KB for each connection.
        enter = partial(aiofastnet.connect_accepted_socket, loop)
        setattr(loop, "connect_accepted_socket", enter)  # noqa: B010
        return loop

    return made


class Stop:
    """Set by a signal, or by a part that can't go on; then everything ends in order."""

    def __init__(self) -> None:
        self.code = 0
        self._event = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._event.set)
        loop.set_exception_handler(report_exception)

    def fail(self, why: str) -> None:
        log.error("%s", why)
        self.code = 1
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()

    def guard(self, work: Awaitable[Any], what: str) -> asyncio.Task[Any]:
        """Run something that should never end; when it does, everything stops and is started again."""

        async def watched() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self.fail(f"{what} ended: {type(error).__name__}: {error}")
                raise

        return asyncio.create_task(watched(), name=what)


def report_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if isinstance(error, type):  # aiofastnet names the class where a handshake failed
        error = None
    if isinstance(error, (ConnectionError, TimeoutError)) or "SSL" in type(error).__name__:
        return  # a peer that went away, or spoke no TLS to us
    log.error(context.get("message", "an error"), exc_info=error)


# ---------------------------------------------------------------- server


async def serve_api(settings: Settings) -> int:
    from jindou.control.api.access import renewal
    from jindou.control.api.access.tokens import Tokens
    from jindou.control.api.server import ApiServer
    from jindou.control.controllers.groundwork.runner import Runner
    from jindou.control.store.sqlite import Refused, SqliteStore
    from jindou.transport.server import serve as listen

    stop = Stop()
    pki = renewal.folder(settings)
    try:
        renewal.ensure(settings)
        store = SqliteStore.open(
            Path(settings.data) / "store.db",
            failed=lambda error: stop.fail(f"the store has stopped: {error}"),
        )
        sockets = api_sockets(settings)
    except (Refused, OSError) as error:
        log.error("the server can't start: %s", reason(error, settings))
        return 1
    tokens = Tokens(pki / "service-accounts.key", settings.cluster_domain)
    api = ApiServer(store, settings, tokens, pki=pki, owners=owners(), report=report_request)
    await api.start("" if settings.pretend else settings.gateways[0])
    tls = renewal.context(settings)
    web = await listen(api.handler, sockets, tls, report_request)
    runner = Runner(api.local(), controllers(api, settings, (pki / "ca.crt").read_text()))
    api.measure(runner.lines)
    write_pid(settings, "server")
    tasks = [
        stop.guard(runner.run(), "the controllers"),
        stop.guard(renewal.renew(settings, tls), "the renewal of certificates"),
    ]
    settle()
    await stop.wait()
    await cancel(tasks)
    await web.close()
    api.close()
    await store.close()
    return stop.code


def api_sockets(settings: Settings) -> list[socket.socket]:
    """Where the API answers: its address, the gateway of the Pods, and a Unix socket for the CLI."""
    from jindou.transport.server import listening, listening_unix

    try:
        sockets = [listening(settings.api_address, settings.api_port)]
    except OSError as error:
        where = f"{settings.api_port} of {settings.api_address}"
        raise OSError(taken(where, error)) from error
    if not settings.pretend:
        for address in settings.gateways:
            with contextlib.suppress(OSError):  # a machine without IPv6
                sockets.append(listening(address, settings.api_port, freebind=True))
    os.makedirs(settings.run, exist_ok=True)
    sockets.append(listening_unix(os.path.join(settings.run, "api.sock"), 0o666))
    return sockets


def controllers(api: ApiServer, settings: Settings, authority: str) -> list[Controller | CanRun]:
    """Every controller there is, in the order in which a reader would want to meet them."""
    from jindou.control.api.access import renewal
    from jindou.control.api.access.signing import sign
    from jindou.control.controllers import (
        certificate_requests,
        disruption,
        events,
        garbage_collector,
        namespaces,
        nodes,
        pods_gc,
        resource_quotas,
        service_accounts,
        token_secrets,
    )
    from jindou.control.controllers.autoscaling import autoscalers
    from jindou.control.controllers.discovery import endpoint_slices, endpoints
    from jindou.control.controllers.scheduling import scheduler
    from jindou.control.controllers.storage import claims, volumes
    from jindou.control.controllers.workloads.deployments import deployments, replica_sets
    from jindou.control.controllers.workloads.jobs import cron_jobs, finished_jobs, jobs
    from jindou.control.controllers.workloads.sets import daemon_sets, stateful_sets
    from jindou.objects.kinds import Kind

    def kinds() -> list[Kind]:
        """Whatever has objects, custom kinds included: one name for each, though there be many."""
        found: dict[str, Kind] = {}
        for resource in api.registry.all():
            if {"list", "watch", "delete"} <= set(resource.verbs) and (
                resource.prefix not in found or resource.storage == resource.kind
            ):
                found[resource.prefix] = resource.kind
        return list(found.values())

    return [
        namespaces.Namespaces(kinds),
        service_accounts.ServiceAccounts(),
        service_accounts.RootCertificates(authority),
        token_secrets.TokenSecrets(authority),
        certificate_requests.CertificateRequests(partial(sign, renewal.folder(settings))),
        deployments.Deployments(),
        replica_sets.ReplicaSets(),
        replica_sets.ReplicaSets(replica_sets.REPLICATION_CONTROLLER),
        stateful_sets.StatefulSets(),
        daemon_sets.DaemonSets(),
        jobs.Jobs(),
        cron_jobs.CronJobs(),
        finished_jobs.FinishedJobs(),
        claims.Claims(f"{settings.data}/volumes"),
        volumes.Volumes(),
        endpoint_slices.EndpointSlices(),
        endpoint_slices.EndpointsMirror(),
        endpoints.EndpointsOfServices(),
        disruption.Disruption(kinds),
        resource_quotas.ResourceQuotas(kinds, api.registry.on_change),
        autoscalers.Autoscalers(kinds, api.behind),
        scheduler.Scheduler(),
        nodes.Nodes(),
        pods_gc.PodsGC(),
        garbage_collector.GarbageCollector(kinds, api.registry.on_change),
        events.Events(),
    ]


# ---------------------------------------------------------------- node


async def serve_node(settings: Settings) -> int:
    from jindou.client.http import HttpClient
    from jindou.machine.linux.power import going_down
    from jindou.node.agent import Agent
    from jindou.node.endpoint.server import NodeServer
    from jindou.transport.server import serve as listen
    from jindou.transport.tls import client_context, follow, server_context

    stop = Stop()
    pki = Path(settings.data) / "pki"
    if not await keys_made(pki, stop):
        return 0
    ours = str(pki / "node.crt"), str(pki / "node.key")
    speaking = client_context(str(pki / "ca.crt"), *ours)
    client = HttpClient(settings.url, tls=speaking)
    tls = server_context(*ours, str(pki / "ca.crt"), required=True, http2=False)
    try:
        drivers = drivers_of(settings)
        agent = Agent(settings, client, *drivers)
        sockets = node_sockets(settings)
        if not await unless_stopped(agent.start(), stop):
            await agent.stop()
            return stop.code
    except refusals() as error:
        log.error("the node can't start: %s", reason(error, settings))
        return 1
    runtime, _, images, _ = drivers
    endpoint = NodeServer(
        settings,
        agent.containers,
        runtime,
        images,
        agent.volumes,
        node_name=settings.node,
        pods=agent.bound,
        images_changed=agent.registration.changed,
    )
    web = await listen(endpoint.handler, sockets, tls, report_request)  # who called before waits
    write_pid(settings, "node")
    tasks = [
        stop.guard(agent.run(), "the node"),
        stop.guard(follow(ours, tls, speaking), "the reload of certificates"),
    ]
    settle()
    await stop.wait()
    if not settings.pretend and await going_down():
        await agent.shut_down(SHUT_DOWN)
    await cancel(tasks)
    await web.close()
    await agent.stop()
    client.close()
    return stop.code


def node_sockets(settings: Settings) -> list[socket.socket]:
    """Every address of the machine, for the API may be elsewhere one day; a certificate is asked for."""
    from jindou.transport.server import listening

    if settings.pretend:
        return [listening("127.0.0.1", settings.node_port)]
    try:
        sockets = [listening("0.0.0.0", settings.node_port)]
    except OSError as error:
        raise OSError(taken(str(settings.node_port), error)) from error
    with contextlib.suppress(OSError):  # a machine without IPv6
        sockets.append(listening("::", settings.node_port))
    return sockets


async def keys_made(pki: Path, stop: Stop) -> bool:
    """The server makes the keys at its first start; False if we are to stop before."""
    while not (pki / "admin.kubeconfig").exists():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await stop.wait()
                return False
    return True


def drivers_of(settings: Settings) -> tuple[Runtime, Network, Images, Volumes]:
    """What this machine is driven by: the real thing, or the pretended one."""
    if settings.pretend:
        from jindou.machine.images.pretend import PretendImages
        from jindou.machine.network.pretend import PretendNetwork
        from jindou.machine.runtimes.pretend import PretendRuntime
        from jindou.machine.volumes.pretend import PretendVolumes

        return (
            PretendRuntime(settings),
            PretendNetwork(settings),
            PretendImages(settings),
            PretendVolumes(),
        )
    from jindou.machine.images.store import ImageStore
    from jindou.machine.network.bridge import BridgeNetwork
    from jindou.machine.runtimes.containers import ContainerRuntime
    from jindou.machine.volumes.local import LocalVolumes

    return (
        ContainerRuntime(settings),
        BridgeNetwork(settings),
        ImageStore(settings),
        LocalVolumes(),
    )


# ---------------------------------------------------------------- without the processes


def probe(
    settings: Settings, before_install: bool = False, before_start: bool = False
) -> list[Verdict]:
    """What `jindou doctor` tells; `before_install` leaves out what needs packages, `before_start`
    looks only at what changes from day to day."""
    from jindou.node.doctor.examine import AT_EACH_START, NEED_PACKAGES, examine

    return examine(
        settings,
        skip=NEED_PACKAGES if before_install else frozenset(),
        only=AT_EACH_START if before_start else frozenset(),
    )


def backup(settings: Settings, target: str) -> int:
    """A copy of the store, while it may run; returns its last revision."""
    from jindou.control.store.sqlite import backup as copy

    return copy(Path(settings.data) / "store.db", Path(target))


def restore(settings: Settings, source: str) -> int:
    """Puts a copy in the store's place, while no server runs; returns the number of objects."""
    from jindou.control.store.sqlite import restore as put

    return put(Path(source), Path(settings.data) / "store.db")


def clean(settings: Settings) -> str:
    """Ends every container and takes away all that was made on this machine; the data stays.

    In a process of its own, for it has to enter the mount namespace of the node."""
    import json
    import subprocess

    if not settings.pretend:
        words = [sys.executable, "-m", "jindou.serve", json.dumps(settings._asdict())]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"this machine was not cleaned whole: {done.stderr.strip()[-500:]}")
    from jindou.node.cleaning import forget

    return forget(settings)


def clean_machine(settings: Settings) -> None:
    """In a process that does nothing else."""
    from jindou.machine.linux.namespaces import is_kept, own_mount_namespace
    from jindou.node.cleaning import clean

    folder = Path(settings.run)
    if is_kept(folder / "mounts"):
        own_mount_namespace(folder / "mounts", folder, hide_unified=hybrid())
    asyncio.run(clean(settings, *drivers_of(settings)))


# ---------------------------------------------------------------- shared


async def cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def refusals() -> tuple[type[Exception], ...]:
    """What a start may fail with that a sentence explains."""
    from jindou.machine.images import ImageError
    from jindou.machine.network import NetworkError
    from jindou.objects.errors import CloudError

    return OSError, ImageError, NetworkError, CloudError


def taken(port: str, error: OSError) -> str:
    why = (error.strerror or str(error)).lower()
    return f"port {port} can't be listened on: {why} (jindou doctor network tells who has it)"


def reason(error: Exception, settings: Settings) -> str:
    """One sentence that names the thing and, where it is known, the remedy."""
    cause = error if isinstance(error, OSError) else error.__cause__
    number = cause.errno if isinstance(cause, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"the disk that holds {settings.data} is full; make room on it (jindou doctor storage)"
        )
    if number == errno.EROFS:
        return f"the disk that holds {settings.data} can't be written (jindou doctor storage)"
    if number in (errno.EPERM, errno.EACCES):
        return f"{error}; it has to run as root with all its rights (jindou doctor)"
    return str(error)


async def unless_stopped(work: Coroutine[Any, Any, None], stop: Stop) -> bool:
    """Bring work to its end, unless we are to stop before; says which."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    done = working.done()
    for task in (working, stopping):
        task.cancel()
    await asyncio.wait([working, stopping])
    if done:
        await working
    return done


def owners() -> tuple[int, ...]:
    """Who counts as an administrator at the Unix socket: root, whoever started us, whoever asked."""
    asked = os.environ.get("JINDOU_OWNER", "")
    return tuple({0, os.getuid(), *([int(asked)] if asked.isdigit() else [])})


def report_request(error: Exception, request: Any) -> None:
    what = f"{request.method} {request.path}" if request is not None else "a connection"
    log.error("%s failed", what, exc_info=error)


def write_pid(settings: Settings, name: str) -> None:
    path = os.path.join(settings.run, f"{name}.pid")
    with open(f"{path}.new", "w") as file:
        file.write(f"{os.getpid()}\n")
    os.replace(f"{path}.new", path)


def settle() -> None:
    """What was made at the start stays: keep it out of every later collection. Those are small and
    often; what they leave is seldom garbage, and has few parts that a collection walks through."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 5, 1_000)


if __name__ == "__main__":
    import json

    clean_machine(Settings(**json.loads(sys.argv[1])))
