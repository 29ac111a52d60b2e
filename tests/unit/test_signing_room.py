"""Signatures from afar: asked for in a file, given elsewhere, brought back in any order, days apart."""

from __future__ import annotations

import itertools
import json
import shutil
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from tuf.api.metadata import Targets

from teraferry.builder.kit import Kit, locate_kit
from teraferry.builder.sign_answers import AnswerFile
from teraferry.bundles.archive_writer import write_archive
from teraferry.bundles.errors import TeraFerryError
from teraferry.bundles.limits import MAX_ANSWER_BYTES, MAX_RELEASE_RECORD_BYTES
from teraferry.bundles.manifest import Manifest, Release, Smoke, encode_manifest
from teraferry.bundles.progress import Silent
from teraferry.keys.release.record import ReleaseRecord, store_record
from teraferry.keys.room.request import open_request
from teraferry.keys.tuf_metadata import fingerprint_of, parse_metadata, signed_bytes
from tests.fakes.small_bundle import sources_of
from tests.lab.house import NOW, House
from tests.lab.signing_room import LabRoom, answer, tree


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "house").open()


@pytest.fixture
def room(house: House) -> LabRoom:
    return LabRoom(house, house.build())


def key_id(house: House, name: str) -> str:
    """Return the id of a release key by its place in the root: the house lists them in order."""
    number = int(name.removeprefix("release-"))
    return list(house.trust.load_root().signed.roles["targets"].keyids)[number - 1]


def refused(room: LabRoom, *answers: AnswerFile) -> TeraFerryError:
    """Attach, expect a refusal, and see that nothing was written."""
    before = tree(room.kit)
    with pytest.raises(TeraFerryError) as caught:
        room.attach(answers)
    assert tree(room.kit) == before
    assert caught.value.exit_status == 31
    return caught.value


# The way through


def test_a_kit_is_signed_by_people_who_never_saw_it(house: House, room: LabRoom) -> None:
    request = room.request().content
    answers = [answer(house, name, request) for name in ("release-1", "release-2")]

    assert room.attach(answers).missing.keys() == {"snapshot", "timestamp"}
    assert room.attach([answer(house, "desk", room.request().content)]).missing == {}
    assert len(house.judge(room.kit).signers) == 2
    assert house.verify(room.kit)["version"] == "1.0.0"


@pytest.mark.parametrize("order", list(itertools.permutations(("release-1", "release-2", "release-3"))))
def test_answers_come_back_in_any_order_and_days_apart(house: House, room: LabRoom, order: tuple[str, ...]) -> None:
    request = room.request().content
    days = [NOW + timedelta(days=day) for day in (1, 9, 30)]
    for name, now in zip(order, days, strict=True):
        outcome = room.attach([answer(house, name, request, now=now)], desk=True, now=now)

    assert outcome.missing == {}
    assert len(house.judge(room.kit, now=days[-1]).signers) == 3


def test_signing_here_and_answering_there_give_the_same_kit(house: House, room: LabRoom) -> None:
    request = room.request().content
    house.sign(room.kit, "release-3", desk=False)

    outcome = room.attach([answer(house, "release-1", request)], desk=True)

    assert outcome.missing == {}
    assert house.verify(room.kit)["version"] == "1.0.0"


def test_an_answer_attached_again_changes_no_byte_and_counts_once(house: House, room: LabRoom) -> None:
    request = room.request().content
    first, second = (answer(house, "release-1", request) for _ in range(2))
    room.attach([first])
    before = tree(room.kit)

    outcome = room.attach([first, second])

    assert tree(room.kit) == before
    assert outcome.missing["targets"] == {"have": 1, "need": 2}
    assert (outcome.signed, [notice.reference for notice in outcome.notices]) == ((), ["already-signed"])


def test_the_desks_answer_attached_again_changes_no_byte(house: House, room: LabRoom) -> None:
    room.attach([answer(house, name, room.request().content) for name in ("release-1", "release-2")])
    closing = answer(house, "desk", room.request().content)
    room.attach([closing])
    before = tree(room.kit)

    assert room.attach([closing]).missing == {}
    assert tree(room.kit) == before


def test_a_request_is_the_same_until_something_is_signed(house: House, room: LabRoom) -> None:
    first = room.request()

    again = room.request(now=NOW + timedelta(days=2))

    assert again.content == first.content


def test_a_request_to_the_desk_stays_the_same_while_its_answer_is_on_the_way(house: House, room: LabRoom) -> None:
    room.attach([answer(house, name, room.request().content) for name in ("release-1", "release-2")])
    first = room.request()

    again = room.request(now=NOW + timedelta(days=2))

    assert (again.content, first.opened.to_sign.kind) == (first.content, "desk")
    assert room.attach([answer(house, "desk", first.content)]).missing == {}


