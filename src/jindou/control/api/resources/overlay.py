"""What no published schema says about the built-in kinds: short names, categories, selectors, connect."""

from __future__ import annotations

from jindou.objects.kinds import EVENT, Kind

GROUP_ORDER = (
    "", "apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io",
    "autoscaling", "batch", "certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io",
    "storage.k8s.io", "admissionregistration.k8s.io", "apiextensions.k8s.io", "scheduling.k8s.io",
    "coordination.k8s.io", "node.k8s.io", "discovery.k8s.io", "resource.k8s.io", "flowcontrol.apiserver.k8s.io",
)  # fmt: skip

SINGULAR = {"endpoints": "endpoints"}
VERBS = {("", "componentstatuses"): ("get", "list")}

SHORT_NAMES: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "componentstatuses"): ("cs",),
    ("", "configmaps"): ("cm",),
    ("", "endpoints"): ("ep",),
    ("", "events"): ("ev",),
    ("", "limitranges"): ("limits",),
    ("", "namespaces"): ("ns",),
    ("", "nodes"): ("no",),
    ("", "persistentvolumeclaims"): ("pvc",),
    ("", "persistentvolumes"): ("pv",),
    ("", "pods"): ("po",),
    ("", "replicationcontrollers"): ("rc",),
    ("", "resourcequotas"): ("quota",),
    ("", "serviceaccounts"): ("sa",),
    ("", "services"): ("svc",),
    ("apps", "daemonsets"): ("ds",),
    ("apps", "deployments"): ("deploy",),
    ("apps", "replicasets"): ("rs",),
    ("apps", "statefulsets"): ("sts",),
    ("autoscaling", "horizontalpodautoscalers"): ("hpa",),
    ("batch", "cronjobs"): ("cj",),
    ("certificates.k8s.io", "certificatesigningrequests"): ("csr",),
    ("networking.k8s.io", "ingresses"): ("ing",),
    ("networking.k8s.io", "networkpolicies"): ("netpol",),
    ("networking.k8s.io", "ipaddresses"): ("ip",),
    ("policy", "poddisruptionbudgets"): ("pdb",),
    ("storage.k8s.io", "storageclasses"): ("sc",),
    ("storage.k8s.io", "volumeattributesclasses"): ("vac",),
    ("scheduling.k8s.io", "priorityclasses"): ("pc",),
    ("apiextensions.k8s.io", "customresourcedefinitions"): ("crd", "crds"),
    ("events.k8s.io", "events"): ("ev",),
}

DEPRECATED = {
    ("", "componentstatuses"): "v1 ComponentStatus is deprecated in v1.19+",
    (
        "",
        "endpoints",
    ): "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
}
"""What every answer about a kind warns of."""

_ALL = ("all",)
_EXTENSIONS = ("api-extensions",)
CATEGORIES: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "pods"): _ALL,
    ("", "replicationcontrollers"): _ALL,
    ("", "services"): _ALL,
    ("apps", "daemonsets"): _ALL,
    ("apps", "deployments"): _ALL,
    ("apps", "replicasets"): _ALL,
    ("apps", "statefulsets"): _ALL,
    ("autoscaling", "horizontalpodautoscalers"): _ALL,
    ("batch", "cronjobs"): _ALL,
    ("batch", "jobs"): _ALL,
    ("apiregistration.k8s.io", "apiservices"): _EXTENSIONS,
    ("apiextensions.k8s.io", "customresourcedefinitions"): _EXTENSIONS,
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"): _EXTENSIONS,
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"): _EXTENSIONS,
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"): _EXTENSIONS,
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"): _EXTENSIONS,
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies"): _EXTENSIONS,
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"): _EXTENSIONS,
}

_EVENT_FIELDS = frozenset(
    {"reason", "type", "source", "reportingComponent"}
    | {
        f"involvedObject.{name}"
        for name in (
            "kind",
            "namespace",
            "name",
            "uid",
            "apiVersion",
            "resourceVersion",
            "fieldPath",
        )
    }
)
SELECTABLE: dict[tuple[str, str], frozenset[str]] = {
    ("", "pods"): frozenset(
        {
            "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
            "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName",
        }
    ),
    ("", "events"): _EVENT_FIELDS,
    ("events.k8s.io", "events"): frozenset({"reason", "type", "reportingController", *(f"regarding.{n}" for n in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"))}),
    ("", "secrets"): frozenset({"type"}),
    ("", "nodes"): frozenset({"spec.unschedulable"}),
    ("", "namespaces"): frozenset({"status.phase"}),
    ("", "services"): frozenset({"spec.clusterIP", "spec.type"}),
    ("", "replicationcontrollers"): frozenset({"status.replicas"}),
    ("batch", "jobs"): frozenset({"status.successful"}),
    ("certificates.k8s.io", "certificatesigningrequests"): frozenset({"spec.signerName"}),
    ("certificates.k8s.io", "clustertrustbundles"): frozenset({"spec.signerName"}),
    ("certificates.k8s.io", "podcertificaterequests"): frozenset({"spec.nodeName", "spec.podName", "spec.signerName"}),
    ("resource.k8s.io", "resourceslices"): frozenset({"spec.driver", "spec.nodeName"}),
}  # fmt: skip

_PROXY = ("create", "delete", "get", "patch", "update")
CONNECT: dict[str, tuple[tuple[str, tuple[str, ...], str], ...]] = {
    "pods": (
        ("attach", ("create", "get"), "PodAttachOptions"),
        ("exec", ("create", "get"), "PodExecOptions"),
        ("portforward", ("create", "get"), "PodPortForwardOptions"),
        ("proxy", _PROXY, "PodProxyOptions"),
        ("log", ("get",), ""),
    ),
    "services": (("proxy", _PROXY, "ServiceProxyOptions"),),
    "nodes": (("proxy", _PROXY, "NodeProxyOptions"),),
}

STORED_AS: dict[tuple[str, str, str], Kind] = {
    ("events.k8s.io", "v1", "events"): EVENT,
    ("autoscaling", "v1", "horizontalpodautoscalers"): Kind(
        "autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"
    ),
}
"""Kinds whose objects are those of another kind, in other words."""

UNCONDITIONAL_UPDATE_REFUSED = frozenset(
    {
        *(
            ("admissionregistration.k8s.io", name)
            for name in (
                "mutatingadmissionpolicies", "mutatingadmissionpolicybindings", "mutatingwebhookconfigurations",
                "validatingadmissionpolicies", "validatingadmissionpolicybindings", "validatingwebhookconfigurations",
            )
        ),
        *(
            ("storage.k8s.io", name)
            for name in ("csidrivers", "csinodes", "csistoragecapacities", "volumeattachments")
        ),
        ("apiextensions.k8s.io", "customresourcedefinitions"), ("apiregistration.k8s.io", "apiservices"),
        ("coordination.k8s.io", "leases"), ("node.k8s.io", "runtimeclasses"), ("policy", "poddisruptionbudgets"),
    }
)  # fmt: skip
