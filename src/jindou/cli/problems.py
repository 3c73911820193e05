"""An error as a person reads it: what and its code, where, why, the state it left, what to do.

Codes are JD-AREA-nnn (NET, STO, SEC, RUN, IMG, CLI, API) and are never given to another problem.
`jindou why CODE` prints the long text, offline, from `LONG`.
"""

from __future__ import annotations

from collections.abc import Sequence

from jindou.cli.term import Terminal

DONE, FAILED, USAGE, NOT_RUNNING, NO_ACCESS, NO_OBJECT, IN_THE_WAY, WAITED = range(8)


class Problem(Exception):
    """`do` has one to three lines that run as pasted, safest first, "command" or "command   effect"."""

    def __init__(
        self,
        what: str,
        code: str,
        *,
        where: str = "",
        why: str = "",
        now: str = "",
        said: str = "",
        do: Sequence[str] = (),
        log: str = "",
        status: int = FAILED,
    ) -> None:
        super().__init__(what)
        self.what, self.code, self.where, self.why, self.now = what, code, where, why, now
        self.said, self.do, self.log, self.status = said, tuple(do), log, status

    def render(self, terminal: Terminal, label: str = "error") -> str:
        import textwrap

        head = f"{label}: {self.what}"
        gap = max(2, terminal.width - len(head) - len(self.code))
        lines = [f"{head}{' ' * gap}{self.code}"]
        for name in ("where", "why", "now"):
            text = getattr(self, name)
            if text:
                lines += _block(name, textwrap.wrap(text, terminal.width - 10))
        if self.said:
            lines += _block("said", [f"| {line}" for line in self.said.strip().splitlines()[-8:]])
        if len(self.do) == 1:
            lines.append(f"  do    {self.do[0]}")
        elif self.do:
            lines += ["  do    one of:", *(f"          {line}" for line in self.do)]
        if self.log:
            lines.append(f"  log   {self.log}")
        return "\n".join(lines)


def _block(name: str, lines: Sequence[str]) -> list[str]:
    return [f"  {name:<5} {line}" if n == 0 else f"        {line}" for n, line in enumerate(lines)]


LONG = {
    "JD-NET-101": (
        "A port that Jindou needs is taken",
        "The Kubernetes API listens on one TCP port of the loopback address (6443 unless chosen "
        "otherwise), the node's streaming endpoint on another (10250). Another program has one of "
        "them: often k3s, minikube, kubelet or another Jindou. Stop it, or choose another port with "
        "`jindou up --api-port N` or `--node-port N`; the choice is kept for later runs.",
    ),
    "JD-NET-102": (
        "The pod network meets another route of this machine",
        "Pods and Services get addresses from 10.210.0.0/16 and 10.211.0.0/16 unless chosen "
        "otherwise. A route of this machine covers the same addresses, so packets would go astray. "
        "Choose others with JINDOU_POD_CIDR and JINDOU_SERVICE_CIDR, before the first `jindou up`.",
    ),
    "JD-NET-103": (
        "nftables can't be used",
        "Services are packet rules in one nftables table called after this cloud. The kernel "
        "refused a rule, or libnftables is missing. Install the package nftables (libnftables1); in "
        "a container, the capability CAP_NET_ADMIN is needed.",
    ),
    "JD-NET-104": (
        "Network namespaces can't be made",
        "Each Pod has a network namespace of its own. The kernel refused to make one: in a "
        "container, CAP_SYS_ADMIN is needed; elsewhere, look for user.max_net_namespaces = 0.",
    ),
    "JD-STO-201": (
        "This machine offers no overlayfs",
        "The root of a container is a stack of image layers, mounted with overlayfs. Mounting one "
        "in the data folder failed. `modprobe overlay` helps where the kernel ships the module; a "
        "data folder that is itself on an overlay (inside a container) has to move to a real disk.",
    ),
    "JD-STO-202": (
        "The disk is nearly full",
        "Images, logs and writable layers need room. Below one gigabyte free, `jindou up` does not "
        "go on, and a node with little room refuses Pods. Free some room, or move the data folder "
        "with --data.",
    ),
    "JD-STO-203": (
        "The state file can't be used",
        "All objects are in one SQLite file, store.db in the data folder. It is damaged, from a "
        "newer version, or in use by another server; the sentence says which. Nothing was changed. "
        "`jindou restore BACKUP` puts a backup in its place.",
    ),
    "JD-RUN-301": (
        "No container runtime works",
        "Jindou runs containers with crun or runc, and keeps their logs with conmon. A tiny "
        "container was tried with each; what they said is above. Packages: crun, runc, conmon.",
    ),
    "JD-RUN-302": (
        "A program that Jindou needs is missing",
        "`jindou up` installs what is missing with the package manager of this machine (apt, dnf or "
        "pacman). Where there is none it knows, install the programs named and run it again.",
    ),
    "JD-RUN-303": (
        "A process of Jindou stopped right after its start",
        "The last lines of its log are shown. `jindou logs server` and `jindou logs node` show all.",
    ),
    "JD-SEC-301": (
        "Root is needed",
        "Namespaces, mounts and packet rules need root. Jindou asks for it once, with sudo, and "
        "says what for. In a script: `sudo jindou up --yes`. `jindou up --pretend` needs no root: "
        "the whole API, with containers that are only played.",
    ),
    "JD-IMG-401": (
        "An image can't be had",
        "The image is not on this machine and could not be pulled. `jindou image list` shows what "
        "is here; `jindou image bootstrap NAME` makes busybox, debian, nginx, python and redis from "
        "the distribution's packages; `jindou image import FILE` takes a docker or OCI archive.",
    ),
    "JD-CLI-601": (
        "A client is set up in a way that hides Jindou",
        "An environment variable such as KUBECONFIG points somewhere else, so the entry that "
        '`jindou up` made is not used. Unset it, or use `eval "$(jindou env kubectl)"`.',
    ),
    "JD-CLI-602": (
        "kubectl is missing",
        "The sample is deployed with kubectl, the ordinary client. Install it (Debian 12 and "
        "Ubuntu: package kubernetes-client, or kubectl), then run the same command again.",
    ),
    "JD-API-501": (
        "Jindou does not answer",
        "The server process is not running, or not yet. `jindou up` starts it; `jindou logs server` "
        "says why it ended.",
    ),
    "JD-API-502": (
        "It took longer than it may",
        "Nothing is undone: what was started goes on. `jindou status` shows how far it is, and the "
        "same command waits again; --timeout gives it longer.",
    ),
}
