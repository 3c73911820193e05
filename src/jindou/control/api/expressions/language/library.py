"""The functions that Kubernetes adds to CEL, as the compiler is told of them: names and types, no code.

One line for each overload: what it is called on (or "-"), its name, its parameters, its result.
`~T` is any one type. Source: https://kubernetes.io/docs/reference/using-api/cel/#cel-options-language-features-and-libraries
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Any

EXTENSIONS = ("optional", "sets", "two-var-comprehensions")
VERSIONED = {"lists": 2}
COMPARABLE = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
WIDENED = ("string", "_<_", "_<=_", "_>_", "_>=_")  # take more here, so they are declared whole
SUMMABLE = ("int", "uint", "double", "duration")

QUANTITY, URL, IP, CIDR = "kubernetes.Quantity", "kubernetes.URL", "net.IP", "net.CIDR"
SEMVER, FORMAT = "kubernetes.Semver", "kubernetes.NamedFormat"
AUTHORIZER = "kubernetes.authorization.Authorizer"
PATH_CHECK = "kubernetes.authorization.PathCheck"
GROUP_CHECK = "kubernetes.authorization.GroupCheck"
RESOURCE_CHECK = "kubernetes.authorization.ResourceCheck"
DECISION = "kubernetes.authorization.Decision"
OPAQUE = (
    QUANTITY, URL, IP, CIDR, SEMVER, FORMAT, AUTHORIZER, PATH_CHECK, GROUP_CHECK, RESOURCE_CHECK, DECISION,
)  # fmt: skip

FORMATS = (
    "dns1123Label", "dns1123Subdomain", "dns1035Label", "qualifiedName", "dns1123LabelPrefix",
    "dns1123SubdomainPrefix", "dns1035LabelPrefix", "labelValue", "uri", "uuid", "byte", "date", "datetime",
)  # fmt: skip

FUNCTIONS = f"""
- url string -> {URL}
- isURL string -> bool
{URL} getScheme -> string
{URL} getHost -> string
{URL} getHostname -> string
{URL} getPort -> string
{URL} getEscapedPath -> string
{URL} getQuery -> map<string,list<string>>
string find string -> string
string findAll string -> list<string>
string findAll string int -> list<string>
- quantity string -> {QUANTITY}
- isQuantity string -> bool
{QUANTITY} sign -> int
{QUANTITY} isGreaterThan {QUANTITY} -> bool
{QUANTITY} isLessThan {QUANTITY} -> bool
{QUANTITY} compareTo {QUANTITY} -> int
{QUANTITY} asApproximateFloat -> double
{QUANTITY} asInteger -> int
{QUANTITY} isInteger -> bool
{QUANTITY} add {QUANTITY} -> {QUANTITY}
{QUANTITY} add int -> {QUANTITY}
{QUANTITY} sub {QUANTITY} -> {QUANTITY}
{QUANTITY} sub int -> {QUANTITY}
- ip string -> {IP}
- isIP string -> bool
- ip.isCanonical string -> bool
{IP} family -> int
{IP} isUnspecified -> bool
{IP} isLoopback -> bool
{IP} isLinkLocalMulticast -> bool
{IP} isLinkLocalUnicast -> bool
{IP} isGlobalUnicast -> bool
- cidr string -> {CIDR}
- isCIDR string -> bool
{CIDR} containsIP string -> bool
{CIDR} containsIP {IP} -> bool
{CIDR} containsCIDR string -> bool
{CIDR} containsCIDR {CIDR} -> bool
{CIDR} ip -> {IP}
{CIDR} prefixLength -> int
{CIDR} masked -> {CIDR}
- semver string -> {SEMVER}
- semver string bool -> {SEMVER}
- isSemver string -> bool
- isSemver string bool -> bool
{SEMVER} isGreaterThan {SEMVER} -> bool
{SEMVER} isLessThan {SEMVER} -> bool
{SEMVER} compareTo {SEMVER} -> int
{SEMVER} major -> int
{SEMVER} minor -> int
{SEMVER} patch -> int
{FORMAT} validate string -> optional_type<list<string>>
- format.named string -> optional_type<{FORMAT}>
string charAt int -> string
string indexOf string -> int
string indexOf string int -> int
string lastIndexOf string -> int
string lastIndexOf string int -> int
string lowerAscii -> string
string upperAscii -> string
string replace string string -> string
string replace string string int -> string
string split string -> list<string>
string split string int -> list<string>
string substring int -> string
string substring int int -> string
string trim -> string
string format list<dyn> -> string
list<string> join -> string
list<string> join string -> string
- strings.quote string -> string
list<~T> indexOf ~T -> int
list<~T> lastIndexOf ~T -> int
"""

AUTHORIZATION = f"""
{AUTHORIZER} path string -> {PATH_CHECK}
{AUTHORIZER} group string -> {GROUP_CHECK}
{AUTHORIZER} serviceAccount string string -> {AUTHORIZER}
{GROUP_CHECK} resource string -> {RESOURCE_CHECK}
{RESOURCE_CHECK} subresource string -> {RESOURCE_CHECK}
{RESOURCE_CHECK} namespace string -> {RESOURCE_CHECK}
{RESOURCE_CHECK} name string -> {RESOURCE_CHECK}
{RESOURCE_CHECK} fieldSelector string -> {RESOURCE_CHECK}
{RESOURCE_CHECK} labelSelector string -> {RESOURCE_CHECK}
{PATH_CHECK} check string -> {DECISION}
{RESOURCE_CHECK} check string -> {DECISION}
{DECISION} allowed -> bool
{DECISION} reason -> string
{DECISION} errored -> bool
{DECISION} error -> string
"""

JSON_PATCH = "- jsonpatch.escapeKey string -> string"

NAMESPACED = frozenset(
    {"ip.isCanonical", "format.named", "jsonpatch.escapeKey", "lists.range", "strings.quote", "cel.@mapInsert"}
    | {f"format.{name}" for name in FORMATS}
    | {f"sets.{name}" for name in ("contains", "equivalent", "intersects")}
    | {f"optional.{name}" for name in ("of", "none", "ofNonZeroValue")}
)  # fmt: skip


def _lines(more: str) -> Iterator[str]:
    yield from FUNCTIONS.strip().splitlines()
    yield from AUTHORIZATION.strip().splitlines()
    yield from more.strip().splitlines()
    for name in FORMATS:
        yield f"- format.{name} -> {FORMAT}"
    for kind in (*COMPARABLE, IP, CIDR):
        yield f"- string {kind} -> string"
    for name in WIDENED[1:]:
        for kind in COMPARABLE:
            yield f"- {name} {kind} {kind} -> bool"
        for kind, other in permutations(("int", "uint", "double"), 2):
            yield f"- {name} {kind} {other} -> bool"
    for kind in COMPARABLE:
        yield f"list<{kind}> isSorted -> bool"
        yield f"list<{kind}> min -> {kind}"
        yield f"list<{kind}> max -> {kind}"
    for kind in SUMMABLE:
        yield f"list<{kind}> sum -> {kind}"


def declared(more: str = "", variables: tuple[tuple[str, str], ...] = ()) -> dict[str, Any]:
    """The environment in the words of the compiler's configuration."""
    overloads: dict[str, list[dict[str, Any]]] = {}
    for line in _lines(more):
        words, _, result = line.partition(" -> ")
        on, name, *given = words.split()
        told: dict[str, Any] = {
            "id": words.replace(" ", "_").replace("~", "").replace("<", "_").replace(">", "_"),
            "args": [type_of(word) for word in given],
            "return": type_of(result),
        }
        if on != "-":
            told["target"] = type_of(on)
        overloads.setdefault(name, []).append(told)
    return {
        "stdlib": {"exclude_functions": [{"name": name} for name in WIDENED]},
        "extensions": [
            *({"name": name} for name in EXTENSIONS),
            *({"name": name, "version": version} for name, version in VERSIONED.items()),
        ],
        "functions": [{"name": name, "overloads": held} for name, held in overloads.items()],
        "variables": [
            {"name": name, **type_of(text)}
            for name, text in (*variables, *((name, f"type<{name}>") for name in OPAQUE))
        ],
    }


def type_of(text: str) -> dict[str, Any]:
    """ "map<string,list<int>>" as the compiler's configuration says it."""
    if text.startswith("~"):
        return {"type_name": text[1:], "is_type_param": True}
    name, angle, rest = text.partition("<")
    if not angle:
        return {"type_name": name}
    return {"type_name": name, "params": [type_of(part) for part in _split(rest[:-1])]}


def _split(text: str) -> list[str]:
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "<") - (letter == ">")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
