"""HAProxy's runtime API: lines of text over a Unix socket, spoken to on HAProxy's own node through its transport."""

from __future__ import annotations

from typing import Final

from teraferry.installer.adapters.traffic.haproxy_layout import MAX_ANSWER_BYTES, UnexpectedAnswerError
from teraferry.installer.ports import NodeTransport

ASK_SECONDS: Final = 10.0
"""An answer needs a few ms; HAProxy itself closes a silent socket after 10 s."""

_ASK = """
set -eu
if command -v perl >/dev/null 2>&1; then
  exec perl -MIO::Socket::UNIX -e '
    my $socket = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "$ARGV[0]: $!\\n";
    print $socket do { local $/; <STDIN> }; $socket->flush; print while <$socket>;' "$1"
fi
exec python3 -c '
import socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    connection.sendall(sys.stdin.buffer.read())
    while piece := connection.recv(65536):
        sys.stdout.buffer.write(piece)' "$1"
"""
# A shell and coreutils cannot speak to a socket of this kind. Debian and what comes of it always has perl-base, Red
# Hat's always python3; socat, which HAProxy's manual uses, comes with neither.

_OTHERS = """
for process in /proc/[0-9]*; do
  [ "$(cat "$process/comm" 2>/dev/null)" = haproxy ] || continue
  pid=${process#/proc/}
  [ "$pid" = "$1" ] && echo this || echo "$pid"
done
sed -n 's/^PPid:[[:space:]]*/parent /p' "/proc/$1/status"
"""


class RuntimeApi:
    """One HAProxy's socket.

    Args:
        transport: Reaches HAProxy's node.
        socket: The socket's path there.
    """

    def __init__(self, transport: NodeTransport, socket: str) -> None:
        self._transport = transport
        self._socket = socket

    def ask(self, *commands: str, shown: int) -> list[str]:
        """Send ``commands`` at once; return what was said first, and the answers of the last ``shown``.

        What shows something ends with an empty line. What changes something says nothing but a line end when it
        went well, and a text and an empty line when not.

        Raises:
            UnexpectedAnswerError: The socket does not answer, or not with so many.
            RefusedError: ``node-unreachable``, 40.
        """
        line = ";".join(commands) + "\n"
        done = self._transport.run(
            ["sh", "-c", _ASK, "sh", self._socket], stdin=line.encode(), timeout_seconds=ASK_SECONDS
        )
        if done.status:
            words = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise UnexpectedAnswerError(words[-1][:200] if words else f"status {done.status}")
        if len(done.stdout) > MAX_ANSWER_BYTES:
            raise UnexpectedAnswerError(f"answer above {MAX_ANSWER_BYTES} bytes")
        *answers, rest = done.stdout.decode("utf-8", "replace").split("\n\n")
        said = [answer.strip() for answer in answers[:-shown] if answer.strip()]
        if len(answers) < shown or rest.strip():
            raise UnexpectedAnswerError(f"{len(answers)} answers, expected {shown}")
        return [*said, *answers[-shown:]]

    def is_alone(self, pid: str) -> bool:
        """Tell whether no other HAProxy is on the node than ``pid`` and the process that started it."""
        done = self._transport.run(["sh", "-c", _OTHERS, "sh", pid], timeout_seconds=ASK_SECONDS)
        said = done.text().split("\n")
        parent = next((line.removeprefix("parent ") for line in said if line.startswith("parent ")), "")
        others = {line for line in said if line.isdecimal()} - {parent}
        return "this" in said and not others
