"""The files of systemd and of Docker that run an application.

What it implements: a socket that systemd opens and a service that it starts, watches and
shuts in (systemd.socket(5), systemd.service(5), systemd.exec(5)); an image without
anything to install. What it leaves out: how the one or the other is taken into use.

In one line::

    for path, text in systemd(site): print(text)
"""

from __future__ import annotations

import json
import re
import sys
import sysconfig
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from .listener import BACKLOG
from .packed import OWN
from .patience import GRACE_S
from .printconfig_site import LOCAL, PACKAGE, Site, about_password, because

_MEMORY: Final = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "131072"}
_WHY_MEMORY: Final = (
    "glibc gives each thread a pool of memory, and none of them gives back what it once needed:"
    " two pools, and what is large goes back."
)
_COPIES: Final = "\0"  # stands for where the copies of a certificate and its key are: %d
_BARE: Final = re.compile(r"[A-Za-z0-9_@%+=:,./$?&*\[\]~-]+")


# -- systemd -----------------------------------------------------------------------------


def why_not(site: Site) -> str:
    """What of a site systemd can't be told; "" if there is nothing."""
    try:
        ip_address(site.host)
    except ValueError:
        if not site.uds:
            return f"--host {site.host}: systemd listens on addresses, such as {LOCAL}"
    if str(site.folder).endswith((" ", "\\")):
        return f"{str(site.folder)!r}: systemd would not read the end of this name"
    return ""


def systemd(site: Site) -> Iterator[tuple[str, str]]:
    """A socket and a service, which has the same name."""
    path = f"/etc/systemd/system/{site.name}.socket"
    yield path, "\n".join([f"# {path}", *_socket(site)]) + "\n"
    path = f"/etc/systemd/system/{site.name}.service"
    yield path, "\n".join([f"# {path}", *_service(site)]) + "\n"


def _socket(site: Site) -> Iterator[str]:
    yield from because(
        "",
        f"`systemctl enable --now {site.name}.socket` opens it. It stays open when the service"
        " starts again: who comes meanwhile waits a moment, and nobody is refused.",
    )
    yield from ("[Unit]", f"Description=Where {site.name} listens", "", "[Socket]")
    yield f"ListenStream={site.address}"
    if site.uds:
        yield from because(
            "",
            "Only the group of the proxy may connect: whoever may is believed, when he says who"
            " asks.",
            "SocketGroup=www-data",
            "SocketMode=0660",
        )
    yield from because("", "So many who come at once wait for their turn.", f"Backlog={BACKLOG}")
    yield from ("", "[Install]", "WantedBy=sockets.target")


def _service(site: Site) -> Iterator[str]:
    yield from because(
        "",
        f"`systemctl restart {site.name}` takes over new code, `systemctl reload {site.name}` the"
        f" .rbr files, `journalctl -u {site.name} -f` shows what it says.",
    )
    yield from ("[Unit]", f"Description={site.name}", f"Requires={site.name}.socket")
    yield from ("After=network.target", "", "[Service]")
    yield from because(
        "", "It says itself that it serves, that it reads its files again, and that it ends.",
        "Type=notify",
    )  # fmt: skip
    yield from _running(site)
    yield from because(
        "",
        "A wrong option is status 2, which another start would not mend.",
        "Restart=on-failure",
        "RestartPreventExitStatus=2",
    )
    yield from because(
        "",
        f"SIGTERM ends it in order, within --grace ({GRACE_S:g} s), which this is longer than.",
        "KillSignal=SIGTERM",
        f"TimeoutStopSec={round(GRACE_S) + 15}",
    )
    watched = "supervisor" if site.workers != "1" else "event loop"
    yield from because(
        "", f"When its {watched} does not move for so long it is started again.", "WatchdogSec=30"
    )
    yield from because("", "Each client is an open file.", "LimitNOFILE=65536")
    memory = " ".join(f"{name}={value}" for name, value in _MEMORY.items())
    yield from because("", _WHY_MEMORY, f"Environment={memory}")
    yield ""
    yield from _walls(site)


def _running(site: Site) -> Iterator[str]:
    yield from because(
        "",
        "Where the .rbr files are, and their modules and pages.",
        f"WorkingDirectory={str(site.folder).replace('%', '%%')}",
    )
    if not (site.pyz or OWN or _is_found(site.folder)):
        found = _word(f"PYTHONPATH={PACKAGE.parent}", variables=False)
        yield from because("", "Where the package is.", f"Environment={found}")
    options = site.trusting()
    if site.certfile:
        options += ["--certfile", f"{_COPIES}/cert.pem", "--keyfile", f"{_COPIES}/key.pem"]
        yield from because(
            "",
            "It gets copies that only it can read, made at its start: a new certificate takes a"
            " restart.",
            f"LoadCredential=cert.pem:{site.certfile}",
            f"LoadCredential=key.pem:{site.keyfile or site.certfile}",
        )
    yield from about_password(site)
    command = " ".join(map(_word, [sys.executable, *site.serving(*options)]))
    yield from because(
        "",
        "The socket above is what it serves; --trust-proxy is for the proxy before it.",
        f"ExecStart={command}",
        "ExecReload=/bin/kill -HUP $MAINPID",
    )


