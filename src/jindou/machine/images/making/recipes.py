"""The images that can be made from this machine's own packages: names and recipes, nothing else.

Each has the entry point, ports, user, volumes and paths of the image of that name on Docker Hub, so
that YAML written for those works with these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Recipe:
    """A layer on `base`: accounts first (so that packages find them), packages, then files.

    `files` are path -> (mode, text), `links` path -> target, `folders` path -> (mode, owner).
    """

    config: Mapping[str, Any]
    base: str = ""  # "" starts from nothing
    packages: tuple[str, ...] = ()
    accounts: Mapping[str, int] = field(default_factory=dict)  # user and group -> id
    folders: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    files: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)


REDIS_ENTRY = """#!/bin/sh
set -e
# "redis --port 1" and "redis /some.conf" mean the server
case "$1" in -* | *.conf) set -- redis-server "$@" ;; esac
if [ "$1" = redis-server ]; then
    case " $* " in *" --protected-mode "*) ;; *) set -- "$@" --protected-mode no ;; esac
    if [ "$(id -u)" = 0 ]; then
        find . \\! -user redis -exec chown redis '{}' +
        exec setpriv --reuid redis --regid redis --clear-groups "$0" "$@"
    fi
fi
exec "$@"
"""

NGINX_ENTRY = """#!/bin/sh
set -e
# scripts that an image built on this one adds
if [ "$1" = nginx ] && [ -d /docker-entrypoint.d ]; then
    for script in /docker-entrypoint.d/*.sh; do
        [ -x "$script" ] && "$script"
    done
fi
exec "$@"
"""

NGINX_CONF = """user nginx;
worker_processes auto;
error_log /var/log/nginx/error.log notice;
pid /run/nginx.pid;

events {
    worker_connections 1024;
}

http {
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    log_format main '$remote_addr - $remote_user [$time_local] "$request" '
                    '$status $body_bytes_sent "$http_referer" '
                    '"$http_user_agent" "$http_x_forwarded_for"';
    access_log /var/log/nginx/access.log main;
    sendfile on;
    keepalive_timeout 65;
    include /etc/nginx/conf.d/*.conf;
}
"""

NGINX_DEFAULT = """server {
    listen 80;
    listen [::]:80;
    server_name localhost;

    location / {
        root /usr/share/nginx/html;
        index index.html index.htm;
    }
}
"""

RECIPES: Mapping[str, Recipe] = {
    "busybox": Recipe(config={"Cmd": ["sh"], "Env": [PATH]}),
    "debian": Recipe(config={"Cmd": ["bash"], "Env": [PATH]}),
    "python": Recipe(
        base="debian",
        packages=("python3", "ca-certificates"),
        links={"usr/local/bin/python": "/usr/bin/python3"},
        config={"Cmd": ["python3"], "Env": [PATH, "LANG=C.UTF-8"]},
    ),
    "redis": Recipe(
        base="debian",
        packages=("redis-server",),
        accounts={"redis": 999},
        folders={"data": (0o755, "redis")},
        files={"usr/local/bin/docker-entrypoint.sh": (0o755, REDIS_ENTRY)},
        config={
            "Entrypoint": ["docker-entrypoint.sh"],
            "Cmd": ["redis-server"],
            "Env": [PATH],
            "ExposedPorts": {"6379/tcp": {}},
            "Volumes": {"/data": {}},
            "WorkingDir": "/data",
        },
    ),
    "nginx": Recipe(
        base="debian",
        packages=("nginx-light",),
        accounts={"nginx": 101},
        folders={"docker-entrypoint.d": (0o755, "root")},
        files={
            "docker-entrypoint.sh": (0o755, NGINX_ENTRY),
            "etc/nginx/nginx.conf": (0o644, NGINX_CONF),
            "etc/nginx/conf.d/default.conf": (0o644, NGINX_DEFAULT),
        },
        links={"var/log/nginx/access.log": "/dev/stdout", "var/log/nginx/error.log": "/dev/stderr"},
        config={
            "Entrypoint": ["/docker-entrypoint.sh"],
            "Cmd": ["nginx", "-g", "daemon off;"],
            "Env": [PATH],
            "ExposedPorts": {"80/tcp": {}},
            "StopSignal": "SIGQUIT",
        },
    ),
}
