"""Is a ValidatingAdmissionPolicy or a binding right? Judged when it is written, expressions and all.

The words are those of kube-apiserver.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jindou.control.api.expressions.compiler import CompileError, Environment, Program
from jindou.control.api.expressions.types import RESERVED, Shape
from jindou.control.api.policies import variables as known
from jindou.control.api.rules.cluster import webhooks
from jindou.control.api.rules.names import (
    duplicate,
    forbidden,
    invalid,
    label_1035,
    path_segment,
    qualified,
    quoted,
    required,
    subdomain,
    unsupported,
)
from jindou.control.api.rules.placement import label_selector
from jindou.objects.errors import Fault
from jindou.objects.kinds import Object

INDEX = re.compile(r"\[(\d+)\]")
LINE_BREAK = re.compile(r"[\n\r]")
IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
ACTIONS = ("Audit", "Deny", "Warn")
MOST_NOTES = 20
LONGEST_NOTE = 5 * 1024
NOTHING = "validations or auditAnnotations must contain at least one item"
TWICE = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"
ANY: tuple[str, ...] = ()


def policy(obj: Object) -> list[Fault]:
    spec = obj.get("spec") or {}
    name = (obj.get("metadata") or {}).get("name", "")
    return frame(spec, "spec") + Expressions(spec, name).judge("spec")


def frame(spec: Object, at: str) -> list[Fault]:
    """What policies of both sorts have in common."""
    found = choice(spec, "failurePolicy", ("Fail", "Ignore"), at)
    if spec.get("paramKind") is not None:
        found += param_kind(spec["paramKind"], f"{at}.paramKind")
    constraints = spec.get("matchConstraints")
    if constraints is None:
        found.append(required(f"{at}.matchConstraints"))
    else:
        found += match_resources(constraints, f"{at}.matchConstraints")
        if not constraints.get("resourceRules"):
            found.append(required(f"{at}.matchConstraints.resourceRules"))
    return found


class Expressions:
    """The expressions of one policy, each compiled with what it may name."""

    def __init__(self, spec: Object, name: str) -> None:
        self._spec = spec
        self._name = name
        self.has_params = spec.get("paramKind") is not None
        self.shapes: dict[str, Shape] = {}
        self._environments: dict[tuple[int, bool], Environment] = {}

    def judge(self, at: str) -> list[Fault]:
        spec = self._spec
        found = self.conditions(spec.get("matchConditions") or (), f"{at}.matchConditions")
        for n, variable in enumerate(spec.get("variables") or ()):
            found += self.variable(variable, f"{at}.variables[{n}]")
        validations, notes = spec.get("validations") or (), spec.get("auditAnnotations") or ()
        if not validations and not notes:
            return [
                *found,
                required(f"{at}.validations", NOTHING),
                required(f"{at}.auditAnnotations", NOTHING),
            ]
        for n, validation in enumerate(validations):
            found += self._validation(validation, f"{at}.validations[{n}]")
        return found + self._notes(notes, f"{at}.auditAnnotations")

    def conditions(self, held: Sequence[Object], at: str) -> list[Fault]:
        """May not name the variables of the policy."""
        found = webhooks.conditions(held, at)
        for n, condition in enumerate(held):
            text = (condition.get("expression") or "").strip()
            if text:
                found += self.condition(text, f"{at}[{n}].expression")
        return sorted(found, key=_in_order)

    def condition(self, text: str, at: str) -> list[Fault]:
        return self._compile(self._environment(variables=False), text, ("BOOL",), at)[1]

    def _environment(self, *, authorizer: bool = True, variables: bool = True) -> Environment:
        shapes = self.shapes if variables else {}
        key = len(shapes), authorizer
        if key not in self._environments:
            self._environments[key] = known.environment(
                shapes, params=self.has_params, authorizer=authorizer
            )
        return self._environments[key]

    def _compile(
        self, environment: Environment, text: str, results: tuple[str, ...], at: str
    ) -> tuple[Program | None, list[Fault]]:
        try:
            program = environment.compile(text)
        except CompileError as error:
            return None, [invalid(at, text, f"compilation failed: {error}")]
        if results and program.result not in results:
            wanted = [known.named(result) for result in results]
            shown = wanted[0] if len(wanted) == 1 else f"one of [{' '.join(wanted)}]"
            got = known.named(program.result)
            return None, [invalid(at, text, f"must evaluate to {shown} but got {got}")]
        return program, []

    def variable(self, variable: Object, at: str) -> list[Fault]:
        name, text = variable.get("name", ""), variable.get("expression", "")
        found = []
        if not name.strip():
            found.append(required(f"{at}.name", "name is not specified"))
        elif not IDENTIFIER.fullmatch(name) or name in RESERVED:
            found.append(invalid(f"{at}.name", name, "must be a valid CEL identifier"))
        if not text.strip():
            return [*found, required(f"{at}.expression", "expression is not specified")]
        program, faults = self._compile(self._environment(), text, ANY, f"{at}.expression")
        if program is not None and not found:
            self.shapes[name] = known.shape_of(program.result)
        return found + faults

    def _validation(self, held: Object, at: str) -> list[Fault]:
        found = []
        text = held.get("expression") or ""
        if not text.strip():
            found.append(required(f"{at}.expression", "expression is not specified"))
        else:
            place = f"{at}.expression"
            found += self._compile(self._environment(), text, ("BOOL",), place)[1]
        told = held.get("messageExpression") or ""
        if told and not told.strip():
            found.append(invalid(f"{at}.messageExpression", told, "must be non-empty if specified"))
        elif told:
            environment = self._environment(authorizer=False)
            found += self._compile(environment, told, ("STRING",), f"{at}.messageExpression")[1]
        message = held.get("message") or ""
        if message and not message.strip():
            found.append(invalid(f"{at}.message", message, "must be non-empty if specified"))
        elif LINE_BREAK.search(message.strip()):
            found.append(invalid(f"{at}.message", message, "must not contain line breaks"))
        reason = held.get("reason")
        if reason is not None and reason not in REASONS:
            found.append(unsupported(f"{at}.reason", reason, REASONS))
        return found

    def _notes(self, notes: Sequence[Object], at: str) -> list[Fault]:
        found = []
        if len(notes) > MOST_NOTES:
            says = f"must not have more than {MOST_NOTES} auditAnnotations"
            found.append(invalid(at, list(notes), says))
        seen: set[str] = set()
        for n, note in enumerate(notes):
            key = note.get("key", "")
            found += self._note(note, f"{at}[{n}]")
            if key in seen:
                found.append(duplicate(f"{at}[{n}].key", key))
            seen.add(key)
        return found

    def _note(self, note: Object, at: str) -> list[Fault]:
        key, text = note.get("key", ""), (note.get("valueExpression") or "").strip()
        found = []
        if not self._name:
            found.append(invalid(f"{at}.key", key, "requires metadata.name be non-empty"))
        elif wrong := qualified(f"{self._name}/{key}"):
            found.append(invalid(f"{at}.key", f"{self._name}/{key}", wrong))
        place = f"{at}.valueExpression"
        if not text:
            found.append(required(place, "valueExpression is not specified"))
        elif len(text) > LONGEST_NOTE:
            found.append(required(place, f"must not exceed {LONGEST_NOTE} bytes in length"))
        else:
            found += self._compile(self._environment(), text, ("STRING", "NULL"), place)[1]
        return found


def _in_order(fault: Fault) -> tuple[int, str]:
    """Faults of a list, one item after the other."""
    match = INDEX.search(fault.field)
    return int(match[1]) if match else -1, fault.field


def param_kind(held: Mapping[str, Any], at: str) -> list[Fault]:
    found = []
    whole = held.get("apiVersion", "")
    group, slash, version = whole.partition("/")
    if not slash:
        group, version = "", whole
    if not whole:
        found.append(required(f"{at}.apiVersion"))
    elif "/" in version:
        says = f"unexpected GroupVersion string: {whole}"
        found.append(invalid(f"{at}.apiVersion", whole, says))
    else:
        if group and (wrong := subdomain(group)):
            found.append(invalid(f"{at}.apiVersion", group, wrong))
        if not version:
            found.append(invalid(f"{at}.apiVersion", whole, "version must be specified"))
        elif wrong := label_1035(version):
            found.append(invalid(f"{at}.apiVersion", version, wrong))
    kind = held.get("kind", "")
    if not kind:
        found.append(required(f"{at}.kind"))
    elif wrong := label_1035(kind.lower()):
        says = f"may have mixed case, but should otherwise match: {wrong}"
        found.append(invalid(f"{at}.kind", kind, says))
    return found


def choice(held: Mapping[str, Any], name: str, words: Sequence[str], at: str) -> list[Fault]:
    value = held.get(name)
    if value is None:
        return [required(f"{at}.{name}")]
    return [] if value in words else [unsupported(f"{at}.{name}", value, words)]


def match_resources(held: Mapping[str, Any], at: str) -> list[Fault]:
    found = choice(held, "matchPolicy", ("Equivalent", "Exact"), at)
    for name in ("namespaceSelector", "objectSelector"):
        if held.get(name) is None:
            found.append(required(f"{at}.{name}"))
        else:
            found += label_selector(held[name], f"{at}.{name}")
    for name in ("resourceRules", "excludeResourceRules"):
        for n, rule in enumerate(held.get(name) or ()):
            found += _rule(rule, f"{at}.{name}[{n}]")
    return found


def _rule(rule: Object, at: str) -> list[Fault]:
    found: list[Fault] = []
    seen: set[str] = set()
    for n, name in enumerate(rule.get("resourceNames") or ()):
        if wrong := path_segment(name):
            found.append(invalid(f"{at}.resourceNames[{n}]", name, wrong))
        if name in seen:
            found.append(duplicate(f"{at}.resourceNames[{n}]", name))
        seen.add(name)
    return found + webhooks.rule_with_operations(rule, at)


def binding(obj: Object) -> list[Fault]:
    held = (obj.get("spec") or {}).get("validationActions") or []
    return bound(obj) + actions(held, "spec.validationActions")


def bound(obj: Object) -> list[Fault]:
    """What bindings of both sorts have in common."""
    spec = obj.get("spec") or {}
    name = spec.get("policyName", "")
    found = []
    if not name:
        found.append(required("spec.policyName"))
    elif wrong := subdomain(name):
        found.append(invalid("spec.policyName", name, wrong))
    if spec.get("paramRef") is not None:
        found += param_ref(spec["paramRef"], "spec.paramRef")
    if spec.get("matchResources") is not None:
        found += match_resources(spec["matchResources"], "spec.matchResources")
    return found


def param_ref(ref: Mapping[str, Any], at: str) -> list[Fault]:
    found = []
    name, selector = ref.get("name", ""), ref.get("selector")
    both = "name and selector are mutually exclusive"
    if name:
        if wrong := path_segment(name):
            found.append(invalid(f"{at}.name", name, wrong))
        if selector is not None:
            found.append(forbidden(f"{at}.name", both))
    if selector is not None:
        found += label_selector(selector, f"{at}.selector")
        if name:
            found.append(forbidden(f"{at}.selector", both))
    if not name and selector is None:
        found.append(required(at, "one of name or selector must be specified"))
    missing = ref.get("parameterNotFoundAction")
    if not missing:
        found.append(required(f"{at}.parameterNotFoundAction"))
    elif missing not in ("Deny", "Allow"):
        says = f'Unsupported value: {quoted(missing)}: supported values: "Deny", "Allow"'
        found.append(Fault("FieldValueNotSupported", says, f"{at}.parameterNotFoundAction"))
    return found


def actions(held: Sequence[str], at: str) -> list[Fault]:
    found = []
    seen: set[str] = set()
    for n, action in enumerate(held):
        if action not in ACTIONS:
            found.append(unsupported(f"{at}[{n}]", action, ACTIONS))
        if action in seen:
            found.append(duplicate(f"{at}[{n}]", action))
        seen.add(action)
    if {"Deny", "Warn"} <= seen:
        found.append(invalid(at, list(held), TWICE))
    if not seen:
        found.append(required(at))
    return found
