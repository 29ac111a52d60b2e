"""A key may be risked only if it could be brought back, or somebody wrote down that it need not be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import RefusedError
from teraferry.keys.continuity.judge import KeyFacts
from teraferry.keys.continuity.recovery import Recovery, parse_recovery_proof, require_acceptance, require_recoverable

FACTS = KeyFacts(name="Company_Key", node="vol-1", store="tpm", handle="h", proof="presence", marks={"name": "000b"})


def content(**changes: Any) -> bytes:
    proof = {
        "key": "Company_Key",
        "identity": FACTS.identity,
        "proven_on": "2026-03-04",
        "proven_by": "Lan",
        "how": "x",
    }
    return json.dumps({**proof, **changes}).encode()


def test_proof_of_the_present_key_is_enough_and_says_who_and_when() -> None:
    said = require_recoverable(FACTS, Recovery(parse_recovery_proof(content())))

    assert "Lan" in said
    assert "2026-03-04" in said


def test_acceptance_is_enough_and_is_said() -> None:
    assert "test bench" in require_recoverable(FACTS, Recovery(accepted_without="Lan, 2026-03-04, test bench"))


@pytest.mark.parametrize(
    "recovery",
    [
        Recovery(),
        Recovery(parse_recovery_proof(content(key="Other_Key"))),
        Recovery(parse_recovery_proof(content(identity=digest_of(b"an older key")))),
        Recovery(parse_recovery_proof(content()), problem="the file may be written by others"),
    ],
)
def test_anything_else_is_refused(recovery: Recovery) -> None:
    with pytest.raises(RefusedError) as caught:
        require_recoverable(FACTS, recovery)

    assert (caught.value.reference, caught.value.exit_status) == ("key-recovery-unproven", 40)
    assert caught.value.facts["identity"] == FACTS.identity


@pytest.mark.parametrize(
    "broken",
    [b"", b"[]", b"{}", content(more=1), content(identity="x"), content(proven_on="yesterday"), content(how="")],
)
def test_file_that_is_no_proof_is_refused(broken: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_recovery_proof(broken)


@pytest.mark.parametrize("text", ["Lan, 2026-03-04, test bench", "Nguyen Lan , 2026-03-04 , spare site, no data yet"])
def test_acceptance_names_who_when_and_why(text: str) -> None:
    require_acceptance(text)


@pytest.mark.parametrize(
    "text", ["yes", "Lan, today, reason", "Lan, 2026-13-01, reason", ", 2026-03-04, x", "Lan, 2026-03-04, "]
)
def test_acceptance_that_does_not_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        require_acceptance(text)
