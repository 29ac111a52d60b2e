"""gRPC to SeaweedFS: one call at a time, many at once, and the storage's own lock.

grpclib is pure Python and imported only where it is used. Every call has a time limit and a
connection of its own, so a server that was restarted a moment ago is never met on a stale one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final, TypeVar

from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.clock import monotonic_seconds, sleep_seconds

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from grpclib.client import Channel

    from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

GRPC_PORT_OFFSET: Final = 10_000
"""SeaweedFS listens for gRPC on its HTTP port plus this, unless told otherwise."""

CALL_SECONDS: Final = 10.0
"""Limit of a call that moves no data; they take milliseconds."""

MAX_FILE_BYTES: Final = 256 * 1024 * 1024
"""Most of one file taken over gRPC: an index of 15 million objects; held in memory."""

LOCK_NAME: Final = "shell"
"""The lock that every changing ``weed shell`` command takes; SeaweedFS lets it lapse after 10 s."""

LOCK_CLIENT: Final = "teraferry"
RENEW_SECONDS: Final = 3.0

MASTER: Final = "/master_pb.Seaweed/"
VOLUME_SERVER: Final = "/volume_server_pb.VolumeServer/"

Answer = TypeVar("Answer", bound="Message")
Result = TypeVar("Result")


class CallFailedError(Exception):
    """One call failed; the message names server, method and reason. Never leaves the adapter."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request to one server."""

    server: str  # HTTP address, host:port
    method: str  # full path
    request: Message


def call(server: str, method: str, request: Message, answer: type[Answer], *, seconds: float = CALL_SECONDS) -> Answer:
    """Send one request and return the answer.

    Raises:
        CallFailedError: The server could not be reached, refused, or did not answer in time.
    """

    async def exchange(channel: Channel) -> Answer:
        from grpclib.client import UnaryUnaryMethod

        unary: UnaryUnaryMethod[Message, Answer] = UnaryUnaryMethod(channel, method, type(request), answer)
        return await unary(request, timeout=seconds)

    return asyncio.run(_with_channel(server, method, exchange))


def fetch_file(server: str, request: pb.CopyFileRequest, *, seconds: float) -> bytes:
    """Return a file of a volume server, at most ``MAX_FILE_BYTES`` of it.

    Raises:
        CallFailedError: As ``call``.
    """

    async def exchange(channel: Channel) -> bytes:
        from grpclib.client import UnaryStreamMethod

        from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

        stream = UnaryStreamMethod(channel, VOLUME_SERVER + "CopyFile", pb.CopyFileRequest, pb.CopyFileResponse)
        content = bytearray()
        for piece in await stream(request, timeout=seconds):
            content += piece.file_content[: MAX_FILE_BYTES - len(content)]
        return bytes(content)

    return asyncio.run(_with_channel(server, "CopyFile", exchange))


def stream(
    server: str, method: str, request: Message, answer: type[Answer], *, each: Callable[[Answer], None], seconds: float
) -> None:
    """Send one request and hand ``each`` piece of its answer over, to the end.

    Raises:
        CallFailedError: As ``call``; some pieces may have been handed over.
    """

    async def exchange(channel: Channel) -> None:
        from grpclib.client import UnaryStreamMethod

        opened: UnaryStreamMethod[Message, Answer] = UnaryStreamMethod(channel, method, type(request), answer)
        async with opened.open(timeout=seconds) as pieces:
            await pieces.send_message(request, end=True)
            async for piece in pieces:
                each(piece)

    asyncio.run(_with_channel(server, method, exchange))


def stream_to_end(server: str, method: str, request: Message, *, seconds: float) -> None:
    """Send one request whose answer is a stream that says nothing of use, and wait for its end.

    Raises:
        CallFailedError: As ``call``.
    """
    from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

    stream(server, VOLUME_SERVER + method, request, pb.Answered, each=lambda _: None, seconds=seconds)


def call_all(calls: Sequence[Call], *, at_once: int, seconds: float = CALL_SECONDS) -> list[str]:
    """Send many requests whose answers do not matter; return the reason of each that failed."""

    async def one(each: Call, gate: asyncio.Semaphore) -> str:
        async def exchange(channel: Channel) -> None:
            from grpclib.client import UnaryUnaryMethod

            from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

            unary = UnaryUnaryMethod(channel, each.method, type(each.request), pb.Answered)
            await unary(each.request, timeout=seconds)

        async with gate:
            try:
                await _with_channel(each.server, each.method, exchange)
            except CallFailedError as error:
                return str(error)
        return ""

    async def everything() -> list[str]:
        gate = asyncio.Semaphore(at_once)
        return [reason for reason in await asyncio.gather(*(one(each, gate) for each in calls)) if reason]

    return asyncio.run(everything())


