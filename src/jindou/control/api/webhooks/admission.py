"""Admission webhooks: configurations followed in the store, and the two parts of the chain they make.

Those that mutate are asked one after the other, in the order of the names of their configurations;
those that validate all at once. A configuration holds from the moment its write is visible.
What must stay true: a webhook that can't be asked refuses the write unless its failurePolicy is
Ignore; one that may have side effects is never asked in a dry run.
Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import orjson

from jindou.control.api import depth, status
from jindou.control.api.access.guard import Access
from jindou.control.api.admission import matching, plugins
from jindou.control.api.admission.chain import Chain, Place, Review, Rounds
from jindou.control.api.engine import conversion
from jindou.control.api.resources.registry import Registry, Resource
from jindou.control.api.webhooks import reviews
from jindou.control.api.webhooks.clients import CallFailed, Clients, Target, target_of
from jindou.control.api.webhooks.conditions import Conditions
from jindou.control.store import Change, Store
from jindou.objects.errors import BadRequest, CloudError, InternalError
from jindou.objects.kinds import NAMESPACE, Kind, Object
from jindou.objects.selectors import Selector

log = logging.getLogger("jindou.webhooks")
SAFE = ("None", "NoneOnDryRun")
DEFAULT_TIMEOUT = 10


@dataclass(frozen=True)
class Hook:
    uid: str
    configuration: str
    name: str
    rules: tuple[matching.Rule, ...]
    equivalent: bool
    namespaces: Selector
    objects: Selector
    conditions: Conditions | None
    ignore_failure: bool
    timeout: float
    side_effects: str
    again: bool
    versions: list[str]
    target: Target


def hooks_of(configuration: Object) -> list[Hook]:
    name = configuration["metadata"]["name"]
    seen: dict[str, int] = {}
    found = []
    for held in configuration.get("webhooks") or ():
        count = seen[held["name"]] = seen.get(held["name"], -1) + 1
        found.append(
            Hook(
                f"{name}/{held['name']}/{count}", name, held["name"], matching.rules_of(held.get("rules")),
                held.get("matchPolicy", "Equivalent") == "Equivalent",
                matching.selector_of(held.get("namespaceSelector")),
                matching.selector_of(held.get("objectSelector")),
                Conditions(held["matchConditions"], held.get("failurePolicy") == "Ignore")
                if held.get("matchConditions")
                else None,
                held.get("failurePolicy") == "Ignore", held.get("timeoutSeconds") or DEFAULT_TIMEOUT,
                held.get("sideEffects") or "", held.get("reinvocationPolicy") == "IfNeeded",
                list(held.get("admissionReviewVersions") or ()), target_of(held["clientConfig"]),
            )
        )  # fmt: skip
    return found


class Asking(NamedTuple):
    """A webhook that is to be asked, in the version that it wants."""

    hook: Hook
    resource: Resource
    kind: Kind


class CallingFailed(Exception):
    """A webhook could not be asked: what its failurePolicy is about."""


class Webhooks:
    """What both sorts have in common: which are there, which are concerned, and one call."""

    kind = ""

    def __init__(self, store: Store, registry: Registry, access: Access, clients: Clients) -> None:
        self._store = store
        self._registry = registry
        self._clients = clients
        self._access = access
        self._configured: dict[str, list[Hook]] = {}
        self._hooks: list[Hook] = []
        self._wished: dict[tuple[str, str, Kind, str], Resource | None] = {}
        self._chain: Chain | None = None
        self._stop: Callable[[], None] = lambda: None

    @property
    def prefix(self) -> str:
        return f"admissionregistration.k8s.io/{self.kind}webhookconfigurations/"

    def start(self, chain: Chain, place: Place) -> None:
        self._chain = chain
        listing = self._store.scan(self.prefix)
        for stored in listing.items:
            self._put(orjson.loads(stored.value))
        chain.plug(place, self, active=False)
        self._ready()
        self._stop = self._store.watch(self.prefix, listing.revision, self._deliver)
        self._registry.on_change(self._redefined)

    def close(self) -> None:
        self._stop()

    def _redefined(self) -> None:
        """There are other kinds than before."""
        assert self._chain is not None
        self._wished.clear()
        self._chain.forget()

    def _deliver(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.value is None:
                self._configured.pop(change.key.rpartition("/")[2], None)
            else:
                self._put(orjson.loads(change.value))
        self._ready()

    def _put(self, configuration: Object) -> None:
        self._configured[configuration["metadata"]["name"]] = hooks_of(configuration)

    def _ready(self) -> None:
        self._hooks = [hook for name in sorted(self._configured) for hook in self._configured[name]]
        self._wished.clear()
        assert self._chain is not None
        self._chain.refresh(self, active=bool(self._hooks))

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        return not matching.is_exempt(resource) and any(
            self._wanted(hook, operation, resource, subresource) for hook in self._hooks
        )

    def _wanted(
        self, hook: Hook, operation: str, resource: Resource, subresource: str
    ) -> Resource | None:
        key = hook.uid, operation, resource.kind, subresource
        if key not in self._wished:
            self._wished[key] = matching.matched(
                hook.rules,
                operation,
                resource,
                subresource,
                self._registry,
                equivalent=hook.equivalent,
            )
        return self._wished[key]

    async def admit(self, review: Review) -> None:
        raise NotImplementedError

    async def _asking(self, hook: Hook, review: Review) -> Asking | None:
        """None where the webhook is not about this write."""
        wanted = self._wanted(hook, review.operation, review.resource, review.subresource)
        if wanted is None:
            return None
        if not matching.selects_object(hook.objects, review.object, review.old):
            return None
        if not matching.selects_namespace(hook.namespaces, review, self._namespace):
            return None
        foreign = review.kind != review.resource.kind
        asking = Asking(hook, wanted, review.kind if foreign else wanted.kind)
        if hook.conditions is not None:
            shown = await self._shown(asking, review)
            if not hook.conditions.hold(review, shown, wanted, asking.kind, self._access):
                return None
        return asking

    def _namespace(self, name: str) -> Object:
        found = plugins.read(self._store, f"core/namespaces//{name}")
        if found is None:
            raise status.not_found(NAMESPACE, name)
        return found

    async def _shown(self, asking: Asking, review: Review) -> Review:
        """The review with its objects in the version that the webhook wants."""
        if asking.kind == review.kind:
            return review
        shown = replace(review)
        for name in ("object", "old"):
            held = getattr(review, name)
            if held is not None:
                setattr(
                    shown, name, await conversion.converted(review.resource, asking.resource, held)
                )
        return shown

    async def _ask(
        self, asking: Asking, shown: Review, review: Review, *, mutating: bool
    ) -> reviews.Verdict:
        """Raises CallingFailed, or Denied."""
        hook = asking.hook
        if review.dry_run and hook.side_effects not in SAFE:
            raise BadRequest(f'admission webhook "{hook.name}" does not support dry run')
        uid = str(uuid.uuid4())
        try:
            version = reviews.version_for(hook.versions)
            body = depth.dumps(
                reviews.question(
                    uid, version, review, asking.resource, asking.kind, shown.object, shown.old
                )
            )
            answer = await self._clients.post(hook.target, body, hook.timeout)
            verdict = reviews.verdict(answer, uid, version, mutating=mutating)
        except CallFailed as error:
            raise CallingFailed(f"failed to call webhook: {error}") from None
        except reviews.Wrong as error:
            raise CallingFailed(str(error)) from None
        review.warnings.extend(verdict.warnings)
        for key, value in verdict.notes.items():
            review.annotations[f"{hook.name}/{key}"] = value
        if not verdict.allowed:
            raise reviews.denied(hook.name, verdict.result)
        return verdict


class MutatingWebhooks(Webhooks):
    kind = "mutating"

    async def admit(self, review: Review) -> None:
        rounds: Rounds = review.notes.setdefault("webhooks", Rounds())
        rounds.begin(review)
        for hook in self._hooks:
            asking = await self._asking(hook, review)
            if asking is None or (review.round and hook.uid not in rounds.due):
                continue
            try:
                changed = await self._mutate(asking, review)
            except CallingFailed as error:
                changed = False
                if not hook.ignore_failure:
                    raise failed(hook, error) from None
                log.warning("failed calling webhook, failing open %s: %s", hook.name, error)
            if changed:
                rounds.require()
                review.again = True
            if hook.again:
                rounds.called.add(hook.uid)
        rounds.end(review)

    async def _mutate(self, asking: Asking, review: Review) -> bool:
        shown = await self._shown(asking, review)
        verdict = await self._ask(asking, shown, review, mutating=True)
        if verdict.patch is None:
            return False
        name = asking.hook.name
        if shown.object is None:
            raise internal(
                f'admission webhook "{name}" attempted to modify the object, which is not supported for this operation'
            )
        try:
            patched = reviews.patched(shown.object, verdict.patch)
        except reviews.Unfit as error:
            raise internal(str(error)) from None
        if not isinstance(patched, dict):
            raise internal(f'admission webhook "{name}" left no object')
        if same(patched, shown.object):
            return False
        if shown is not review:
            patched = await conversion.converted(asking.resource, review.resource, patched)
        review.object = patched
        review.shape()
        return True


class ValidatingWebhooks(Webhooks):
    kind = "validating"

    async def admit(self, review: Review) -> None:
        asked = [
            asking
            for hook in self._hooks
            if (asking := await self._asking(hook, review)) is not None
        ]
        if not asked:
            return
        shown: dict[Kind, Review] = {}
        for asking in asked:
            if asking.kind not in shown:
                shown[asking.kind] = await self._shown(asking, review)
        errors: list[CloudError] = []

        async def one(asking: Asking) -> None:
            try:
                await self._ask(asking, shown[asking.kind], review, mutating=False)
            except CallingFailed as error:
                if not asking.hook.ignore_failure:
                    errors.append(failed(asking.hook, error))
                else:
                    log.warning(
                        "failed calling webhook, failing open %s: %s", asking.hook.name, error
                    )
            except CloudError as error:
                errors.append(error)

        if len(asked) == 1:
            await one(asked[0])
        else:
            await asyncio.gather(*(one(asking) for asking in asked))
        if errors:
            raise errors[0]


def same(one: Object, other: Object) -> bool:
    """To Python, 1 and true are equal."""
    sort = orjson.OPT_SORT_KEYS
    return one == other and orjson.dumps(one, option=sort) == orjson.dumps(other, option=sort)


def parts(
    store: Store, registry: Registry, access: Access, clients: Clients
) -> list[tuple[Place, Webhooks]]:
    """What goes into the chain, and where."""
    common = store, registry, access, clients
    return [
        (Place.MUTATING_WEBHOOKS, MutatingWebhooks(*common)),
        (Place.VALIDATING_WEBHOOKS, ValidatingWebhooks(*common)),
    ]


def failed(hook: Hook, error: CallingFailed) -> InternalError:
    return internal(f'failed calling webhook "{hook.name}": {error}')


def internal(says: str) -> InternalError:
    return InternalError(f"Internal error occurred: {says}", {"causes": [{"message": says}]})
