"""Images from a registry that wants to know who asks, and the words for what goes wrong."""

from __future__ import annotations

import gzip
import json
import tarfile

import pytest

from tests.end_to_end.test_features_kubectl import User
from tests.end_to_end.test_features_pods import wait_for
from tests.end_to_end.test_pods import pod
from tests.machine.registry import Registry

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def user(cloud, namespace) -> User:
    return User(cloud, namespace)


def layers_of(archive) -> list[bytes]:
    """The plain tars of the one image in an OCI archive."""
    with tarfile.open(archive) as tar:

        def blob(digest: str) -> bytes:
            file = tar.extractfile(f"blobs/{digest.replace(':', '/')}")
            assert file is not None
            return file.read()

        index = tar.extractfile("index.json")
        assert index is not None
        (entry,) = json.load(index)["manifests"]
        layers = json.loads(blob(entry["digest"]))["layers"]
        packed = [blob(layer["digest"]) for layer in layers]
    return [gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data for data in packed]


def test_a_private_image_is_pulled_with_its_secret_only(cloud, namespace, user, tmp_path):
    archive = tmp_path / "busybox.tar"
    path = f"/api/v1/nodes/here/proxy/images/export?name=busybox&path={archive}"
    assert list(cloud.api.lines("POST", path))
    registry = Registry()
    registry.user, registry.scheme = ("robot", "secret"), "basic"
    config = {"Cmd": ["sh", "-c", "id -u; echo $FROM_IMAGE; pwd"], "Env": ["FROM_IMAGE=yes"], "User": "7", "WorkingDir": "/tmp"}  # fmt: skip
    registry.add_image("1", *layers_of(archive), config=config)
    image = f"{registry.host}/team/app:1"
    with registry.running():
        bare = json.loads(pod("private", "", restartPolicy="Never", container={"image": image}))
        del bare["spec"]["containers"][0]["command"]
        user("apply", "-f", "-", stdin=json.dumps(bare))
        described = wait_for(lambda: user("describe", "pod", "private"), "ErrImagePull")
        assert f'Failed to pull image "{image}"' in described
        assert "needs other credentials" in described
        shown = wait_for(lambda: user("get", "pod", "private"), "ImagePullBackOff")
        assert "0/1" in shown
        message = user.read("pod private", ".status.containerStatuses[0].state.waiting.message")
        assert message.startswith(f'Back-off pulling image "{image}": ErrImagePull: ')
        user("delete", "pod", "private")

        user(
            "create", "secret", "docker-registry", "keys", f"--docker-server={registry.host}",
            "--docker-username=robot", "--docker-password=secret",
        )  # fmt: skip
        bare["spec"]["imagePullSecrets"] = [{"name": "keys"}]
        user("apply", "-f", "-", stdin=json.dumps(bare))
        cloud.wait("-n", namespace, "--for=jsonpath={.status.phase}=Succeeded", "pod/private")
        assert user("logs", "private") == "7\nyes\n/tmp\n"
        described = user("describe", "pod", "private")
        assert f'Successfully pulled image "{image}" in ' in described
        assert "Image size: " in described
        digest = user.read("pod private", ".status.containerStatuses[0].imageID")
        assert digest.startswith(f"{registry.host}/team/app@sha256:")

        # the account's secrets count where the Pod names none
        user("create", "serviceaccount", "puller")
        user("patch", "serviceaccount", "puller", "-p", '{"imagePullSecrets":[{"name":"keys"}]}')
        del bare["spec"]["imagePullSecrets"]
        bare["metadata"]["name"] = "second"
        bare["spec"] |= {"serviceAccountName": "puller"}
        bare["spec"]["containers"][0]["imagePullPolicy"] = "Always"
        user("apply", "-f", "-", stdin=json.dumps(bare))
        cloud.wait("-n", namespace, "--for=jsonpath={.status.phase}=Succeeded", "pod/second")
        assert user.read("pod second", ".spec.imagePullSecrets[0].name") == "keys"


def test_an_image_that_is_not_there_is_said_in_full(user):
    registry = Registry()
    with registry.running():
        image = f"{registry.host}/team/app:none"
        user("apply", "-f", "-", stdin=pod("lost", "true", container={"image": image}))
        described = wait_for(lambda: user("describe", "pod", "lost"), "Failed to pull image")
        assert "not found" in described or "manifest unknown" in described
