"""An upload that is given up ends at once, also where what reaches the node has forked, and leaves nothing there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import BundleError
from teraferry.installer.adapters.transport.command import CommandTransport

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]

# As nsenter does into another PID namespace: the process we started waits for the one that works.
FORKING = ("sh", "-c", 'exec 3<&0; "$@" <&3 & wait "$!"', "sh")


def pieces_that_turn_bad() -> Iterator[bytes]:
    yield b"x" * 1_000_000
    raise BundleError("member-too-large", "entry: more than it says, expected less", hint="Do not use this kit.")


def test_upload_whose_source_is_refused_ends_though_the_prefix_forked(tmp_path: Path) -> None:
    transport = CommandTransport("there", FORKING)
    path = tmp_path / "bin" / "weed"

    with pytest.raises(BundleError) as caught:
        transport.upload(pieces_that_turn_bad(), str(path), mode=0o755, digest=digest_of(b"whole"))

    assert caught.value.reference == "member-too-large"
    assert list(path.parent.glob("*")) == []
