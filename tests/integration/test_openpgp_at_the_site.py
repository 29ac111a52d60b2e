"""A site whose policy demands an OpenPGP signature: whole kits, real keys, real gpgv, every verdict."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from teraferry.bundles.errors import BundleError, TeraFerryError
from teraferry.bundles.system.clock import now_utc
from teraferry.installer.trust.openpgp import OpenPgpDemand
from teraferry.installer.verify import VerifiedBundle, verify_artifact_integrity
from teraferry.keys.trust_store import Pinned, TrustStore
from teraferry.keys.trusted import EPOCH
from teraferry.keys.tuf_metadata import Root, fingerprint_of, parse_metadata
from tests.fakes.told import Told
from tests.lab.gnupg import GpgHome
from tests.lab.house import House

DAY = timedelta(days=1)


@dataclass
class Scene:
    house: House
    home: GpgHome
    key: str
    kit: Path
    pinned: Pinned
    demand: OpenPgpDemand

    def verify(
        self, *, now: datetime | None = None, demand: bool = True, pinned: Pinned | None = None
    ) -> tuple[VerifiedBundle, Told]:
        told = Told()
        bundle = verify_artifact_integrity(
            self.kit,
            pinned=pinned or self.pinned,
            built_at=EPOCH,
            now=now or now_utc(),
            whole=True,
            progress=told,
            openpgp=self.demand if demand else None,
        )
        return bundle, told

    def refused(self, **how: datetime) -> tuple[int, str]:
        with pytest.raises(TeraFerryError) as caught:
            self.verify(**how)  # type: ignore[arg-type]
        assert caught.value.hint
        return caught.value.exit_status, caught.value.reference

    def sign(self, *names: str) -> None:
        content = (self.kit / "SHA256SUMS").read_bytes()
        (self.kit / "SHA256SUMS.asc").write_bytes(self.home.sign(content, *(names or (self.key,))))


@pytest.fixture(scope="module")
def home() -> Iterator[GpgHome]:
    with GpgHome() as made:
        made.make_key("release")
        yield made


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("house")).open(now=now_utc())


@pytest.fixture
def scene(house: House, home: GpgHome, tmp_path: Path) -> Scene:
    key = home.fingerprint("release")
    kit = house.build(name=tmp_path.name)
    house.sign(kit, "release-1", "release-2", now=now_utc())
    fingerprint = fingerprint_of(parse_metadata(Root, house.root, what="root"))
    pinned = TrustStore(tmp_path / "trust").pin(house.root, fingerprint)
    key_file = tmp_path / "openpgp.asc"
    key_file.write_bytes(home.export(key, armor=True))
    made = Scene(house, home, key, kit.folder, pinned, OpenPgpDemand(key, key_file))
    made.sign()
    return made


def test_demanded_signature_that_is_good_is_told_and_in_the_result(scene: Scene) -> None:
    bundle, told = scene.verify()

    assert bundle.release.openpgp == scene.key
    assert "openpgp" in told.events


def test_signature_that_is_not_demanded_is_told_to_be_unchecked(scene: Scene) -> None:
    (scene.kit / "SHA256SUMS.asc").write_bytes(b"junk")

    bundle, told = scene.verify(demand=False)

    assert bundle.release.openpgp is None
    assert "openpgp-not-demanded" in told.events


def test_machine_without_gpgv_refuses_where_it_is_demanded_and_says_so_elsewhere(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert scene.refused() == (23, "openpgp-no-verifier")
    assert "gpgv, which checks them, is not on this machine" in scene.verify(demand=False)[1].text


def lose_signature(scene: Scene) -> None:
    (scene.kit / "SHA256SUMS.asc").unlink()


def sign_as_a_stranger(scene: Scene) -> None:
    scene.sign(scene.home.make_key("stranger"))


def sign_other_lines(scene: Scene) -> None:
    (scene.kit / "SHA256SUMS.asc").write_bytes(scene.home.sign(b"other lines", scene.key))


def change_lines(scene: Scene) -> None:
    """Lines and signature agree, and neither is what the release keys signed."""
    (scene.kit / "SHA256SUMS").write_bytes(b"0" * 64 + b"  terachat.tar.gz\n")
    scene.sign()


def lose_lines(scene: Scene) -> None:
    (scene.kit / "SHA256SUMS").unlink()


def fill_signature(scene: Scene) -> None:
    (scene.kit / "SHA256SUMS.asc").write_bytes(bytes(64 * 1024 + 1))


def link_signature(scene: Scene) -> None:
    (scene.kit / "SHA256SUMS.asc").rename(scene.kit / "elsewhere")
    (scene.kit / "SHA256SUMS.asc").symlink_to("elsewhere")


def pipe_signature(scene: Scene) -> None:
    lose_signature(scene)
    os.mkfifo(scene.kit / "SHA256SUMS.asc")


def lose_key(scene: Scene) -> None:
    scene.demand.key_file.unlink()


def change_key(scene: Scene) -> None:
    stranger = scene.home.make_key("other-stranger")
    scene.demand.key_file.write_bytes(scene.home.export(stranger))
    scene.sign(stranger)


@pytest.mark.parametrize(
    ("harm", "status", "reference"),
    [
        (lose_signature, 20, "openpgp-missing"),
        (sign_as_a_stranger, 20, "openpgp-missing"),
        (sign_other_lines, 20, "openpgp-bad"),
        (change_lines, 10, "checksums-differ"),
        (lose_lines, 10, "checksums-differ"),
        (fill_signature, 24, "metadata-too-large"),
        (link_signature, 24, "metadata-not-a-file"),
        (pipe_signature, 24, "metadata-not-a-file"),
        (lose_key, 23, "openpgp-key-missing"),
        (change_key, 23, "openpgp-key-differs"),
    ],
)
def test_kit_that_does_not_meet_the_demand_is_refused(
    scene: Scene, harm: Callable[[Scene], None], status: int, reference: str
) -> None:
    harm(scene)

    assert scene.refused() == (status, reference)


def test_openpgp_signature_alone_is_no_release(scene: Scene) -> None:
    (scene.kit / "metadata" / "targets.json").unlink()

    assert scene.refused() == (20, "threshold-not-met")


def test_clock_behind_what_the_site_accepted_cannot_judge_keys(scene: Scene) -> None:
    accepted = replace(scene.pinned, floor=replace(scene.pinned.floor, newest_signed_at=now_utc()))

    with pytest.raises(TeraFerryError) as caught:
        scene.verify(now=now_utc() - 2 * DAY, pinned=accepted)

    assert (caught.value.exit_status, caught.value.reference) == (23, "openpgp-clock-behind")


def test_bundle_is_still_judged_by_its_own_digests(scene: Scene) -> None:
    bundle = next(scene.kit.glob("*.tar.gz"))
    content = bytearray(bundle.read_bytes())
    content[100] ^= 1
    bundle.write_bytes(content)

    with pytest.raises(BundleError):
        scene.verify()
