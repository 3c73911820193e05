"""Environments as the kubelet makes them: sources, precedence, references, links, refusals."""

from __future__ import annotations

import asyncio
import base64
import os

import pytest

from jindou.node.volumes import downward, env_files
from jindou.node.volumes.environment import ConfigError, environment, expand, variables_of
from jindou.objects.kinds import CONFIG_MAP

POD = {
    "metadata": {
        "name": "web-1", "namespace": "shop", "uid": "u-1",
        "labels": {"app": "web", "tier": "a\"b"}, "annotations": {"note": "line\nbreak", "ü": "ü\x01"},
    },
    "spec": {
        "nodeName": "here", "serviceAccountName": "robot",
        "containers": [{"name": "main", "resources": {"limits": {"cpu": "1500m"}, "requests": {"memory": "64Mi"}}}],
    },
}  # fmt: skip
NODE = {
    "status": {
        "allocatable": {"cpu": "4", "memory": "1Gi"},
        "addresses": [{"type": "InternalIP", "address": "10.0.0.9"}, {"type": "Hostname", "address": "here"}],
    }
}  # fmt: skip


def config(**data):
    return {"metadata": {"name": "x"}, "data": data}


def secret(**data):
    return config(**{k: base64.b64encode(v).decode() for k, v in data.items()})


class Held:
    """What the API holds, without one."""

    def __init__(self, configs=(), secrets=()):
        self._configs, self._secrets = dict(configs), dict(secrets)

    async def get(self, kind, namespace, name):
        assert namespace == "shop"
        return (self._configs if kind == CONFIG_MAP else self._secrets).get(name)


def made(container, held=None, services=(), report=None, pod=POD):
    return asyncio.run(
        environment(
            pod, {"name": "main", **container}, held or Held(), services,
            ("10.1.0.5", "fd00::5"), NODE, report,
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)z", "x1y2z"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(C)", "$(C)"),
        ("$(A", "$(A"),
        ("$A", "$A"),
        ("$$", "$"),
        ("$", "$"),
        ("$()", "$()"),
    ],
)
def test_references_are_expanded(text, shown):
    assert expand(text, {"A": "1", "B": "2"}) == shown


def test_later_variables_see_earlier_ones_and_win_over_those_from_objects():
    held = Held(configs={"c": config(A="config", B="config")}, secrets={"s": secret(B=b"secret")})
    found = made(
        {
            "envFrom": [
                {"configMapRef": {"name": "c"}},
                {"prefix": "P_", "configMapRef": {"name": "c"}},
                {"secretRef": {"name": "s"}},
            ],
            "env": [
                {"name": "A", "value": "own"},
                {"name": "C", "value": "$(A)-$(B)-$(D)"},
                {"name": "D", "value": "late"},
                {"name": "E"},
            ],
        },
        held,
    )
    assert dict(found) == {
        "A": "own", "B": "secret", "P_A": "config", "P_B": "config",
        "C": "own-secret-$(D)", "D": "late", "E": "",
    }  # fmt: skip
    assert len(found) == len(dict(found))


def test_single_keys_fields_and_resources():
    held = Held(configs={"c": config(k="v")}, secrets={"s": secret(k=b"hidden")})
    sources = {
        "CONFIG": {"configMapKeyRef": {"name": "c", "key": "k"}},
        "SECRET": {"secretKeyRef": {"name": "s", "key": "k"}},
        "NONE": {"configMapKeyRef": {"name": "none", "key": "k", "optional": True}},
        "NO_KEY": {"secretKeyRef": {"name": "s", "key": "none", "optional": True}},
        "IP": {"fieldRef": {"fieldPath": "status.podIP"}},
        "IPS": {"fieldRef": {"fieldPath": "status.podIPs"}},
        "HOST": {"fieldRef": {"fieldPath": "status.hostIP"}},
        "LABEL": {"fieldRef": {"fieldPath": "metadata.labels['app']"}},
        "CPU": {"resourceFieldRef": {"resource": "limits.cpu"}},
        "CPU_M": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}},
        "MEMORY": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}},
        "REQUEST": {"resourceFieldRef": {"resource": "requests.memory", "containerName": "main"}},
    }
    container = {
        **POD["spec"]["containers"][0],
        "env": [{"name": name, "valueFrom": source} for name, source in sources.items()],
    }
    assert dict(made(container, held)) == {
        "CONFIG": "v", "SECRET": "hidden", "IP": "10.1.0.5", "IPS": "10.1.0.5,fd00::5",
        "HOST": "10.0.0.9", "LABEL": "web", "CPU": "2", "CPU_M": "1500", "MEMORY": "1024",
        "REQUEST": "67108864",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("container", "message"),
    [
        ({"envFrom": [{"configMapRef": {"name": "x"}}]}, 'configmap "x" not found'),
        ({"envFrom": [{"secretRef": {"name": "x"}}]}, 'secret "x" not found'),
        ({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "k"}}}]}, 'configmap "x" not found'),
        ({"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]}, "couldn't find key k in ConfigMap shop/c"),
        ({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}, "couldn't find key k in Secret shop/s"),
        ({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]}, "unsupported fieldPath: spec.x"),
        ({"env": [{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "containerName": "z"}}}]}, "container z not found"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(container, message):
    with pytest.raises(ConfigError) as failed:
        made(container, Held(configs={"c": config()}, secrets={"s": secret()}))
    assert str(failed.value) == message


