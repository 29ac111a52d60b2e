"""What targets may say of a bundle: exactly one, by its own name, in a form we know."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from tuf.api.metadata import Targets

from teraferry.bundles.errors import TrustError
from teraferry.bundles.index import SignedBundle
from teraferry.keys.release.facts import encode_bundle, encode_file, read_bundle, read_targets
from teraferry.keys.trusted import SignedFile
from tests.lab.house import NOW

BUNDLE = SignedBundle(
    name="demo-1.0.0.tar.gz",
    length_bytes=1000,
    digest="sha256:" + "1" * 64,
    format=1,
    product="demo",
    version="1.0.0",
    sequence=3,
    index_offset_bytes=900,
    index_digest="sha256:" + "2" * 64,
    signed_at=NOW,
)
INSTALLER = SignedFile(5, "sha256:" + "3" * 64)
NAME = BUNDLE.name


def document() -> dict[str, Any]:
    targets = {NAME: encode_bundle(BUNDLE), "teraferry-installer": encode_file("teraferry-installer", INSTALLER)}
    return Targets(version=1, expires=NOW, targets=targets).to_dict()


def test_what_was_written_is_read() -> None:
    targets = Targets.from_dict(document())

    assert read_bundle(targets) == BUNDLE
    assert read_targets(targets)["teraferry-installer"] == INSTALLER


def facts(written: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = written["targets"][NAME]["custom"]["teraferry"]
    return found


def rename(written: dict[str, Any]) -> None:
    written["targets"]["other.tar.gz"] = written["targets"].pop(NAME)


def second_bundle(written: dict[str, Any]) -> None:
    written["targets"]["demo-2.0.0.tar.gz"] = copy.deepcopy(written["targets"][NAME])


def delegate(written: dict[str, Any]) -> None:
    written["delegations"] = {"keys": {}, "roles": []}


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no bundle": lambda written: written["targets"].pop(NAME),
    "two bundles": second_bundle,
    "another name": rename,
    "a delegation": delegate,
    "another format": lambda written: facts(written).update(format=2),
    "an unknown field": lambda written: facts(written).update(note="x"),
    "a missing field": lambda written: facts(written).pop("sequence"),
    "a number for custom": lambda written: written["targets"][NAME].update(custom=5),
    "a text for custom": lambda written: written["targets"][NAME].update(custom="teraferry"),
    "a list for custom": lambda written: written["targets"][NAME].update(custom=["teraferry"]),
    "a text for facts": lambda written: written["targets"][NAME].update(custom={"teraferry": "demo"}),
    "sequence 0": lambda written: facts(written).update(sequence=0),
    "a product with a slash": lambda written: facts(written).update(product="../demo"),
    "an index digest without prefix": lambda written: facts(written).update(index_digest="2" * 64),
    "a date that is none": lambda written: facts(written).update(signed_at="2026-13-01T00:00:00Z"),
    "an index behind the end": lambda written: facts(written).update(index_offset_bytes=1000),
    "no SHA-256": lambda written: written["targets"][NAME].update(hashes={"sha512": "0" * 128}),
    "half a SHA-256": lambda written: written["targets"][NAME].update(hashes={"sha256": "1" * 63}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_targets_that_say_anything_else_are_refused(change: str) -> None:
    written = document()
    CHANGES[change](written)

    with pytest.raises(TrustError) as caught:
        read_bundle(Targets.from_dict(written))

    assert (caught.value.exit_status, caught.value.reference) == (24, "bundle-not-described")
