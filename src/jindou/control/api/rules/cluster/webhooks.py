"""Rules of webhook configurations: names, rules, selectors, and where a webhook is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from jindou.control.api.rules.names import (
    duplicate,
    invalid,
    label_1035,
    qualified,
    required,
    subdomain,
    unsupported,
)
from jindou.control.api.rules.placement import label_selector
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
SCOPES = ("*", "Cluster", "Namespaced")
REVIEW_VERSIONS = ("v1", "v1beta1")
SIDE_EFFECTS = ("None", "NoneOnDryRun")
CHOICES = {
    "failurePolicy": ("Fail", "Ignore"),
    "matchPolicy": ("Equivalent", "Exact"),
    "reinvocationPolicy": ("IfNeeded", "Never"),
}
FORM = "; desired format: https://host[/path]"
MOST_CONDITIONS = 64


def configuration(obj: Object) -> list[Fault]:
    found: list[Fault] = []
    seen: set[str] = set()
    for n, hook in enumerate(obj.get("webhooks") or ()):
        at = f"webhooks[{n}]"
        found += webhook(hook, at)
        found += review_versions(
            hook.get("admissionReviewVersions") or [], f"{at}.admissionReviewVersions"
        )
        name = hook.get("name", "")
        if name in seen:
            found.append(duplicate(f"{at}.name", name))
        elif name:
            seen.add(name)
    return found


def webhook(hook: Object, at: str) -> list[Fault]:
    found = qualified_name(hook.get("name", ""), f"{at}.name")
    for n, rule in enumerate(hook.get("rules") or ()):
        found += rule_with_operations(rule, f"{at}.rules[{n}]")
    for field, known in CHOICES.items():
        if hook.get(field) is not None and hook[field] not in known:
            found.append(unsupported(f"{at}.{field}", hook[field], known))
    effects = hook.get("sideEffects")
    if effects is None:
        found.append(
            required(f"{at}.sideEffects", f"must specify one of {', '.join(SIDE_EFFECTS)}")
        )
    elif effects not in SIDE_EFFECTS:
        found.append(unsupported(f"{at}.sideEffects", effects, SIDE_EFFECTS))
    seconds = hook.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= 30:
        says = "the timeout value must be between 1 and 30 seconds"
        found.append(invalid(f"{at}.timeoutSeconds", seconds, says))
    for field in ("namespaceSelector", "objectSelector"):
        found += label_selector(hook.get(field), f"{at}.{field}")
    found += client_config(hook.get("clientConfig") or {}, f"{at}.clientConfig")
    found += conditions(hook.get("matchConditions") or [], f"{at}.matchConditions")
    return found


def qualified_name(name: str, at: str) -> list[Fault]:
    if not name:
        return [required(at)]
    if wrong := subdomain(name):
        return [invalid(at, name, wrong)]
    if name.count(".") < 2:
        says = "should be a domain with at least three segments separated by dots"
        return [invalid(at, name, says)]
    return []


def review_versions(versions: Sequence[str], at: str) -> list[Fault]:
    if not versions:
        return [required(at, f"must specify one of {', '.join(REVIEW_VERSIONS)}")]
    found = []
    seen: set[str] = set()
    for n, version in enumerate(versions):
        if version in seen:
            found.append(invalid(f"{at}[{n}]", version, "duplicate version"))
            continue
        seen.add(version)
        if wrong := label_1035(version):
            found.append(invalid(f"{at}[{n}]", version, wrong))
    if not seen & set(REVIEW_VERSIONS):
        says = f"must include at least one of {', '.join(REVIEW_VERSIONS)}"
        found.append(invalid(at, list(versions), says))
    return found


def conditions(held: Sequence[Object], at: str) -> list[Fault]:
    """Names of match conditions; whether an expression can be compiled is judged by those who do it."""
    found = []
    seen: set[str] = set()
    if len(held) > MOST_CONDITIONS:
        says = f"Too many: {len(held)}: must have at most {MOST_CONDITIONS} items"
        found.append(Fault("FieldValueTooMany", says, at))
    for n, condition in enumerate(held):
        name = condition.get("name", "")
        if not (condition.get("expression") or "").strip():
            found.append(required(f"{at}[{n}].expression"))
        if not name:
            found.append(required(f"{at}[{n}].name"))
        elif wrong := qualified(name):
            found.append(invalid(f"{at}[{n}].name", name, wrong))
        if name in seen:
            found.append(duplicate(f"{at}[{n}].name", name))
        elif name:
            seen.add(name)
    return found


# ---------------------------------------------------------------- rules


def rule_with_operations(rule: Object, at: str) -> list[Fault]:
    operations = rule.get("operations") or []
    found = _lonely_star(operations, f"{at}.operations", "other operations")
    for n, operation in enumerate(operations):
        if operation not in OPERATIONS:
            found.append(unsupported(f"{at}.operations[{n}]", operation, OPERATIONS))
    found += _lonely_star(rule.get("apiGroups") or [], f"{at}.apiGroups", "other API groups")
    versions = rule.get("apiVersions") or []
    found += _lonely_star(versions, f"{at}.apiVersions", "other API versions")
    found += [required(f"{at}.apiVersions[{n}]") for n, v in enumerate(versions) if not v]
    found += resources(rule.get("resources") or [], f"{at}.resources")
    scope = rule.get("scope")
    if scope is not None and scope not in SCOPES:
        found.append(unsupported(f"{at}.scope", scope, SCOPES))
    return found


def _lonely_star(items: Sequence[str], at: str, others: str) -> list[Fault]:
    if not items:
        return [required(at)]
    if len(items) > 1 and "*" in items:
        return [invalid(at, list(items), f"if '*' is present, must not specify {others}")]
    return []


def resources(held: Sequence[str], at: str) -> list[Fault]:
    if not held:
        return [required(at)]
    found = []
    whole: set[str] = set()  # of `pods/*`
    every: set[str] = set()  # of `*/status`
    plain = False
    for n, text in enumerate(held):
        if not text:
            found.append(required(f"{at}[{n}]"))
            continue
        name, slash, sub = text.partition("/")
        if not slash:
            plain = text != "*"
            continue
        for known, part, shown in ((whole, name, f"{name}/*"), (every, sub, f"*/{sub}")):
            if part in known:
                says = f"if '{shown}' is present, must not specify {text}"
                found.append(invalid(f"{at}[{n}]", text, says))
        if sub == "*":
            whole.add(name)
        if name == "*":
            every.add(sub)
    if len(held) > 1 and "*/*" in held:
        says = "if '*/*' is present, must not specify other resources"
        found.append(invalid(at, list(held), says))
    if "*" in held and plain:
        says = "if '*' is present, must not specify other resources without subresources"
        found.append(invalid(at, list(held), says))
    return found


# ---------------------------------------------------------------- where it is


def client_config(config: Object, at: str) -> list[Fault]:
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        return [required(at, "exactly one of url or service is required")]
    if url is not None:
        return webhook_url(url, f"{at}.url")
    return service_reference(service or {}, f"{at}.service")


def webhook_url(url: str, at: str) -> list[Fault]:
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        _ = parts.port
    except ValueError as error:
        return [required(at, f"url must be a valid URL: {error}{FORM}")]
    found = []
    if parts.scheme != "https":
        says = f"'https' is the only allowed URL scheme{FORM}"
        found.append(invalid(at, parts.scheme, says))
    if not host:
        found.append(invalid(at, "", f"host must be specified{FORM}"))
    for value, says in (
        (parts.netloc.rpartition("@")[0], "user information is not permitted in the URL"),
        (parts.fragment, "fragments are not permitted in the URL"),
        (parts.query, "query parameters are not permitted in the URL"),
    ):
        if value:
            found.append(invalid(at, value, says))
    return found


def service_reference(service: Object, at: str) -> list[Fault]:
    swapped = (("name", "namespace"), ("namespace", "name"))  # as the original tells them
    found = [required(f"{at}.{told}") for part, told in swapped if not service.get(part)]
    port = service.get("port")
    if port is not None and not 1 <= port <= 65535:
        says = "port is not valid: must be between 1 and 65535, inclusive"
        found.append(invalid(f"{at}.port", port, says))
    return [*found, *_path_faults(service.get("path"), f"{at}.path")]


def _path_faults(path: Any, at: str) -> Iterable[Fault]:
    if not path or path == "/":
        return
    if path == "//":
        yield invalid(at, path, "segment[0] may not be empty")
        return
    if not path.startswith("/"):
        yield invalid(at, path, "must start with a '/'")
    for n, step in enumerate(path[1:].removesuffix("/").split("/")):
        if not step:
            yield invalid(at, path, f"segment[{n}] may not be empty")
        elif wrong := subdomain(step):
            yield invalid(at, path, f"segment[{n}]: {wrong}")
