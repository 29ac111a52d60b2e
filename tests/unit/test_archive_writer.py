"""The writer: a valid, deterministic, seekable .tar.gz, and nothing a reader would refuse."""

from __future__ import annotations

import hashlib
import io
import random
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from teraferry.bundles import layout
from teraferry.bundles.archive_writer import EntrySource, WrittenArchive, write_archive
from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import BuildError
from teraferry.bundles.gzip_member import GZIP_HEADER, stored_member_length
from teraferry.bundles.limits import CHUNK_BYTES
from teraferry.bundles.progress import Silent
from tests.fakes.small_bundle import source_of, sources_of, write_small_bundle

MIB = 1024 * 1024
TEXT = b"".join(b"line %d of a file that deflates well\n" % number for number in range(200_000))


def noise(length: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(length)


BLOBS = (b"", b"x", TEXT, noise(9 * MIB), noise(4 * MIB, 2), noise(4 * MIB - 3, 3), noise(512, 4))


def write(sources: list[EntrySource], *, jobs: int = 2, mtime: int = 0) -> tuple[bytes, WrittenArchive]:
    file = io.BytesIO()
    written = write_archive(file, sources, jobs=jobs, mtime=mtime, progress=Silent())
    return file.getvalue(), written


def refusal(sources: list[EntrySource]) -> BuildError:
    with pytest.raises(BuildError) as caught:
        write(sources)
    assert caught.value.exit_status == 30
    return caught.value


def blob_source(content: bytes = b"blob", **changes: object) -> EntrySource:
    return replace(source_of(layout.blob_name(digest_of(content)), content), **changes)  # type: ignore[arg-type]


def test_bundle_is_listed_by_tar_and_passes_gzip(tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path, BLOBS)

    listed = subprocess.run(["tar", "tzf", bundle.path], capture_output=True, text=True, check=True).stdout.split()
    subprocess.run(["gzip", "-t", bundle.path], check=True)

    assert listed == [entry.name for entry in bundle.written.index.entries] + [layout.INDEX]


def test_bundle_gives_python_tarfile_every_byte(tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path, BLOBS)

    with tarfile.open(bundle.path) as archive:
        contents = {member.name: archive.extractfile(member) for member in archive}
        found = {name: file.read() for name, file in contents.items() if file is not None}

    for blob in BLOBS:
        assert found[layout.blob_name(digest_of(blob))] == blob


def test_bundle_is_the_same_for_any_number_of_jobs() -> None:
    archives = [write(sources_of(BLOBS), jobs=jobs)[0] for jobs in (1, 2, 4, 16)]

    assert len({digest_of(archive) for archive in archives}) == 1


def test_bundle_depends_on_the_time_it_is_given() -> None:
    early, late = write(sources_of(()), mtime=0)[0], write(sources_of(()), mtime=1_700_000_000)[0]

    assert early != late
    with tarfile.open(fileobj=io.BytesIO(late)) as archive:
        assert {member.mtime for member in archive} == {1_700_000_000}


@pytest.mark.parametrize("mtime", [-1, 8**11])
def test_writer_refuses_a_time_that_no_header_holds(mtime: int) -> None:
    with pytest.raises(BuildError) as caught:
        write(sources_of(()), mtime=mtime)

    assert caught.value.reference == "mtime-out-of-range"


def test_written_facts_are_those_of_the_file() -> None:
    raw, written = write(sources_of(BLOBS))

    assert written.length_bytes == len(raw)
    assert written.digest == digest_of(raw)
    assert written.index_digest == digest_of(raw[written.index_offset_bytes :])
    before = raw[: written.index_offset_bytes]
    wanted = tuple(digest_of(before[start : start + CHUNK_BYTES]) for start in range(0, len(before), CHUNK_BYTES))
    assert written.index.chunks == wanted


def test_entries_lie_one_after_the_other_and_each_starts_a_member() -> None:
    raw, written = write(sources_of(BLOBS))

    offset = 0
    for entry in written.index.entries:
        assert entry.offset_bytes == offset
        assert raw[offset : offset + 10] == GZIP_HEADER
        offset += entry.compressed_bytes
    assert offset == written.index_offset_bytes
    assert raw[offset : offset + 10] == GZIP_HEADER


def test_entry_is_stored_when_its_sample_saves_less_than_three_percent() -> None:
    mostly_noise = noise(MIB - 20_000) + bytes(20_000)  # saves about 1.9 %
    less_noise = noise(MIB - 50_000) + bytes(50_000)  # saves about 4.8 %
    _, written = write(sources_of([mostly_noise, less_noise]))

    encodings = {entry.digest: entry.encoding for entry in written.index.entries}

    assert encodings[digest_of(mostly_noise)] == "stored"
    assert encodings[digest_of(less_noise)] == "deflated"


@pytest.mark.parametrize("start", [b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"])
def test_entry_of_a_sample_or_more_that_is_compressed_already_is_stored_untried(start: bytes) -> None:
    whole, short, inside = start + bytes(MIB - len(start)), start + bytes(MIB - 1024), b"x" + start + bytes(MIB)
    _, written = write(sources_of([whole, short, inside]))

    encodings = {entry.digest: entry.encoding for entry in written.index.entries}

    assert encodings[digest_of(whole)] == "stored"
    assert encodings[digest_of(short)] == encodings[digest_of(inside)] == "deflated"


def test_empty_entry_is_its_header_alone() -> None:
    _, written = write(sources_of([b""]))

    row = next(entry for entry in written.index.entries if entry.digest == digest_of(b""))

    assert (row.plain_bytes, row.compressed_bytes) == (0, stored_member_length(512))


class OnlyReads:
    """A stream as some libraries hand out: read and close, short reads, nothing else."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def read(self, count: int) -> bytes:
        return self._file.read(min(count, 100_000))

    def __enter__(self) -> OnlyReads:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def test_writer_takes_a_stream_that_can_only_read_and_reads_short() -> None:
    blob = noise(5 * MIB)
    plain = write(sources_of([blob]))[0]

    sources = [*sources_of([]), blob_source(blob, open=lambda: cast(BinaryIO, OnlyReads(blob)))]

    assert write(sources)[0] == plain


def test_writer_computes_a_digest_that_is_not_given() -> None:
    _, written = write([*sources_of([]), blob_source(digest=None)])

    assert written.index.entries[-1].digest == digest_of(b"blob")


@pytest.mark.parametrize("found", [b"bloB", b"blobs", b"blo", b""])
def test_writer_refuses_a_source_whose_bytes_changed(found: bytes) -> None:
    error = refusal([*sources_of([]), blob_source(open=lambda: io.BytesIO(found))])

    assert error.reference == "source-changed"
    assert error.facts["entry"] == layout.blob_name(digest_of(b"blob"))


def test_writer_refuses_a_source_that_shrinks_after_many_pieces() -> None:
    blob = noise(40 * MIB)

    error = refusal([*sources_of([]), blob_source(blob, open=lambda: io.BytesIO(blob[:-1]))])

    assert error.reference == "source-changed"


def test_writer_refuses_a_source_that_cannot_be_opened(tmp_path: Path) -> None:
    error = refusal([*sources_of([]), blob_source(open=(tmp_path / "absent").open)])

    assert error.reference == "source-unreadable"


def without(name: str) -> Callable[[list[EntrySource]], list[EntrySource]]:
    return lambda sources: [source for source in sources if source.name != name]


@pytest.mark.parametrize(
    ("change", "reference"),
    [
        (without(layout.OCI_LAYOUT), "entry-missing"),
        (without(layout.OCI_INDEX), "entry-missing"),
        (without(layout.MANIFEST), "entry-missing"),
        (lambda sources: sources[::-1], "entry-out-of-order"),
        (lambda sources: [*sources, sources[-1]], "entry-duplicate"),
        (lambda sources: [*sources, source_of("a/../b", b"")], "entry-name-unsafe"),
        (lambda sources: [*sources, source_of("/etc/passwd", b"")], "entry-name-unsafe"),
        (lambda sources: [*sources, source_of("notes.txt", b"")], "entry-name-unknown"),
        (lambda sources: [*sources, source_of(layout.INDEX, b"")], "entry-name-unknown"),
    ],
)
def test_writer_refuses_what_a_reader_would_refuse(
    change: Callable[[list[EntrySource]], list[EntrySource]], reference: str
) -> None:
    assert refusal(change(sources_of([b"a", b"b"]))).reference == reference


def test_writer_refuses_a_blob_whose_name_is_not_its_digest() -> None:
    named_wrongly = replace(source_of(layout.blob_name(digest_of(b"a")), b"b"), digest=None)

    assert refusal([*sources_of([]), named_wrongly]).reference == "entry-name-disagrees"


def test_writer_raises_the_system_error_when_the_disk_is_full() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space left"):
        write_archive(cast(BinaryIO, full), sources_of([noise(20 * MIB)]), jobs=2, mtime=0, progress=Silent())


def test_writer_counts_every_plain_byte_once() -> None:
    class Counting(Silent):
        total = 0

        def advance(self, count_bytes: int) -> None:
            self.total += count_bytes

    progress = Counting()
    sources = sources_of(BLOBS)
    write_archive(io.BytesIO(), sources, jobs=2, mtime=0, progress=progress)

    assert progress.total == sum(source.length_bytes for source in sources)


def test_bundle_bytes_are_the_golden_ones() -> None:
    """A change of these is a change of the format or of the compressor, and must be meant."""
    raw, written = write(sources_of([noise(100_000)]))
    stored = raw[written.index.entries[-1].offset_bytes : written.index_offset_bytes]

    assert hashlib.sha256(stored).hexdigest() == "9684883ba1cf953a69702a3cb2632571881e16333c5dce6610043384cafe8a02"
    assert written.index.compressor.startswith("libdeflate level 1 (deflate ")