def _word(text: str, *, variables: bool = True) -> str:
    """A word of a command, as systemd.service(5) and systemd.syntax(7) quote one."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    if variables:
        text = text.replace("$", "$$")
    text = text.replace(_COPIES, "%d")
    return text if _BARE.fullmatch(text) else f'"{text}"'


def _is_found(folder: Path) -> bool:
    """Whether Python finds the package by itself when it is started in the folder."""
    return PACKAGE.parent in (folder, Path(sysconfig.get_path("purelib")))


def _walls(site: Site) -> Iterator[str]:
    yield from because(
        "",
        "A user that exists only meanwhile, and may write to nothing but its temporary files. For"
        f" data of its own: StateDirectory={site.name}, which is /var/lib/{site.name}.",
        "DynamicUser=yes",
        "UMask=0077",
        "ProtectSystem=strict",
        "PrivateTmp=yes",
    )
    places = (site.folder, Path(sys.executable))
    if any(one.is_relative_to(home) for one in places for home in ("/home", "/root")):
        words = "It lies in a home, or its Python does, and may read there."
        yield from because("", words, "ProtectHome=read-only")
    else:
        yield from because("", "Nobody's home is there for it.", "ProtectHome=yes")
    yield from because(
        "",
        "It needs no rights of root, now or by any program that it starts.",
        "CapabilityBoundingSet=",
        "NoNewPrivileges=yes",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "LockPersonality=yes",
    )
    yield from because(
        "",
        "Of the machine it sees no devices, no other processes, and nothing to set.",
        "PrivateDevices=yes",
        "ProtectProc=invisible",
        "ProtectClock=yes",
        "ProtectControlGroups=yes",
        "ProtectHostname=yes",
        "ProtectKernelLogs=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelTunables=yes",
    )
    yield from because(
        "",
        "Sockets of the Internet and of this machine, and the calls that a service needs.",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
    )
    yield from ("", "[Install]", "WantedBy=multi-user.target")


# -- Docker ------------------------------------------------------------------------------


def docker(site: Site) -> Iterator[tuple[str, str]]:
    """An image in whose folder the application and the package lie side by side."""
    yield "Dockerfile", "\n".join(["# Dockerfile", *_image(site)]) + "\n"


def _image(site: Site) -> Iterator[str]:
    name = site.name
    tag = "-".join(re.findall("[a-z0-9]+", name.lower()))  # docker takes no others
    if site.pyz:
        yield from because("", f"It is built beside the bundle: docker build -t {tag} .")
    else:
        yield from because(
            "",
            "It is built in the folder of the .rbr file, where a copy of the package lies too:"
            f" docker build -t {tag} .",
        )
    yield from because(
        "",
        "The Python that has printed this. With 3 alone it would be another one some day.",
        f"FROM python:{sysconfig.get_python_version()}-slim",
        f"WORKDIR /srv/{name}",
    )
    yield from because(
        "",
        "There is nothing to install.",
        f"COPY {Path(site.pyz).name} ./" if site.pyz else "COPY . .",
    )
    memory = " ".join(f"{name}={value}" for name, value in _MEMORY.items())
    yield from because("", _WHY_MEMORY, f"ENV {memory}")
    yield from because(
        "", "Nobody in particular; by number, so that others see that it is not root.", "USER 65534"
    )
    scheme = "https" if site.certfile else "http"
    yield f"EXPOSE {site.port}"
    yield from because(
        "", "It is well while it answers.", f"HEALTHCHECK CMD {json.dumps(_asking(site, scheme))}"
    )
    options = ["--host", "0.0.0.0", "--port", str(site.port)]  # noqa: S104
    if site.trusted:
        options += ["--trust-proxy", *site.trusted]
    else:
        yield from because(
            "",
            "Behind a proxy it takes --trust-proxy, with the network from which that comes. A port"
            " that is published has clients come from the address of the bridge: trust nobody"
            " there.",
        )
    if site.certfile:
        options += [
            "--certfile",
            site.certfile,
            *(["--keyfile", site.keyfile] * bool(site.keyfile)),
        ]
    yield from about_password(site)
    command = ["python3", *site.serving(*options)]
    if site.pyz:
        command[1] = Path(site.pyz).name
    yield from because(
        "",
        f"All addresses: those of a container are its own. `docker stop` waits longer than --grace"
        f" ({GRACE_S:g} s).",
        f"CMD {json.dumps(command)}",
    )


def _asking(site: Site, scheme: str) -> list[str]:
    host = site.names[0] if site.names else LOCAL
    url = f"{scheme}://{LOCAL}:{site.port}/__health__"
    asked = f"urlopen(Request({url!r}, headers={{'Host': {host!r}}}), timeout=3)"
    if site.certfile:  # it is not about who that is
        asked = asked.replace(", timeout", ", context=_create_unverified_context(), timeout")
        first = "from ssl import _create_unverified_context; "
    else:
        first = ""
    return ["python3", "-c", f"{first}from urllib.request import Request, urlopen; {asked}"]
