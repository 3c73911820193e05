"""The paths of the OpenAPI documents: what can be asked of a resource, in which words the original has it.

Generated clients are made from these names, so they are facts of the wire. What all operations of a
path take is said once, at the path. Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-interface-definition
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jindou.control.api.resources.registry import Resource, Subresource
from jindou.objects.kinds import Kind

Node = dict[str, Any]
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
STATUS, EVENT, PATCH, OPTIONS = (
    f"{META}{name}" for name in ("Status", "WatchEvent", "Patch", "DeleteOptions")
)
PLAIN = ("application/json", "application/yaml")
FOLLOWED = ("application/json", "application/json;stream=watch", "application/yaml")
PATCHES = (
    "application/json-patch+json", "application/merge-patch+json",
    "application/strategic-merge-patch+json", "application/apply-patch+yaml",
)  # fmt: skip
CODES = {200: "OK", 201: "Created", 202: "Accepted"}
TYPES = {
    **dict.fromkeys(
        ("allowWatchBookmarks", "follow", "force", "insecureSkipTLSVerifyBackend", "orphanDependents", "previous",
         "sendInitialEvents", "stderr", "stdin", "stdout", "timestamps", "tty", "watch"),
        "boolean",
    ),
    **dict.fromkeys(
        ("gracePeriodSeconds", "limit", "limitBytes", "ports", "sinceSeconds", "tailLines", "timeoutSeconds"),
        "integer",
    ),
}  # fmt: skip
WRITE = ("dryRun", "fieldManager", "fieldValidation")
DELETE = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy")
SELECT = (
    "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "resourceVersionMatch",
    "sendInitialEvents", "timeoutSeconds",
)  # fmt: skip
LIST = ("allowWatchBookmarks", *SELECT, "watch")
STREAMS = ("container", "stderr", "stdin", "stdout", "tty")
PARTS = {
    "attach": STREAMS,
    "exec": ("command", *STREAMS),
    "portforward": ("ports",),
    "proxy": ("path",),
    "log": (
        "container", "follow", "insecureSkipTLSVerifyBackend", "limitBytes", "previous", "sinceSeconds",
        "stream", "tailLines", "timestamps",
    ),
}  # fmt: skip
GIVEN_BACK = {
    "": ("persistentvolumeclaims", "persistentvolumes", "pods", "podtemplates", "resourcequotas", "serviceaccounts", "services"),
    "resource.k8s.io": ("deviceclasses", "resourceclaims", "resourceclaimtemplates", "resourceslices"),
    "storage.k8s.io": ("csidrivers", "csinodes", "storageclasses", "volumeattachments", "volumeattributesclasses"),
}  # fmt: skip
VERBS = {
    "get": ("get", "read", (200,)),
    "update": ("put", "replace", (200, 201)),
    "patch": ("patch", "patch", (200, 201)),
    "create": ("post", "create", (200, 201, 202)),
}
SAYS = {"get": "read", "update": "replace", "patch": "partially update", "create": "create"}
TO_PROXY = ("get", "put", "post", "delete", "options", "head", "patch")
INSTEAD = "deprecated: use the 'watch' parameter with a list operation instead"


class Names(NamedTuple):
    """How the schemas of a resource are called."""

    one: str
    many: str
    parts: Mapping[str, str]  # of subresources that have a kind of their own


class Asked(NamedTuple):
    """One operation, before it is written down."""

    method: str
    name: str
    action: str
    says: str
    answer: str  # the schema; "": text
    query: Sequence[str] = ()
    body: str = ""
    codes: tuple[int, ...] = (200,)
    kind: Kind | None = None
    forms: Sequence[str] = PLAIN


class Paths:
    """Of one resource, in one of the two formats."""

    def __init__(self, resource: Resource, names: Names, base: str, v3: bool) -> None:
        self.resource, self.names, self._base, self._v3 = resource, names, base, v3
        kind = self.kind = resource.kind
        self._place = (
            "".join(part.capitalize() for part in _group(kind)) + kind.version.capitalize()
        )
        self._scope = "Namespaced" if kind.namespaced else ""
        self._namespace = "/namespaces/{namespace}" if kind.namespaced else ""
        self.found: Node = {}

    def all(self) -> Node:
        kind, verbs = self.kind, self.resource.verbs
        several = f"{kind.path}{self._namespace}/{kind.plural}"
        one = f"{several}/{{name}}"
        self._put(several, self._several(verbs))
        self._put(one, self._one(verbs))
        if kind.namespaced and "list" in verbs:
            everywhere = self._list(f"list{self._place}{kind.name}ForAllNamespaces")
            self._put(f"{kind.path}/{kind.plural}", [everywhere])
        if "watch" in verbs and not self.resource.custom:
            self._watches()
        for sub in self.resource.subresources.values():
            self._part(f"{one}/{sub.name}", sub)
        return self.found

    # ------------------------------------------------------------ what there is

    def _name(self, verb: str, tail: str = "", kind: str = "") -> str:
        return f"{verb}{self._place}{self._scope}{kind or self.kind.name}{tail}"

    def _list(self, name: str) -> Asked:
        watched = "watch" in self.resource.verbs and not self.resource.custom
        what = "list or watch" if watched else "list"
        says = f"{what} objects of kind {self.kind.name}"
        forms = PLAIN if self.resource.custom else FOLLOWED
        return Asked("get", name, "list", says, self.names.many, LIST, forms=forms)

    def _several(self, verbs: Iterable[str]) -> list[Asked]:
        kind, found = self.kind.name, []
        if "list" in verbs:
            found.append(self._list(self._name("list")))
        if "create" in verbs:
            found.append(self._usual("create", self._name("create"), f"create {_a(kind)}{kind}"))
        if "deletecollection" in verbs:
            name = f"delete{self._place}Collection{self._scope}{kind}"
            says, query = f"delete collection of {kind}", {*DELETE, *SELECT}
            if self.resource.custom:
                query = {*LIST}
            body = "" if self.resource.custom else OPTIONS
            found.append(
                Asked("delete", name, "deletecollection", says, STATUS, sorted(query), body)
            )
        return found

    def _one(self, verbs: Iterable[str]) -> list[Asked]:
        kind = self.kind
        found = [
            self._usual(verb, self._name(VERBS[verb][1]), f"{SAYS[verb]} the specified {kind.name}")
            for verb in ("get", "update", "patch")
            if verb in verbs
        ]
        if "delete" in verbs:
            told = self.names.one if kind.plural in GIVEN_BACK.get(kind.group, ()) else STATUS
            name, says = self._name("delete"), f"delete {_a(kind.name)}{kind.name}"
            found.append(Asked("delete", name, "delete", says, told, DELETE, OPTIONS, (200, 202)))
        return found

    def _usual(
        self, verb: str, name: str, says: str, schema: str = "", kind: Kind | None = None
    ) -> Asked:
        method, _, codes = VERBS[verb]
        if verb == "patch" and self.resource.custom:
            codes = (200,)
        schema = schema or self.names.one
        read = ("resourceVersion",) if self.resource.custom else ()
        query = {"get": read, "patch": (*WRITE, "force")}.get(verb, WRITE)
        body = {"get": "", "patch": PATCH}.get(verb, schema)
        return Asked(method, name, method, says, schema, query, body, codes, kind)

    def _watches(self) -> None:
        kind = self.kind
        start, name = f"{kind.path}/watch", kind.name
        list_says = f"watch individual changes to a list of {name}. {INSTEAD}."
        one_says = (
            f"watch changes to an object of kind {name}. {INSTEAD}, "
            "filtered to a single item with the 'fieldSelector' parameter."
        )
        several = f"{start}{self._namespace}/{kind.plural}"
        todo = [
            (several, self._name("watch", "List"), "watchlist", list_says),
            (f"{several}/{{name}}", self._name("watch"), "watch", one_says),
        ]
        if kind.namespaced:
            everywhere = f"watch{self._place}{name}ListForAllNamespaces"
            todo.append((f"{start}/{kind.plural}", everywhere, "watchlist", list_says))
        for path, called, action, says in todo:
            self._put(path, [Asked("get", called, action, says, EVENT, LIST, forms=FOLLOWED)])

    def _part(self, path: str, sub: Subresource) -> None:
        kind, tail = self.kind.name, sub.name.capitalize()
        if sub.name in PARTS and sub.name != "log":
            self._connected(path, sub)
            if sub.name == "proxy":
                self._connected(path + "/{path}", sub, "WithPath")
            return
        if sub.name == "log":
            name, says = self._name("read", "Log"), f"read log of the specified {kind}"
            text = Asked("get", name, "get", says, "", PARTS["log"], forms=("text/plain", *PLAIN))
            return self._put(path, [text])
        schema, found = self.names.parts.get(sub.name, ""), []
        own = None if self.resource.custom else sub.kind
        for verb in ("get", "update", "patch", "create"):
            if verb in sub.verbs:
                which = f"{_a(kind)}{kind}" if verb == "create" else f"the specified {kind}"
                says = f"{SAYS[verb]} {sub.name} of {which}"
                name = self._name(VERBS[verb][1], tail)
                found.append(self._usual(verb, name, says, schema, own))
        self._put(path, found)

    def _connected(self, path: str, sub: Subresource, more: str = "") -> None:
        found = []
        for method in TO_PROXY if sub.name == "proxy" else ("get", "post"):
            called = f"connect{self._place}{method.capitalize()}{self._scope}{self.kind.name}"
            name = f"{called}{sub.name.capitalize()}{more}"
            says = f"connect {method.upper()} requests to {sub.name} of {self.kind.name}"
            found.append(
                Asked(
                    method,
                    name,
                    "connect",
                    says,
                    "",
                    PARTS[sub.name],
                    kind=sub.kind,
                    forms=("*/*",),
                )
            )
        self._put(path, found)

    # ------------------------------------------------------------ how it is written

    def _put(self, path: str, asked: Sequence[Asked]) -> None:
        if not asked:
            return
        inside = [
            self._parameter(n, "path") for n in ("name", "namespace", "path") if f"{{{n}}}" in path
        ]
        if any(one.action != "connect" for one in asked):
            inside.append(self._parameter("pretty", "query"))
        common = set.intersection(*({*one.query} for one in asked))
        inside += [self._parameter(name, "query") for name in sorted(common)]
        item: Node = {one.method: self._operation(one, common) for one in asked}
        if inside:
            item["parameters"] = sorted(inside, key=lambda held: held["name"])
        self.found[path] = item

    def _operation(self, one: Asked, common: set[str]) -> Node:
        kind = one.kind or self.kind
        made: Node = {
            "description": one.says,
            "operationId": one.name,
            "tags": [_tag(self.kind)],
            "x-kubernetes-action": one.action,
            "x-kubernetes-group-version-kind": {
                "group": kind.group, "version": kind.version, "kind": kind.name,
            },
        }  # fmt: skip
        listed = [self._parameter(name, "query") for name in one.query if name not in common]
        link = {"$ref": f"{self._base}{one.answer}"} if one.answer else {"type": "string"}
        body = {"$ref": f"{self._base}{one.body}"} if one.body else None
        needed = {"required": True} if one.method != "delete" else {}
        takes: Sequence[str] = (
            PATCHES if one.body == PATCH else PLAIN if self.resource.custom else ("*/*",)
        )
        if one.body == PATCH and self.resource.custom:
            takes = tuple(form for form in PATCHES if "strategic" not in form)
        if self._v3:
            content: Node = {"content": {form: {"schema": link} for form in one.forms}}
            if body:
                made["requestBody"] = {
                    "content": {form: {"schema": body} for form in takes}, **needed,
                }  # fmt: skip
        else:
            content = {"schema": link}
            made["produces"], made["consumes"] = list(one.forms), list(takes)
            if body:
                listed.insert(0, {"name": "body", "in": "body", **needed, "schema": body})
        made["responses"] = {
            **{str(code): {"description": CODES[code], **content} for code in one.codes},
            "401": {"description": "Unauthorized"},
        }
        return {**made, "parameters": listed} if listed else made

    def _parameter(self, name: str, place: str) -> Node:
        node: Node = {"name": name, "in": place}
        if place == "path":
            node["required"] = True
        shape = {"type": TYPES.get(name, "string"), "uniqueItems": True}
        return {**node, "schema": shape} if self._v3 else {**node, **shape}


def _group(kind: Kind) -> list[str]:
    return (kind.group.removesuffix(".k8s.io") or "core").replace("-", ".").split(".")


def _tag(kind: Kind) -> str:
    first, *rest = _group(kind)
    return f"{first}{''.join(part.capitalize() for part in rest)}_{kind.version}"


def _a(name: str) -> str:
    """The article, for a kind whose name is no plural."""
    return "" if name.endswith("ts") else "an " if name[0] in "AEIOU" else "a "
