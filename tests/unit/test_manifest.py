"""``bundle.json`` has one reading: what it names, it names once."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import BundleError
from teraferry.bundles.manifest import (
    Chart,
    File,
    Image,
    Manifest,
    Release,
    Smoke,
    encode_manifest,
    parse_manifest,
)

ONE, OTHER = digest_of(b"one"), digest_of(b"other")
MANIFEST = Manifest(format=1, release=Release(product="demo", version="1.0.0"))

TWICE: dict[str, list[Any]] = {
    "images": [Image(name="api", digest=digest, media_type="a/b", platforms=()) for digest in (ONE, OTHER)],
    "files": [File(name="bin/weed", mode="0755", digest=digest, length_bytes=1) for digest in (ONE, OTHER)],
    "charts": [Chart(name="demo.tgz", digest=digest, length_bytes=1) for digest in (ONE, OTHER)],
    "smoke": [Smoke(http="/", field="ok", equals=equals) for equals in (True, False)],
}


@pytest.mark.parametrize("what", TWICE)
def test_a_manifest_that_names_a_thing_twice_is_refused(what: str) -> None:
    # Its signers would be shown one of the two, and a site might install the other.
    once, twice = (replace(MANIFEST, **{what: tuple(TWICE[what][:count])}) for count in (1, 2))
    assert parse_manifest(encode_manifest(once)) == once

    with pytest.raises(BundleError) as caught:
        parse_manifest(encode_manifest(twice))

    assert (caught.value.exit_status, caught.value.reference) == (10, "manifest-malformed")
