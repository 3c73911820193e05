"""Help in every form, from the one table of commands."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from jindou.cli.completion import bash, fish, zsh
from jindou.cli.help import page, parser
from jindou.cli.table import COMMANDS

OVERVIEW = """\
jindou - a whole cloud on this machine, for kubectl and the tools you have

Usage: jindou COMMAND [OPTIONS]

Examples:
  jindou up                          set up and start; safe to repeat
  jindou status                      what runs, where, how full
  eval "$(jindou env kubectl)"       point this shell's kubectl at jindou

Run:       up          set up what is missing, then start
           down        stop, keep everything
           status      one screen of what runs
           logs        read or follow a process of Jindou
           env         settings for kubectl in this shell
           kubeconfig  print the kubeconfig
Find out:  doctor      probe the machine, with a remedy for each problem
           why         follow an object or an error code to its cause
           completion  a script that completes commands
Images:    image       make, list, import, export and delete images
Keep:      backup      all objects and keys in one file, while it runs
           restore     put a backup back
Remove:    uninstall   take jindou off; data stays unless --purge

Every command: -h  -q  -v  -o FORMAT  --yes  --no-input
               --color WHEN  --progress MODE
up, down, restore, uninstall: --plan shows what they would do
More: jindou COMMAND -h     jindou help exit-codes
"""
DOCTOR = """\
jindou doctor - probe the machine, with a remedy for each problem

Usage: jindou doctor [GROUPS...] [OPTIONS]

Examples:
  jindou doctor
  jindou doctor network
  jindou doctor -o short

Arguments:
  GROUPS                  containers, network, storage, security, clients,
                          jindou

Options:
  --strict                a warning counts as a failure

Every command:
  -y, --yes               answer yes to questions
  --no-input              never ask
  -q, --quiet             errors only
  -v, --verbose           where settings come from; -vv: traces of errors
  -o, --output FORMAT     text, short or json
  --color WHEN            auto, always or never
  --progress MODE         auto, tty, plain or json
"""


@pytest.mark.parametrize("words", [(), ("-h",), ("--help",), ("help",)])
def test_overview(shell, words):
    assert shell(*words) == (0, OVERVIEW, "")


def test_a_command_s_page(shell):
    assert shell("doctor", "-h") == (0, DOCTOR, "")
    assert shell("help", "doctor") == (0, DOCTOR, "")
    assert shell("doctor", "network", "--help") == (0, DOCTOR, "")


def test_exit_codes(shell):
    code, out, _ = shell("help", "exit-codes")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == [*"01234567", "130"]


def test_version(shell):
    code, out, _ = shell("--version")
    assert (code, out.split()[0]) == (0, "jindou")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_pages_fit_eighty_columns_and_their_examples_parse(command):
    text = page(command, 80)
    assert max(map(len, text.splitlines())) <= 80
    assert command.examples
    for example in command.examples:
        words = example.removeprefix('eval "$(').removesuffix(')"').partition(" >")[0].split()
        assert words[:2] == ["jindou", command.name]
        parser(command).parse_args(words[2:])


@pytest.mark.parametrize(
    ("words", "what", "do"),
    [
        (("statsu",), "there is no command 'statsu'", "jindou status"),
        (("frobnicate",), "there is no command 'frobnicate'", "jindou --help"),
        (("help", "nope"), "there is no command 'nope'", "jindou"),
        (("up", "--frob"), "unrecognized arguments: --frob", "jindou up -h"),
        (("up", "--api-port", "x"), "--api-port: invalid number value: 'x'", "jindou up -h"),
        (("up", "--api-port", "-1"), "--api-port: invalid number value: '-1'", "jindou up -h"),
        (("up", "--timeout", "soon"), "--timeout: invalid duration value: 'soon'", "jindou up -h"),
        (("status", "-o", "yaml"), "-o/--output: invalid choice: 'yaml'", "jindou status -h"),
        (("status", "--plan"), "unrecognized arguments: --plan", "jindou status -h"),
        (("image",), "the following arguments are required", "jindou image -h"),
        (("up", "--progress", "tty"), "--progress tty needs a terminal", ""),
        (("node", "-x"), "jindou node takes no arguments", "jindou up -h"),
    ],
)
def test_what_is_not_understood(shell, words, what, do):
    code, out, err = shell(*words)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {what}"), err
    assert f"  do    {do}" in err or not do


@pytest.mark.parametrize(("name", "script"), [("bash", bash), ("zsh", zsh), ("fish", fish)])
def test_completion_knows_every_command(shell, name, script):
    code, out, _ = shell("completion", name)
    assert (code, out) == (0, "\n".join(script()) + "\n")
    assert all(command.name in out for command in COMMANDS)
    if program := shutil.which(name):
        subprocess.run([program, "-n"], input=out, text=True, check=True)


def test_completion_in_bash_completes():
    script = (
        "\n".join(bash())
        + """
COMP_WORDS=(jindou do); COMP_CWORD=1; _jindou; echo "${COMPREPLY[@]}"
COMP_WORDS=(jindou doctor net); COMP_CWORD=2; _jindou; echo "${COMPREPLY[@]}"
COMP_WORDS=(jindou up --api); COMP_CWORD=2; _jindou; echo "${COMPREPLY[@]}"
"""
    )
    done = subprocess.run(["bash"], input=script, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["down doctor", "network", "--api-port"]
