"""Every recorded key ends as kept, changed, lost or undecided, and only what was seen whole is kept."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from teraferry.bundles.digest import digest_of
from teraferry.keys.continuity.judge import Answer, KeyFacts, Sight, compare

BLOB = "/var/lib/terachat/company.key.wrapped"
FACTS = KeyFacts(
    name="Company_Key",
    node="vol-1",
    store="tpm",
    handle="0x81010002",
    proof="hmac",
    marks={"name": "000b11", "attributes": "fixedtpm"},
    public_key="PEM",
    challenge="aa" * 32,
    answer=digest_of(b"answer"),
    counter=5,
    blobs={BLOB: digest_of(b"wrapped")},
)


def but(**changes: Any) -> KeyFacts:
    return msgspec.structs.replace(FACTS, **changes)


def verdict(sight: Sight, before: KeyFacts = FACTS) -> tuple[str, tuple[str, ...]]:
    found = compare({"Company_Key": before}, {"Company_Key": sight})
    ((kind, finding),) = [
        (kind, each) for kind in ("kept", "changed", "lost", "undecided") for each in getattr(found, kind)
    ]
    assert found.is_intact == (kind == "kept")
    assert (finding.name, finding.node) == ("Company_Key", "vol-1")
    return kind, finding.reasons


def test_key_that_is_there_as_recorded_and_proves_itself_is_kept() -> None:
    assert verdict(Sight(FACTS, Answer.RIGHT)) == ("kept", ())


def test_key_whose_store_says_that_it_is_gone_is_lost() -> None:
    assert verdict(Sight(None))[0] == "lost"


def test_key_whose_store_could_not_be_asked_is_undecided() -> None:
    assert verdict(Sight(None, undecided="no TPM answered")) == ("undecided", ("no TPM answered",))


def test_key_that_nobody_looked_at_is_undecided() -> None:
    found = compare({"Company_Key": FACTS}, {})

    assert ([each.name for each in found.undecided], found.kept, found.is_intact) == (["Company_Key"], (), False)


@pytest.mark.parametrize(
    "changes",
    [
        {"marks": {"name": "000b22", "attributes": "fixedtpm"}},
        {"marks": {"name": "000b11", "attributes": "fixedtpm|noda"}},
        {"marks": {"name": "000b11"}},
        {"public_key": "another"},
        {"handle": "0x81010009"},
        {"node": "vol-2"},
        {"store": "pkcs11"},
        {"proof": "presence"},
        {"blobs": {BLOB: digest_of(b"other")}},
        {"counter": 4},
    ],
)
def test_key_that_differs_from_its_record_is_changed_even_if_it_proves_itself(changes: dict[str, Any]) -> None:
    kind, reasons = verdict(Sight(but(**changes), Answer.RIGHT))

    assert (kind, len(reasons)) == ("changed", 1)


def test_key_that_answers_wrongly_is_changed() -> None:
    assert verdict(Sight(FACTS, Answer.WRONG))[0] == "changed"


def test_key_that_was_not_asked_for_its_proof_is_undecided() -> None:
    assert verdict(Sight(FACTS, Answer.NOT_ASKED))[0] == "undecided"


def test_key_that_is_proved_by_presence_needs_no_answer() -> None:
    before = but(proof="presence")

    assert verdict(Sight(before), before)[0] == "kept"


def test_counter_may_grow() -> None:
    assert verdict(Sight(but(counter=6), Answer.RIGHT))[0] == "kept"


@pytest.mark.parametrize("changes", [{"blobs": {}}, {"counter": None}])
def test_key_whose_blob_or_counter_is_gone_is_lost(changes: dict[str, Any]) -> None:
    assert verdict(Sight(but(**changes), Answer.RIGHT))[0] == "lost"


def test_key_that_was_replaced_is_changed_although_its_login_was_not_risked() -> None:
    sight = Sight(but(public_key="another"), undecided="one try is left")

    assert verdict(sight)[0] == "changed"


def test_key_that_looks_the_same_and_could_not_be_asked_is_undecided() -> None:
    assert verdict(Sight(FACTS, undecided="one try is left")) == ("undecided", ("one try is left",))


def test_identity_tells_another_key_and_other_attributes_apart_and_ignores_what_only_grows() -> None:
    assert FACTS.identity == but(counter=9, challenge="bb" * 32, handle="0x81010009").identity
    assert len({FACTS.identity, but(public_key="x").identity, but(marks={"name": "000b22"}).identity}) == 3
