"""Names, users, manifests and configurations: tables of what is taken and what is refused."""

from __future__ import annotations

import json
import os

import pytest

from jindou.machine.images import ImageError
from jindou.machine.images.content.layers import chain_ids
from jindou.machine.images.content.manifests import choose, configuration, is_index, manifest
from jindou.machine.images.references import familiar, parse
from jindou.machine.images.users import resolve_user

SHA = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("team/app", "docker.io/team/app:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/library/nginx", "docker.io/library/nginx:latest"),
        ("registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/a/b/c:x", "localhost:5000/a/b/c:x"),
        ("[::1]:5000/app", "[::1]:5000/app:latest"),
        (f"busybox@{SHA}", f"docker.io/library/busybox@{SHA}"),
        (f"busybox:1@{SHA}", f"docker.io/library/busybox@{SHA}"),
        ("a__b/c--d/e.f", "docker.io/a__b/c--d/e.f:latest"),
    ],
)
def test_names_are_made_whole(text, name):
    assert parse(text).name == name
    assert parse(parse(text).name).name == name
    assert parse(familiar(name)).name == name


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "/", "a/", "/a", "A", "a/B", "a:", "a:b c", "a:-x", "a:" + "x" * 129, "a@", "a@b",
        "a@sha256:" + "A" * 64, "a@sha256:" + "a" * 63, "a@md5:" + "a" * 32, "a..b", "a__", "_a",
        "../a", "a/../b", "a/./b", "exa mple.com/a", "example.com:port/a", "-x.com/a", "a\n", "a\0b",
        "http://example.com/a", "x/" * 130 + "a", "a?b", "a%2fb",
    ],
)  # fmt: skip
def test_what_is_no_name(text):
    with pytest.raises(ImageError) as invalid:
        parse(text)
    assert invalid.value.invalid
    assert "\n" not in str(invalid.value)


# users

PASSWD = """root:x:0:0:root:/root:/bin/sh
# a comment
app:x:1000:100:App:/home/app:/bin/sh
broken:x:no:0
12:x:77:78::/:/bin/sh
twin:x:1000:200:::
huge:x:4294967296:0:::
"""
GROUP = """root:x:0:
users:x:100:
wheel:x:10:app,root
audio:x:29:other,app
12:x:55:
"""


@pytest.fixture
def image(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text(PASSWD)
    (tmp_path / "etc" / "group").write_text(GROUP)
    return tmp_path


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", (0, 0, (10,))),
        ("root", (0, 0, (10,))),
        ("0", (0, 0, (10,))),
        ("app", (1000, 100, (10, 29))),
        ("1000", (1000, 100, (10, 29))),
        ("app:wheel", (1000, 10, ())),
        ("app:7", (1000, 7, ())),
        ("5000", (5000, 0, ())),
        ("5000:5001", (5000, 5001, ())),
        (":wheel", (0, 10, ())),
        ("12", (77, 78, ())),
        ("5000:12", (5000, 55, ())),
        ("2147483647", (2147483647, 0, ())),
    ],
)
def test_users(image, user, expected):
    assert resolve_user(image, user) == expected


@pytest.mark.parametrize(
    "user",
    [
        "nobody", "app:nobody", "-1", "2147483648", "4294967295", "4294967296", "99999999999999999999",
        "0x0", "a:b:c", "app\n", "a\0b", "a b", "huge", "app:2147483648", "٣",
    ],
)  # fmt: skip
def test_users_that_are_refused(image, user):
    with pytest.raises(ImageError):
        resolve_user(image, user)


def test_user_files_are_read_inside_the_image(tmp_path):
    image, outside = tmp_path / "image", tmp_path / "outside"
    (image / "etc").mkdir(parents=True)
    outside.write_text("evil:x:1:1:::\n")
    passwd = image / "etc" / "passwd"
    passwd.symlink_to("../../outside")
    with pytest.raises(ImageError, match="no user 'evil'"):
        resolve_user(image, "evil")
    assert resolve_user(image, "7") == (7, 0, ())
    passwd.unlink()
    passwd.symlink_to("/store/passwd")
    (image / "store").mkdir()
    (image / "store" / "passwd").write_text("inside:x:3:4:::\n")
    assert resolve_user(image, "inside") == (3, 4, ())
    passwd.unlink()
    os.mkfifo(passwd)
    assert resolve_user(image, "0") == (0, 0, ())
    passwd.unlink()
    passwd.symlink_to("passwd")
    assert resolve_user(image, "0") == (0, 0, ())
    passwd.unlink()
    passwd.write_bytes(b"x" * ((1 << 20) + 1))
    assert resolve_user(image, "0") == (0, 0, ())


# manifests and configurations


def document(**inner):
    return json.dumps({"os": "linux", "config": inner, "rootfs": {"diff_ids": [SHA]}}).encode()


