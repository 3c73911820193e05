"""Pulling by policy, with credentials, with back-off; and which images go when the disk is full."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest

from jindou.machine.images import Credentials, Image, ImageError
from jindou.node.images import Puller, PullError, default_policy
from jindou.node.pull_secrets import credentials_for
from tests.node.machine import Still, turns


class Registry:
    """Implements what of `Images` a puller uses; a pull does what the test says."""

    def __init__(self):
        self.here: dict[str, Image] = {}
        self.asked: list[tuple[str, frozenset]] = []
        self.error: Exception | None = None
        self.hold: asyncio.Event | None = None
        self.collected: list[str] = []

    def add(self, name, digest="1", size=100):
        self.here[name] = Image(f"sha256:{digest * 64}", (name,), {}, size)
        return self.here[name]

    def find(self, reference):
        from jindou.machine.images.references import parse

        parse(reference)
        return self.here.get(reference)

    def all(self):
        return list(self.here.values())

    async def pull(self, reference, credentials=(), report=None):
        self.asked.append((reference, frozenset(credentials)))
        if self.hold:
            await self.hold.wait()
        if self.error:
            raise self.error
        return self.add(reference)

    async def delete(self, reference):
        del self.here[reference]
        self.collected.append(reference)

    async def collect(self, in_use):
        return 10


class Secrets:
    def __init__(self, **held):
        self.held = held

    async def get(self, kind, namespace, name):
        return self.held.get(name)


class World:
    def __init__(self, secrets=None, in_use=tuple, disk_use=lambda folder: 0.5):
        self.clock = Still()
        self.images = Registry()
        self.events = []
        self.puller = Puller(
            self.images,
            secrets or Secrets(),
            self.record,
            in_use=in_use,
            disk_use=disk_use,
            clock=self.clock,
        )

    def record(self, pod, type, reason, message, container=""):
        self.events.append((reason, message))

    async def ensure(self, image, policy=None, uid="u", **spec):
        pod = {"metadata": {"uid": uid, "namespace": "default", "name": "p"}, "spec": spec}
        held = {"name": "main", "image": image}
        return await self.puller.ensure(pod, held | ({"imagePullPolicy": policy} if policy else {}))


def run(test):
    asyncio.run(test)


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("busybox", "Always"),
        ("busybox:latest", "Always"),
        ("busybox:1", "IfNotPresent"),
        (f"busybox@sha256:{'1' * 64}", "IfNotPresent"),
        (f"sha256:{'1' * 64}", "IfNotPresent"),
        ("localhost:5000/x", "Always"),
    ],
)
def test_the_policy_that_a_name_means(name, policy):
    assert default_policy(name) == policy


def test_an_image_that_is_here_is_not_pulled_unless_asked():
    async def main():
        world = World()
        world.images.add("busybox:1")
        await world.ensure("busybox:1")
        await world.ensure("busybox:1", "Never")
        assert world.images.asked == []
        assert {reason for reason, _ in world.events} == {"Pulled"}
        await world.ensure("busybox:1", "Always")
        assert len(world.images.asked) == 1

    run(main())


def test_what_is_told_of_a_pull():
    async def main():
        world = World()
        await world.ensure("busybox:1")
        assert world.events == [
            ("Pulling", 'Pulling image "busybox:1"'),
            ("Pulled", 'Successfully pulled image "busybox:1" in 0ms (0ms including waiting). Image size: 100 bytes.'),
        ]  # fmt: skip

    run(main())


def test_never_and_invalid_are_refused_without_a_registry():
    async def main():
        world = World()
        with pytest.raises(PullError) as failed:
            await world.ensure("busybox:1", "Never")
        assert failed.value.reason == "ErrImageNeverPull"
        assert (
            failed.value.message
            == 'Container image "busybox:1" is not present with pull policy of Never'
        )
        with pytest.raises(PullError) as failed:
            await world.ensure("Bad Name")
        assert failed.value.reason == "InvalidImageName"
        assert (
            'couldn\'t parse image name "Bad Name": invalid reference format'
            in failed.value.message
        )
        assert world.images.asked == []

    run(main())


def test_failures_back_off_and_a_success_forgets_them():
    async def main():
        world = World()
        world.images.error = ImageError("not found", missing=True)
        waits = []
        for _ in range(7):
            with pytest.raises(PullError) as failed:
                await world.ensure("none:1")
            assert failed.value.reason == "ErrImagePull"
            assert failed.value.message == 'failed to pull and unpack image "none:1": not found'
            waits.append(failed.value.retry_after)
            with pytest.raises(PullError) as failed:
                await world.ensure("none:1")
            assert failed.value.reason == "ImagePullBackOff"
            assert failed.value.message.startswith(
                'Back-off pulling image "none:1": ErrImagePull: '
            )
            assert failed.value.retry_after == waits[-1]
            await world.clock.pass_by(waits[-1])
        assert waits == [10, 20, 40, 80, 160, 300, 300]
        assert len(world.images.asked) == 7
        world.images.error = None
        await world.ensure("none:1")
        assert ("BackOff", 'Back-off pulling image "none:1"') in world.events
        assert ("Failed", "Error: ErrImagePull") in world.events

    run(main())


def test_another_pod_tries_at_once():
    async def main():
        world = World()
        world.images.error = ImageError("not found", missing=True)
        for uid in ("a", "b"):
            with pytest.raises(PullError) as failed:
                await world.ensure("none:1", uid=uid)
            assert failed.value.reason == "ErrImagePull"

    run(main())


def test_an_unreachable_registry_leaves_the_image_that_is_here_and_is_not_asked_for_a_while():
    async def main():
        world = World()
        image = world.images.add("busybox")
        world.images.error = ImageError("docker.io does not answer", unreachable=True)
        assert await world.ensure("busybox") == image
        assert await world.ensure("busybox") == image
        assert len(world.images.asked) == 1
        await world.clock.pass_by(60)
        await world.ensure("busybox")
        assert len(world.images.asked) == 2
        with pytest.raises(PullError) as failed:
            await world.ensure("other")
        assert failed.value.reason == "ErrImagePull"
        world.images.error = ImageError("not found", missing=True)
        await world.clock.pass_by(60)
        with pytest.raises(PullError):
            await world.ensure("busybox", uid="v")

    run(main())


def test_pulls_of_the_same_image_are_one_and_survive_whoever_leaves():
    async def main():
        world = World()
        world.images.hold = asyncio.Event()
        first, second = (asyncio.create_task(world.ensure("x:1", uid=uid)) for uid in "ab")
        await turns()
        first.cancel()
        await turns()
        world.images.hold.set()
        assert (await second).names == ("x:1",)
        assert len(world.images.asked) == 1

    run(main())


def docker_config(**auths):
    data = base64.b64encode(json.dumps({"auths": auths}).encode()).decode()
    return {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": data}}


AUTH = {"auth": base64.b64encode(b"me:se:cret").decode()}
ME = Credentials("me", "se:cret")


@pytest.mark.parametrize(
    ("place", "image", "found"),
    [
        ("registry.example.com", "registry.example.com/a/b:1", True),
        ("https://registry.example.com/v1/", "registry.example.com/a/b", True),
        ("registry.example.com", "other.example.com/a", False),
        ("*.example.com", "registry.example.com/a", True),
        ("*.example.com", "a.b.example.com/a", False),
        ("registry.example.com:5000", "registry.example.com/a", False),
        ("registry.example.com/team", "registry.example.com/team/a", True),
        ("registry.example.com/team", "registry.example.com/teammate/a", False),
        ("https://index.docker.io/v1/", "busybox", True),
        ("docker.io", "library/busybox", True),
        ("example.com.evil.com", "example.com/a", False),
    ],
)
def test_whose_credentials_are_an_images(place, image, found):
    assert credentials_for(docker_config(**{place: AUTH}), image) == ([ME] if found else [])


def test_the_longest_path_comes_first_and_every_form_is_read():
    secret = docker_config(**{
        "r.io": {"username": "plain", "password": "p"},
        "r.io/team/app": {"identitytoken": "t"},
        "r.io/team": AUTH,
    })  # fmt: skip
    assert credentials_for(secret, "r.io/team/app:1") == [
        Credentials(token="t"), ME, Credentials("plain", "p"),
    ]  # fmt: skip
    old = {"data": {".dockercfg": base64.b64encode(json.dumps({"r.io": AUTH}).encode()).decode()}}
    assert credentials_for(old, "r.io/x") == [ME]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"auths": []}',
        b'{"auths": {"r.io": 1}}',
        b'{"auths": {"r.io": {"auth": "!"}}}',
    ],
)
def test_a_secret_that_holds_nonsense_holds_no_credentials(text):
    secret = {"data": {".dockerconfigjson": base64.b64encode(text).decode()}}
    assert credentials_for(secret, "r.io/x") == []


def test_pull_secrets_are_used_and_missing_ones_told():
    async def main():
        world = World(Secrets(mine=docker_config(**{"r.io": AUTH})))
        await world.ensure("r.io/x:1", imagePullSecrets=[{"name": "mine"}, {"name": "gone"}])
        assert world.images.asked == [("r.io/x:1", frozenset({ME}))]
        assert (
            "FailedToRetrieveImagePullSecret",
            "Unable to retrieve some image pull secrets (gone); attempting to pull the image may not succeed.",
        ) in world.events

    run(main())


def test_a_full_disk_takes_the_image_that_was_used_longest_ago_and_none_in_use():
    async def main():
        disk = [0.5]

        def use(folder):
            return disk[0] - 0.05 * len(world.images.collected)

        world = World(in_use=lambda: {f"sha256:{'1' * 64}"}, disk_use=use)
        for digest, name in enumerate(("used:1", "old:1", "older:1", "new:1", "x:1"), 1):
            world.images.add(name, str(digest))
        for name in ("older:1", "old:1", "x:1", "new:1"):
            await world.ensure(name)
            await world.clock.pass_by(200 if name == "x:1" else 1)
        disk[0] = 0.88
        assert await world.puller.collect() == 30
        assert world.images.collected == ["older:1", "old:1"]
        disk[0] = 1.5
        await world.puller.collect()
        assert world.images.collected == ["older:1", "old:1", "x:1"]

    run(main())


def test_the_disk_is_looked_at_after_a_pull():
    async def main():
        world = World(disk_use=lambda folder: 0.86)
        world.images.add("old:1", "2")
        await world.ensure("x:1")
        await turns()
        assert world.images.collected == ["old:1"]

    run(main())
