"""A request that somebody changed on its way: the person sees what the key would sign, or the program refuses.

The attacker holds the file and knows the format. Without a key of theirs they can change the words, the
bytes to be signed, or both; with bytes of their own they get no signature for this kit, since attaching
compares. What they must never get is a text that says one thing and a signature over another.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from teraferry.bundles.errors import BuildError, TrustError
from teraferry.bundles.limits import MAX_REQUEST_BYTES, MAX_ROOT_ROTATIONS
from teraferry.keys.room.request import BEGIN, END, SigningRequest, encode_request, open_request
from tests.lab.house import House
from tests.lab.signing_room import LabRoom, answer

FLIPS = 150
LATER = "1.9.0"
"""A release that was signed after the one that is asked about."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    house = House(tmp_path_factory.mktemp("house")).open()
    house.kit("0.9.0")
    return house


@pytest.fixture(scope="module", autouse=True)
def _later(house: House, request_file: bytes, desk_file: bytes) -> None:
    house.kit(LATER)


@pytest.fixture(scope="module")
def room(house: House) -> LabRoom:
    return LabRoom(house, house.build("1.0.0"))


@pytest.fixture(scope="module")
def request_file(room: LabRoom) -> bytes:
    return room.request().content


@pytest.fixture(scope="module")
def desk_file(house: House, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    closing = LabRoom(house, house.build("1.0.1"))
    closing.attach([answer(house, name, closing.request().content) for name in ("release-1", "release-2")])
    return closing.request().content


def refused(content: bytes) -> str:
    with pytest.raises(BuildError) as caught:
        open_request(content)
    assert caught.value.exit_status == 31
    return caught.value.reference


def data_of(content: bytes) -> dict[str, Any]:
    line = content.decode().partition(f"\n{BEGIN}\n")[2].partition(f"\n{END}\n")[0]
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def with_data(content: bytes, data: dict[str, Any]) -> bytes:
    """Return the file with other data and the old text: what a forger without our program writes."""
    line = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return content.decode().partition(BEGIN)[0].encode() + f"{BEGIN}\n{line}\n{END}\n".encode()


def assert_refused_with_and_without_words(content: bytes, change: Callable[[dict[str, Any]], None]) -> None:
    """A forger keeps the old words, or lets our own program draw new ones."""
    data = data_of(content)
    change(data)
    changed = with_data(content, data)
    assert changed != content
    assert refused(changed) == "request-changed"

    with pytest.raises(BuildError) as caught:
        encode_request(msgspec.convert(data, SigningRequest))
    assert caught.value.reference == "request-changed"


@pytest.mark.parametrize("name", ["request_file", "desk_file"])
def test_the_file_as_it_was_written_opens(name: str, request: pytest.FixtureRequest) -> None:
    content = request.getfixturevalue(name)

    assert with_data(content, data_of(content)) == content
    assert open_request(content).text in content.decode()


@pytest.mark.parametrize("name", ["request_file", "desk_file"])
def test_no_flipped_bit_anywhere_opens(name: str, request: pytest.FixtureRequest) -> None:
    content = request.getfixturevalue(name)
    chance = random.Random(4)

    for _ in range(FLIPS):
        changed = bytearray(content)
        changed[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        assert refused(bytes(changed)) in ("request-changed", "request-malformed")


@pytest.mark.parametrize("name", ["request_file", "desk_file"])
def test_no_word_of_the_text_can_be_changed(name: str, request: pytest.FixtureRequest) -> None:
    content = request.getfixturevalue(name).decode()
    text, begin, data = content.partition(f"\n{BEGIN}\n")
    lines = text.split("\n")

    for number, line in enumerate(lines):
        other = line.replace("1", "2") if "1" in line else line + " "
        changed = "\n".join([*lines[:number], other, *lines[number + 1 :]])
        assert refused((changed + begin + data).encode()) == "request-changed"


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(targets=data["targets"].replace('"version":"1.0.0"', '"version":"1.0.9"')),
        lambda data: data.update(targets=data["targets"].replace("{", "{ ", 1)),
        lambda data: data.update(targets=data["targets"].replace("targets", "root", 1)),
        lambda data: data.update(targets=json.dumps(json.loads(data["roots"][0])["signed"])),
        lambda data: data.update(targets="x" * (4 * 1024 * 1024 + 1)),
        lambda data: data.update(targets="[" * 100_000),
        lambda data: data.update(checksums=data["checksums"].replace("teraferry-installer", "teraferry-installed")),
        lambda data: data.update(checksums=data["checksums"] + "0" * 64 + "  other\n"),
        lambda data: data.update(checksums=""),
        lambda data: data.update(manifest=data["manifest"].replace("1.0.0", "1.0.1")),
        lambda data: data.update(manifest=data["previous"]["manifest"]),
        lambda data: data.update(index=data["previous"]["index"]),
        lambda data: data.update(index=data["index"].rstrip("=") + "A==="),
        lambda data: data.update(index="%"),
        lambda data: data.update(roots=[data["roots"][0] + " " * 4 * 1024 * 1024]),
        lambda data: data.update(roots=[]),
        lambda data: data.update(roots=data["roots"] * 2),
        lambda data: data.update(roots=data["roots"] * 300),
        lambda data: data.update(roots=[data["roots"][0].replace('"threshold":2', '"threshold":1', 1)]),
        lambda data: data["previous"].update(targets=data["previous"]["targets"].replace("0.9.0", "0.9.1")),
        lambda data: data["previous"].update(targets='{"signatures":[],"signed":' + data["targets"] + "}"),
    ],
)
def test_data_that_contradicts_itself_gets_no_words(
    request_file: bytes, change: Callable[[dict[str, Any]], None]
) -> None:
    assert_refused_with_and_without_words(request_file, change)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(snapshot=data["snapshot"].replace('"version":3', '"version":4', 1)),
        lambda data: data.update(timestamp=data["timestamp"].replace('"version":3', '"version":4', 1)),
        lambda data: data.update(timestamp=data["snapshot"], snapshot=data["timestamp"]),
        lambda data: data.update(targets=data["targets"].replace('"sig":"', '"sig":"00', 1)),
        lambda data: data.update(targets='{"signatures":[],"signed":' + _signed(data["targets"]) + "}"),
    ],
)
def test_a_desk_request_without_the_release_keys_or_for_other_targets_does_not_open(
    desk_file: bytes, change: Callable[[dict[str, Any]], None]
) -> None:
    assert_refused_with_and_without_words(desk_file, change)


