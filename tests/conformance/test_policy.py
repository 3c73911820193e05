"""What a namespace allows and fills in: quotas, limits, priorities, Pod security, accounts, defaults."""

from __future__ import annotations

from tests.conformance.made import Json, apps, core, deployment, pod, service
from tests.conformance.wire import APPLY, MERGE, Api

# ---------------------------------------------------------------- 67 what a namespace allows


def until_quota(api: Api, ns: str, used: Json) -> Json:
    path = f"{core(ns, 'resourcequotas')}/q"
    found: Json = api.until(path, lambda one: (one.get("status") or {}).get("used") == used)
    return found


def test_67_a_quota_refuses_what_is_too_much(api: Api, ns: str, controlled: None) -> None:
    hard = {"pods": "1", "requests.cpu": "1", "count/deployments.apps": "0"}
    api.make(core(ns, "resourcequotas"), {"metadata": {"name": "q"}, "spec": {"hard": hard}})
    none = {"pods": "0", "requests.cpu": "0", "count/deployments.apps": "0"}
    assert until_quota(api, ns, none)["status"]["hard"] == hard
    silent = api.ask("POST", core(ns), pod())
    assert (silent.code, silent.reason) == (403, "Forbidden")
    assert silent.message == 'pods "p" is forbidden: failed quota: q: must specify requests.cpu for: c'  # fmt: skip
    asks = [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "600m"}}}]
    api.make(core(ns), pod(containers=asks))
    until_quota(api, ns, {**none, "pods": "1", "requests.cpu": "600m"})
    more = api.ask("POST", core(ns), pod("q", containers=asks))
    assert more.code == 403
    assert more.message == (
        'pods "q" is forbidden: exceeded quota: q, requested: pods=1,requests.cpu=600m, '
        "used: pods=1,requests.cpu=600m, limited: pods=1,requests.cpu=1"
    )
    counted = api.ask("POST", apps(ns), deployment())
    assert counted.message == (
        'deployments.apps "d" is forbidden: exceeded quota: q, requested: count/deployments.apps=1, '
        "used: count/deployments.apps=0, limited: count/deployments.apps=0"
    )
    api.ask("DELETE", f"{core(ns)}/p")
    until_quota(api, ns, none)


def test_67_the_scopes_of_a_quota(api: Api, ns: str, controlled: None) -> None:
    spec = {"hard": {"pods": "0"}, "scopes": ["BestEffort"]}
    api.make(core(ns, "resourcequotas"), {"metadata": {"name": "q"}, "spec": spec})
    until_quota(api, ns, {"pods": "0"})
    assert api.ask("POST", core(ns), pod()).code == 403
    asks = [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1m"}}}]
    api.make(core(ns), pod(containers=asks))


def test_67_limit_ranges_fill_in_and_refuse(api: Api, ns: str) -> None:
    limits = [
        {"type": "Container", "default": {"cpu": "500m"}, "max": {"cpu": "1"}},
        {"type": "Pod", "max": {"cpu": "1500m"}},
    ]
    made = api.make(
        core(ns, "limitranges"), {"metadata": {"name": "l"}, "spec": {"limits": limits}}
    )
    assert made["spec"]["limits"][0]["defaultRequest"] == {"cpu": "500m"}
    filled = api.make(core(ns), pod())
    assert filled["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "500m"}, "requests": {"cpu": "500m"},
    }  # fmt: skip
    assert filled["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    )
    large = [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "2"}}}]
    told = api.ask("POST", core(ns), pod("q", containers=large))
    assert told.code == 403
    assert "maximum cpu usage per Container is 1, but limit is 2" in told.message
    assert "maximum cpu usage per Pod is 1500m, but limit is 2" in told.message


def test_67_priorities_come_of_their_classes(api: Api, ns: str) -> None:
    made = api.make(core(ns), pod("critical", priorityClassName="system-node-critical"))
    assert made["spec"]["priority"] == 2000001000
    plain = api.make(core(ns), pod())["spec"]
    assert (plain["priority"], plain["preemptionPolicy"]) == (0, "PreemptLowerPriority")
    odd = api.ask("POST", core(ns), pod("q", priorityClassName="none"))
    assert odd.code == 403
    assert odd.message == 'pods "q" is forbidden: no PriorityClass with name none was found'
    own = api.ask("POST", core(ns), pod("q", priority=5))
    assert own.code == 403
    reserved = {"metadata": {"name": "system-mine"}, "value": 1}
    refused = api.ask("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", reserved)
    assert refused.code == 422


