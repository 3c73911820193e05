"""Compiles what others publish about the Kubernetes API into the data files that the API loads.

    python tools/compile_kinds.py --schemas WHEEL --resources WHEEL --go DEB [DEB ...]

    --schemas    kubernetes-validate (PyPI): types, list and patch keys, descriptions
    --resources  lightkube-models (PyPI): plural, scope, verbs, subresources
    --go         golang-k8s-api-dev, golang-k8s-apimachinery-dev (Debian): protobuf numbers, pointers

Run by hand for a new version of Kubernetes; the result is committed. What none of them knows (short
names, columns, defaults, connect subresources) is written by hand in `overlay.py`.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent.parent / "src" / "jindou" / "control" / "api" / "resources" / "data"
STABLE = re.compile(r"_v\d+$")
VERBS = {
    "post": "create", "get": "get", "list": "list", "watch": "watch", "put": "update",
    "patch": "patch", "delete": "delete", "deletecollection": "deletecollection",
}  # fmt: skip
EXTENSIONS = {
    "x-kubernetes-list-type": "l",
    "x-kubernetes-list-map-keys": "k",
    "x-kubernetes-map-type": "m",
    "x-kubernetes-patch-merge-key": "y",
}
SPECIAL: dict[str, dict[str, Any]] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"t": "string", "f": "quantity"},
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"o": 1},
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": {"t": "string", "f": "date-time"},
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": {"t": "string", "f": "micro-time"},
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": {"t": "object", "n": 1},
    "io.k8s.apimachinery.pkg.runtime.RawExtension": {"t": "object", "n": 1},
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON": {"n": 1},
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool": {"n": 1},
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray": {"n": 1},
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray": {
        "n": 1
    },
}


def compact(node: dict[str, Any]) -> dict[str, Any]:
    """A JSON Schema node in our short form (see `schema.py`), without descriptions."""
    out: dict[str, Any] = {}
    if "$ref" in node:
        return {"$": node["$ref"].removeprefix("#/$defs/"), **extensions(node)}
    kind = node.get("type")
    kinds = [k for k in kind if k != "null"] if isinstance(kind, list) else [kind] if kind else []
    if kinds:
        out["t"] = kinds[0]
    if node.get("format") and node["format"] != "date-time":
        out["f"] = node["format"]
    elif node.get("format"):
        out["f"] = "date-time"
    if "properties" in node:
        out["p"] = {name: compact(child) for name, child in node["properties"].items()}
    if isinstance(node.get("additionalProperties"), dict):
        out["a"] = compact(node["additionalProperties"])
    if "items" in node:
        out["i"] = compact(node["items"])
    if node.get("required"):
        out["q"] = node["required"]
    if node.get("x-kubernetes-preserve-unknown-fields"):
        out["n"] = 1
    return {**out, **extensions(node)}


def extensions(node: dict[str, Any]) -> dict[str, Any]:
    out = {short: node[name] for name, short in EXTENSIONS.items() if name in node}
    if strategy := node.get("x-kubernetes-patch-strategy"):
        out["s"] = strategy.split(",")
    return out


def descriptions(node: dict[str, Any]) -> dict[str, str]:
    found = {"": node["description"]} if node.get("description") else {}
    for name, child in node.get("properties", {}).items():
        if child.get("description"):
            found[name] = child["description"]
    return found


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$"]} if isinstance(node.get("$"), str) else set()
        return own.union(*(references(child) for child in node.values())) if node else own
    if isinstance(node, list):
        return set().union(*(references(child) for child in node))
    return set()


def read_resources(wheel: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    """(group, version, kind) -> plural, namespaced, verbs, subresources, of the stable versions."""
    resources: dict[tuple[str, str, str], dict[str, Any]] = {}
    subresources = []
    definition = re.compile(
        r"class (\w+)\(res\.(\w+),.*?resource=res\.ResourceDef\('([^']*)', '([^']*)', '([^']*)'\)(.*?)plural='([^']*)',\s*verbs=\[([^]]*)\](.*?)\n    \)",
        re.S,
    )
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if not name.startswith("lightkube/resources/") or not STABLE.search(
                name.removesuffix(".py")
            ):
                continue
            for match in definition.finditer(archive.read(name).decode()):
                _, base, group, version, kind, parent, plural, verbs, rest = match.groups()
                words = [v.strip("' ") for v in verbs.split(",")]
                known = [VERBS[v] for v in words if v in VERBS]
                if "SubResource" in base:
                    owner = re.search(
                        r"parent=res\.ResourceDef\('([^']*)', '([^']*)', '([^']*)'\)", parent
                    )
                    action = re.search(r"action='([^']*)'", rest)
                    if owner and action:
                        subresources.append(
                            (owner.groups(), action[1], known, [group, version, kind])
                        )
                    continue
                resources[group, version, kind] = {
                    "plural": plural,
                    "namespaced": base.startswith("Namespaced"),
                    "verbs": known,
                    "sub": {},
                }
    for owner_key, action, known, kind_of in subresources:
        if owner_key in resources:
            resources[owner_key]["sub"][action] = [
                known,
                None if list(owner_key) == kind_of else kind_of,
            ]
    return resources


MESSAGE = re.compile(r"^message (\w+) \{\n(.*?)^\}", re.S | re.M)
FIELD = re.compile(r"^\s+(optional|repeated|map<(\w+), ([\w.]+)>) ?([\w.]*) (\w+) = (\d+);", re.M)
GO_STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.S | re.M)
GO_FIELD = re.compile(r"^\s+(?:(\w+)\s+)?(\*?)([\w.\[\]*]+)\s+`([^`]*)`", re.M)


def read_protobuf(debs: list[Path]) -> dict[str, list[list[Any]]]:
    """Message -> [number, name, type, flags]; flags: r repeated, m map, p pointer in Go, i inlined."""
    with tempfile.TemporaryDirectory() as folder:
        for deb in debs:
            subprocess.run(["dpkg", "-x", deb, folder], check=True)
        protos = {
            path: (
                path.read_text(),
                "\n".join(
                    p.read_text()
                    for p in path.parent.glob("*.go")
                    if "generated" not in p.name and "_test" not in p.name
                ),
            )
            for path in Path(folder).rglob("generated.proto")
        }
    messages: dict[str, list[list[Any]]] = {}
    for text, go in protos.values():
        package_name = re.search(r"^package ([\w.]+);", text, re.M)
        assert package_name
        package = to_openapi(package_name[1])
        structs = go_structs(go)
        for name, body in MESSAGE.findall(text):
            fields: list[list[Any]] = []
            for label, _, map_value, kind, field, number in FIELD.findall(body):
                pointer, inline = structs.get(name, {}).get(int(number), (False, False))
                value = map_value or kind
                full = (
                    value
                    if value in SCALARS
                    else to_openapi(value)
                    if "." in value
                    else f"{package}.{value}"
                )
                flags = (
                    ("r" if label == "repeated" else "m" if map_value else "")
                    + ("p" if pointer else "")
                    + ("i" if inline else "")
                )
                fields.append([int(number), field, full, flags])
            messages[f"{package}.{name}"] = fields
    return messages


SCALARS = {"string", "bytes", "bool", "int32", "int64", "uint32", "uint64", "double", "float"}


def to_openapi(name: str) -> str:
    return name.removeprefix(".").replace("k8s.io.", "io.k8s.", 1)


def go_structs(source: str) -> dict[str, dict[int, tuple[bool, bool]]]:
    found: dict[str, dict[int, tuple[bool, bool]]] = {}
    for name, body in GO_STRUCT.findall(source):
        for _, star, _, tag in GO_FIELD.findall(body):
            number = re.search(r'protobuf:"\w+,(\d+)', tag)
            if number:
                found.setdefault(name, {})[int(number[1])] = (bool(star), 'json:",inline"' in tag)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--schemas", type=Path, required=True)
    arguments.add_argument("--resources", type=Path, required=True)
    arguments.add_argument("--go", type=Path, nargs="+", required=True)
    options = arguments.parse_args()

    with zipfile.ZipFile(options.schemas) as archive:
        names = [
            n for n in archive.namelist() if re.search(r"/v[\d.]+-local/_definitions\.json$", n)
        ]
        definitions = json.loads(archive.read(sorted(names)[-1]))["$defs"]
    resources = read_resources(options.resources)
    by_kind: dict[tuple[str, str, str], str] = {}
    for name, node in definitions.items():
        for gvk in node.get("x-kubernetes-group-version-kind", []):
            key = (gvk["group"], gvk["version"], gvk["kind"])
            if name.endswith(f".{gvk['kind']}") and key not in by_kind:
                by_kind[key] = name
    table, wanted = [], set()
    for key, facts in sorted(resources.items()):
        wanted.add(by_kind[key])
        table.append(
            [
                *key,
                facts["plural"],
                int(facts["namespaced"]),
                facts["verbs"],
                by_kind[key],
                facts["sub"],
            ]
        )
        for _, kind in facts["sub"].values():
            if kind:
                wanted.add(by_kind[tuple(kind)])
    for extra in ("DeleteOptions", "Status", "ObjectMeta", "ListMeta"):
        wanted.add(f"io.k8s.apimachinery.pkg.apis.meta.v1.{extra}")
    types: dict[str, Any] = {}
    docs: dict[str, Any] = {}
    while wanted:
        name = wanted.pop()
        if name in types:
            continue
        types[name] = SPECIAL.get(name) or compact(definitions[name])
        docs[name] = descriptions(definitions[name])
        wanted |= references(types[name])
    messages = read_protobuf(options.go)
    reachable, queue = {}, [n for n in types if n in messages]
    while queue:
        name = queue.pop()
        if name in reachable or name not in messages:
            continue
        reachable[name] = messages[name]
        queue += [field[2] for field in messages[name]]
    TARGET.mkdir(parents=True, exist_ok=True)
    write("kinds.json.z", {"types": types, "resources": table})
    write("docs.json.z", docs)
    write("protobuf.json.z", reachable)
    print(f"{len(table)} resources, {len(types)} types, {len(reachable)} messages")


def write(name: str, content: Any) -> None:
    data = zlib.compress(json.dumps(content, separators=(",", ":"), sort_keys=True).encode(), 9)
    (TARGET / name).write_bytes(data)
    print(f"{name}: {len(data)} bytes")


if __name__ == "__main__":
    main()