def _signed(targets: str) -> str:
    return json.dumps(json.loads(targets)["signed"])


def test_a_later_release_does_not_pass_for_the_last_one(house: House, request_file: bytes) -> None:
    later = json.loads((house.trust.path / "releases" / f"{LATER}.json").read_bytes())

    assert_refused_with_and_without_words(request_file, lambda data: data.update(previous=later))


def test_the_roots_of_another_product_do_not_vouch(request_file: bytes, tmp_path: Path) -> None:
    other = House(tmp_path / "other", product="billing").open()

    assert_refused_with_and_without_words(
        request_file, lambda data: data.update(roots=[other.root.decode()], previous=None)
    )


def test_roots_are_counted_before_the_first_is_read(request_file: bytes) -> None:
    data = data_of(request_file) | {"roots": ["x"] * (MAX_ROOT_ROTATIONS + 1)}

    with pytest.raises(BuildError) as caught:
        open_request(with_data(request_file, data))
    assert isinstance(caught.value.__cause__, TrustError)
    assert caught.value.__cause__.facts["file"] == "roots"


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(previous=None),
        lambda data: data.update(production=True),
        lambda data: data.update(targets=data["targets"].replace('"sequence":2', '"sequence":3')),
    ],
)
def test_another_request_that_makes_sense_is_told_in_other_words(
    request_file: bytes, change: Callable[[dict[str, Any]], None]
) -> None:
    data = data_of(request_file)
    change(data)
    assert refused(with_data(request_file, data)) == "request-changed"

    new = encode_request(msgspec.convert(data, SigningRequest))
    assert open_request(new).text != open_request(request_file).text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"no request",
        f"\n{BEGIN}\n{{}}\n{END}\n".encode(),
        f"\n{BEGIN}\n{'[' * 200_000}\n{END}\n".encode(),
        f'\n{BEGIN}\n{{"kind":"root","format":1}}\n{END}\n'.encode(),
        f'\n{BEGIN}\n{{"kind":"release","format":1e400}}\n{END}\n'.encode(),
        f"\n{END}\n{BEGIN}\n".encode(),
    ],
)
def test_what_is_no_request_is_told_apart(content: bytes) -> None:
    assert refused(content) == "request-malformed"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"format":1,"index"', '"format":1,"format":1,"index"'),
        ('"format":1,"index"', '"format":2,"index"'),
        ('"format":1,"index"', '"comment":"","format":1,"index"'),
        ('"format":1,"index"', '"format":1, "index"'),
        ('"kind":"release"', '"kind":"desk"'),
        ('"production":false', '"production":0'),
        (f"\n{END}\n", f"\n{END}\nand more\n"),
    ],
)
def test_fields_are_neither_doubled_nor_unknown_nor_spelled_otherwise(request_file: bytes, old: str, new: str) -> None:
    assert refused(request_file.decode().replace(old, new, 1).encode()) == "request-malformed"


def test_a_consistent_request_for_other_bytes_says_so_and_its_answer_does_not_fit_the_kit(
    house: House, room: LabRoom, tmp_path: Path
) -> None:
    """The forger builds another bundle and asks with our program: the words are true, the kit is not theirs."""
    room.request()
    evil = LabRoom(house, house.build("1.0.0", name="evil", blobs=(b"evil",)))
    written = evil.request()
    answers = [answer(house, name, written.content) for name in ("release-1", "release-2")]

    assert written.opened.to_sign.bundle.digest in written.opened.text
    assert written.opened.digest != room.request().opened.digest
    with pytest.raises(BuildError) as caught:
        room.attach(answers)
    assert caught.value.reference == "answer-to-another-request"


def test_names_from_outside_cannot_draw_on_the_terminal(house: House, tmp_path: Path) -> None:
    from teraferry.keys.room.words import _text  # the one place through which every line of the text goes

    assert "\x1b" not in _text(["  image \x1b[2Jevil\u202e"])


def test_a_request_is_far_below_its_limit(request_file: bytes) -> None:
    assert len(request_file) * 500 < MAX_REQUEST_BYTES
