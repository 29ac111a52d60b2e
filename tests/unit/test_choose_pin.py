"""Where several products are pinned, a kit's own name selects the pin, and the pin decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from teraferry.bundles import layout
from teraferry.bundles.errors import TrustError
from teraferry.bundles.progress import Silent
from teraferry.installer.verify import VerifiedBundle, choose_pin, verify_artifact_integrity
from teraferry.keys.trust_store import TrustStore
from teraferry.keys.trusted import EPOCH
from teraferry.keys.tuf_metadata import Root, fingerprint_of, parse_metadata
from tests.lab.house import NOW, House


@pytest.fixture
def demo(tmp_path: Path) -> House:
    return House(tmp_path / "demo").open()


@pytest.fixture
def billing(tmp_path: Path) -> House:
    return House(tmp_path / "billing", product="billing").open()


@pytest.fixture
def store(tmp_path: Path) -> TrustStore:
    return TrustStore(tmp_path / "trust")


def pin(store: TrustStore, *houses: House) -> TrustStore:
    for house in houses:
        store.pin(house.root, fingerprint_of(parse_metadata(Root, house.root, what="root")))
    return store


def verify(store: TrustStore, kit: Path) -> VerifiedBundle:
    pinned = choose_pin(store, kit)
    return verify_artifact_integrity(kit, pinned=pinned, built_at=EPOCH, now=NOW, whole=True, progress=Silent())


def refused(store: TrustStore, kit: Path) -> TrustError:
    with pytest.raises(TrustError) as error:
        verify(store, kit)
    return error.value


def test_each_kit_is_judged_by_its_own_product(demo: House, billing: House, store: TrustStore) -> None:
    pin(store, demo, billing)

    assert verify(store, demo.kit().folder).release.bundle.product == "demo"
    assert verify(store, billing.kit().folder).release.bundle.product == "billing"


def test_kit_of_a_product_that_is_not_pinned_is_refused(
    demo: House, billing: House, store: TrustStore, tmp_path: Path
) -> None:
    third = House(tmp_path / "third", product="third").open()

    error = refused(pin(store, demo, billing), third.kit().folder)

    assert (error.exit_status, error.reference) == (24, "site-not-pinned")


def test_only_pin_judges_a_kit_of_another_product(demo: House, billing: House, store: TrustStore) -> None:
    assert refused(pin(store, demo), billing.kit().folder).exit_status == 20


def test_kit_that_lies_about_its_product_is_judged_by_the_root_of_the_name_it_took(
    demo: House, billing: House, store: TrustStore, tmp_path: Path
) -> None:
    liar = House(tmp_path / "liar", product="billing").open()

    error = refused(pin(store, demo, billing), liar.kit().folder)

    assert (error.exit_status, error.reference) == (20, "threshold-not-met")


def test_kit_without_targets_is_signed_by_nobody(demo: House, billing: House, store: TrustStore) -> None:
    kit = demo.kit().folder
    (kit / layout.METADATA_DIR / layout.TARGETS).unlink()

    assert refused(pin(store, demo, billing), kit).reference == "threshold-not-met"


def test_targets_that_cannot_be_read_are_refused(demo: House, billing: House, store: TrustStore) -> None:
    kit = demo.kit().folder
    (kit / layout.METADATA_DIR / layout.TARGETS).write_bytes(b"{")

    assert refused(pin(store, demo, billing), kit).exit_status == 24