def test_an_unsigned_closing_does_not_close_a_kit(house: House, room: LabRoom) -> None:
    room.attach([answer(house, name, room.request().content) for name in ("release-1", "release-2")])
    room.request()

    assert room.attach([]).missing.keys() == {"snapshot", "timestamp"}
    with pytest.raises(TeraFerryError) as caught:
        house.judge(room.kit)
    assert (caught.value.exit_status, caught.value.reference) == (20, "threshold-not-met")


# What a person reads, and what is signed


def test_the_bytes_of_the_request_are_the_bytes_of_the_kit(house: House, room: LabRoom) -> None:
    asked = room.request().opened.to_sign
    targets = parse_metadata(Targets, tree(room.kit)["metadata/targets.json"], what="targets.json")

    assert signed_bytes(asked.documents["targets.json"]) == signed_bytes(targets)
    assert asked.checksums == room.kit.checksums()


def test_the_text_says_what_for_whom_and_every_digest(house: House, room: LabRoom) -> None:
    written = room.request()
    text = written.opened.text

    assert written.content.decode().startswith(text)
    assert "demo 1.0.0, number 1 of this product" in text
    assert fingerprint_of(house.trust.load_root())[:8] in text
    assert f"root 1   {' '.join(_eights(fingerprint_of(house.trust.load_root())))}" in text
    assert all(digest in text for digest in written.opened.to_sign.digests().values())
    assert written.opened.to_sign.bundle.digest in text
    assert " ".join(_eights(written.opened.digest.removeprefix("sha256:"))) in text
    assert "none is known" in text


def _eights(digits: str) -> list[str]:
    return [digits[at : at + 8] for at in range(0, len(digits), 8)]


def test_the_next_request_shows_the_difference_to_the_last_signed_release(house: House) -> None:
    house.sign(house.build("1.0.0"), "release-1", "release-2")
    room = LabRoom(house, house.build("1.1.0"))
    (room.kit.folder / "teraferry-installer").write_bytes(b"#!/bin/sh\necho newer\n")

    text = room.request().opened.text

    assert "DIFFERENCE TO THE LAST RELEASE: 1.0.0, number 1" in text
    assert "  ~ kit teraferry-installer   sha256:" in text
    assert "  = 2 unchanged" in text  # what it may replace, and that no OpenPGP key is asked


def test_a_release_that_too_few_signed_is_not_compared_with(house: House) -> None:
    house.sign(house.build("1.0.0"), "release-1", desk=False)

    assert "none is known" in LabRoom(house, house.build("1.1.0")).request().opened.text


def test_a_release_of_keys_revoked_since_then_is_still_compared_with(house: House) -> None:
    house.kit("1.0.0")
    _revoke(house, "release-1")
    room = LabRoom(house, house.build("1.1.0"))

    assert "keys of root 1" in room.request().opened.text


def test_the_last_release_may_be_given_as_a_kit(house: House, room: LabRoom) -> None:
    old = house.kit("0.9.0")
    new = LabRoom(house, house.build("1.1.0", name="new"))
    shutil.rmtree(house.trust.path / "releases")

    assert "none is known" in new.request().opened.text
    assert "LAST RELEASE: 0.9.0" in new.request(since=old).opened.text


def test_a_kit_given_as_the_last_release_must_be_signed(house: House, room: LabRoom) -> None:
    old = LabRoom(house, house.build("0.9.0"))

    with pytest.raises(TeraFerryError) as caught:
        room.request(since=old.kit)
    assert (caught.value.exit_status, caught.value.reference) == (2, "kit-unsigned")

    old.request()
    with pytest.raises(TeraFerryError) as caught:
        LabRoom(house, house.build("1.1.0", name="new")).request(since=old.kit)
    assert (caught.value.exit_status, caught.value.reference) == (31, "request-changed")


def test_who_is_still_missing_is_said_by_key_and_name(house: House, room: LabRoom) -> None:
    outcome = room.attach([answer(house, "release-1", room.request().content)])

    assert {(one.role, one.key_id, one.name) for one in outcome.awaited} == {
        ("targets", key_id(house, name), f"key file {name}.pem") for name in ("release-2", "release-3")
    }
    outcome = room.attach([answer(house, "release-3", room.request().content)])
    assert [(one.role, one.name) for one in outcome.awaited] == [("timestamp", "key file desk.pem")]


def test_a_key_that_moved_is_known_by_its_new_place(house: House, room: LabRoom) -> None:
    moved = house.folder / "private" / "moved.pem"
    (house.folder / "private" / "release-1.pem").rename(moved)
    house.uris["release-1"] = f"file:{moved}"
    room.attach([answer(house, "release-1", room.request().content)])

    names = {one.name for one in LabRoom(house, house.build("1.1.0")).request().outcome.awaited}

    assert names == {"key file moved.pem", "key file release-2.pem", "key file release-3.pem"}


