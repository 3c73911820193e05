"""`jindou completion SHELL`: a static script made from the table of commands; it never runs Jindou."""

from __future__ import annotations

from argparse import Namespace

from jindou.cli.problems import DONE
from jindou.cli.table import COMMANDS, COMMON, Command
from jindou.cli.term import Terminal
from jindou.settings import Settings


def run(terminal: Terminal, settings: Settings, options: Namespace) -> int:
    make = {"bash": bash, "zsh": zsh, "fish": fish}[options.shell]
    terminal.answer("\n".join(make()), always=True)
    return DONE


def words(command: Command) -> list[str]:
    """What can follow the command: its options, and the values of its first argument."""
    found: list[str] = []
    for option in (*command.options, *COMMON):
        if option.names[0].startswith("-"):
            found += option.names
        elif option.names == ("groups",):
            found += ["containers", "network", "storage", "security", "clients", "jindou"]
        else:
            found += option.more.get("choices", ())
    return [*found, "-h", "--help"]


def bash() -> list[str]:
    names = " ".join(command.name for command in COMMANDS)
    lines = [
        "_jindou() {",
        '    local word="${COMP_WORDS[COMP_CWORD]}" known=""',
        '    case "$COMP_CWORD:${COMP_WORDS[1]}" in',
        f'        1:*) known="{names} help" ;;',
    ]
    lines += [f'        *:{c.name}) known="{" ".join(words(c))}" ;;' for c in COMMANDS]
    return [
        *lines,
        "    esac",
        '    mapfile -t COMPREPLY < <(compgen -W "$known" -- "$word")',
        "}",
        "complete -o default -F _jindou jindou",
    ]


def zsh() -> list[str]:
    said = [f"'{c.name}:{c.says.replace(chr(39), '')}'" for c in COMMANDS]
    lines = [
        "#compdef jindou",
        "_jindou() {",
        "    if (( CURRENT == 2 )); then",
        f"        local -a known=({' '.join(said)})",
        "        _describe command known",
        "        return",
        "    fi",
        '    case "$words[2]" in',
    ]
    lines += [f"        {c.name}) compadd -- {' '.join(words(c))} ;;" for c in COMMANDS]
    return [*lines, "    esac", "    _files", "}", "compdef _jindou jindou"]


def fish() -> list[str]:
    lines = []
    for c in COMMANDS:
        says = c.says.replace("'", "")
        lines.append(f"complete -c jindou -n __fish_use_subcommand -f -a {c.name} -d '{says}'")
        for option in (*c.options, *COMMON):
            flags = [
                f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
                for name in option.names
                if name.startswith("-")
            ]
            choices = option.more.get("choices", ())
            values = f" -a '{' '.join(choices)}'" if choices else ""
            if flags or values:
                lines.append(
                    f"complete -c jindou -n '__fish_seen_subcommand_from {c.name}' "
                    f"{' '.join(flags)}{' -x' if flags and values else ''}{values}".rstrip()
                )
    return lines