async def _with_channel(server: str, method: str, exchange: Callable[[Channel], Awaitable[Result]]) -> Result:
    from grpclib.client import Channel
    from grpclib.exceptions import GRPCError, StreamTerminatedError

    host, _, port = server.rpartition(":")
    channel = Channel(host, int(port) + GRPC_PORT_OFFSET)
    try:
        return await exchange(channel)
    except GRPCError as error:
        raise CallFailedError(f"{server} {method.rpartition('/')[2]}: {error.message}") from error
    except (OSError, StreamTerminatedError, TimeoutError) as error:
        raise CallFailedError(f"{server} {method.rpartition('/')[2]}: {error or type(error).__name__}") from error
    finally:
        channel.close()


class AdminLock:
    """The storage's own lock, renewed while it is held. Ours lapses 10 s after we die.

    Args:
        masters: HTTP addresses; the leader among them is found.
        wait_seconds: How long to wait for another holder. A dead one's lease lapses after 10 s.
    """

    def __init__(self, masters: Sequence[str], *, wait_seconds: float) -> None:
        self._masters = tuple(masters)
        self._wait_seconds = wait_seconds
        self._token = 0
        self._time = 0
        self._lost = ""
        self._over = threading.Event()
        self._renewer = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> AdminLock:
        deadline = monotonic_seconds() + self._wait_seconds
        while not self._lease():
            if monotonic_seconds() > deadline:
                raise RefusedError(
                    "storage-locked",
                    f"storage lock of {self._masters[0]}: {self._lost}, expected it to be free",
                    hint="Wait until the other `weed shell` or job has ended, then type the same command again.",
                    facts={"masters": list(self._masters), "waited_seconds": self._wait_seconds},
                )
            sleep_seconds(0.5)
        self._lost = ""
        self._renewer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._renewer.join()
        from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

        request = pb.ReleaseAdminTokenRequest(
            previous_token=self._token, previous_lock_time=self._time, lock_name=LOCK_NAME
        )
        try:
            call_leader(self._masters, "ReleaseAdminToken", request, pb.ReleaseAdminTokenResponse)
        except CallFailedError:
            # It lapses by itself; what was done under it is judged by observation, not by this.
            return

    def require_held(self) -> None:
        """Check that nobody else may have taken the lock meanwhile; call before every change.

        Raises:
            RefusedError: ``storage-lock-lost``, 40.
        """
        if self._lost:
            raise RefusedError(
                "storage-lock-lost",
                f"storage lock of {self._masters[0]}: {self._lost}, expected it to stay ours",
                hint="Check that the masters are reachable, then type the same command again; it goes on from here.",
                facts={"masters": list(self._masters)},
            )

    def _lease(self) -> bool:
        from teraferry.installer.adapters.cluster import seaweedfs_pb2 as pb

        request = pb.LeaseAdminTokenRequest(
            previous_token=self._token, previous_lock_time=self._time, lock_name=LOCK_NAME, client_name=LOCK_CLIENT
        )
        try:
            granted = call_leader(self._masters, "LeaseAdminToken", request, pb.LeaseAdminTokenResponse)
        except CallFailedError as error:
            self._lost = str(error)
            return False
        self._token, self._time = granted.token, granted.lock_ts_ns
        return True

    def _renew(self) -> None:
        failures = 0
        while not self._over.wait(RENEW_SECONDS):
            failures = 0 if self._lease() else failures + 1
            if not failures:
                self._lost = ""
            elif failures * RENEW_SECONDS > 6:
                # The lease lapses at 10 s; from here on another shell may hold it at any moment.
                return


def call_leader(masters: Sequence[str], method: str, request: Message, answer: type[Answer]) -> Answer:
    """Ask the masters in turn; those that do not lead refuse.

    Raises:
        CallFailedError: None of them answered; the message holds every reason.
    """
    reasons = []
    for master in masters:
        try:
            return call(master, MASTER + method, request, answer)
        except CallFailedError as error:
            reasons.append(str(error))
    raise CallFailedError("; ".join(reasons) or "no master is named")
