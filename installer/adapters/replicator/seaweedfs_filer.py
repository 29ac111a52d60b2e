"""One cluster's filer: what it holds under a path, what its change log says, and small files of ours in it.

Metadata over gRPC, contents over HTTP, both to the filer alone. Every call has a limit; every failure is a
``CallFailedError``, which never leaves the adapter.
"""

from __future__ import annotations

import http.client
import posixpath
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote

from teraferry.bundles.system.clock import now_utc
from teraferry.installer.adapters.cluster.seaweedfs_rpc import CALL_SECONDS, CallFailedError, call, stream
from teraferry.installer.adapters.replicator.seaweedfs_http import http_to
from teraferry.installer.adapters.replicator.seaweedfs_judging import Change, Piece, Version

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from teraferry.installer.adapters.replicator import seaweedfs_filer_pb2 as pb

FILER: Final = "/filer_pb.SeaweedFiler/"

NOT_FOUND: Final = "no entry is found"
"""How SeaweedFS 4 says that a path is not there; its gRPC status is "unknown" for that as for any failure."""

COPY_SECONDS: Final = 600.0
"""A copy is made inside the cluster; 10 GB at 20 MB/s."""

LOG_SECONDS: Final = 600.0
"""12,000 entries a second were read on a busy machine: 7 million of them."""

MAX_PIECE_BYTES: Final = 64 * 1024 * 1024
"""Of one part of a file; a filer cuts at 4 MiB unless told otherwise. Held in memory."""

LIST_ENTRIES: Final = 1000

CLIENT: Final = "teraferry"
CLIENT_ID: Final = 0x7E7A
"""A filer ends an older reading of its log by the same id; the epoch says which is older."""

Answer = TypeVar("Answer", bound="Message")


