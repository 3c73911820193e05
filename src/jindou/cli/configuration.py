"""Settings, from where each was given: flag, JINDOU_* variable, the user's file, the machine's file, default."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from jindou.cli.problems import USAGE, Problem
from jindou.settings import Settings

MACHINE_FILE = "/etc/jindou/config.toml"
FIELDS = Settings.__annotations__
LONGEST_RUN = 80  # bytes: the path of a Unix socket ends at 108


def user_file(env: Mapping[str, str]) -> str:
    home = env.get("XDG_CONFIG_HOME") or os.path.join(env.get("HOME", "/root"), ".config")
    return os.path.join(home, "jindou", "config.toml")


def load(
    flags: Mapping[str, Any], env: Mapping[str, str], files: bool = True
) -> tuple[Settings, dict[str, str]]:
    """The settings, and for each that is not a default where it came from."""
    chosen: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for path in (env.get("JINDOU_CONFIG") or MACHINE_FILE, user_file(env)) if files else ():
        for name, value in read_file(path).items():
            chosen[name], origin[name] = value, f"{name} in {path}"
    for name in FIELDS:
        if (text := env.get(f"JINDOU_{name.upper()}")) is not None:
            chosen[name], origin[name] = text, f"JINDOU_{name.upper()}"
        if flags.get(name) is not None:
            given = os.path.abspath(flags[name]) if name == "data" and flags[name] else flags[name]
            chosen[name], origin[name] = given, f"--{name.replace('_', '-')}"
    values = {name: convert(name, value, origin[name]) for name, value in chosen.items()}
    for name, value in values.items():
        if wrong := unusable(name, value):
            raise Problem(f"{origin[name]} {wrong}", "JD-CLI-603", status=USAGE)
    return Settings(**values), origin


def unusable(name: str, value: Any) -> str:
    """What is wrong with a value of the right type, or ""."""
    shown = repr(value)
    if name in ("api_port", "node_port") and not 0 < value < 65536:
        return f"has to be from 1 to 65535, not {shown}"
    if name in ("data", "run", "logs") and not (
        os.path.isabs(value) and value.strip("/") and value.isprintable()
    ):
        return f"has to be the path of a folder from /, not {shown}"
    if name == "run" and len(value.encode()) > LONGEST_RUN:
        return f"is longer than {LONGEST_RUN} bytes, too long for sockets in it"
    if name in ("name", "bridge") and not (
        value.isascii()
        and value.replace("-", "x").isalnum()
        and value.islower()
        and len(value) < 16
    ):
        return f"has to be at most 15 lower-case letters, digits and hyphens, not {shown}"
    if name == "api_address" or name.endswith(("_cidr", "_cidr6")):
        return bad_address(name, value)
    return ""


def bad_address(name: str, value: str) -> str:
    import ipaddress

    try:
        if name == "api_address":
            ipaddress.ip_address(value)
            return ""
        network = ipaddress.ip_network(value)
    except ValueError:
        what = "an address" if name == "api_address" else "a network like 10.210.0.0/16"
        return f"has to be {what}, not {value!r}"
    family = 6 if name.endswith("6") else 4
    if network.version != family:
        return f"has to be a network of IPv{family}, not {value}"
    return ""


def read_file(path: str) -> dict[str, Any]:
    if not os.path.exists(path):
        return {}
    import tomllib

    try:
        with open(path, "rb") as file:
            content = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise Problem(
            f"{path} can't be read",
            "JD-CLI-603",
            why=said or "",
            do=[f"${{EDITOR:-vi}} {path}"],
            status=USAGE,
        ) from error
    for name in content:
        if name not in FIELDS:
            raise Problem(
                f"{path} sets {name!r}, which is no setting",
                "JD-CLI-603",
                why=f"settings are {', '.join(FIELDS)}",
                do=[f"${{EDITOR:-vi}} {path}"],
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
    import json

    path = env.get("JINDOU_CONFIG") or MACHINE_FILE
    content = {**read_file(path), **changes}
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(f"{path}.new", "w") as file:
        for name, value in content.items():
            file.write(f"{name} = {json.dumps(value, ensure_ascii=False)}\n")
    os.replace(f"{path}.new", path)


def as_environment(settings: Settings) -> dict[str, str]:
    """What the two processes are started with, so that they agree with whoever started them."""
    return {
        f"JINDOU_{name.upper()}": str(value)
        for name, value in settings._asdict().items()
        if value != Settings._field_defaults[name]
    }
