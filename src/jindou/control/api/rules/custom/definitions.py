"""Is a CustomResourceDefinition right? Its names, its versions, and whether its schemas are structural.

Sources: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
and the answers of kube-apiserver to wrong definitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jindou.control.api.resources import jsonpath
from jindou.control.api.resources.definitions import is_established
from jindou.control.api.resources.schema import from_document
from jindou.control.api.rules.cluster import webhooks
from jindou.control.api.rules.custom import paths
from jindou.control.api.rules.custom.schemas import shape, structure
from jindou.control.api.rules.names import (
    duplicate,
    forbidden,
    invalid,
    label_1035,
    required,
    subdomain,
    unsupported,
)  # fmt: skip
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
NOT_SELECTABLE = (
    "must point to a field of type string, boolean or integer. "
    "Enum string fields and strings with formats are allowed."
)
LONGEST_WARNING = 256
MOST_SELECTABLE = 8
VERSION_GONE = (
    "missing from spec.versions; {0} was previously a storage version, and must remain in spec.versions until a storage "
    "migration ensures no data remains persisted in {0} and removes {0} from status.storedVersions"
)


def validate(crd: Object, old: Object | None) -> list[Fault]:
    spec = crd.get("spec") or {}
    names = spec.get("names") or {}
    found: list[Fault] = []
    name = crd["metadata"].get("name", "")
    if old is None and name and name != f"{names.get('plural', '')}.{spec.get('group', '')}":
        found.append(invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    found += group(spec.get("group", ""))
    if not spec.get("scope"):
        found.append(required("spec.scope"))
    elif spec["scope"] not in ("Cluster", "Namespaced"):
        found.append(unsupported("spec.scope", spec["scope"], ("Cluster", "Namespaced")))
    found += names_faults(names)
    if spec.get("preserveUnknownFields"):
        found.append(
            invalid(
                "spec.preserveUnknownFields",
                True,
                "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
            )
        )
    found += versions(spec.get("versions"))
    if old is None and not any(one.get("storage") for one in spec.get("versions") or ()):
        found.append(
            invalid("status.storedVersions", None, "must have at least one stored version")
        )
    found += conversion(spec.get("conversion", {"strategy": "None"}))
    if old is not None:
        found += changes(crd, old)
    return found


def group(text: str) -> list[Fault]:
    if not text:
        return [required("spec.group")]
    if wrong := subdomain(text):
        return [invalid("spec.group", text, wrong)]
    if "." not in text:
        return [invalid("spec.group", text, "should be a domain with at least one dot")]
    return []


def names_faults(names: Mapping[str, Any]) -> list[Fault]:
    found = []
    at = "spec.names"
    for part in ("plural", "singular", "kind", "listKind"):
        value = names.get(part, "")
        if not value:
            found.append(required(f"{at}.{part}"))
            continue
        if wrong := label_1035(value.lower()):
            says = (
                wrong
                if part in ("plural", "singular")
                else f"may have mixed case, but should otherwise match: {wrong}"
            )
            found.append(invalid(f"{at}.{part}", value, says))
        elif part in ("plural", "singular") and value != value.lower():
            found.append(invalid(f"{at}.{part}", value, label_1035(value)))
    for n, short in enumerate(names.get("shortNames") or ()):
        if wrong := label_1035(short):
            found.append(invalid(f"{at}.shortNames[{n}]", short, wrong))
    for n, category in enumerate(names.get("categories") or ()):
        if wrong := label_1035(category):
            found.append(invalid(f"{at}.categories[{n}]", category, wrong))
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        found.append(
            invalid(f"{at}.listKind", names["listKind"], "kind and listKind may not be the same")
        )
    return found


def versions(held: Sequence[Mapping[str, Any]] | None) -> list[Fault]:
    at = "spec.versions"
    if not held:
        return [invalid(at, held, "must have exactly one version marked as storage version")]
    found: list[Fault] = []
    said = [
        {k: v for k, v in version.items() if k in ("name", "served", "storage")} for version in held
    ]
    if sum(bool(version.get("storage")) for version in held) != 1:
        found.append(invalid(at, said, "must have exactly one version marked as storage version"))
    if len({version.get("name") for version in held}) != len(held):
        found.append(invalid(at, said, "must contain unique version names"))
    alike = {part: same_in_all(held, part) for part in ALIKE}
    for n, version in enumerate(held):
        place = f"{at}[{n}]"
        name = version.get("name", "")
        if wrong := label_1035(name):
            found.append(invalid(f"{place}.name", name, wrong))
            if name and not n:
                found.append(invalid("spec.version", name, wrong))
        if (version.get("schema") or {}).get("openAPIV3Schema") is None:
            found.append(required(f"{place}.schema.openAPIV3Schema"))
        if (warning := version.get("deprecationWarning")) is not None:
            found += deprecation(warning, f"{place}.deprecationWarning")
        if version.get("deprecationWarning") and not version.get("deprecated"):
            found.append(
                invalid(
                    f"{place}.deprecationWarning",
                    version["deprecationWarning"],
                    "can only be set for deprecated versions",
                )
            )
        if alike["schema"] and not alike["selectableFields"] and version.get("selectableFields"):
            found.append(
                invalid(
                    f"{place}.selectableFields",
                    "",
                    "may only be set when `version.schema.openAPIV3Schema` is not included",
                )
            )
        for part, where in ALIKE.items():
            if not alike[part] or not n:
                found += version_part(part, version, where if alike[part] else f"{place}.{part}")
    return found


def deprecation(warning: str, at: str) -> list[Fault]:
    if not warning:
        return [invalid(at, warning, "must not be an empty string")]
    if len(warning) > LONGEST_WARNING:
        says = f"must be <= {LONGEST_WARNING} UTF-8 bytes, was {len(warning)}"
        return [invalid(at, warning, says)]
    return []


ALIKE = {
    "schema": "spec.validation",
    "additionalPrinterColumns": "spec.additionalPrinterColumns",
    "subresources": "spec.subresources",
    "selectableFields": "spec.selectableFields",
}
"""Parts of a version, and where they are said to be when they are the same in all versions."""


def same_in_all(held: Sequence[Mapping[str, Any]], part: str) -> bool:
    return len({repr(version.get(part)) for version in held}) == 1


def schemas(crd: Object) -> list[tuple[Any, str]]:
    """The schema of each version and where it is, once where all are the same."""
    held = (crd.get("spec") or {}).get("versions") or []
    told = [(version.get("schema") or {}).get("openAPIV3Schema") for version in held]
    if held and same_in_all(held, "schema"):
        return [(told[0], "spec.validation.openAPIV3Schema")]
    return [(d, f"spec.versions[{n}].schema.openAPIV3Schema") for n, d in enumerate(told)]


def version_part(part: str, version: Mapping[str, Any], at: str) -> list[Fault]:
    document = (version.get("schema") or {}).get("openAPIV3Schema")
    if part == "schema":
        if document is None:
            return []  # told of the version
        return structure(document, f"{at}.openAPIV3Schema")
    if part == "additionalPrinterColumns":
        return columns(version.get(part) or (), at)
    if part == "subresources":
        return subresources(version.get(part) or {}, at)
    return selectable(version.get(part) or (), document or {}, at)


def selectable(
    held: Sequence[Mapping[str, Any]], document: Mapping[str, Any], at: str
) -> list[Fault]:
    found: list[Fault] = []
    known: set[str] = set()
    if shape(document, at):
        return []  # which is told of the schema itself
    for n, field in enumerate(held):
        place, text = f"{at}[{n}].jsonPath", field.get("jsonPath", "")
        if not text:
            found.append(required(place))
            continue
        try:
            shown, below = paths.followed(text, from_document(document), brackets=False)
        except paths.BadPath as error:
            found.append(invalid(place, text, f"is an invalid path: {error}"))
            continue
        if shown.partition(".")[0] == "metadata":
            found.append(invalid(place, text, "must not point to fields in metadata"))
        if below.type not in ("string", "boolean", "integer"):
            found.append(invalid(place, text, NOT_SELECTABLE))
        if shown in known:
            found.append(duplicate(place, text))
        known.add(shown)
    if len(known) > MOST_SELECTABLE:
        says = f"Too many: {len(known)}: must have at most {MOST_SELECTABLE} items"
        found.append(Fault("FieldValueTooMany", says, at))
    return found


def columns(held: Sequence[Mapping[str, Any]], at: str) -> list[Fault]:
    found = []
    for n, column in enumerate(held):
        place = f"{at}[{n}]"
        if not column.get("name"):
            found.append(required(f"{place}.name"))
        if not column.get("type"):
            found.append(required(f"{place}.type", f"must be one of {','.join(COLUMN_TYPES)}"))
        elif column["type"] not in COLUMN_TYPES:
            found.append(
                invalid(f"{place}.type", column["type"], f"must be one of {','.join(COLUMN_TYPES)}")
            )
        if column.get("format") and column["format"] not in COLUMN_FORMATS:
            found.append(
                invalid(
                    f"{place}.format",
                    column["format"],
                    f"must be one of {','.join(COLUMN_FORMATS)}",
                )
            )
        found += path(column.get("jsonPath", ""), f"{place}.JSONPath")
    return found


def path(text: str, at: str) -> list[Fault]:
    if not text:
        return [required(at)]
    if not text.startswith("."):
        return [invalid(at, text, "must be a simple json path starting with .")]
    try:
        jsonpath.steps(text)
    except ValueError as error:
        return [invalid(at, text, f"is an invalid path: {error}")]
    return []


def subresources(held: Mapping[str, Any], at: str) -> list[Fault]:
    scale = held.get("scale")
    if scale is None:
        return []
    found = []
    for name, begin, optional in (
        ("specReplicasPath", ".spec.", False),
        ("statusReplicasPath", ".status.", False),
        ("labelSelectorPath", (".spec.", ".status."), True),
    ):
        text = scale.get(name, "")
        place = f"{at}.scale.{name}"
        if not text:
            found += [] if optional else [required(place)]
        elif not text.startswith(begin):
            word = "either .status or .spec" if optional else str(begin).rstrip(".")
            found.append(invalid(place, text, f"should be a json path under {word}"))
    return found


def conversion(held: Mapping[str, Any]) -> list[Fault]:
    """Paths are those of the original, which judges the form of before v1."""
    strategy, webhook = held.get("strategy", ""), held.get("webhook")
    config, versions = (
        "spec.conversion.webhookClientConfig",
        "spec.conversion.conversionReviewVersions",
    )
    if not strategy:
        return [required("spec.conversion.strategy")]
    if strategy not in ("None", "Webhook"):
        return [unsupported("spec.conversion.strategy", strategy, ("None", "Webhook"))]
    if strategy == "None":
        says = "should not be set when strategy is not set to Webhook"
        return [forbidden(at, says) for at in (config, versions)] if webhook else []
    given = (webhook or {}).get("clientConfig")
    if not given:
        found = [required(config, "required when strategy is set to Webhook")]
    else:
        found = webhooks.client_config(given, config)
    named = (webhook or {}).get("conversionReviewVersions") or ()
    return found + (webhooks.review_versions(named, versions) if named else [required(versions)])


def changes(crd: Object, old: Object) -> list[Fault]:
    spec, before = crd.get("spec") or {}, old.get("spec") or {}
    found = []
    fixed = [("group",), ("names", "plural")]
    if is_established(old):
        fixed += [("scope",), ("names", "kind")]
    for place in fixed:
        new_value, old_value = _at(spec, place), _at(before, place)
        if new_value != old_value:
            found.append(invalid(f"spec.{'.'.join(place)}", new_value, "field is immutable"))
    known = {version.get("name") for version in spec.get("versions") or ()}
    for n, name in enumerate((crd.get("status") or {}).get("storedVersions") or ()):
        if name not in known:
            found.append(invalid(f"status.storedVersions[{n}]", name, VERSION_GONE.format(name)))
    return found


def _at(value: Any, place: Sequence[str]) -> Any:
    for name in place:
        value = value.get(name) if isinstance(value, dict) else None
    return value