def test_67_pod_security_enforces_and_warns(api: Api, ns: str) -> None:
    labels = {
        "pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/warn": "restricted",
    }
    space = f"/api/v1/namespaces/{ns}"
    api.good("PATCH", space, {"metadata": {"labels": labels}}, kind=MERGE)
    odd = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "odd"}}}
    wrong = api.ask("PATCH", space, odd, kind=MERGE)
    assert (wrong.code, wrong.causes) == (
        422,
        [("FieldValueInvalid", "metadata.labels[pod-security.kubernetes.io/enforce]")],
    )
    told = api.ask("POST", core(ns), pod(hostNetwork=True))
    assert told.code == 403
    assert told.message == (
        'pods "p" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)'
    )
    warned = api.ask("POST", core(ns), pod())
    assert warned.code == 201
    assert warned.headers.get_all("Warning") == [
        '299 - "would violate PodSecurity \\"restricted:latest\\": allowPrivilegeEscalation != false '
        '(container \\"c\\" must set securityContext.allowPrivilegeEscalation=false), unrestricted '
        'capabilities (container \\"c\\" must set securityContext.capabilities.drop=[\\"ALL\\"]), '
        'runAsNonRoot != true (pod or container \\"c\\" must set securityContext.runAsNonRoot=true), '
        'seccompProfile (pod or container \\"c\\" must set securityContext.seccompProfile.type to '
        '\\"RuntimeDefault\\" or \\"Localhost\\")"'
    ]


def test_67_pods_are_given_their_account(api: Api, ns: str) -> None:
    made = api.make(core(ns), pod())["spec"]
    assert (made["serviceAccountName"], made["serviceAccount"]) == ("default", "default")
    (volume,) = made["volumes"]
    assert volume["name"].startswith("kube-api-access-")
    sources = volume["projected"]["sources"]
    assert sources[0] == {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}
    assert sources[1]["configMap"]["name"] == "kube-root-ca.crt"
    assert sources[2]["downwardAPI"]["items"][0]["path"] == "namespace"
    (mount,) = made["containers"][0]["volumeMounts"]
    assert mount == {
        "name": volume["name"], "readOnly": True,
        "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
    }  # fmt: skip
    without = api.make(core(ns), pod("q", automountServiceAccountToken=False))["spec"]
    assert "volumes" not in without
    none = api.ask("POST", core(ns), pod("r", serviceAccountName="none"))
    assert none.code == 403
    assert "error looking up service account" in none.message


# ---------------------------------------------------------------- 68 defaults


def test_68_the_defaults_of_a_pod(api: Api, ns: str) -> None:
    probe = {"httpGet": {"port": 80}}
    first = {"name": "c", "image": "i", "ports": [{"containerPort": 80}], "livenessProbe": probe}
    second = {"name": "d", "image": "i:v1"}
    spec = {"containers": [first, second], "automountServiceAccountToken": False}
    made = api.make(core(ns), {"metadata": {"name": "p"}, "spec": spec})
    held = made["spec"]
    assert {name: held[name] for name in held if name not in ("containers", "nodeName")} == {
        "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "default", "serviceAccount": "default", "securityContext": {},
        "automountServiceAccountToken": False, "schedulerName": "default-scheduler", "priority": 0,
        "enableServiceLinks": True, "preemptionPolicy": "PreemptLowerPriority",
        "tolerations": [
            {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            for key in ("not-ready", "unreachable")
        ],
    }  # fmt: skip
    one, two = held["containers"]
    assert (one["imagePullPolicy"], two["imagePullPolicy"]) == ("Always", "IfNotPresent")
    assert one["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert one["livenessProbe"] == {
        "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
        "successThreshold": 1, "failureThreshold": 3,
    }  # fmt: skip
    assert one["terminationMessagePath"] == "/dev/termination-log"
    assert one["terminationMessagePolicy"] == "File"
    assert one["resources"] == {}
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}


def test_68_a_gated_pod_says_why_it_waits(api: Api, ns: str) -> None:
    for name in ("a", "b", "c"):
        made = api.make(f"/api/v1/namespaces/{ns}/pods", {
            "metadata": {"name": name},
            "spec": {"schedulingGates": [{"name": "example.com/wait"}], "containers": [{"name": "c", "image": "i"}]},
        })  # fmt: skip
        (condition,) = made["status"]["conditions"]
        assert condition == {
            "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastProbeTime": None, "lastTransitionTime": made["metadata"]["creationTimestamp"],
        }  # fmt: skip


def test_68_the_defaults_of_deployments_and_services(api: Api, ns: str) -> None:
    spec = api.make(apps(ns), deployment(replicas=None))["spec"]
    assert {name: spec[name] for name in ("replicas", "revisionHistoryLimit", "progressDeadlineSeconds", "strategy")} == {
        "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
    }  # fmt: skip
    made = api.make(core(ns, "services"), service())["spec"]
    assert made["ports"] == [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 80}]
    applied = api.ask(
        "PATCH", f"{core(ns, 'services')}/t",
        {"apiVersion": "v1", "kind": "Service", **service("t")}, kind=APPLY, fieldManager="t",
    )  # fmt: skip
    assert applied.code == 201
    assert applied.json["spec"]["sessionAffinity"] == "None"
