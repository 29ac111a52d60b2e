"""Reach a node by ssh: ``transport = { ssh = "deploy@10.0.0.11", identity = "...", host_key = "ssh-ed25519 ..." }``.

The node's host key stands in site.toml, so nobody is asked to believe a fingerprint, and nothing of the user's own
ssh settings has a say: no configuration, no known hosts, no agent, no password. One connection a node is kept and
used again; a dead one is found within 15 s and made anew by the next command.

All of asyncssh runs on one thread with an event loop of its own, since everything else here is ordinary code.
"""

from __future__ import annotations

import asyncio
import shlex
import threading
from collections.abc import Coroutine, Iterable, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from teraferry.bundles.digest import Buffer
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.process import Completed
from teraferry.installer.adapters.transport.shell import STATUS_STALLED, ShellTransport

if TYPE_CHECKING:
    import asyncssh

_T = TypeVar("_T")

CONNECT_SECONDS: Final = 15.0
KEEPALIVE_SECONDS: Final = 5
KEEPALIVE_MISSED: Final = 3
"""So many answers missing in a row, and the connection is taken for dead."""

BROKEN_OFF: Final = b"\0teraferry: the source broke off\0"
"""Makes a half of anything something else than the whole, whatever its digest."""

ABORT_SECONDS: Final = 10.0
"""To refuse what was broken off, a node has to digest what it has."""

STATUS_SIGNALLED: Final = -1
"""A signal ended the command there."""


@dataclass(frozen=True, slots=True)
class SshAddress:
    """Who to be, where, and which key the node must show."""

    user: str
    host: str
    port: int
    host_key: str  # "ssh-ed25519 AAAA...", as the node's /etc/ssh/ssh_host_ed25519_key.pub begins
    identity: Path  # private key file, on this machine


class SshTransport(ShellTransport):
    """``NodeTransport`` by ssh.

    Args:
        node: The node's name in site.toml, for messages.
        address: Where it is and how to know it.
    """

    def __init__(self, node: str, address: SshAddress) -> None:
        super().__init__(node, SshChannel(node, address))


@cache
def ssh_transport(node: str, address: SshAddress) -> SshTransport:
    """Return this process's one way to ``node``: what stages, looks and locks there shares a connection."""
    return SshTransport(node, address)


