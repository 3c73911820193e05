"""Settings, from where each was given: flag, JINDOU_* variable, the user's file, the machine's file, default."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from jindou.cli.problems import USAGE, Problem
from jindou.settings import Settings

MACHINE_FILE = "/etc/jindou/config.toml"
FIELDS = Settings.__annotations__


def user_file(env: Mapping[str, str]) -> str:
    home = env.get("XDG_CONFIG_HOME") or os.path.join(env.get("HOME", "/root"), ".config")
    return os.path.join(home, "jindou", "config.toml")


def load(flags: Mapping[str, Any], env: Mapping[str, str]) -> tuple[Settings, dict[str, str]]:
    """The settings, and for each that is not a default where it came from."""
    chosen: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for path in (env.get("JINDOU_CONFIG") or MACHINE_FILE, user_file(env)):
        for name, value in read_file(path).items():
            chosen[name], origin[name] = value, path
    for name in FIELDS:
        if (text := env.get(f"JINDOU_{name.upper()}")) is not None:
            chosen[name], origin[name] = text, f"JINDOU_{name.upper()}"
        if flags.get(name) is not None:
            chosen[name], origin[name] = flags[name], f"--{name.replace('_', '-')}"
    values = {name: convert(name, value, origin[name]) for name, value in chosen.items()}
    return Settings(**values), origin


def read_file(path: str) -> dict[str, Any]:
    if not os.path.exists(path):
        return {}
    import tomllib

    try:
        with open(path, "rb") as file:
            content = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise Problem(f"{path} can't be read: {error}", "JD-CLI-603", status=USAGE) from error
    for name in content:
        if name not in FIELDS:
            raise Problem(
                f"{path} sets {name!r}, which is no setting",
                "JD-CLI-603",
                why=f"settings are {', '.join(FIELDS)}",
                status=USAGE,
            )
    return content


def convert(name: str, value: Any, origin: str) -> Any:
    kind = type(Settings._field_defaults[name])
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    text = str(value)
    if kind is int and text.isdigit():
        return int(text)
    if kind is bool and text.lower() in ("1", "true", "yes", "0", "false", "no", ""):
        return text.lower() in ("1", "true", "yes")
    if kind is str:
        return text
    raise Problem(
        f"{origin} has to be {'a number' if kind is int else 'true or false'}, not {text!r}",
        "JD-CLI-603",
        status=USAGE,
    )


def keep(changes: Mapping[str, Any], env: Mapping[str, str]) -> None:
    """Write choices made by flags into the machine's file, so that later runs have them too."""
    path = env.get("JINDOU_CONFIG") or MACHINE_FILE
    content = {**read_file(path), **changes}
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(f"{path}.new", "w") as file:
        for name, value in content.items():
            shown = (
                str(value).lower()
                if isinstance(value, bool)
                else value
                if isinstance(value, int)
                else f'"{value}"'
            )
            file.write(f"{name} = {shown}\n")
    os.replace(f"{path}.new", path)


def as_environment(settings: Settings) -> dict[str, str]:
    """What the two processes are started with, so that they agree with whoever started them."""
    return {
        f"JINDOU_{name.upper()}": str(value)
        for name, value in settings._asdict().items()
        if value != Settings._field_defaults[name]
    }
