"""The form of an answer: whole objects, only their metadata, or a Table, as the Accept header wishes.

Whole objects in JSON are the bytes that are kept. Source:
https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
import yaml

from jindou.control.api.engine import encoding, scales
from jindou.control.api.engine.lists import Page
from jindou.control.api.engine.watches import Told
from jindou.control.api.resources import columns
from jindou.control.api.resources.registry import Resource
from jindou.objects.errors import NotAcceptable
from jindou.objects.kinds import Object

JOINED = 40  # kept objects per piece of a list: about 64 KiB
META = "meta.k8s.io/v1"
MEDIA = ("application/json", "application/yaml")
INITIAL_END = {"k8s.io/initial-events-end": "true"}


class Form(NamedTuple):
    kind: str = "json"  # json, yaml, table, partial
    version: str = META
    include: str = "Metadata"  # of the object in a row of a table: None, Metadata, Object

    @property
    def content_type(self) -> str:
        return "application/yaml" if self.kind == "yaml" else "application/json"


PLAIN = Form()
YAML = Form("yaml")
SCALES = Resource(scales.SCALE, "scale", ())


@lru_cache(256)
def accepted(header: str) -> Form:
    """The first form on the list that we have, dearest first. Raises NotAcceptable."""
    if not header:
        return PLAIN
    entries = header.split(",")
    for entry in sorted(entries, key=dearness, reverse=True) if ";q=" in header else entries:
        media, *rest = (part.strip() for part in entry.split(";"))
        options = dict(part.split("=", 1) for part in rest if "=" in part)
        as_kind = options.get("as", "")
        if media in ("application/json", "*/*", "application/*"):
            if not as_kind:
                return PLAIN
            if options.get("g") == "meta.k8s.io" and options.get("v") in ("v1", "v1beta1"):
                version = f"meta.k8s.io/{options['v']}"
                if as_kind == "Table":
                    return Form("table", version)
                if as_kind in ("PartialObjectMetadata", "PartialObjectMetadataList"):
                    return Form("partial", version)
        elif media == "application/yaml" and not as_kind:
            return YAML
    if any(entry.strip().partition(";")[0] in MEDIA for entry in entries):
        raise NotAcceptable(f"only the following media types are accepted: {', '.join(MEDIA)}")
    raise NotAcceptable(f"406: Not Acceptable\n\nAvailable representations: {', '.join(MEDIA)}")


def dearness(entry: str) -> float:
    """RFC 9110, section 12.5.1; one, where it is not said."""
    for part in entry.split(";")[1:]:
        name, _, value = part.strip().partition("=")
        if name == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
MOST_WARNED, LONGEST_WARNING = 4096, 256  # characters
MOST_WARNINGS = 64  # Python's own client refuses an answer of more than 100 headers


def warnings_of(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Headers (RFC 7234, section 5.5); more than clients take is cut short, and then left out.

    A text with control characters is not told: it could end the header and begin another.
    """
    told = [text for text in dict.fromkeys(texts) if not CONTROL.search(text)]
    if sum(map(len, told)) > MOST_WARNED:
        room, told, held = MOST_WARNED, [], told
        for text in held:
            if room <= 0:
                break
            told.append(text[:LONGEST_WARNING])
            room -= len(told[-1])
    return [("Warning", f'299 - "{_quoted(text)}"') for text in told[:MOST_WARNINGS]]


