"""Pod Security: each check refuses and lets through, as of its version; labels, warnings, updates."""

from __future__ import annotations

import pytest

from jindou.control.api.admission.pod_security import is_significant, others, policy_of
from jindou.control.api.rules.pods.levels import findings, told
from tests.control.apis import on_api

HARD = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def spec(context=None, pod_context=None, container=None, **more):
    one = {"name": "c", "image": "i", "securityContext": context or {}, **(container or {})}
    return {"containers": [one], "securityContext": pod_context or {}, **more}


def said(level, held, version=None, **meta):
    return told(findings(level, version, meta, held))


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (spec(), ""),
        (spec({"privileged": True}), 'privileged (container "c" must not set securityContext.privileged=true)'),
        (spec(hostNetwork=True, hostIPC=True), "host namespaces (hostNetwork=true, hostIPC=true)"),
        (spec({"capabilities": {"add": ["NET_ADMIN", "CHOWN"]}}), 'non-default capabilities (container "c" must not include "NET_ADMIN" in securityContext.capabilities.add)'),
        (spec(volumes=[{"name": "v", "hostPath": {"path": "/"}}]), 'hostPath volumes (volume "v")'),
        (spec(container={"ports": [{"hostPort": 80}, {"hostPort": 8080}]}), 'hostPort (container "c" uses hostPorts 80, 8080)'),
        (spec(container={"livenessProbe": {"httpGet": {"host": "x"}}}), 'probe or lifecycle host (container "c" uses probe or lifecycle host "x")'),
        (spec({"procMount": "Unmasked"}), 'procMount (container "c" must not set securityContext.procMount to "Unmasked")'),
        (spec({"seLinuxOptions": {"type": "spc_t", "user": "u"}}), 'seLinuxOptions (container "c" set forbidden securityContext.seLinuxOptions: type "spc_t"; user may not be set)'),
        (spec({"seccompProfile": {"type": "Unconfined"}}), 'seccompProfile (container "c" must not set securityContext.seccompProfile.type to "Unconfined")'),
        (spec(pod_context={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}), "forbidden sysctls (kernel.msgmax)"),
        (spec(pod_context={"windowsOptions": {"hostProcess": True}}), "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)"),
        (spec({"appArmorProfile": {"type": "Unconfined"}}), 'forbidden AppArmor profile (container "c" must not set AppArmor profile type to "Unconfined")'),
    ],
)  # fmt: skip
def test_baseline(held, expected):
    assert said("baseline", held) == expected
    assert said("privileged", held) == ""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ""),
        ({"allowPrivilegeEscalation": None}, 'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false)'),
        ({"capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}}, 'unrestricted capabilities (container "c" must not include "CHOWN" in securityContext.capabilities.add)'),
        ({"capabilities": {"add": ["NET_BIND_SERVICE"]}}, 'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"])'),
        ({"runAsNonRoot": None}, 'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)'),
        ({"runAsNonRoot": False}, 'runAsNonRoot != true (container "c" must not set securityContext.runAsNonRoot=false)'),
        ({"runAsUser": 0}, 'runAsUser=0 (container "c" must not set runAsUser=0)'),
        ({"seccompProfile": None}, 'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'),
    ],
)  # fmt: skip
def test_restricted(change, expected):
    context = {key: value for key, value in {**HARD, **change}.items() if value is not None}
    assert said("restricted", spec(context)) == expected


def test_restricted_takes_the_place_of_its_weaker_kin():
    held = spec(HARD, volumes=[{"name": "v", "hostPath": {}}, {"name": "w", "nfs": {}}])
    assert said("restricted", held) == (
        'restricted volume types (volumes "v", "w" use restricted volume types "hostPath", "nfs")'
    )


@pytest.mark.parametrize(
    ("level", "version", "held", "refused"),
    [
        ("restricted", 7, spec({**HARD, "allowPrivilegeEscalation": True}), False),
        ("restricted", 8, spec({**HARD, "allowPrivilegeEscalation": True}), True),
        ("restricted", 21, spec({**HARD, "capabilities": {}}), False),
        ("restricted", 24, spec({"runAsNonRoot": True}, os={"name": "windows"}), True),
        ("restricted", 25, spec({"runAsNonRoot": True}, os={"name": "windows"}), False),
        ("restricted", 34, spec({**HARD, "runAsNonRoot": False}, hostUsers=False), True),
        ("restricted", 35, spec({**HARD, "runAsNonRoot": False}, hostUsers=False), False),
        ("baseline", 33, spec(container={"livenessProbe": {"tcpSocket": {"host": "x"}}}), False),
        ("baseline", 36, spec(pod_context={"sysctls": [{"name": "net.ipv4.tcp_notsent_lowat"}]}), True),
        ("baseline", 99, spec(pod_context={"sysctls": [{"name": "net.ipv4.tcp_notsent_lowat"}]}), False),
    ],
)  # fmt: skip
def test_versions(level, version, held, refused):
    assert bool(findings(level, version, {}, held)) is refused


