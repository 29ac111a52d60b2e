"""Memory that is lent again once nobody looks into it, and never before."""

from __future__ import annotations

import random
from pathlib import Path

from teraferry.bundles.archive_reader import BundleReader
from teraferry.bundles.digest import digest_of
from teraferry.bundles.limits import CHUNK_BYTES
from teraferry.bundles.recycled_memory import RecycledMemory
from teraferry.installer.adapters.registry.connection import _batches
from tests.fakes.small_bundle import write_small_bundle


def test_what_is_looked_into_stays_as_it_is() -> None:
    memory = RecycledMemory(4)
    first = memory.lend()
    first[:] = b"kept"
    part = first.toreadonly()[1:3]
    del first

    others = [memory.lend() for _ in range(3)]
    for other in others:
        other[:] = b"----"

    assert bytes(part) == b"ep"


def test_what_nobody_looks_into_is_lent_again() -> None:
    memory = RecycledMemory(4)
    for _ in range(100):
        pair = [memory.lend(), memory.lend()]
        assert [len(each) for each in pair] == [4, 4]
        del pair

    assert len(memory._pieces) == 2


def test_a_blob_that_goes_by_holds_no_more_than_two_chunks(tmp_path: Path) -> None:
    blob = random.Random(1).randbytes(8 * CHUNK_BYTES + 1)
    bundle = write_small_bundle(tmp_path, [blob])
    with BundleReader(bundle.path, bundle.signed) as reader:
        views = reader.stream_blob(digest_of(blob), receiver_digests=True)
        for batch in _batches(views, length_bytes=len(blob), doing="push"):
            batch.clear()  # as when it was sent

        chunks = reader._chunks
        assert len(chunks._memory._pieces) <= 2 + len(chunks._kept)
