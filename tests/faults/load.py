"""Clients that write, read and watch a few objects at once, and note all that they ask and are told.

    with Load(kubeconfig, seed) as load:
        ...                          # whatever happens to the server meanwhile
        load.rest()                  # until each worker has been answered again
    assert load.broken() == []

A worker whose request fails in the connection does not know whether it happened, and begins again
as soon as somebody listens.
"""

from __future__ import annotations

import http.client
import random
import ssl
import threading
import time
from typing import Any

from tests.conformance.wire import Api
from tests.faults.histories import Event, Log, Op, Seen, broken, broken_watch

WORKERS, KEYS, WATCHERS = 6, 4, 2
PATIENCE = 3.0  # seconds until an answer is given up
BREATH = 0.02  # seconds between two tries to connect
FOLDER = "/api/v1/namespaces/default/configmaps"
LOST = (OSError, http.client.HTTPException, ssl.SSLError, ValueError)


class Load:
    def __init__(self, kubeconfig: str, seed: int) -> None:
        self._kubeconfig, self._seed = kubeconfig, seed
        self._stop = threading.Event()
        self.ops: list[Op] = []
        self.seen: list[Seen] = []
        self._failures: list[BaseException] = []
        self._threads = [
            *(threading.Thread(target=self._guard, args=(self._work, n)) for n in range(WORKERS)),
            *(threading.Thread(target=self._guard, args=(self._watch, n)) for n in range(WATCHERS)),
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *told: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert not self._failures, self._failures

    def rest(self, answers: int = 20) -> None:
        """Until there are so many more good answers: everybody has come back."""
        due = self.answered() + answers * WORKERS
        until = time.monotonic() + 30
        while self.answered() < due:
            assert time.monotonic() < until, f"the server did not come back: {self.ops[-3:]}"
            self._stop.wait(BREATH)

    def answered(self) -> int:
        return sum(1 for op in self.ops if op.done)

    def log(self) -> Log:
        return Log(event for seen in self.seen for event in seen.events)

    def broken(self) -> list[str]:
        """What is wrong with the history; and whether it is too thin to tell anything."""
        log = self.log()
        first = min(seen.start for seen in self.seen)
        found = broken([op for op in self.ops if op.call], log)
        for seen in self.seen:
            found += broken_watch(seen, log)
        kinds = {(op.what, op.done) for op in self.ops}
        if not kinds >= {(what, True) for what in ("create", "update", "delete", "get", "list")}:
            found.append(f"the run was void: {kinds}")
        assert first, "every watch begins with a list"
        return found

    # ------------------------------------------------------------ the clients

    def _guard(self, run: Any, number: int) -> None:
        try:
            run(number)
        except BaseException as error:
            self._failures.append(error)

    def _work(self, number: int) -> None:
        chance = random.Random(f"{self._seed}-{number}")
        api = Api.of_kubeconfig(self._kubeconfig, PATIENCE)
        held: dict[str, int] = {}  # key -> revision seen last
        turn = 0
        while not self._stop.is_set():
            turn += 1
            what = chance.choices(["create", "update", "delete", "get", "list"], [3, 6, 2, 4, 1])[0]
            key = f"k{chance.randrange(KEYS)}"
            call = time.monotonic()
            op = Op(
                what, key, call, value=f"{self._seed}-{number}-{turn}", expected=held.get(key, 1)
            )
            if what in ("get", "delete", "list"):
                op = op._replace(value="")
            try:
                told = ask(api, op)
            except LOST:
                self.ops.append(op)
                api.close()
                self._stop.wait(BREATH)
                continue
            if told.code in (429, 500, 503, 504):
                told = op  # it does not know either
            self.ops.append(told)
            if told.done and told.revision and what != "list":
                held[key] = told.revision
        api.close()

    def _watch(self, number: int) -> None:
        api = Api.of_kubeconfig(self._kubeconfig, PATIENCE)
        seen: Seen | None = None
        while not self._stop.is_set():
            try:
                if seen is None:
                    start = int(api.get(FOLDER)["metadata"]["resourceVersion"])
                    seen = Seen(start, [])
                    self.seen.append(seen)
                if not self._follow(api, seen):
                    seen = None
            except LOST:
                api.close()
                self._stop.wait(BREATH)
        if seen is not None:
            self._catch_up(api, seen)
        api.close()

    def _follow(self, api: Api, seen: Seen) -> bool:
        """Until the stream ends or breaks; False where its revision has been forgotten."""
        after = seen.events[-1].revision if seen.events else seen.start
        with api.watch(FOLDER, resourceVersion=after, timeoutSeconds=1) as watch:
            while (told := watch.next()) is not None:
                if told.get("type") == "ERROR" or "type" not in told:
                    assert told.get("object", told).get("code") in (410, 500, 503, 504), told
                    return told.get("object", told).get("code") != 410
                if event := event_of(told):
                    seen.events.append(event)
        return True

    def _catch_up(self, api: Api, seen: Seen) -> None:
        """What happened up to the end of the load: no watcher may be behind for ever."""
        api.close()
        head = int(api.get(FOLDER)["metadata"]["resourceVersion"])
        after = seen.events[-1].revision if seen.events else seen.start
        with api.watch(FOLDER, resourceVersion=after, timeoutSeconds=1) as watch:
            while (told := watch.next()) is not None:
                if (event := event_of(told)) and event.revision <= head:
                    seen.events.append(event)


def event_of(told: Any) -> Event | None:
    obj = told["object"]
    meta = obj["metadata"]
    if "n" not in (obj.get("data") or {}):
        return None  # kube-root-ca.crt
    return Event(
        int(meta["resourceVersion"]), told["type"], meta["name"], obj["data"]["n"], meta["uid"]
    )


def ask(api: Api, op: Op) -> Op:
    """The same, with what was answered."""
    path = f"{FOLDER}/{op.key}"
    if op.what == "create":
        answer = api.ask("POST", FOLDER, {"metadata": {"name": op.key}, "data": {"n": op.value}})
    elif op.what == "update":
        meta = {"name": op.key, "resourceVersion": str(op.expected)}
        answer = api.ask("PUT", path, {"metadata": meta, "data": {"n": op.value}})
    elif op.what == "delete":
        answer = api.ask("DELETE", path)
    else:
        answer = api.ask("GET", FOLDER if op.what == "list" else path)
    op = op._replace(end=time.monotonic(), code=answer.code)
    if not op.done:
        return op
    told = answer.json
    if op.what == "delete":
        return op._replace(uid=told["details"]["uid"])
    op = op._replace(revision=int(told["metadata"]["resourceVersion"]))
    if op.what == "get":
        return op._replace(value=told["data"]["n"])
    if op.what == "list":
        items = [one for one in told["items"] if "n" in (one.get("data") or {})]
        return op._replace(listed=tuple(
            (i["metadata"]["name"], i["data"]["n"], int(i["metadata"]["resourceVersion"]))
            for i in items
        ))  # fmt: skip
    return op
