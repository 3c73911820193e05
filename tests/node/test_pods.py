"""Pods from their binding to their end, on a real API and a machine that the test steers."""

from __future__ import annotations

from pathlib import Path

import pytest

from jindou.objects.kinds import POD, Ref
from tests.node.machine import bench, container, turns


def one(pod, part="containerStatuses", index=0):
    return pod["status"][part][index]


@bench
async def test_a_pod_runs_and_succeeds(node):
    await node.create("web", restartPolicy="Never")
    pod = await node.pod("web")
    assert pod["status"]["phase"] == "Running", pod["status"]
    (unit,) = node.running()
    assert unit == f"{pod['metadata']['uid']}-main-0"
    assert one(pod)["containerID"] == f"jindou://{unit}"
    node.runtime.exit(unit, 0)
    await turns()
    pod = await node.pod("web")
    assert pod["status"]["phase"] == "Succeeded"
    assert one(pod)["state"]["terminated"]["reason"] == "Completed"
    assert node.runtime.states == {}
    assert node.images.mounted == set()
    assert await node.network.observe() == {}


@bench
async def test_a_pod_is_deleted_gracefully(node):
    await node.create("web")
    await node.client.delete(Ref(POD, "default", "web"), grace=5)
    await turns()
    assert [grace for _, grace in node.runtime.stopped] == [5.0]
    assert (await node.client.find(POD, "default")).items == []
    assert node.runtime.states == {}


@bench
async def test_restarts_are_delayed_and_the_delay_doubles(node):
    await node.create("web")
    for restarts, delay in ((1, 0), (2, 10), (3, 20), (4, 40)):
        (unit,) = node.running()
        node.runtime.exit(unit, 1)
        await turns()
        if delay:
            assert node.running() == []
            assert one(await node.pod("web"))["state"]["terminated"]["exitCode"] == 1
            await node.clock.pass_by(2)
            waiting = one(await node.pod("web"))["state"]["waiting"]
            assert waiting["reason"] == "CrashLoopBackOff"
            assert waiting["message"].startswith(
                f"back-off {delay}s restarting failed container=main"
            )
            assert one(await node.pod("web"))["lastState"]["terminated"]["exitCode"] == 1
            await node.clock.pass_by(delay - 2.1)
            assert node.running() == []
            await node.clock.pass_by(0.2)
        assert [unit[-1] for unit in node.running()] == [str(restarts)]
        assert one(await node.pod("web"))["restartCount"] == restarts
    assert await node.phase("web") == "Running"
    assert "BackOff" in dict(await node.events("web"))
    await node.clock.pass_by(700)  # it ran long: forgiven
    node.runtime.exit(node.running()[0], 1)
    await turns()
    assert len(node.running()) == 1


@bench
async def test_on_failure_ends_with_success(node):
    await node.create("job", restartPolicy="OnFailure")
    node.runtime.exit(node.running()[0], 3)
    await turns()
    assert await node.phase("job") == "Running"
    node.runtime.exit(node.running()[0], 0)
    await turns()
    pod = await node.pod("job")
    assert pod["status"]["phase"] == "Succeeded"
    assert one(pod)["restartCount"] == 1


@bench
async def test_init_containers_run_in_order_and_sidecars_around_all(node):
    sidecar = container("proxy", restartPolicy="Always")
    await node.create(
        "app",
        restartPolicy="Never",
        initContainers=[container("first"), sidecar, container("second")],
        containers=[container("one"), container("two")],
    )
    names = lambda: [id[37:] for id in node.running()]  # noqa: E731
    assert names() == ["first-0"]
    pod = await node.pod("app")
    assert pod["status"]["phase"] == "Pending"
    assert one(pod)["state"]["waiting"]["reason"] == "PodInitializing"
    node.runtime.exit(node.running()[0], 0)
    await turns()
    assert names() == ["proxy-0", "second-0"]
    node.runtime.exit(node.running("second")[0], 0)
    await turns()
    assert names() == ["proxy-0", "one-0", "two-0"]
    conditions = {c["type"]: c["status"] for c in (await node.pod("app"))["status"]["conditions"]}
    assert set(conditions.values()) == {"True"}
    for name in ("one", "two"):
        node.runtime.exit(node.running(name)[0], 0)
    await turns()
    assert names() == []
    assert [unit[37:] for unit, _ in node.runtime.stopped] == ["proxy-0"]
    assert await node.phase("app") == "Succeeded"


