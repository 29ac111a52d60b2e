"""Attack: a stolen stick, or a stolen trust folder. Everything on them may be read by anybody, for ever.

There is nothing to find: no private key in any notation, no PIN, no place where keys lie. With all of it a
thief makes no release that a site takes.
"""

from __future__ import annotations

import base64
import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from teraferry.builder.kit import locate_kit
from teraferry.bundles.errors import TrustError
from tests.lab.house import House


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    house = House(tmp_path_factory.mktemp("house"), release_kinds=("p256", "p384", "rsa", "ed25519")).open()
    house.kit()
    return house


@pytest.fixture(params=["kit", "trust folder"])
def loot(request: pytest.FixtureRequest, house: House) -> Path:
    return house.folder / ("demo-1.0.0" if request.param == "kit" else "trust")


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            yield path.name, content
            if path.name.endswith(".gz"):
                yield f"{path.name}, inflated", gzip.decompress(content)


def secrets(path: Path) -> Iterator[bytes]:
    """Yield a private key in every notation in which it could be left lying about."""
    private = load_pem_private_key(path.read_bytes(), None)
    yield from (line for line in path.read_bytes().splitlines() if b"-----" not in line and len(line) > 20)
    raw = [private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())]
    if isinstance(private, ec.EllipticCurvePrivateKey):
        raw.append(private.private_numbers().private_value.to_bytes((private.key_size + 7) // 8, "big"))
    elif isinstance(private, ed25519.Ed25519PrivateKey):
        raw.append(private.private_bytes_raw())
    elif isinstance(private, rsa.RSAPrivateKey):
        numbers = private.private_numbers()
        raw += [number.to_bytes((number.bit_length() + 7) // 8, "big") for number in (numbers.d, numbers.p, numbers.q)]
    for secret in raw:
        yield from (secret, secret.hex().encode(), secret.hex().upper().encode(), base64.b64encode(secret))


def test_no_private_key_lies_there_in_any_notation(house: House, loot: Path) -> None:
    keys = sorted((house.folder / "private").glob("*.pem"))
    wanted = {secret: path.name for path in keys for secret in secrets(path)}
    assert len(keys) == 8

    found = [
        f"{owner} in {name}"
        for name, content in contents(loot)
        for secret, owner in wanted.items()
        if secret in content
    ]

    assert found == []
    assert not [name for name, content in contents(loot) if b"PRIVATE KEY" in content]


def test_the_search_would_find_a_key_that_lies_there(house: House, tmp_path: Path) -> None:
    loot = Path(shutil.copytree(house.folder / "demo-1.0.0", tmp_path / "kit"))
    key = house.folder / "private" / "release-1.pem"
    shutil.copy(key, loot / "notes.txt")

    assert any(secret in content for _, content in contents(loot) for secret in secrets(key))


def test_nothing_tells_where_the_keys_are(house: House, loot: Path) -> None:
    place = str(house.folder).encode()

    assert not [name for name, content in contents(loot) if place in content]


def test_with_all_of_it_a_thief_makes_no_release_that_a_site_takes(house: House, tmp_path: Path) -> None:
    thief = House(tmp_path / "thief", product=house.product).open()
    stolen = thief.folder / "stolen"
    shutil.copytree(house.folder / "demo-1.0.0", stolen)
    shutil.copytree(thief.kit("1.0.1").folder / "metadata", stolen / "metadata", dirs_exist_ok=True)
    # The root that the site pinned still lies beside signatures of the thief's keys.
    shutil.copy(house.folder / "demo-1.0.0" / "metadata" / "1.root.json", stolen / "metadata")

    with pytest.raises(TrustError) as caught:
        house.judge(locate_kit(stolen))

    assert (caught.value.exit_status, caught.value.reference, caught.value.facts["have"]) == (
        20,
        "threshold-not-met",
        0,
    )
