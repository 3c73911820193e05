"""What `up` plans, refuses and keeps; the sample it deploys; what `uninstall` leaves alone."""

from __future__ import annotations

import os

import pytest

from jindou.cli import down, introduce, packages, sample, services, uninstall, up
from jindou.cli.problems import Problem
from jindou.cli.steps import Steps
from jindou.settings import Settings
from tests.cli.test_steps import terminal

CONMON = next(program for program in packages.PROGRAMS if program.name == "conmon")
KUBECTL = next(program for program in packages.PROGRAMS if program.name == "kubectl")


@pytest.mark.parametrize(
    ("running", "lacking", "first", "titles"),
    [
        (False, [], True, [up.CHECK, up.START, up.READY]),
        (False, [CONMON], True, [up.CHECK, up.INSTALL, up.START, up.READY]),
        (False, [], False, [up.START, up.READY]),
        (False, [KUBECTL], False, [up.START, up.READY]),
        (False, [CONMON], False, [up.CHECK, up.INSTALL, up.START, up.READY]),
        (True, [CONMON], False, []),
    ],
)
def test_only_what_is_missing_is_planned(running, lacking, first, titles):
    assert up.plan(running, lacking, first) == titles


def test_each_package_manager_has_its_names():
    names = {
        m: packages.package_names(packages.PROGRAMS, m) for m in ("apt-get", "dnf", "pacman", "")
    }
    assert {"conmon", "busybox-static", "libnftables1", "mmdebstrap"} <= set(names["apt-get"])
    assert {"conmon", "busybox", "libseccomp"} <= set(names["dnf"])
    assert {"crun", "kubectl", "nftables"} <= set(names["pacman"])
    assert "" not in names["dnf"] + names["pacman"]
    assert names[""] == []


def test_what_was_installed_is_remembered_and_named_at_the_end(tmp_path, monkeypatch):
    settings = Settings(data=str(tmp_path / "data"))
    assert packages.noted(settings) == ""
    packages.note(settings, ["runc", "conmon"])
    packages.note(settings, ["conmon"])
    monkeypatch.setattr(packages, "manager", lambda: "dnf")
    assert packages.noted(settings) == "dnf remove conmon runc"


def test_a_machine_without_a_package_manager_is_told_before_root_is_asked(monkeypatch):
    monkeypatch.setattr(packages, "manager", lambda: "")
    assert up.unavailable([KUBECTL]) == []
    (found,) = up.unavailable([CONMON, KUBECTL])
    assert found.what.startswith("conmon missing, and none of apt-get, dnf and pacman")


def test_other_settings_while_it_runs_are_refused_and_not_ignored(folder):
    settings = Settings(run=str(folder))
    up.refuse_changes(settings)  # nobody knows with what it was started
    (folder / "started.json").write_text('{"api_port": 6443, "data": "/var/lib/jindou"}')
    up.refuse_changes(settings)
    with pytest.raises(Problem) as raised:
        up.refuse_changes(settings._replace(api_port=7443, data="/srv"))
    assert raised.value.what == "it runs with another api port and another data"
    assert raised.value.status == 2


def test_a_stopped_down_is_known_to_the_next_up(folder):
    settings = Settings(run=str(folder))
    assert not services.halted(settings)
    services.halt(settings)
    assert services.halted(settings)
    services.stop(settings)
    assert not services.halted(settings)


def test_down_names_what_it_waits_for():
    made = terminal()
    with Steps(made, ["stop workloads"]).step("stop workloads") as step:
        down.show_waiting(step, {"default/web": 30, "default/db": 5})
        assert step.detail == "waiting for default/web and 1 more"
        down.show_waiting(step, {"default/db": 5})
        assert step.detail == "waiting for default/db"
        assert [(i.name, i.state, i.detail) for i in step.items] == [
            ("default/web", "ok", "ended"), ("default/db", "now", "has 5s to end by itself")
        ]  # fmt: skip


# ---------------------------------------------------------------- kubeconfigs


OURS = "{clusters: [{name: jindou, cluster: {server: s}}], users: [{name: jindou}], contexts: [{name: jindou}], current-context: jindou}"