class Filer:
    """One filer, and below which path it is replicated.

    Args:
        address: HTTP address; gRPC is 10000 above.
        path: The replicated path.
    """

    def __init__(self, address: str, path: str) -> None:
        self.address = address
        self._path = path

    def lookup(self, path: str) -> Version | None:
        """Return what is there now; None when nothing is."""
        from teraferry.installer.adapters.replicator import seaweedfs_filer_pb2 as pb

        directory, name = posixpath.split(path)
        request = pb.LookupDirectoryEntryRequest(directory=directory, name=name)
        try:
            answer = self._call("LookupDirectoryEntry", request, pb.LookupDirectoryEntryResponse)
        except CallFailedError as error:
            if NOT_FOUND in str(error):
                return None
            raise
        return version_of(answer.entry)

    def names(self, directory: str) -> Iterator[tuple[str, bool]]:
        """Yield (name, is a directory) for all that ``directory`` holds; nothing where there is none."""
        from teraferry.installer.adapters.replicator import seaweedfs_filer_pb2 as pb

        last = ""
        while True:
            page: list[tuple[str, bool]] = []

            def keep(answer: pb.ListEntriesResponse, page: list[tuple[str, bool]] = page) -> None:
                page.append((answer.entry.name, answer.entry.is_directory))

            request = pb.ListEntriesRequest(directory=directory, startFromFileName=last, limit=LIST_ENTRIES)
            stream(
                self.address, FILER + "ListEntries", request, pb.ListEntriesResponse, each=keep, seconds=CALL_SECONDS
            )
            yield from page
            if len(page) < LIST_ENTRIES:
                return
            last = page[-1][0]

    def changes(self, paths: frozenset[str], *, since_ns: int) -> Mapping[str, list[Change]]:
        """Return what the change log says of ``paths`` from then until now, oldest first."""
        logs: dict[str, list[Change]] = defaultdict(list)

        def keep(answer: pb.SubscribeMetadataResponse) -> None:
            replaced = replaced_by(answer, since_ns=since_ns)
            for path, change in changes_of(answer):
                if path not in paths:
                    continue
                log = logs[path]
                if replaced is not None and replaced[0] == path and (not log or log[-1].version != replaced[1].version):
                    log.append(replaced[1])
                log.append(change)

        self._read_log(keep, since_ns=since_ns)
        return logs

    def written(self, *, since_ns: int) -> frozenset[str]:
        """Return the paths that clients of this cluster wrote from then until now.

        Where replication replaced what is as young as that, it may have been a client's whose line was lost.
        """
        found: set[str] = set()

        def keep(answer: pb.SubscribeMetadataResponse) -> None:
            replaced = replaced_by(answer, since_ns=since_ns)
            if replaced is not None:
                found.add(replaced[0])
            found.update(path for path, change in changes_of(answer) if not change.replicated)

        self._read_log(keep, since_ns=since_ns)
        return frozenset(found)

    def signature(self) -> int:
        """Return what this filer signs its changes with."""
        from teraferry.installer.adapters.replicator import seaweedfs_filer_pb2 as pb

        request = pb.GetFilerConfigurationRequest()
        return self._call("GetFilerConfiguration", request, pb.GetFilerConfigurationResponse).signature

    def move(self, source: str, target: str, *, as_from: int) -> None:
        """Put ``source`` in the place of ``target``, in one step; replication does not send that to ``as_from``.

        Args:
            source: A file.
            target: What stands there is gone afterwards.
            as_from: The other filer's signature: what bears it came from there.
        """
        from teraferry.installer.adapters.replicator import seaweedfs_filer_pb2 as pb

        old_directory, old_name = posixpath.split(source)
        new_directory, new_name = posixpath.split(target)
        request = pb.AtomicRenameEntryRequest(
            old_directory=old_directory,
            old_name=old_name,
            new_directory=new_directory,
            new_name=new_name,
            signatures=[as_from],
        )
        self._call("AtomicRenameEntry", request, pb.Answered)

    def copy(self, source: str, target: str) -> None:
        """Copy a file inside the cluster, all it says of itself included."""
        self._http("POST", f"{quote(target)}?cp.from={quote(source, safe='')}", seconds=COPY_SECONDS)

    def write(self, path: str, content: bytes | Iterable[bytes], *, size_bytes: int | None = None) -> None:
        """Write a file of ours; ``size_bytes`` tells the size of one that comes in pieces."""
        headers = {} if size_bytes is None else {"Content-Length": str(size_bytes)}
        http_to(self.address, "PUT", quote(path), content=content, headers=headers, seconds=COPY_SECONDS)

    def read_deleted(self, piece: Piece) -> bytes:
        """Return a part of a file that is in a volume of this cluster, deleted or not.

        A deletion leaves the bytes until the volume is vacuumed: when 30 % of it are garbage, looked at every 14 min.

        Raises:
            CallFailedError: It is not there any more.
        """
        from teraferry.installer.adapters.replicator import seaweedfs_filer_pb2 as pb

        volume = piece.file_id.partition(",")[0]
        found = self._call("LookupVolume", pb.LookupVolumeRequest(volume_ids=[volume]), pb.LookupVolumeResponse)
        reasons = []
        for location in found.locations_map[volume].locations:
            try:
                target = f"/{piece.file_id}?readDeleted=true"
                return http_to(location.url, "GET", target, limit_bytes=MAX_PIECE_BYTES)[1]
            except CallFailedError as error:
                reasons.append(str(error))
        raise CallFailedError("; ".join(reasons) or f"{self.address}: volume {volume} is nowhere")

    def make_directory(self, path: str) -> None:
        """Make an empty directory."""
        self._http("POST", quote(path.rstrip("/")) + "/")

    def read(self, path: str) -> bytes | None:
        """Return the start of a small file of ours; None when it is not there."""
        return self._http("GET", quote(path), may_lack=True)

    def delete(self, path: str) -> None:
        """Delete a file of ours. Idempotent."""
        self._http("DELETE", quote(path), may_lack=True)

    def _read_log(self, each: Callable[[pb.SubscribeMetadataResponse], None], *, since_ns: int) -> None:
        from teraferry.installer.adapters.replicator import seaweedfs_filer_pb2 as pb

        now_ns = int(now_utc().timestamp() * 1e9)
        request = pb.SubscribeMetadataRequest(
            client_name=CLIENT,
            client_id=CLIENT_ID,
            client_epoch=now_ns // 1_000_000 % 2**31,
            path_prefix=self._path.rstrip("/") + "/",
            since_ns=max(1, since_ns),
            until_ns=now_ns,
        )
        method, answer = FILER + "SubscribeMetadata", pb.SubscribeMetadataResponse
        stream(self.address, method, request, answer, each=each, seconds=LOG_SECONDS)

    def _call(self, method: str, request: Message, answer: type[Answer]) -> Answer:
        return call(self.address, FILER + method, request, answer)

    def _http(self, method: str, target: str, *, may_lack: bool = False, seconds: float = CALL_SECONDS) -> bytes | None:
        status, content = http_to(self.address, method, target, accept_missing=may_lack, seconds=seconds)
        return None if status == http.HTTPStatus.NOT_FOUND else content