# What does not belong here


def test_a_strangers_key_does_not_answer(house: House, room: LabRoom, tmp_path: Path) -> None:
    stranger = House(tmp_path / "stranger").open()

    with pytest.raises(TeraFerryError) as caught:
        answer(stranger, "release-1", room.request().content)

    assert (caught.value.exit_status, caught.value.reference) == (31, "key-not-in-role")


@pytest.mark.parametrize("name", ["root-1", "desk"])
def test_a_key_of_another_role_does_not_answer(house: House, room: LabRoom, name: str) -> None:
    with pytest.raises(TeraFerryError) as caught:
        answer(house, name, room.request().content)

    assert caught.value.reference == "key-not-in-role"


def test_a_strangers_answer_is_not_attached(house: House, room: LabRoom, tmp_path: Path) -> None:
    stranger = House(tmp_path / "stranger").open()
    theirs = LabRoom(stranger, stranger.build())
    room.request()

    found = answer(stranger, "release-1", theirs.request().content)

    assert refused(room, found).reference == "key-not-in-role"


def test_an_answer_of_a_key_revoked_meanwhile_is_not_attached(house: House, room: LabRoom) -> None:
    early = answer(house, "release-1", room.request().content)
    _revoke(house, "release-1")

    assert refused(room, early).reference == "key-revoked"


def test_an_answer_to_an_older_request_of_a_rebuilt_kit_is_not_attached(house: House, room: LabRoom) -> None:
    late = answer(house, "release-1", room.request().content)
    rebuilt = LabRoom(house, house.build(name="rebuilt", blobs=(b"other",)))
    rebuilt.request()

    assert refused(rebuilt, late).reference == "answer-to-another-request"


def test_an_answer_for_a_kit_signed_anew_of_the_same_bytes_is_not_attached(house: House, room: LabRoom) -> None:
    late = answer(house, "release-1", room.request().content)
    again = LabRoom(house, house.build(name="again"))
    again.request()

    assert refused(again, late).reference == "answer-to-another-request"


def test_answers_to_a_kit_that_never_asked_are_refused(house: House, room: LabRoom) -> None:
    early = answer(house, "release-1", room.request().content)
    silent = LabRoom(house, house.build(name="silent"))

    assert refused(silent, early).reference == "kit-not-requested"


def test_the_desks_answer_to_a_request_that_was_replaced_is_not_attached(house: House, room: LabRoom) -> None:
    room.attach([answer(house, name, room.request().content) for name in ("release-1", "release-2")])
    closing = answer(house, "desk", room.request().content)
    for name in ("snapshot.json", "timestamp.json"):
        (room.kit.folder / "metadata" / name).unlink()

    assert refused(room, closing).reference == "answer-to-another-request"
    room.request(now=NOW + timedelta(days=1))
    assert refused(room, closing).reference == "answer-to-another-request"


@pytest.mark.parametrize("name", ["teraferry-installer", "START-HERE.html", "SHA256SUMS"])
def test_answers_are_not_attached_to_a_kit_that_changed_since_the_request(
    house: House, room: LabRoom, name: str
) -> None:
    early = answer(house, "release-1", room.request().content)
    with (room.kit.folder / name).open("ab") as file:
        file.write(b" ")

    assert refused(room, early).reference == "kit-changed"


def test_one_wrong_answer_among_right_ones_attaches_none(house: House, room: LabRoom) -> None:
    request = room.request().content
    good, bad = answer(house, "release-1", request), _with(answer(house, "release-2", request), key_id="0" * 64)

    assert refused(room, good, bad).reference == "key-not-in-role"


@pytest.mark.parametrize("signed", ["targets.json", "SHA256SUMS"])
def test_a_signature_over_other_bytes_is_not_attached(house: House, room: LabRoom, signed: str) -> None:
    request = room.request().content
    other = LabRoom(house, house.build(name="other", blobs=(b"other",)))
    forged = json.loads(answer(house, "release-1", request).content)
    stray = json.loads(answer(house, "release-1", other.request().content).content)
    forged["signatures"][signed]["signature"] = stray["signatures"][signed]["signature"]

    assert refused(room, _file(forged)).reference == "answer-changed"


