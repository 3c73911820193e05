"""status.typeChecking of policies: do their expressions fit the kinds that they are about?

A policy that does not fit is only warned of, for its objects may be of many kinds. What must stay
true: each policy is looked at once for each of its generations, also after a restart.
Source: https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#type-checking
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence

import orjson

from jindou.control.api.engine.calls import Call
from jindou.control.api.engine.verbs import Engine
from jindou.control.api.policies.validating import POLICIES
from jindou.control.api.resources.registry import Registry, Resource
from jindou.control.store import Change
from jindou.objects.errors import CloudError, NotFound
from jindou.objects.kinds import Object

log = logging.getLogger("jindou.policies")
MOST_KINDS = 10


class TypeChecks:
    """Follows the stored policies and writes their status."""

    def __init__(self, engine: Engine, registry: Registry) -> None:
        self._engine = engine
        self._registry = registry
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop: Callable[[], None] = lambda: None

    def start(self) -> None:
        store = self._engine.store
        listing = store.scan(POLICIES)
        for stored in listing.items:
            self._look(stored.value)
        self._stop = store.watch(POLICIES, listing.revision, self._deliver)

    def close(self) -> None:
        self._stop()
        for task in self._tasks:
            task.cancel()

    def _deliver(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.value is not None:
                self._look(change.value)

    def _look(self, value: bytes) -> None:
        policy = orjson.loads(value)
        seen = (policy.get("status") or {}).get("observedGeneration")
        if seen != policy["metadata"].get("generation"):
            task = asyncio.get_running_loop().create_task(self._check(policy))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _check(self, policy: Object) -> None:
        generation = policy["metadata"]["generation"]
        try:
            found = list(warnings(policy["spec"], self._registry))
            checked = {"expressionWarnings": found} if found else {}

            def wanted(old: Object) -> Object:
                status = {**(old.get("status") or {}), "observedGeneration": generation}
                return {**old, "status": {**status, "typeChecking": checked}}

            resource = self._registry.by_url(
                "admissionregistration.k8s.io", "v1", "validatingadmissionpolicies"
            )
            assert resource is not None
            name = policy["metadata"]["name"]
            await self._engine.rewrite(resource, "", name, wanted, Call(), "status")
        except NotFound:
            return
        except CloudError as error:
            log.warning("the types of a policy could not be checked: %s", error)


def warnings(spec: Object, registry: Registry) -> Iterator[Object]:
    """One for each expression that does not fit all kinds. The compiler is loaded here."""
    resources = kinds(spec, registry)
    if not resources:
        return
    from jindou.control.api.policies.fitting import Fitting

    held = spec.get("paramKind")
    params = None
    if held is not None:
        group, _, version = held["apiVersion"].rpartition("/")
        params = registry.by_kind(group, version, held["kind"])
    fitting = [(resource, Fitting(spec, resource, params)) for resource in resources]
    for n, validation in enumerate(spec.get("validations") or ()):
        for part in ("expression", "messageExpression"):
            told = [
                f"{resource.kind.group}/{resource.kind.version}, Kind={resource.kind.name}: {says}\n"
                for resource, fit in fitting
                if validation.get(part) and (says := fit.complaint(validation[part]))
            ]
            if told:
                at = f"spec.validations[{n}].{part}"
                yield {"fieldRef": at, "warning": "\n".join(told)}


def kinds(spec: Object, registry: Registry) -> list[Resource]:
    """Those that the rules name without a wildcard."""
    found: dict[tuple[str, str, str], Resource] = {}
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        groups, versions = rule.get("apiGroups") or (), rule.get("apiVersions") or ()
        if any("*" in text for text in (*groups, *versions)):
            continue
        plurals = [text for text in rule.get("resources") or () if not {"*", "/"} & {*text}]
        for group in sorted(groups):
            for version in sorted(versions):
                for plural in sorted(plurals):
                    resource = registry.by_url(group, version, plural)
                    if resource is not None and len(found) < MOST_KINDS:
                        found[group, version, resource.kind.name] = resource
    return [found[place] for place in sorted(found)]
