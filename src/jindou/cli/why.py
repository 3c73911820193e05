"""`jindou why`: follow an object through the links it depends on, to the one that is broken.

`jindou why JD-NET-101` explains an error code, offline. The links themselves are in `chains`.
"""

from __future__ import annotations

import textwrap
from argparse import Namespace
from typing import Any

from jindou.cli.api import Api, Refused
from jindou.cli.chains import CHAINS
from jindou.cli.codes import LONG
from jindou.cli.introduce import current_context
from jindou.cli.links import Cloud, Link
from jindou.cli.problems import DONE, FAILED, NO_OBJECT, Problem
from jindou.cli.term import Terminal, pad
from jindou.settings import Settings

PATHS = {
    "pod": "/api/v1/namespaces/{ns}/pods/{name}",
    "service": "/api/v1/namespaces/{ns}/services/{name}",
    "deployment": "/apis/apps/v1/namespaces/{ns}/deployments/{name}",
    "replicaset": "/apis/apps/v1/namespaces/{ns}/replicasets/{name}",
    "node": "/api/v1/nodes/{name}",
    "namespace": "/api/v1/namespaces/{name}",
}
SHORT = {
    "po": "pod",
    "svc": "service",
    "deploy": "deployment",
    "rs": "replicaset",
    "no": "node",
    "ns": "namespace",
}
INDENT = " " * 10


def run(terminal: Terminal, settings: Settings, options: Namespace) -> int:
    if options.what.upper().startswith("JD-"):
        return explain(terminal, options.what.upper())
    kind, _, name = options.what.partition("/")
    kind = kind.lower().partition(".")[0]  # deployment.apps/web, as kubectl prints it
    kind = SHORT.get(kind, kind)
    kind = kind if kind in PATHS else kind.removesuffix("s")
    if not name or kind not in PATHS:
        raise Problem(
            f"{options.what!r} is neither KIND/NAME nor a code",
            "JD-CLI-611",
            why=f"kinds are {', '.join(PATHS)}",
            do=["jindou why pod/NAME -n NAMESPACE", "jindou why JD-NET-101"],
            status=NO_OBJECT,
        )
    api = Api(settings)
    scope = f" in namespace {options.namespace}" if "{ns}" in PATHS[kind] else ""
    try:
        obj = api.get(PATHS[kind].format(ns=options.namespace, name=name))
    except Refused as error:
        if error.code == 404:
            raise Problem(
                f"there is no {kind} {name}{scope}",
                "JD-CLI-612",
                do=[f"kubectl get {kind}s{' -A' if scope else ''}"],
                status=NO_OBJECT,
            ) from None
        raise
    chain = CHAINS[kind](Cloud(api), obj)
    if current_context() != settings.name:
        chain = [link._replace(do=in_context(link.do, settings.name)) for link in chain]
    return show(terminal, f"{kind}/{name}", scope, chain)


def in_context(do: tuple[str, ...], context: str) -> tuple[str, ...]:
    """A command that runs as pasted also where kubectl's own default is another cloud."""
    named = f"kubectl --context {context} "
    return tuple(
        named + line.removeprefix("kubectl ") if line.startswith("kubectl ") else line
        for line in do
    )


def explain(terminal: Terminal, code: str) -> int:
    if code not in LONG:
        import difflib

        close = difflib.get_close_matches(code, LONG, 1, 0.0)[0]
        raise Problem(
            f"there is no code {code}",
            "JD-CLI-613",
            do=[f"jindou why {close}   the nearest that there is"],
            status=NO_OBJECT,
        )
    title, text = LONG[code]
    if terminal.output == "json":
        import json

        answer = {"v": 1, "code": code, "title": title, "text": text}
        terminal.answer(json.dumps(answer), always=True)
        return DONE
    terminal.answer(terminal.heading(f"{code}: {title}"), always=True)
    lines = textwrap.wrap(text, terminal.width, break_on_hyphens=False)
    terminal.answer("\n".join(lines), always=True)
    return DONE


def show(terminal: Terminal, what: str, scope: str, chain: list[Link]) -> int:
    broken = next((link for link in chain if link.state == "FAIL"), None)
    waiting = next((link for link in chain if link.state == "wait"), None)
    cause = broken or waiting
    verdict = "is broken" if broken else "is not ready yet" if waiting else "is fine"
    if terminal.output == "json":
        import json

        links = [{"name": one.name, "state": one.state, "says": one.says} for one in chain]
        answer: dict[str, Any] = {"v": 1, "object": what, "verdict": verdict, "links": links}
        if cause:
            answer |= {"because": cause.because, "do": cause.do, "said": cause.said}
        terminal.answer(json.dumps(answer), always=True)
        return FAILED if cause else DONE
    terminal.answer(f"{what}{scope} {verdict}.")
    if terminal.output != "short":
        width = max(len(link.name) for link in chain)
        terminal.answer()
        for link in chain:
            state = terminal.state(link.state, out=True)
            terminal.answer(f"  {state}  {pad(link.name, width)}  {link.says}".rstrip())
        if cause:
            terminal.answer()
    if cause:
        for line in explained(cause, terminal.width):
            terminal.answer(line)
    return FAILED if cause else DONE


def explained(cause: Link, width: int) -> list[str]:
    lines = []
    room = width - len(INDENT)
    if cause.because:
        wrapped = textwrap.wrap(cause.because, room, break_long_words=False, break_on_hyphens=False)
        lines += [f"{'because' if n == 0 else '':<10}{line}" for n, line in enumerate(wrapped)]
    if cause.said:
        said = cause.said.strip().splitlines()[-4:]
        lines += [f"{'said' if n == 0 else '':<10}| {line}" for n, line in enumerate(said)]
    if cause.known:
        lines.append(f"known     {cause.known}")
    if len(cause.do) == 1:
        lines.append(f"do        {cause.do[0]}")
    elif cause.do:
        lines += ["do        one of:", *(f"{INDENT}  {line}" for line in cause.do)]
    return lines
