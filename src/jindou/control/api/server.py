"""The API server put together: a store and settings in, a handler for HTTP and a client out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jindou.control.api import bootstrap
from jindou.control.api.access.guard import CONTROLLERS, Access, User
from jindou.control.api.access.tokens import Tokens
from jindou.control.api.admission.allocation import Allocation
from jindou.control.api.admission.limit_ranger import LimitRanger
from jindou.control.api.admission.pod_security import PodSecurity
from jindou.control.api.admission.quota import Quotas
from jindou.control.api.admission.signers import Signers
from jindou.control.api.aggregation import registration
from jindou.control.api.aggregation.objects import PREFIX as API_SERVICES
from jindou.control.api.aggregation.registration import Registration
from jindou.control.api.aggregation.services import Aggregation
from jindou.control.api.aggregation.ways import Ways, published
from jindou.control.api.custom import CustomResources
from jindou.control.api.engine.cleanup import Cleanup
from jindou.control.api.engine.verbs import Engine
from jindou.control.api.local import LocalClient
from jindou.control.api.metrics import kinds as metrics
from jindou.control.api.metrics.source import Metrics
from jindou.control.api.policies import mutating
from jindou.control.api.policies import validating as policies
from jindou.control.api.policies.checking import TypeChecks
from jindou.control.api.resources.registry import Registry
from jindou.control.api.rules.cluster.api_services import api_service
from jindou.control.api.webhooks import admission as webhooks
from jindou.control.api.webhooks import conditions
from jindou.control.api.webhooks.clients import Clients
from jindou.control.api.webhooks.conversion import conversion_of
from jindou.control.api.wire.connect import Connect
from jindou.control.api.wire.documents import Documents
from jindou.control.api.wire.metering import Source
from jindou.control.api.wire.requests import Requests
from jindou.control.store import Store
from jindou.objects.kinds import Object
from jindou.settings import Settings
from jindou.transport import Handler


class ApiServer:
    """Everything between the store and the wire.

        api = ApiServer(store, settings)
        await api.start(gateway)               # default namespaces, roles, the `kubernetes` Service
        server = await serve(api.handler, sockets, tls)
        controllers = api.local()              # the same verbs without a socket
        ...
        await server.close(); api.close()      # /readyz says no; then close the store

    `engine` holds the verbs, `handler` is what `transport.server.serve` wants, `local(user)` is a
    `jindou.client.Client` in this process; `owners` are the user ids that are administrators at a
    Unix socket, `report` is told of errors that are ours, `pki` is the folder of the certificates that
    nodes trust and of the key of `tokens` (settings.data/pki).
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        tokens: Tokens | None = None,
        *,
        pki: Path | None = None,
        owners: tuple[int, ...] = (0,),
        report: Callable[[Exception, Any], None] | None = None,
    ) -> None:
        folder = pki or Path(settings.data, "pki")
        tokens = tokens or Tokens(folder / "service-accounts.key", settings.cluster_domain)
        self._settings = settings
        self._pki = folder
        self.tokens = tokens
        self.registry = Registry()
        self.access = Access(store, tokens, owners)
        self._webhooks = Clients(store)
        self._custom = CustomResources(
            store, self.registry, lambda crd: conversion_of(crd, self._webhooks)
        )
        self._custom.start()
        allocation = Allocation(store, settings.service_cidr, settings.service_cidr6)
        self.engine = Engine(store, self.registry, allocation)
        chain = self.engine.chain
        self._judges = (
            LimitRanger(store, chain),
            PodSecurity(store, chain),
            Signers(self.access, chain),
            Quotas(store, self.registry, chain),
        )
        definitions = self.registry.by_url(
            "apiextensions.k8s.io", "v1", "customresourcedefinitions"
        )
        assert definitions is not None
        self.engine.extend(definitions.prefix, self._custom.validate, self._custom.complete)
        self._policies = policies.ValidatingPolicies(
            store, self.registry, self.access, self.engine.chain
        )
        self._policies.start()
        self._mutations = mutating.MutatingPolicies(
            store, self.registry, self.access, self.engine.chain
        )
        self._mutations.start()
        for prefix in (mutating.POLICIES, mutating.BINDINGS):
            self.engine.extend(prefix, mutating.judge, lambda _: None)
        self._checks = TypeChecks(self.engine, self.registry)
        for prefix in (policies.POLICIES, policies.BINDINGS):
            self.engine.extend(prefix, policies.judge, lambda _: None)
        self._hooks = webhooks.parts(store, self.registry, self.access, self._webhooks)
        for place, part in self._hooks:
            part.start(self.engine.chain, place)
            self.engine.extend(part.prefix, conditions.judge, lambda _: None)
        address = f"{settings.api_address}:{settings.api_port}"
        self._cleanup = Cleanup(self.engine, self.registry)
        self._connect = Connect(store, folder)
        self.registry.set_custom(metrics.GROUP, metrics.resources())
        self._metrics = Metrics(self.engine, self._connect.read)
        aggregator = self.local(manager="kube-apiserver")
        self._behind = Aggregation(store, self.access, Ways(store, folder), aggregator)
        self._registration = Registration(store, self.registry, aggregator)
        self.engine.extend(API_SERVICES, lambda obj, _: api_service(obj), registration.complete)
        self._documents = Documents(
            store, self.registry, self.access, tokens, self._behind, address
        )
        self.handler: Handler = Requests(
            self.engine,
            self.access,
            tokens,
            self._connect,
            self._metrics,
            self._documents,
            self._behind,
            report or _report,
        )

    async def start(self, address: str = "") -> None:
        """Write what every cluster has from the beginning; what is there already stays. `address` is
        where pods reach the API ("": where it listens)."""
        await bootstrap.bootstrap(self.local(), self._settings, address)
        for judge in self._judges:
            judge.start()
        await self._registration.start()
        await bootstrap.publish(self.local(), published(self._pki))
        self._behind.start()
        self._cleanup.start()
        self._checks.start()

    def measure(self, source: Source) -> None:
        """Lines that another part of this process adds to /metrics."""
        self._documents.sources.append(source)

    async def behind(self, path: str) -> Object:
        """What a server behind this one has at a path. Raises CloudError."""
        return await self._behind.read(path)

    def local(self, user: User = CONTROLLERS, manager: str = "") -> LocalClient:
        return LocalClient(self.engine, user, self.access, self.tokens, manager, self._metrics)

    def close(self) -> None:
        """/readyz fails from now on, and nothing goes on in the background."""
        self._documents.health.ready = False
        self._cleanup.stop()
        for judge in self._judges:
            judge.close()
        self._connect.close()
        for _, part in self._hooks:
            part.close()
        self._webhooks.close()
        self._policies.close()
        self._mutations.close()
        self._checks.close()
        self._registration.close()
        self._behind.close()


def _report(error: Exception, request: Any) -> None:
    loop = asyncio.get_running_loop()
    loop.call_exception_handler({"message": "a request failed", "exception": error})