@pytest.mark.parametrize("taken_from", ["another key", "another kit", "itself, changed", "itself, and more", "nowhere"])
def test_evidence_of_another_signing_is_not_attached(house: House, room: LabRoom, taken_from: str) -> None:
    request = room.request().content
    other = LabRoom(house, house.build(name="other", blobs=(b"other",)))
    own = json.loads(answer(house, "release-1", request).content)["evidence"]
    stray = {
        "itself, changed": own.replace("release-1.pem", "another.pem"),
        "itself, and more": own.replace('"signed"', '"more": 1, "signed"', 1),
        "another key": json.loads(answer(house, "release-2", request).content)["evidence"],
        "another kit": json.loads(answer(house, "release-1", other.request().content).content)["evidence"],
        "nowhere": "{}",
    }[taken_from]

    assert refused(room, _with(answer(house, "release-1", request), evidence=stray)).reference == "answer-changed"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content.replace(b'"format": 1', b'"format": 1, "format": 1'),
        lambda content: content.replace(b'"format": 1', b'"format": 2'),
        lambda content: content.replace(b'"format": 1', b'"format": 1, "comment": ""'),
        lambda content: content.replace(b'"kind": "release"', b'"kind": "root"'),
        lambda content: content[:-20],
        lambda content: b"\xff" + content,
        lambda content: b"[" * 5000,
        lambda content: b"",
    ],
)
def test_what_is_no_answer_is_told_apart(house: House, room: LabRoom, spoil: object) -> None:
    content = answer(house, "release-1", room.request().content).content

    assert refused(room, AnswerFile("x", spoil(content))).reference == "answer-malformed"  # type: ignore[operator]


def test_an_answer_without_one_of_the_signatures_is_not_attached(house: House, room: LabRoom) -> None:
    content = json.loads(answer(house, "release-1", room.request().content).content)
    del content["signatures"]["SHA256SUMS"]

    assert refused(room, _file(content)).reference == "answer-to-another-request"


def test_an_answer_is_far_below_its_limit(house: House, room: LabRoom) -> None:
    assert len(answer(house, "release-2", room.request().content).content) * 8 < MAX_ANSWER_BYTES


def test_a_production_request_is_not_answered_by_a_key_in_a_file(house: House, room: LabRoom) -> None:
    relaxed = answer(house, "release-1", room.request().content)
    state = house.trust.load_state()
    house.trust.store_state(msgspec.structs.replace(state, production=True))

    with pytest.raises(TeraFerryError) as caught:
        answer(house, "release-1", room.request().content)
    assert caught.value.reference == "key-not-production"
    # Nor does an answer come in that was made before, or by a program that does not ask.
    assert refused(room, relaxed).reference == "key-not-production"


@pytest.mark.parametrize(("bytes_of_a_test", "is_too_large"), [(1_000, False), (9_000_000, True)])
def test_a_request_that_would_be_too_large_is_not_sent(
    house: House, room: LabRoom, bytes_of_a_test: int, is_too_large: bool
) -> None:
    smoke = (Smoke(http="/" + "x" * bytes_of_a_test, field="status", equals="ok"),)
    manifest = Manifest(format=1, release=Release(product="demo", version="1.0.0"), smoke=smoke)
    with room.kit.bundle.open("w+b") as file:
        sources = sources_of((b"blob",), {"bundle.json": encode_manifest(manifest)})
        write_archive(file, sources, jobs=1, mtime=0, progress=Silent())

    if not is_too_large:
        assert open_request(room.request().content)
        return
    with pytest.raises(TeraFerryError) as caught:
        room.request()
    assert (caught.value.exit_status, caught.value.reference) == (31, "request-too-large")


def test_a_record_too_large_for_a_request_is_not_kept(tmp_path: Path) -> None:
    for version, spare in (("1", 0), ("2", 1)):
        record = ReleaseRecord(format=1, targets="", index="", manifest="")
        empty = len(msgspec.json.encode(record)) + 1
        filled = "x" * (MAX_RELEASE_RECORD_BYTES - empty + spare)
        store_record(tmp_path, version, msgspec.structs.replace(record, manifest=filled))

    assert [path.name for path in (tmp_path / "releases").iterdir()] == ["1.json"]


def test_a_request_opened_elsewhere_says_what_was_asked(house: House, room: LabRoom) -> None:
    written = room.request()

    opened = open_request(written.content)

    assert (opened.digest, opened.text, opened.to_sign.role) == (written.opened.digest, written.opened.text, "targets")


def test_a_moved_kit_still_takes_its_answers(house: House, room: LabRoom, tmp_path: Path) -> None:
    early = answer(house, "release-1", room.request().content)
    moved: Kit = locate_kit(Path(shutil.move(room.kit.folder, tmp_path / "elsewhere")))

    assert LabRoom(house, moved).attach([early]).missing["targets"]["have"] == 1


def _with(file: AnswerFile, **fields: str) -> AnswerFile:
    return _file({**json.loads(file.content), **fields})


def _file(document: object) -> AnswerFile:
    return AnswerFile("x.answer", json.dumps(document).encode())


def _revoke(house: House, name: str) -> None:
    revoked = key_id(house, name)
    root = house.next_root()
    root.revoke_key(revoked, "targets")
    house.publish_root(house.sign_root(root, "root-1", "root-2"), root.version)
