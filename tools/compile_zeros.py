"""Compiles which fields an encoder of the Go types always writes, and which it leaves out where they
are zero, into the data file that the API loads.

    python tools/compile_zeros.py FOLDER [FOLDER ...]

Each FOLDER is the source of a Go module of the API (k8s.io/api, k8s.io/apimachinery,
k8s.io/apiextensions-apiserver, k8s.io/kube-aggregator), as `go mod download` leaves it. A field
without omitempty is always there, and so is a struct that is held by value without omitzero. Run by
hand for a new version of Kubernetes; the result is committed.
"""

from __future__ import annotations

import json
import re
import sys
import zlib
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent.parent / "src" / "jindou" / "control" / "api" / "resources" / "data"
STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.S | re.M)
OTHER = re.compile(r"^type (\w+) ([\w.\[\]*]+)$", re.M)
FIELD = re.compile(r"^\t(?:(\w+)\s+)?([\w.\[\]*]+)\s+`([^`]*)`", re.M)
IMPORT = re.compile(r'^\s*(\w+)?\s*"(k8s\.io/[^"]+)"', re.M)
COMMENT = re.compile(r"^\s*//.*$", re.M)
NUMBERS = ("int", "int32", "int64", "uint32", "float64", "byte")
KNOWN = {
    "k8s.io/apimachinery/pkg/apis/meta/v1.Time": None,
    "k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime": None,
    "k8s.io/apimachinery/pkg/apis/meta/v1.Duration": "0s",
    "k8s.io/apimachinery/pkg/api/resource.Quantity": "0",
    "k8s.io/apimachinery/pkg/util/intstr.IntOrString": 0,
    "k8s.io/apimachinery/pkg/runtime.RawExtension": None,
}
LEFT_OUT = ("TypeMeta", "ListMeta", "FieldsV1")


def read(folder: Path) -> tuple[dict[str, str], dict[str, list[Any]]]:
    """Types that are no structs: what they are; structs: their fields. Names with their package."""
    others: dict[str, str] = {}
    structs: dict[str, list[Any]] = {}
    for path in sorted(folder.rglob("types*.go")):
        if "_test" in path.name or "internal" in path.parts:
            continue
        package = "k8s.io/" + folder.name.partition("@")[0] + "/" + str(path.parent.relative_to(folder))  # fmt: skip
        text = COMMENT.sub("", path.read_text())
        named = {alias or found.rpartition("/")[2]: found for alias, found in IMPORT.findall(text)}

        def full(kind: str, package: str = package, named: dict[str, str] = named) -> str:
            marks, bare = re.match(r"((?:\[\]|\*)*)(.*)", kind).groups()  # type: ignore[union-attr]
            if bare.startswith("map["):
                return "map"
            alias, dot, name = bare.partition(".")
            return marks + (f"{named.get(alias, alias)}.{name}" if dot else bare if bare[0].islower() else f"{package}.{bare}")  # fmt: skip

        for name, kind in OTHER.findall(text):
            others[f"{package}.{name}"] = full(kind)
        for name, body in STRUCT.findall(text):
            structs[f"{package}.{name}"] = [
                (full(kind), tag[1]) for _, kind, tags in FIELD.findall(body)
                if (tag := re.search(r'json:"([^"]*)"', tags))
            ]  # fmt: skip
    return others, structs


def openapi(name: str) -> str:
    return name.replace("k8s.io/", "io.k8s.").replace("/", ".")


Facts = tuple[dict[str, Any], set[str]]


def zeros_of(name: str, others: dict[str, str], structs: dict[str, list[Any]]) -> Facts:
    """What is always there, with its zero value; and what is not there where it is zero."""
    found: dict[str, Any] = {}
    dropped: set[str] = set()
    for kind, tag in structs[name]:
        field, *options = tag.split(",")
        if not field and "inline" in options:
            if kind in structs and kind.rpartition(".")[2] not in LEFT_OUT:
                below = zeros_of(kind, others, structs)
                found |= below[0]
                dropped |= below[1]
            continue
        if field in ("", "-") or kind.rpartition(".")[2] in LEFT_OUT or "omitzero" in options:
            continue
        while kind in others:
            kind = others[kind]
        if kind.endswith("meta/v1.ObjectMeta"):
            found[field] = {}
        elif kind in KNOWN:
            found[field] = KNOWN[kind]
        elif kind in structs:
            found[field] = {}
        elif "omitempty" in options:
            if not kind.startswith("*"):
                dropped.add(field)
        elif kind.startswith(("[]", "*", "map")):
            found[field] = None
        else:
            found[field] = "" if kind == "string" else False if kind == "bool" else 0 if kind in NUMBERS else None  # fmt: skip
    return found, dropped


def main() -> None:
    others: dict[str, str] = {}
    structs: dict[str, list[Any]] = {}
    for folder in sys.argv[1:]:
        found = read(Path(folder))
        others |= found[0]
        structs |= found[1]
    types = json.loads(zlib.decompress((DATA / "kinds.json.z").read_bytes()))["types"]
    zeros = {}
    for name in structs:
        known = types.get(openapi(name))
        if known is not None:
            held, dropped = zeros_of(name, others, structs)
            kept = {field: zero for field, zero in held.items() if field in known.get("p", {})}
            zeros[openapi(name)] = [kept, sorted(dropped & {*known.get("p", {})})]
    data = json.dumps(zeros, separators=(",", ":"), sort_keys=True).encode()
    (DATA / "zeros.json.z").write_bytes(zlib.compress(data, 9))
    print(f"{len(zeros)} types with fields that are always there")


if __name__ == "__main__":
    main()