def version_of(entry: pb.Entry) -> Version:
    """Return what an entry holds.

    Files that clients wrote in pieces have no MD5 of the whole. Replication copies piece by piece, so theirs, in
    the order of the file, say as much.
    """
    attributes = entry.attributes
    chunks = sorted(entry.chunks, key=lambda chunk: (chunk.offset, chunk.modified_ts_ns))
    content = attributes.md5.hex() or entry.content.hex() or ",".join(f"{each.offset}:{each.e_tag}" for each in chunks)
    ends = [each.offset + each.size for each in chunks]
    return Version(
        size_bytes=max([attributes.file_size, len(entry.content), *ends]),
        content=content,
        modified_ns=attributes.mtime * 1_000_000_000 + attributes.mtime_ns,
        is_directory=entry.is_directory,
    )


def changes_of(event: pb.SubscribeMetadataResponse) -> Iterator[tuple[str, Change]]:
    """Yield (path, change) for one line of the log; a move changes two paths."""
    said = event.event_notification
    # Each filer that a change went through signs it; a client's went through one.
    replicated = said.is_from_other_cluster or len(set(said.signatures)) > 1
    new_directory = said.new_parent_path or event.directory
    old_path = posixpath.join(event.directory, said.old_entry.name) if said.HasField("old_entry") else ""
    new_path = posixpath.join(new_directory, said.new_entry.name) if said.HasField("new_entry") else ""
    if old_path and old_path != new_path:
        yield old_path, Change(None, replicated)
    if new_path:
        pieces = _pieces_of(said.new_entry)
        yield new_path, Change(version_of(said.new_entry), replicated, pieces, said.new_entry.content)


def replaced_by(event: pb.SubscribeMetadataResponse, *, since_ns: int) -> tuple[str, Change] | None:
    """Return (path, what stood there before this change), when that was made from then on."""
    said = event.event_notification
    if not said.HasField("old_entry") or said.old_entry.is_directory:
        return None
    version = version_of(said.old_entry)
    if version.modified_ns < since_ns:
        return None
    path = posixpath.join(event.directory, said.old_entry.name)
    return path, Change(version, False, _pieces_of(said.old_entry), said.old_entry.content, found=True)


def _file_id(chunk: pb.FileChunk) -> str:
    """Return the id as volume servers take it; the change log holds it in numbers."""
    if chunk.file_id:
        return chunk.file_id
    key = f"{chunk.fid.file_key:x}"
    return f"{chunk.fid.volume_id},{key.zfill(len(key) + len(key) % 2)}{chunk.fid.cookie:08x}"


def _pieces_of(entry: pb.Entry) -> tuple[Piece, ...]:
    return tuple(
        Piece(
            _file_id(chunk),
            chunk.offset,
            chunk.size,
            is_plain=not chunk.cipher_key and not chunk.is_chunk_manifest,
        )
        for chunk in sorted(entry.chunks, key=lambda chunk: chunk.offset)
    )
