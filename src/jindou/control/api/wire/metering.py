"""What the API has done, counted in plain numbers as it goes and put into words when it is asked for.

The names and labels are those that people chart of a kube-apiserver. What must stay true: counting
a request costs a fraction of a microsecond, and the number of series is bounded by kinds and verbs.
Source: https://kubernetes.io/docs/reference/instrumentation/metrics/
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from time import perf_counter

from jindou.control.api.wire.routes import Route
from jindou.objects.kinds import Kind
from jindou.transport import Answer, Response, Sink, Streamed, Upgraded

BOUNDS = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0,
    15.0, 20.0, 30.0, 45.0, 60.0,
)  # fmt: skip
READING = frozenset({"GET", "HEAD"})
Place = tuple[
    Kind | None, str, str, bool, bool, bool
]  # kind, part, method, of one, within, going on
Labels = dict[str, str]
Source = Callable[[], Iterable[str]]


class Tally:
    """The requests of one kind, verb and scope."""

    __slots__ = ("buckets", "codes", "labels", "seconds")

    def __init__(self, labels: str) -> None:
        self.labels = labels
        self.codes: dict[int, int] = {}
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def add(self, other: Tally) -> None:
        for code, count in other.codes.items():
            self.codes[code] = self.codes.get(code, 0) + count
        self.buckets = [mine + more for mine, more in zip(self.buckets, other.buckets, strict=True)]
        self.seconds += other.seconds


class Meter:
    def __init__(self) -> None:
        self._tallies: dict[Place, Tally] = {}
        self._following: dict[Place, int] = {}
        self._inflight = {True: 0, False: 0}  # reading or not; those that have to wait

    def began(self, method: str) -> None:
        self._inflight[method in READING] += 1

    def ended(self, method: str) -> None:
        self._inflight[method in READING] -= 1

    def note(self, route: Route | None, method: str, answer: Answer, began: float) -> None:
        """One request was answered; `began` is what `perf_counter` said at its start."""
        streamed = not isinstance(answer, Response)
        place: Place
        if route is None:
            place = (None, "", method, False, False, False)
        else:
            kind, named = route.resource.kind, bool(route.name)
            place = (kind, route.part, method, named, bool(route.namespace), streamed)
        tally = self._tallies.get(place)
        if tally is None:
            labels = text_of(labels_of(route, method, streamed))
            tally = self._tallies[place] = Tally(labels)
        code = 101 if isinstance(answer, Upgraded) else answer.status
        tally.codes[code] = tally.codes.get(code, 0) + 1
        if isinstance(answer, Response):
            seconds = perf_counter() - began
            tally.seconds += seconds
            tally.buckets[bisect_left(BOUNDS, seconds)] += 1
        elif isinstance(answer, Streamed):
            self._follow(place, answer)

    def _follow(self, place: Place, answer: Streamed) -> None:
        start = answer.start

        def begun(sink: Sink) -> None:
            self._following[place] = self._following.get(place, 0) + 1
            sink.on_close(over)
            start(sink)

        def over() -> None:
            self._following[place] -= 1

        answer.start = begun

    def _merged(self) -> list[Tally]:
        """Places that go under the same labels are one series."""
        found: dict[str, Tally] = {}
        for tally in self._tallies.values():
            found.setdefault(tally.labels, Tally(tally.labels)).add(tally)
        return list(found.values())

    def lines(self) -> Iterable[str]:
        tallies = self._merged()
        yield from head("apiserver_request_total", "counter", "Requests by verb, kind and code.")
        for tally in tallies:
            for code, count in sorted(tally.codes.items()):
                yield f'apiserver_request_total{{code="{code}",dry_run="",{tally.labels}}} {count}'
        name = "apiserver_request_duration_seconds"
        yield from head(name, "histogram", "How long answers took, those that go on aside.")
        for tally in tallies:
            if any(tally.buckets):
                labels = f'dry_run="",{tally.labels}'
                yield from histogram(name, labels, tally.buckets, tally.seconds)
        name = "apiserver_current_inflight_requests"
        yield from head(name, "gauge", "Requests that are waiting for something.")
        yield f'{name}{{request_kind="mutating"}} {self._inflight[False]}'
        yield f'{name}{{request_kind="readOnly"}} {self._inflight[True]}'
        name = "apiserver_longrunning_requests"
        yield from head(name, "gauge", "Watches and other answers that go on.")
        going: dict[str, int] = {}
        for place, count in self._following.items():
            labels = self._tallies[place].labels
            going[labels] = going.get(labels, 0) + count
        for labels, count in going.items():
            yield f"{name}{{{labels}}} {count}"


def labels_of(route: Route | None, method: str, streamed: bool) -> Labels:
    made = {"component": "apiserver", "group": "", "resource": "", "scope": "", "subresource": ""}
    if route is None:
        return {**made, "verb": method, "version": ""}
    kind = route.resource.kind
    following = streamed and not route.part
    verb = "WATCH" if following else route.verb(method, False).upper()
    words = {"CREATE": "POST", "UPDATE": "PUT", "DELETECOLLECTION": "DELETE"}
    return {
        **made,
        "group": kind.group,
        "resource": kind.plural,
        "scope": "resource" if route.name else "namespace" if route.namespace else "cluster",
        "subresource": route.part,
        "verb": words.get(verb, verb) or method,
        "version": kind.version,
    }


def text_of(labels: Labels) -> str:
    return ",".join(f'{name}="{escaped(value)}"' for name, value in labels.items())


def escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def head(name: str, kind: str, says: str) -> Iterable[str]:
    return (f"# HELP {name} {says}", f"# TYPE {name} {kind}")


def histogram(name: str, labels: str, buckets: list[int], total: float) -> Iterable[str]:
    count = 0
    for bound, more in zip((*BOUNDS, "+Inf"), buckets, strict=True):
        count += more
        shown = f"{bound:g}" if isinstance(bound, float) else bound
        yield f'{name}_bucket{{{labels},le="{shown}"}} {count}'
    yield f"{name}_sum{{{labels}}} {total:.6f}"
    yield f"{name}_count{{{labels}}} {count}"
