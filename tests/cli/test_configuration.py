"""Settings from five places, and sentences for what can't be one; whose cloud it is without root."""

from __future__ import annotations

import os

import pytest

from jindou.cli import configuration, places, root
from jindou.cli.problems import USAGE, Problem
from jindou.settings import Settings


def load(tmp_path, flags=None, env=None, machine="", user=""):
    files = {"machine.toml": machine, ".config/jindou/config.toml": user}
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    places_of = {"JINDOU_CONFIG": str(tmp_path / "machine.toml"), "HOME": str(tmp_path)}
    return configuration.load(flags or {}, {**places_of, **(env or {})})


def test_a_flag_goes_before_a_variable_before_the_user_s_file_before_the_machine_s(tmp_path):
    given = {"machine": "api_port = 1\nnode_port = 1\nname = 'm'\nbridge = 'm'", "user": "api_port = 2\nnode_port = 2\nname = 'u'"}  # fmt: skip
    settings, origin = load(
        tmp_path, {"api_port": 4}, {"JINDOU_API_PORT": "3", "JINDOU_NODE_PORT": "3"}, **given
    )
    assert (settings.api_port, settings.node_port, settings.name, settings.bridge) == (
        4,
        3,
        "u",
        "m",
    )
    assert origin["api_port"] == "--api-port"
    assert origin["node_port"] == "JINDOU_NODE_PORT"
    assert origin["name"].endswith("config.toml")


def test_a_folder_given_by_a_flag_is_that_of_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load(tmp_path, {"data": "there"})[0].data == str(tmp_path / "there")


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"JINDOU_API_PORT": "http"}, "JINDOU_API_PORT has to be a number, not 'http'"),
        ({"JINDOU_API_PORT": "70000"}, "JINDOU_API_PORT has to be from 1 to 65535, not 70000"),
        ({"JINDOU_API_PORT": ""}, "JINDOU_API_PORT has to be a number, not ''"),
        ({"JINDOU_PRETEND": "maybe"}, "JINDOU_PRETEND has to be true or false, not 'maybe'"),
        ({"JINDOU_DATA": "here"}, "JINDOU_DATA has to be the path of a folder from /, not 'here'"),
        ({"JINDOU_DATA": "/"}, "JINDOU_DATA has to be the path of a folder from /, not '/'"),
        ({"JINDOU_RUN": "/" + 90 * "x"}, "JINDOU_RUN is longer than 80 bytes"),
        ({"JINDOU_POD_CIDR": "10.1.2.3/8"}, "JINDOU_POD_CIDR has to be a network like"),
        ({"JINDOU_POD_CIDR": "fd00::/64"}, "JINDOU_POD_CIDR has to be a network of IPv4"),
        ({"JINDOU_API_ADDRESS": "localhost"}, "JINDOU_API_ADDRESS has to be an address"),
        ({"JINDOU_NAME": "My Cloud"}, "JINDOU_NAME has to be at most 15 lower-case letters"),
        ({"JINDOU_BRIDGE": 16 * "a"}, "JINDOU_BRIDGE has to be at most 15"),
    ],
)
def test_what_a_setting_can_t_be(tmp_path, env, said):
    with pytest.raises(Problem) as raised:
        load(tmp_path, env=env)
    assert raised.value.what.startswith(said)
    assert (raised.value.code, raised.value.status) == ("JD-CLI-603", USAGE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("api_port = ", "can't be read"),
        ("port = 1", "sets 'port', which is no setting"),
        ("api_port = 'x'", "has to be a number, not 'x'"),
        ("api_port = true", "has to be a number, not 'True'"),
    ],
)
def test_a_broken_file_is_named(tmp_path, text, said):
    with pytest.raises(Problem) as raised:
        load(tmp_path, machine=text)
    assert said in raised.value.what
    assert str(tmp_path / "machine.toml") in raised.value.what


def test_a_broken_file_stops_all_but_the_doctor(shell):
    with open(shell.environment["JINDOU_CONFIG"], "w") as file:
        file.write("api_port = ")
    assert shell("status")[0] == 2
    code, out, _ = shell("doctor", "jindou")
    assert code == 1
    assert "  FAIL  " in out
    assert "JD-CLI-603" in out


def test_choices_are_kept_whatever_is_in_them(tmp_path):
    env = {"JINDOU_CONFIG": str(tmp_path / "etc" / "config.toml"), "HOME": str(tmp_path)}
    chosen = {"data": '/srv/a "b" \\ ü', "api_port": 7443}
    configuration.keep(chosen, env)
    configuration.keep({"node_port": 7250}, env)
    settings, _ = configuration.load({}, env)
    assert (settings.data, settings.api_port, settings.node_port) == (chosen["data"], 7443, 7250)


def test_the_processes_agree_with_who_started_them(tmp_path):
    settings = Settings(name="other", api_port=7443, pretend=True, data="/srv/with space")
    again, _ = configuration.load({}, {"HOME": str(tmp_path), "JINDOU_CONFIG": "/nowhere", **configuration.as_environment(settings)})  # fmt: skip
    assert again == settings


def test_without_root_all_is_below_the_user_s_own_folder(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/mei")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")  # gone when mei leaves: not for us
    own = places.unprivileged(Settings())
    state = "/home/mei/.local/state/jindou"
    assert (own.data, own.run, own.logs) == (state, f"{state}/run", f"{state}/logs")
    chosen = places.unprivileged(Settings(data="/tmp/d"))
    assert (chosen.data, chosen.run, chosen.logs) == ("/tmp/d", "/tmp/d/run", "/tmp/d/logs")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert places.unprivileged(Settings()) == Settings()


def test_a_pretended_cloud_is_found_again_with_what_was_chosen(folder):
    usual = Settings(data=str(folder / "data"), run=str(folder / "run"))
    made = usual._replace(pretend=True, api_port=7443)
    (folder / "data").mkdir()
    assert places.remembered(usual) is None
    places.mark(made)
    found = places.remembered(usual)
    assert found is not None
    assert (found.pretend, found.api_port) == (True, 7443)
    assert places.remembered(usual, only_running=True) is None
    places.mark(usual)
    assert places.remembered(usual) is None


def test_what_the_second_run_is_told(monkeypatch):
    env = {"HOME": "/home/mei", "KUBECONFIG": "/k", "PATH": "/bin", "LD_PRELOAD": "x", "JINDOU_API_PORT": "1"}  # fmt: skip
    told = root.carried(Settings(api_port=7443), env)
    assert sorted(told) == ["JINDOU_API_PORT=7443", "JINDOU_HOME=/home/mei", "KUBECONFIG=/k"]
    monkeypatch.setattr("sys.argv", ["/x/.venv/bin/jindou", "up", "--data", "/a b", "--yes"])
    assert root.this_command() == "/x/.venv/bin/jindou up --data '/a b'"


@pytest.mark.parametrize("sudo", ["/usr/bin/sudo", None])
def test_no_terminal_to_ask_on(shell, monkeypatch, sudo):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("shutil.which", lambda name, path=None: sudo if name == "sudo" else None)
    monkeypatch.setattr(root, "without_password", lambda program: False)
    monkeypatch.setattr("sys.argv", ["/x/bin/jindou", "uninstall", "--yes"])
    code, out, err = shell("uninstall", "--yes")
    assert (code, out) == (4, "")
    assert err.startswith("error: root is needed, and ")
    assert "nothing was changed" in err
    assert ("sudo /x/bin/jindou uninstall --yes" if sudo else "su -c '/x/bin/jindou uninstall --yes'") in err  # fmt: skip