def test_a_configuration_holds_what_units_need():
    inner = {
        "Env": ["A=b", "novalue", "=x"],
        "Entrypoint": None,
        "Cmd": ["x", ""],
        "WorkingDir": "/w",
        "User": "app",
        "ExposedPorts": {"80/tcp": {}},
        "StopSignal": "SIGQUIT",
        "Labels": None,
        "Volumes": {"/data": {}},
        "Unknown": 1,
    }
    found = configuration(document(**inner), 1)["config"]
    assert found == {
        "Env": ["A=b"],
        "Cmd": ["x", ""],
        "WorkingDir": "/w",
        "User": "app",
        "ExposedPorts": {"80/tcp": {}},
        "StopSignal": "SIGQUIT",
        "Volumes": {"/data": {}},
        "Unknown": 1,
    }
    assert configuration(b'{"rootfs":{"diff_ids":[]}}', 0)["config"] == {}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (document(Entrypoint="sh"), "Entrypoint must be a list"),
        (document(Cmd=[1]), "Cmd must be a list"),
        (document(Env={"A": "b"}), "Env must be a list"),
        (document(Env=["A=\0"]), "zero byte"),
        (document(User=0), "User must be text"),
        (document(Volumes=["/x"]), "Volumes must be an object"),
        (b'{"config":[]}', "config is not an object"),
        (b'{"rootfs":{"diff_ids":["x"]}}', "no digests"),
        (b'{"rootfs":{"diff_ids":[]}}', "1 layers and its configuration names 0"),
        (document().replace(b"linux", b"windows"), "made for windows"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"a":NaN}', "not JSON"),
        (b"[" * 10_000, "not JSON"),
        (b'{"a":"\xff"}', "not JSON"),
        (b"[]", "not a JSON object"),
    ],
)
def test_configurations_that_are_refused(data, why):
    with pytest.raises(ImageError, match=why):
        configuration(data, 1)


LAYER = {
    "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
    "digest": SHA,
    "size": 1,
}
CONFIG = {**LAYER, "mediaType": "application/vnd.oci.image.config.v1+json"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"layers": [{**LAYER, "digest": "sha256:../../etc"}]}, "no proper digest"),
        ({"layers": [{**LAYER, "digest": SHA.upper()}]}, "no proper digest"),
        ({"layers": [{**LAYER, "digest": "md5:" + "a" * 32}]}, "no proper digest"),
        ({"layers": [{**LAYER, "size": -1}]}, "no proper size"),
        ({"layers": [{**LAYER, "size": True}]}, "no proper size"),
        ({"layers": [{**LAYER, "size": "1"}]}, "no proper size"),
        ({"layers": [{**LAYER, "mediaType": "application/wasm"}]}, "can't be unpacked"),
        ({"layers": [LAYER] * 501}, "more than 500"),
        ({"layers": None}, "lists no layers"),
        ({"config": None}, "no config"),
        ({"config": LAYER}, "not a container image"),
    ],
)
def test_manifests_that_are_refused(changes, why):
    with pytest.raises(ImageError, match=why):
        manifest({"schemaVersion": 2, "config": CONFIG, "layers": [LAYER], **changes})


def test_what_is_an_index():
    index = "application/vnd.oci.image.index.v1+json"
    assert is_index({"schemaVersion": 2, "manifests": []})
    assert is_index({"schemaVersion": 2, "mediaType": index}, index)
    assert not is_index({"schemaVersion": 2, "layers": []})
    for bad in ({"schemaVersion": 1}, {}, {"schemaVersion": 2, "manifests": [], "layers": []}):
        with pytest.raises(ImageError):
            is_index(bad)


def offered(*places):
    return {
        "manifests": [
            {
                "digest": f"sha256:{number:064}",
                "size": 1,
                "platform": dict(zip(("os", "architecture", "variant"), place.split("/"))),
            }
            for number, place in enumerate(places)
        ]
    }


@pytest.mark.parametrize(
    ("machine", "places", "chosen"),
    [
        ("x86_64", ["linux/arm64", "linux/amd64", "linux/amd64"], 1),
        ("x86_64", ["unknown/unknown", "windows/amd64", "linux/amd64"], 2),
        ("x86_64", ["linux/amd64/v3", "linux/amd64"], 1),
        ("aarch64", ["linux/amd64", "linux/arm64/v8"], 1),
        ("armv7l", ["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"], 1),
        ("armv6l", ["linux/arm/v7", "linux/arm/v5", "linux/arm/v6"], 2),
    ],
)
def test_the_entry_for_this_machine(machine, places, chosen):
    assert choose(offered(*places), machine).digest == f"sha256:{chosen:064}"


def test_no_entry_for_this_machine():
    with pytest.raises(ImageError, match="it offers linux/s390x") as absent:
        choose(offered("linux/s390x"), "x86_64")
    assert absent.value.missing


def test_chain_ids():
    assert chain_ids(["sha256:a"]) == ["sha256:a"]
    one, two = chain_ids([SHA, SHA])
    assert one == SHA
    assert two == "sha256:12ea20821e4a62eb0d0ca06b8a1ec84e4d95fb10cdc4e67d69aa1c0bb9d71563" or two