class SshChannel:
    """``Channel`` by ssh. Nothing is connected until the first command."""

    def __init__(self, node: str, address: SshAddress) -> None:
        self._node = node
        self._address = address
        self._connection: asyncssh.SSHClientConnection | None = None
        self._connecting: asyncio.Lock | None = None

    def run(self, argv: Sequence[str], *, stdin: bytes, timeout_seconds: float) -> Completed:
        """Run ``argv`` there; see ``transport.shell.Channel``.

        Raises:
            OSError: No connection, or it broke.
            RefusedError: ``node-host-key-differs`` or ``node-login-refused``, 40.
        """
        return self._on_loop(self._run(argv, stdin, timeout_seconds))

    def stream(self, argv: Sequence[str], pieces: Iterable[Buffer], *, stalled_after_seconds: float) -> Completed:
        """Run ``argv`` there with ``pieces`` on its standard input; see ``transport.shell.Channel``."""
        process = self._on_loop(self._start(argv))
        broken = False
        try:
            for piece in pieces:
                # The piece is copied: the reader may reuse its memory while the connection still sends.
                if not self._on_loop(self._send(process, bytes(piece), stalled_after_seconds)):
                    broken = True
                    break
        except BaseException as error:
            with suppress(OSError):
                self._on_loop(self._abort(process))
            if isinstance(error, FutureTimeoutError | TimeoutError):
                return Completed(tuple(argv), STATUS_STALLED, b"", b"")
            raise
        return self._on_loop(self._finish(process, argv, broken=broken))

    # ---- on the loop's thread

    async def _run(self, argv: Sequence[str], stdin: bytes, timeout_seconds: float) -> Completed:
        process = await self._start(argv)
        try:
            out, err = await asyncio.wait_for(process.communicate(stdin), timeout_seconds)
        except TimeoutError:
            out, err = process.collect_output()
            process.kill()
            process.close()
            return Completed(tuple(argv), STATUS_STALLED, _bytes(out), _bytes(err))
        return Completed(tuple(argv), _status_of(process), _bytes(out), _bytes(err))

    async def _start(self, argv: Sequence[str]) -> asyncssh.SSHClientProcess[bytes]:
        import asyncssh

        connection = await self._connected()
        try:
            # The far shell splits the line again into just these words.
            return await connection.create_process(shlex.join(argv), encoding=None)
        except asyncssh.Error as error:
            self._connection = None
            raise OSError(f"ssh: {error}") from error

    async def _send(self, process: asyncssh.SSHClientProcess[bytes], piece: bytes, seconds: float) -> bool:
        """Send one piece; False when the command there has ended and says why by its status."""
        try:
            process.stdin.write(piece)
            await asyncio.wait_for(process.stdin.drain(), seconds)
        except (BrokenPipeError, ConnectionError):
            return False
        return True

    async def _finish(
        self, process: asyncssh.SSHClientProcess[bytes], argv: Sequence[str], *, broken: bool
    ) -> Completed:
        if not broken:
            with suppress(BrokenPipeError, ConnectionError):
                process.stdin.write_eof()
        out, err = await process.communicate()
        return Completed(tuple(argv), _status_of(process), _bytes(out), _bytes(err))

    async def _abort(self, process: asyncssh.SSHClientProcess[bytes]) -> None:
        # A closed channel is an end of file to what runs there, and a server may refuse to pass signals on. With
        # bytes behind it that nobody signed, what arrived is not taken for the whole.
        with suppress(TimeoutError, ConnectionError):
            process.stdin.write(BROKEN_OFF)
            process.stdin.write_eof()
            await asyncio.wait_for(process.wait_closed(), ABORT_SECONDS)
        process.channel.abort()
        await process.wait_closed()

    async def _connected(self) -> asyncssh.SSHClientConnection:
        if self._connecting is None:
            self._connecting = asyncio.Lock()
        async with self._connecting:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._connect()
            return self._connection

    async def _connect(self) -> asyncssh.SSHClientConnection:
        import asyncssh

        address = self._address
        try:
            return await asyncssh.connect(
                address.host,
                address.port,
                username=address.user,
                # The one key itself: a line of known_hosts would have to name the host as ssh does, one way for
                # port 22 and another for every other.
                known_hosts=([asyncssh.import_public_key(address.host_key)], [], []),
                client_keys=[str(address.identity)],
                config=None,
                agent_path=None,
                preferred_auth="publickey",
                connect_timeout=CONNECT_SECONDS,
                login_timeout=CONNECT_SECONDS,
                keepalive_interval=KEEPALIVE_SECONDS,
                keepalive_count_max=KEEPALIVE_MISSED,
            )
        except asyncssh.HostKeyNotVerifiable as error:
            raise self._host_key_differs() from error
        except asyncssh.PermissionDenied as error:
            raise self._login_refused() from error
        except (asyncssh.Error, asyncssh.KeyImportError, ValueError) as error:
            raise OSError(f"ssh: {error}") from error

    def _on_loop(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, _loop()).result()

    def _host_key_differs(self) -> RefusedError:
        return RefusedError(
            "node-host-key-differs",
            f"node {self._node}: {self._address.host} shows another host key, expected the one in site.toml",
            hint="Somebody may stand between. If the node was set up anew, compare its key on its own screen "
            "(cat /etc/ssh/ssh_host_ed25519_key.pub) and correct host_key in site.toml.",
            facts={"node": self._node},
        )

    def _login_refused(self) -> RefusedError:
        return RefusedError(
            "node-login-refused",
            f"node {self._node}: it refuses {self._address.user} with the key {self._address.identity}, "
            "expected to be let in",
            hint=f"Add the public half of that key to {self._address.user}'s ~/.ssh/authorized_keys there.",
            facts={"node": self._node},
        )


_STARTING: Final = threading.Lock()
"""Nodes are asked from several threads at once, and ``cache`` alone would let two of them start a loop each."""


def _loop() -> asyncio.AbstractEventLoop:
    """Return the loop of this process, on a thread that ends with it."""
    with _STARTING:
        return _started_loop()


@cache
def _started_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="ssh", daemon=True).start()
    return loop


def _status_of(process: asyncssh.SSHClientProcess[bytes]) -> int:
    if process.exit_status is None:
        # It ended without a word: not the command's own failure, and nobody knows how far it came.
        raise OSError("ssh: the connection broke")
    return STATUS_SIGNALLED if process.exit_status < 0 else process.exit_status


def _bytes(said: bytes | str | None) -> bytes:
    return said.encode() if isinstance(said, str) else said or b""
