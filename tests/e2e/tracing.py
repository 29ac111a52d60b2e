"""Every internet address that a command and all its children ever reach for, as the kernel was asked.

``strace`` sees each ``connect``, ``sendto``, ``sendmsg`` and ``sendmmsg`` of the whole process tree, also
those that fail for want of a route. It stops processes at these calls only (``--seccomp-bpf``), so
the command runs at nearly its own speed.

A server that a rollout starts is no part of the install. Where systemd runs, it is systemd's child; here a
supervisor on each node takes systemd's place, so that the trace ends when the install does.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.nodes import wait_until
from tests.lab.site import LabSite

STRACE = ("strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg,execve", "-s", "0")

_IPV4 = re.compile(r'sin_port=htons\((\d+)\), sin_addr=inet_addr\("([^"]+)"\)')
_IPV6 = re.compile(r'sin6_port=htons\((\d+)\),.*?inet_pton\(AF_INET6, "([^"]+)"')
_CALL = re.compile(r"\b(connect|sendto|sendmsg|sendmmsg)\(")
_EXECUTED = re.compile(r'execve\("([^"]+)"[^\n]*\) = 0$', re.MULTILINE)

_SUPERVISOR = """
mkfifo -m 600 /run/ask /run/answer
touch /run/supervised
while :; do
  read -r script word </run/ask || continue
  "$script" "$word" </dev/null && status=0 || status=$?
  echo "$status" >/run/answer
done
"""

_ASK = """#!/bin/sh
# Asks the node's supervisor, as systemctl asks systemd.
set -eu
exec 9>/run/asking
flock 9
echo "{script} $1" >/run/ask
read -r status </run/answer
exit "$status"
"""


@dataclass(frozen=True, slots=True)
class Trace:
    """What a traced command did."""

    destinations: frozenset[tuple[str, int]]  # IPv4 and IPv6 addresses with their ports
    calls: int  # traced network calls, local sockets included
    programs: frozenset[str]  # paths of what was executed


def read_trace(path: Path) -> Trace:
    """Return what ``strace -o path`` wrote."""
    text = path.read_text(errors="replace")
    lines = [line for line in text.splitlines() if _CALL.search(line)]
    found = {(address, int(port)) for line in lines for form in (_IPV4, _IPV6) for port, address in form.findall(line)}
    return Trace(frozenset(found), len(lines), frozenset(_EXECUTED.findall(text)))


def traced(output: Path) -> list[str]:
    """Return the words to put before a command so that it and its children are traced into ``output``."""
    return [*STRACE, "-o", str(output)]


@contextmanager
def supervised(site: LabSite, folder: Path) -> Iterator[None]:
    """Put a supervisor between the site's service scripts and the servers, while this lasts."""
    nodes = {service.node.name: service.node for service in site.cluster.services}
    running = [
        node.start(["sh", "-c", _SUPERVISOR], output=folder / f"supervisor-{node.name}.log") for node in nodes.values()
    ]
    scripts = [service.node.folder / service.folder.lstrip("/") / "service" for service in site.cluster.services]
    try:
        for node in nodes.values():
            wait_until(f"supervisor of {node.name}", (node.folder / "run" / "supervised").exists)
        for service, script in zip(site.cluster.services, scripts, strict=True):
            script.rename(script.with_name("service.real"))
            script.write_text(_ASK.format(script=f"{service.folder}/service.real"))
            script.chmod(0o755)
        yield
    finally:
        for script in scripts:
            if (real := script.with_name("service.real")).exists():
                real.replace(script)
        for process in running:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a supervisor: the shell in the node, which the process that we started waits for; the servers go on."""
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    process.wait(timeout=10)
