"""Is the server alive, is it ready: the checks behind /livez, /readyz and /healthz, one by one or all.

Our store answers to the name `etcd`, under which everybody asks for it.
Source: https://kubernetes.io/docs/reference/using-api/health-checks/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jindou.transport import Headers, Response

ROOTS = ("healthz", "livez", "readyz")
TEXT: Headers = (
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Cache-Control", "no-cache, private"),
    ("X-Content-Type-Options", "nosniff"),
)
NOT_FOUND = b"404 page not found\n"


class Health:
    """What is known now; `ready` is set False while shutting down, `stored` when the disk failed."""

    def __init__(self) -> None:
        self.ready = True
        self.stored = True

    def checks(self, root: str) -> dict[str, bool]:
        found = {"ping": True, "etcd": self.stored}
        return {**found, "shutdown": self.ready} if root == "readyz" else found

    def paths(self) -> list[str]:
        return [f"/{root}/{name}" for root in ROOTS for name in self.checks(root)]

    def answer(self, path: str, query: Mapping[str, Sequence[str]]) -> Response | None:
        root, _, name = path[1:].partition("/")
        if root not in ROOTS:
            return None
        checks = self.checks(root)
        if name:
            if name not in checks:
                return Response(404, NOT_FOUND, TEXT)
            held = checks[name]
            told = b"ok" if held else b"internal server error: not ok\n"
            return Response(200 if held else 500, told, TEXT)
        return whole(root, checks, query.get("exclude", ()), "verbose" in query)


def whole(
    root: str, checks: Mapping[str, bool], excluded: Sequence[str], verbose: bool
) -> Response:
    lines, good = [], True
    for name, held in checks.items():
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
        else:
            good = good and held
            lines.append(f"[+]{name} ok" if held else f"[-]{name} failed: reason withheld")
    unknown = [f'"{name}"' for name in excluded if name not in checks]
    if unknown:
        lines.append(
            f"warn: some health checks cannot be excluded: no matches for {', '.join(unknown)}"
        )
    if not good:
        return Response(500, "\n".join([*lines, f"{root} check failed", ""]).encode(), TEXT)
    told = "\n".join([*lines, f"{root} check passed", ""]) if verbose else "ok"
    return Response(200, told.encode(), TEXT)