def _quoted(text: str) -> str:
    """As UTF-8, in the form in which headers are written."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return escaped.encode("utf-8", "replace").decode("latin-1")


def of_object(resource: Resource, value: bytes, form: Form) -> bytes:
    if form.kind == "json":
        return encoding.served(resource, value)
    obj = encoding.loads(resource, value)
    if form.kind == "table":
        meta = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        return encoding.body_of(_table(resource, [obj], meta, form))
    return of_value(_partial(obj, form) if form.kind == "partial" else obj, form)


def as_yaml(header: str) -> bool:
    """Is that the form which a failure is told in?"""
    try:
        return "yaml" in header and accepted(header) is YAML
    except NotAcceptable:
        return False


def of_value(value: Any, form: Form) -> bytes:
    """An answer that is no kept object: a Status, a Scale, a review."""
    if form.kind == "table" and value.get("kind") == "Scale":
        meta = {"resourceVersion": value["metadata"].get("resourceVersion", "")}
        return encoding.body_of(_table(SCALES, [value], meta, form))
    if form.kind == "yaml":
        text: str = yaml.safe_dump(value)
        return text.encode()
    return encoding.body_of(value)


def scale_of(resource: Resource, value: bytes) -> Object:
    return scales.scale_of(resource, encoding.loads(resource, value))


def of_page(resource: Resource, page: Page, form: Form) -> bytes | Sequence[bytes]:
    meta: Object = {"resourceVersion": str(page.revision)}
    if page.token:
        meta["continue"] = page.token
    if page.remaining is not None:
        meta["remainingItemCount"] = page.remaining
    if form.kind == "json":
        head = {
            "kind": resource.list_kind or f"{resource.kind.name}List",
            "apiVersion": resource.kind.api_version,
            "metadata": meta,
        }
        return _joined(resource, page, orjson.dumps(head)[:-1] + b',"items":[')
    objects = [encoding.loads(resource, stored.value) for stored in page.items]
    if form.kind == "table":
        return encoding.body_of(_table(resource, objects, meta, form))
    if form.kind == "partial":
        items = [_partial(obj, form) for obj in objects]
        return encoding.body_of(
            {
                "kind": "PartialObjectMetadataList",
                "apiVersion": form.version,
                "metadata": meta,
                "items": items,
            }
        )
    repeated = () if resource.custom else ("apiVersion", "kind")
    whole = {
        "kind": resource.list_kind,
        "apiVersion": resource.kind.api_version,
        "metadata": meta,
        "items": [{k: v for k, v in obj.items() if k not in repeated} for obj in objects],
    }
    return of_value(whole, form)


def _joined(resource: Resource, page: Page, head: bytes) -> list[bytes]:
    """Items of a built-in kind don't repeat what the list says of them."""
    start = 0 if resource.custom else len(encoding.head_of(resource.kind))
    first, between = (b"{", b",{") if start else (b"", b",")
    values = [encoding.served(resource, s.value)[start:-1] for s in page.items]
    pieces = [head]
    for at in range(0, len(values), JOINED):
        pieces.append(b"," + first if at else first)
        pieces.append(between.join(values[at : at + JOINED]))
    pieces.append(b"]}\n")
    return pieces


def _partial(obj: Object, form: Form) -> Object:
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": form.version,
        "metadata": obj["metadata"],
    }


def _table(
    resource: Resource, objects: Sequence[Object], meta: Object, form: Form, headings: bool = True
) -> Object:
    made = columns.table(resource, objects, meta, form.include, time.time(), headings)
    made["apiVersion"] = form.version
    return made


# ---------------------------------------------------------------- events


def of_event(resource: Resource, told: Told, form: Form, headings: bool = False) -> bytes:
    """One line of a watch; worked out once for all watchers who wish the same."""
    if told.memo is None:
        return _event(resource, told, form, headings)
    key = (told.type, resource.kind.version, resource.kind.group, form, headings)
    found: bytes | None = told.memo.get(key)
    if found is None:
        found = told.memo[key] = _event(resource, told, form, headings)
    return found


def _event(resource: Resource, told: Told, form: Form, headings: bool) -> bytes:
    if form.kind in ("json", "yaml"):
        value = encoding.served(resource, told.value)
    else:
        obj = encoding.loads(resource, told.value)
        if form.kind == "partial":
            shown = _partial(obj, form)
        else:
            meta = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            shown = _table(resource, [obj], meta, form, headings)
        value = encoding.body_of(shown)
    return b'{"type":"%s","object":%s}\n' % (told.type.encode(), value[:-1])


def of_bookmark(resource: Resource, revision: int, form: Form, initial_end: bool) -> bytes:
    meta: Object = {"resourceVersion": str(revision), "creationTimestamp": None}
    if initial_end:
        meta["annotations"] = INITIAL_END
    if form.kind == "table":
        shown: Object = {
            "kind": "Table",
            "apiVersion": form.version,
            "metadata": meta,
            "columnDefinitions": None,
            "rows": [],
        }
    elif form.kind == "partial":
        shown = {"kind": "PartialObjectMetadata", "apiVersion": form.version, "metadata": meta}
    else:
        shown = {
            "kind": resource.kind.name,
            "apiVersion": resource.kind.api_version,
            "metadata": meta,
        }
    return encoding.body_of({"type": "BOOKMARK", "object": shown})


def of_error(told: Object) -> bytes:
    return encoding.body_of({"type": "ERROR", "object": told})