def test_optional_objects_may_be_missing():
    optional = [{"configMapRef": {"name": "x", "optional": True}}, {"secretRef": {"name": "x", "optional": True}}]  # fmt: skip
    assert made({"envFrom": optional}) == []


def test_keys_that_cannot_be_names_are_skipped_and_reported():
    told = []
    held = Held(configs={"c": config(**{"a=b": "1", "ok.name": "2", "ü": "3"})})
    found = made(
        {"envFrom": [{"configMapRef": {"name": "c"}}]},
        held,
        report=lambda *event: told.append(event),
    )
    assert found == [("ok.name", "2")]
    assert told == [
        (
            "InvalidEnvironmentVariableNames",
            "Keys [a=b, ü] from the EnvFrom configMap shop/c were skipped since they are considered invalid environment variable names.",
        )
    ]


def service(name, namespace, address, *ports):
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": address, "ports": list(ports)},
    }


def test_services_are_linked_as_docker_did():
    held = service(
        "my-db", "shop", "10.2.0.1", {"name": "sql", "port": 5432}, {"port": 53, "protocol": "UDP"}
    )
    assert variables_of(held) == {
        "MY_DB_SERVICE_HOST": "10.2.0.1",
        "MY_DB_SERVICE_PORT": "5432",
        "MY_DB_SERVICE_PORT_SQL": "5432",
        "MY_DB_PORT": "tcp://10.2.0.1:5432",
        "MY_DB_PORT_5432_TCP": "tcp://10.2.0.1:5432",
        "MY_DB_PORT_5432_TCP_PROTO": "tcp",
        "MY_DB_PORT_5432_TCP_PORT": "5432",
        "MY_DB_PORT_5432_TCP_ADDR": "10.2.0.1",
        "MY_DB_PORT_53_UDP": "udp://10.2.0.1:53",
        "MY_DB_PORT_53_UDP_PROTO": "udp",
        "MY_DB_PORT_53_UDP_PORT": "53",
        "MY_DB_PORT_53_UDP_ADDR": "10.2.0.1",
    }


def test_which_services_are_linked():
    services = [
        service("kubernetes", "default", "10.2.0.1", {"name": "https", "port": 443}),
        service("own", "shop", "10.2.0.2", {"port": 80}),
        service("other", "elsewhere", "10.2.0.3", {"port": 80}),
        service("headless", "shop", "None", {"port": 80}),
    ]
    container = {"env": [{"name": "OWN_SERVICE_PORT", "value": "mine"}, {"name": "URL", "value": "$(OWN_PORT)"}]}  # fmt: skip
    found = dict(made(container, services=services))
    assert found["KUBERNETES_SERVICE_HOST"] == "10.2.0.1"
    assert found["OWN_SERVICE_HOST"] == "10.2.0.2"
    assert found["OWN_SERVICE_PORT"] == "mine"
    assert found["URL"] == "tcp://10.2.0.2:80"
    assert not any(name.startswith(("OTHER", "HEADLESS")) for name in found)
    alone = {**POD, "spec": {**POD["spec"], "enableServiceLinks": False}}
    found = dict(made({}, services=services, pod=alone))
    assert set(found) >= {"KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT_HTTPS"}
    assert not any(name.startswith("OWN") for name in found)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "web-1"),
        ("metadata.uid", "u-1"),
        ("metadata.labels", 'app="web"\ntier="a\\"b"'),
        ("metadata.annotations", 'note="line\\nbreak"\nü="ü\\x01"'),
        ("metadata.annotations['none']", ""),
        ("spec.nodeName", "here"),
        ("spec.serviceAccountName", "robot"),
    ],
)
def test_fields_are_written_as_the_kubelet_writes_them(path, value):
    assert downward.field(POD, path) == value


def test_variables_from_a_file_that_a_container_wrote(tmp_path):
    volume = tmp_path / "v"
    volume.mkdir()
    (volume / "a.env").write_text(
        "# said\nA='one\ntwo' # more\nB=plain words \n\nC=''\nnot a line\n"
    )
    assert env_files.read(volume, "a.env") == {"A": "one\ntwo", "B": "plain words", "C": ""}
    assert env_files.read(volume, "b.env") is None
    (tmp_path / "secret").write_text("A=1")
    (volume / "out").symlink_to(tmp_path / "secret")
    (volume / "big").write_bytes(b"A=1\n" * 20_000)
    os.mkfifo(volume / "pipe")
    for name in ("out", "big", "pipe", "."):
        with pytest.raises(env_files.FileRefused):
            env_files.read(volume, name)