@pytest.fixture
def cloud(folder, monkeypatch) -> Settings:
    (folder / "pki").mkdir()
    (folder / "pki" / "admin.kubeconfig").write_text(OURS)
    (folder / "home").mkdir()
    monkeypatch.setenv("HOME", str(folder / "home"))
    for name in ("SUDO_UID", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
    return Settings(data=str(folder))


def test_the_entry_comes_and_goes_and_nothing_else(cloud, folder):
    config = folder / "home" / ".kube" / "config"
    assert introduce.introduce(cloud) == ""
    assert introduce.current_context() == "jindou"
    assert os.stat(config).st_mode & 0o777 == 0o600
    config.write_text(config.read_text() + "# mine\n")
    before = config.read_text()
    assert introduce.introduce(cloud) == ""
    assert config.read_text() == before
    assert uninstall.forget_kubeconfigs(cloud) == ([str(config)], [])
    assert not config.exists()


@pytest.mark.parametrize("text", ["{not: yaml", "- a list", "just words", "\0"])
def test_what_is_no_kubeconfig_is_a_warning_and_left_as_it_is(cloud, folder, text):
    config = folder / "home" / ".kube" / "config"
    config.parent.mkdir()
    config.write_text(text)
    warning = introduce.introduce(cloud)
    assert warning.startswith(str(config))
    assert "\n" not in warning
    assert config.read_text() == text
    (folder / "kubeconfigs").write_text(f"{config}\n")
    done, left = uninstall.forget_kubeconfigs(cloud)
    assert done == []
    assert left[0].startswith("take the entry jindou out by hand: ")


def test_somebody_s_own_default_is_never_changed(cloud, folder):
    config = folder / "home" / ".kube" / "config"
    config.parent.mkdir()
    config.write_text("{clusters: [], users: [], contexts: [{name: work}], current-context: work}")
    assert introduce.introduce(cloud) == ""
    assert introduce.current_context() == "work"


# ---------------------------------------------------------------- the sample


def test_the_guestbook_is_read():
    found = sample.objects("examples/guestbook")
    assert [one["kind"] for one in found].count("Deployment") == 3
    assert set(sample.images("examples/guestbook")) == {"nginx", "python", "redis"}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "holds no objects"),
        ("a: [", "is no YAML"),
        ("- 1", "something that is no object"),
        ("kind: Pod", "something that is no object"),
        ("just words", "something that is no object"),
    ],
)
def test_what_can_t_be_deployed(tmp_path, text, what):
    path = tmp_path / "app.yaml"
    path.write_text(text)
    with pytest.raises(Problem) as raised:
        sample.objects(str(path))
    assert what in raised.value.what
    assert (raised.value.code, raised.value.status) == ("JD-CLI-607", 2)


@pytest.mark.parametrize(
    ("status", "generation", "told"),
    [
        ({}, 1, (0, 2)),
        ({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}, 2, (0, 2)),
        ({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 1}, 2, (1, 2)),
        ({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 2}, 2, (1, 2)),
        ({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}, 2, (2, 2)),
    ],
)  # fmt: skip
def test_a_deployment_is_ready_when_all_of_its_newest_pods_are(status, generation, told):
    deployment = {"metadata": {"generation": generation}, "spec": {"replicas": 2}, "status": status}
    assert sample.progress(deployment) == told


# ---------------------------------------------------------------- deleting


def test_deleting_the_data_never_follows_a_link(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("kept")
    data = tmp_path / "data"
    data.mkdir()
    (data / "link").symlink_to(tmp_path / "mine")
    uninstall.remove_tree(str(data))
    assert not data.exists()
    assert (tmp_path / "mine" / "file").read_text() == "kept"
    uninstall.remove_tree(str(data))  # gone already is fine


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "uninstall asks first, and there is no terminal"),
        (("--no-input",), "uninstall asks first"),
        (("--purge",), "--purge deletes all data, and needs the name"),
        (("--purge", "--yes"), "--purge deletes all data, and needs the name"),
        (("--purge", "--yes", "--confirm", "another"), "this machine is called"),
    ],
)
def test_uninstall_does_nothing_unasked(shell, words, told):
    code, out, err = shell("uninstall", *words)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {told}")
    assert "nothing was changed" in err
    code, out, _ = shell("uninstall", "--plan", *words)
    assert code == 0
    assert "packet filter table golden" in out