@bench
async def test_a_failing_init_container_fails_a_pod_that_never_restarts(node):
    await node.create("app", restartPolicy="Never", initContainers=[container("first")])
    node.runtime.exit(node.running()[0], 4)
    await turns()
    pod = await node.pod("app")
    assert pod["status"]["phase"] == "Failed"
    assert one(pod, "initContainerStatuses")["state"]["terminated"]["exitCode"] == 4
    assert one(pod)["state"] == {"waiting": {"reason": "PodInitializing"}}


@bench
async def test_a_missing_image_backs_off_and_is_tried_again(node):
    await node.create("web", containers=[container("main") | {"image": "missing:1"}])
    assert one(await node.pod("web"))["state"]["waiting"]["reason"] == "ErrImagePull"
    await node.clock.pass_by(2)
    waiting = one(await node.pod("web"))["state"]["waiting"]
    assert waiting["reason"] == "ImagePullBackOff"
    assert await node.phase("web") == "Pending"
    await node.client.delete(Ref(POD, "default", "web"))
    await turns()
    assert (await node.client.find(POD, "default")).items == []


@bench
async def test_what_the_runtime_refuses_is_told(node):
    node.runtime.refuse = 'exec: "nope": executable file not found in $PATH'
    await node.create("web")
    pod = await node.pod("web")
    waiting = one(pod)["state"]["waiting"]
    assert waiting == {"reason": "RunContainerError", "message": node.runtime.refuse}
    ended = one(pod)["lastState"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("StartError", 128)
    assert node.images.mounted == set()
    node.runtime.refuse = ""
    await node.clock.pass_by(11)
    assert len(node.running()) == 1
    assert await node.phase("web") == "Running"


@bench
async def test_liveness_restarts_and_readiness_gates(node):
    probe = {"exec": {"command": ["check"]}, "periodSeconds": 5, "failureThreshold": 2}
    node.runtime.answer = (1, b"not well")
    main = container(
        "main", readinessProbe=probe, livenessProbe={**probe, "initialDelaySeconds": 30}
    )
    await node.create("web", containers=[main], readinessGates=[{"conditionType": "example/ok"}])
    pod = await node.pod("web")
    assert one(pod)["ready"] is False
    assert one(pod)["started"] is True
    await node.clock.pass_by(12)
    assert ("Unhealthy", "Readiness probe failed: not well") in await node.events("web")
    node.runtime.answer = (0, b"")
    await node.clock.pass_by(6)
    pod = await node.pod("web")
    assert one(pod)["ready"] is True
    conditions = {c["type"]: c for c in pod["status"]["conditions"]}
    assert conditions["ContainersReady"]["status"] == "True"
    assert conditions["Ready"]["reason"] == "ReadinessGatesNotReady"
    gate = {"conditions": [{"type": "example/ok", "status": "True"}]}
    await node.client.patch(Ref(POD, "default", "web"), {"status": gate}, "status", how="strategic")
    await turns()
    conditions = {c["type"]: c for c in (await node.pod("web"))["status"]["conditions"]}
    assert conditions["Ready"]["status"] == "True"
    assert conditions["example/ok"]["status"] == "True"
    node.runtime.answer = (1, b"")
    await node.clock.pass_by(25)
    assert (
        "Killing",
        "Container main failed liveness probe, will be restarted",
    ) in await node.events("web")
    assert [id[-1] for id in node.running()] == ["1"]


@bench
async def test_hooks_and_grace(node):
    node.runtime.stubborn = True
    lifecycle = {
        "postStart": {"exec": {"command": ["begin"]}},
        "preStop": {"sleep": {"seconds": 4}},
    }
    await node.create(
        "web", terminationGracePeriodSeconds=20, containers=[container("main", lifecycle=lifecycle)]
    )
    assert [argv for _, argv in node.runtime.asked] == [("begin",)]
    await node.client.delete(Ref(POD, "default", "web"))
    await node.clock.pass_by(3)
    assert node.runtime.stopped == []
    await node.clock.pass_by(2)
    assert [round(grace) for _, grace in node.runtime.stopped] == [16]
    await node.clock.pass_by(1)
    await node.client.delete(Ref(POD, "default", "web"), grace=3)  # impatient
    await turns()
    assert [round(grace) for _, grace in node.runtime.stopped] == [16, 3]
    await node.clock.pass_by(3)
    assert (await node.client.find(POD, "default")).items == []


@bench
async def test_a_deadline(node):
    await node.create("web", activeDeadlineSeconds=30)
    await node.clock.pass_by(31)
    status = (await node.pod("web"))["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")
    assert node.running() == []


@bench
async def test_a_missing_config_map_is_waited_for(node):
    from jindou.objects.kinds import CONFIG_MAP

    volume = {"name": "v", "configMap": {"name": "later"}}
    main = container("main", volumeMounts=[{"name": "v", "mountPath": "/v"}])
    await node.create("web", volumes=[volume], containers=[main])
    assert node.running() == []
    assert (
        "FailedMount",
        'MountVolume.SetUp failed for volume "v" : configmap "later" not found',
    ) in (await node.events("web"))
    await node.client.create(CONFIG_MAP, {"metadata": {"name": "later", "namespace": "default"}})
    await node.clock.pass_by(2)
    (unit,) = node.running()
    assert "/v" in [mount.target for mount in node.runtime.units[unit].mounts]


@bench
async def test_the_message_of_the_dead(node):
    await node.create("web", restartPolicy="Never")
    (unit,) = node.running()
    mounts = {mount.target: mount for mount in node.runtime.units[unit].mounts}
    with open(mounts["/dev/termination-log"].source, "w") as file:
        file.write("out of coffee")
    node.runtime.exit(unit, 137, oom_killed=True)
    await turns()
    ended = one(await node.pod("web"))["state"]["terminated"]
    assert (ended["message"], ended["reason"]) == ("out of coffee", "OOMKilled")


@bench
async def test_ephemeral_containers_join_later_and_never_restart(node):
    made = await node.create("web")
    debugger = {"name": "debugger", "image": "busybox:1", "targetContainerName": "main"}
    await node.client.patch(
        Ref(POD, "default", "web"),
        {"spec": {"ephemeralContainers": [debugger]}},
        "ephemeralcontainers",
        how="strategic",
    )
    await turns()
    (unit,) = node.running("debugger")
    assert node.runtime.units[unit].namespaces["pid"] == "/proc/100/ns/pid"
    node.runtime.exit(unit, 1)
    await node.clock.pass_by(60)
    assert node.running("debugger") == []
    status = one(await node.pod("web"), "ephemeralContainerStatuses")
    assert status["state"]["terminated"]["exitCode"] == 1
    assert await node.phase("web") == "Running"
    assert made


# ---------------------------------------------------------------- a node that is killed


@bench
async def test_a_killed_node_adopts_what_runs_and_learns_what_ended(node):
    await node.create("stays")
    await node.create("ends", restartPolicy="Never")
    await node.create("again")
    await node.create("gone")
    before = set(node.running())
    await node.kill_node()
    ends, again = node.running()[1], node.running()[2]
    node.runtime.exit(ends, 7)
    node.runtime.exit(again, 1)
    await node.client.delete(Ref(POD, "default", "gone"), grace=0)
    await node.start_node()
    await node.clock.pass_by(1)
    stays = one(await node.pod("stays"))
    assert (stays["restartCount"], stays["ready"]) == (0, True)
    assert stays["containerID"].removeprefix("jindou://") in before
    assert one(await node.pod("ends"))["state"]["terminated"]["exitCode"] == 7
    assert await node.phase("ends") == "Failed"
    assert one(await node.pod("again"))["restartCount"] == 1
    assert len(node.running()) == 2
    assert len(await node.network.observe()) == 2


@bench
async def test_after_a_reboot_containers_run_again(node):
    await node.create("web", initContainers=[container("first")])
    node.runtime.exit(node.running()[0], 0)
    await turns()
    await node.create("once", restartPolicy="Never")
    await node.kill_node()
    node.reboot()
    await node.start_node()
    await node.clock.pass_by(1)
    assert [id[37:] for id in node.running()] == ["first-1"]
    node.runtime.exit(node.running()[0], 0)
    await node.clock.pass_by(1)
    assert [id[37:] for id in node.running()] == ["main-1"]
    status = one(await node.pod("web"))
    assert status["restartCount"] == 1
    assert status["lastState"]["terminated"]["exitCode"] == 255
    assert await node.phase("once") == "Failed"


@bench
async def test_after_a_reboot_only_the_new_address_is_told(node):
    await node.create("web")
    await node.client.patch(
        Ref(POD, "default", "web"), {"status": {"podIPs": [{"ip": "10.9.9.9"}]}}, "status"
    )
    await node.kill_node()
    node.reboot()
    await node.start_node()
    await node.clock.pass_by(1)
    (attached,) = (await node.network.observe()).values()
    told = (await node.pod("web"))["status"]["podIPs"]
    assert [one["ip"] for one in told] == list(attached.addresses)


@bench
async def test_a_root_of_a_start_that_was_cut_short_goes_with_its_pod(node):
    await node.create("web")
    pod = await node.pod("web")
    unit = f"{pod['metadata']['uid']}-main-0"
    await node.kill_node()
    node.runtime.states.clear()  # as if killed between the mount and the start
    (path,) = Path(node.settings.run).glob("pods/*.jsonl")
    path.write_text(path.read_text().replace('"running"', '"starting"'))
    await node.client.delete(Ref(POD, "default", "web"), grace=5)
    assert node.images.mounted == {unit}
    await node.start_node()
    await node.clock.pass_by(6)
    assert node.images.mounted == set()


@bench
async def test_a_deletion_that_was_interrupted_goes_on(node):
    node.runtime.stubborn = True
    await node.create("web")
    await node.client.delete(Ref(POD, "default", "web"), grace=10)
    await node.clock.pass_by(2)
    await node.kill_node()
    await node.start_node()
    await node.clock.pass_by(11)
    assert (await node.client.find(POD, "default")).items == []
    assert node.running() == []


@bench
async def test_stop_all_ends_containers_and_keeps_objects(node):
    await node.create("web")
    assert await node.pods.stop_all() == 1
    assert node.running() == []
    await node.clock.pass_by(5)
    assert node.running() == []
    assert await node.phase("web") == "Running"
    await node.kill_node()
    node.reboot()
    await node.start_node()
    assert [id[-1] for id in node.running()] == ["1"]


@bench
async def test_more_than_fits_is_refused(node):
    await node.kill_node()
    await node.start_node(allocatable={"cpu": 1000, "memory": 1 << 30})
    half = container("main", resources={"requests": {"cpu": "600m"}})
    await node.create("one", containers=[half])
    await node.create("two", containers=[half])
    status = (await node.pod("two"))["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "OutOfcpu")
    assert "cpu, requested: 600, used: 600, capacity: 1000" in status["message"]
    assert len(node.running()) == 1


@bench
async def test_a_worker_that_fails_is_taken_up_again(node):
    await node.create("web")
    (before,) = node.running()
    worker = node.pods._workers[before[:36]]
    worker.containers = None  # what must never happen
    worker.wake()
    node.runtime.exit(before, 1)
    await node.clock.pass_by(10)
    assert [id[-1] for id in node.running()] == ["1"]
    assert one(await node.pod("web"))["restartCount"] == 1


@bench
async def test_logs_are_found(node):
    from jindou.objects.errors import BadRequest, NotFound

    await node.create("web")
    log = node.pods.log
    assert log("default", "web", "").name == "0.log"
    with pytest.raises(BadRequest, match="previous terminated container"):
        log("default", "web", "main", True)
    with pytest.raises(BadRequest, match="container x is not valid for pod web"):
        log("default", "web", "x")
    with pytest.raises(NotFound):
        log("default", "nope", "")
    node.runtime.exit(node.running()[0], 1)
    await turns()
    assert log("default", "web", "").name == "1.log"
    assert log("default", "web", "", True).name == "0.log"
    node.runtime.exit(node.running()[0], 1)
    await node.clock.pass_by(2)  # in back-off
    assert log("default", "web", "").name == "1.log"
    assert log("default", "web", "", True).name == "1.log"
    with pytest.raises(NotFound):
        node.pods.unit("default", "web", "")
    assert node.pods.statistics() == []


@bench
async def test_a_condition_of_ours_that_someone_else_wrote_is_put_right(node):
    """A node that was silent for a while had its Pods called unready."""
    await node.create("web")
    said = {"type": "Ready", "status": "False", "reason": "NodeNotReady"}
    await node.client.patch(
        Ref(POD, "default", "web"), {"status": {"conditions": [said]}}, "status", how="strategic"
    )
    await node.clock.pass_by(1)
    found = {c["type"]: c for c in (await node.pod("web"))["status"]["conditions"]}
    assert found["Ready"]["status"] == "True"
    assert "reason" not in found["Ready"]
