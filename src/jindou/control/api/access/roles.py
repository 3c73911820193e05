"""The ClusterRoles and bindings that every cluster has from the beginning, as data.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings
"""

from __future__ import annotations

from collections.abc import Sequence

from jindou.objects.kinds import Kind, Object

GROUP = "rbac.authorization.k8s.io"
CLUSTER_ROLE = Kind(GROUP, "v1", "ClusterRole", "clusterroles", False)
CLUSTER_ROLE_BINDING = Kind(GROUP, "v1", "ClusterRoleBinding", "clusterrolebindings", False)
MARKS: Object = {
    "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
    "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
}

READ = ("get", "list", "watch")
WRITE = ("create", "delete", "deletecollection", "patch", "update")
BOTH = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
ALL = ("*",)


def rule(verbs: Sequence[str], group: str, resources: str, names: Sequence[str] = ()) -> Object:
    made: Object = {
        "verbs": list(verbs),
        "apiGroups": [group],
        "resources": resources.split(),
    }
    if names:
        made["resourceNames"] = list(names)
    return made


def paths(verbs: Sequence[str], *urls: str) -> Object:
    return {"verbs": list(verbs), "nonResourceURLs": list(urls)}


VIEW = [
    rule(
        READ, "",
        "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers "
        "replicationcontrollers/scale serviceaccounts services services/status",
    ),
    rule(
        READ, "",
        "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status "
        "resourcequotas resourcequotas/status",
    ),
    rule(READ, "", "namespaces"),
    rule(READ, "discovery.k8s.io", "endpointslices"),
    rule(
        READ, "apps",
        "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status "
        "replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
    ),
    rule(READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
    rule(READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
    rule(READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
    rule(READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
]  # fmt: skip
EDIT = [
    rule(READ, "", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
    rule(("impersonate",), "", "serviceaccounts"),
    rule(WRITE, "", "pods pods/attach pods/exec pods/portforward pods/proxy"),
    rule(("create",), "", "pods/eviction"),
    rule(
        WRITE, "",
        "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets "
        "serviceaccounts services services/proxy",
    ),
    rule(("create",), "", "serviceaccounts/token"),
    rule(
        WRITE, "apps",
        "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets "
        "statefulsets/scale",
    ),
    rule(WRITE, "autoscaling", "horizontalpodautoscalers"),
    rule(WRITE, "batch", "cronjobs jobs"),
    rule(WRITE, "policy", "poddisruptionbudgets"),
    rule(WRITE, "networking.k8s.io", "ingresses networkpolicies"),
    rule(BOTH, "coordination.k8s.io", "leases"),
]  # fmt: skip
ADMIN = [
    rule(("create",), "authorization.k8s.io", "localsubjectaccessreviews"),
    rule(BOTH, GROUP, "rolebindings roles"),
]

NODE = [
    rule(("create",), "authentication.k8s.io", "tokenreviews"),
    rule(("create",), "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
    rule(READ, "", "services"),
    rule(("create", "get", "list", "watch"), "", "nodes"),
    rule(("patch", "update"), "", "nodes nodes/status"),
    rule(("create", "patch", "update"), "", "events"),
    rule(("create", "delete", "get", "list", "watch"), "", "pods"),
    rule(("patch", "update"), "", "pods/status"),
    rule(("create",), "", "pods/eviction serviceaccounts/token"),
    rule(READ, "", "configmaps secrets persistentvolumeclaims persistentvolumes"),
    rule(("create", "delete", "get", "patch", "update"), "coordination.k8s.io", "leases"),
    rule(READ, "discovery.k8s.io", "endpointslices"),
    rule(READ, "node.k8s.io", "runtimeclasses"),
    rule(("patch",), "", "persistentvolumes"),  # of which ours make the folders
    rule(("create", "get", "list", "watch"), "certificates.k8s.io", "certificatesigningrequests"),
]
SCHEDULER = [
    rule(("create", "patch", "update"), "events.k8s.io", "events"),
    rule(("create",), "coordination.k8s.io", "leases"),
    rule(("get", "update"), "coordination.k8s.io", "leases", ("kube-scheduler",)),
    rule(READ, "", "nodes namespaces persistentvolumeclaims persistentvolumes replicationcontrollers services"),
    rule(("delete", "get", "list", "watch"), "", "pods"),
    rule(("create",), "", "bindings pods/binding"),
    rule(("patch", "update"), "", "pods/status"),
    rule(READ, "apps", "replicasets statefulsets"),
    rule(READ, "policy", "poddisruptionbudgets"),
    rule(READ, "storage.k8s.io", "csidrivers csinodes csistoragecapacities storageclasses"),
]  # fmt: skip

ROLES: dict[str, list[Object]] = {
    "cluster-admin": [rule(ALL, "*", "*"), paths(ALL, "*")],
    "system:aggregate-to-admin": ADMIN,
    "system:aggregate-to-edit": EDIT,
    "system:aggregate-to-view": VIEW,
    "admin": [*ADMIN, *EDIT, *VIEW],
    "edit": [*EDIT, *VIEW],
    "view": VIEW,
    "system:discovery": [
        paths(
            ("get",), "/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz",
            "/version", "/version/",
        )
    ],
    "system:basic-user": [
        rule(("create",), "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
        rule(("create",), "authentication.k8s.io", "selfsubjectreviews"),
    ],
    "system:public-info-viewer": [
        paths(("get",), "/healthz", "/livez", "/readyz", "/version", "/version/")
    ],
    "system:monitoring": [
        paths(("get",), "/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/metrics/slis", "/readyz", "/readyz/*")
    ],
    "system:service-account-issuer-discovery": [
        paths(("get",), "/.well-known/openid-configuration", "/.well-known/openid-configuration/", "/openid/v1/jwks", "/openid/v1/jwks/")
    ],
    "system:auth-delegator": [
        rule(("create",), "authentication.k8s.io", "tokenreviews"),
        rule(("create",), "authorization.k8s.io", "subjectaccessreviews"),
    ],
    "system:kubelet-api-admin": [
        rule(READ, "", "nodes"),
        rule(ALL, "", "nodes nodes/proxy nodes/log nodes/metrics nodes/stats"),
    ],
    "system:aggregated-metrics-reader": [rule(READ, "metrics.k8s.io", "nodes pods")],
    "system:node": NODE,
    "system:node-proxier": [
        rule(READ, "", "endpoints services nodes"),
        rule(READ, "discovery.k8s.io", "endpointslices"),
        rule(("create", "patch", "update"), "events.k8s.io", "events"),
    ],
    "system:kube-dns": [
        rule(("list", "watch"), "", "endpoints services"),
        rule(("list", "watch"), "discovery.k8s.io", "endpointslices"),
    ],
    "system:kube-scheduler": SCHEDULER,
    "system:kube-controller-manager": [
        rule(("list", "watch"), "*", "*"),
        rule(("create", "patch", "update"), "", "events"),
        rule(("create",), "", "serviceaccounts serviceaccounts/token secrets"),
        rule(("create", "get", "update"), "coordination.k8s.io", "leases"),
        rule(("create",), "authentication.k8s.io", "tokenreviews"),
        rule(("create",), "authorization.k8s.io", "subjectaccessreviews"),
    ],
    "system:persistent-volume-provisioner": [
        rule(("create", "delete", "get", "list", "watch"), "", "persistentvolumes"),
        rule(("get", "list", "update", "watch"), "", "persistentvolumeclaims"),
        rule(READ, "storage.k8s.io", "storageclasses"),
        rule(("watch",), "", "events"),
        rule(("create", "patch", "update"), "", "events"),
    ],
}  # fmt: skip

AGGREGATED = {"admin": "admin", "edit": "edit", "view": "view"}  # role -> what it gathers
PART_OF = {
    "system:aggregate-to-admin": "admin",
    "system:aggregate-to-edit": "edit",
    "system:aggregate-to-view": "view",
    "system:aggregated-metrics-reader": "view",
    "edit": "admin",
    "view": "edit",
}

BINDINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "cluster-admin": (("Group", "system:masters"),),
    "system:discovery": (("Group", "system:authenticated"),),
    "system:basic-user": (("Group", "system:authenticated"),),
    "system:public-info-viewer": (
        ("Group", "system:authenticated"),
        ("Group", "system:unauthenticated"),
    ),
    "system:monitoring": (("Group", "system:monitoring"),),
    "system:service-account-issuer-discovery": (("Group", "system:serviceaccounts"),),
    "system:node": (),
    "system:node-proxier": (("User", "system:kube-proxy"),),
    "system:kube-scheduler": (("User", "system:kube-scheduler"),),
    "system:kube-controller-manager": (("User", "system:kube-controller-manager"),),
}


def cluster_role(name: str) -> Object:
    labels = dict(MARKS["labels"])
    if name in PART_OF:
        labels[f"{GROUP}/aggregate-to-{PART_OF[name]}"] = "true"
    made: Object = {
        "metadata": {"name": name, "labels": labels, "annotations": dict(MARKS["annotations"])},
        "rules": ROLES[name],
    }
    if name in AGGREGATED:
        selector = {"matchLabels": {f"{GROUP}/aggregate-to-{AGGREGATED[name]}": "true"}}
        made["aggregationRule"] = {"clusterRoleSelectors": [selector]}
    return made


def cluster_role_binding(name: str) -> Object:
    return {
        "metadata": {"name": name, **MARKS},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": name},
        "subjects": [
            {"apiGroup": GROUP, "kind": kind, "name": subject} for kind, subject in BINDINGS[name]
        ],
    }