def test_old_annotations_count():
    notes = {"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}
    assert said("baseline", spec(), annotations=notes) == (
        'forbidden AppArmor profile (annotation must not set AppArmor profile type to "container.apparmor.security.beta.kubernetes.io/c="unconfined"")'
    )


def test_labels():
    policy, faults = policy_of(
        {
            "pod-security.kubernetes.io/enforce": "baseline",
            "pod-security.kubernetes.io/enforce-version": "v1.30",
            "pod-security.kubernetes.io/audit": "restricted",
        }
    )
    assert [str(standard) for standard in policy] == [
        "baseline:v1.30", "restricted:latest", "baseline:v1.30",
    ]  # fmt: skip
    assert not faults
    policy, faults = policy_of({"pod-security.kubernetes.io/enforce": "strict"})
    assert str(policy.enforce) == "restricted:latest"
    assert str(policy.warn) == "privileged:latest"
    assert [fault.field for fault in faults] == [
        "metadata.labels[pod-security.kubernetes.io/enforce]"
    ]


def test_only_images_and_new_containers_are_judged_again():
    old = {"containers": [{"name": "a", "image": "i"}]}
    assert not is_significant({**old, "activeDeadlineSeconds": 1}, old)
    assert is_significant({"containers": [{"name": "a", "image": "j"}]}, old)
    assert is_significant({**old, "ephemeralContainers": [{"name": "e", "image": "i"}]}, old)
    assert [others(n) for n in (1, 2, 4)] == ["", " (and 1 other pod)", " (and 3 other pods)"]


def namespace(name, **labels):
    held = {
        f"pod-security.kubernetes.io/{key.replace('_', '-')}": value
        for key, value in labels.items()
    }
    return {"metadata": {"name": name, "labels": held}}


async def account(api, name):
    url = f"/api/v1/namespaces/{name}/serviceaccounts"
    await api.ask("POST", url, {"metadata": {"name": "default"}})


def test_enforcing_warning_and_the_labels_of_namespaces():
    async def scenario(api):
        spaces = "/api/v1/namespaces"
        bad = await api.ask("POST", spaces, namespace("x", enforce="bad"))
        assert bad.status == 422
        assert bad.json["details"]["causes"][0]["field"] == (
            "metadata.labels[pod-security.kubernetes.io/enforce]"
        )
        made = await api.ask("POST", spaces, namespace("x", enforce="baseline", warn="restricted"))
        assert made.status == 201
        await account(api, "x")
        pod = {"metadata": {"generateName": "p-"}, "spec": spec({"privileged": True})}
        refused = await api.ask("POST", f"{spaces}/x/pods", pod)
        assert refused.status == 403
        assert 'is forbidden: violates PodSecurity "baseline:latest": privileged' in refused.json["message"]  # fmt: skip
        plain = {"metadata": {"name": "p"}, "spec": spec()}
        warned = await api.ask("POST", f"{spaces}/x/pods", plain)
        assert warned.status == 201
        assert warned.headers["Warning"].startswith(
            '299 - "would violate PodSecurity \\"restricted:latest\\": allowPrivilegeEscalation'
        )
        template = {"metadata": {"labels": {"a": "b"}}, "spec": spec({"privileged": True})}
        deployment = {
            "metadata": {"name": "d"},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
        }
        made = await api.ask("POST", "/apis/apps/v1/namespaces/x/deployments", deployment)
        assert made.status == 201
        assert "would violate PodSecurity" in made.headers["Warning"]
        told = await api.ask(
            "PATCH", f"{spaces}/x", namespace("x", enforce="restricted"),
            content_type="application/merge-patch+json",
        )  # fmt: skip
        assert told.status == 200
        assert told.headers["Warning"].startswith('299 - "p: allowPrivilegeEscalation != false, ')

    on_api(scenario)
