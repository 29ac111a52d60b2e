"""A kit that expired on the road, renewed at home by mail, at a site that then refuses its old copy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from teraferry.builder.kit import locate_kit
from tests.lab.admin import Admin, make_house, make_kit
from tests.lab.builds import teraferry
from tests.lab.house import House
from tests.lab.registry import LabRegistry
from tests.lab.secops import Answer

TODAY = datetime.now(UTC)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return make_house(tmp_path_factory.mktemp("house"))


@pytest.fixture(scope="module")
def expired(house: House) -> Path:
    """A kit that was closed 400 days ago, for 365; what its release keys said is good for years."""
    kit = locate_kit(make_kit(house))
    shutil.rmtree(kit.folder / "metadata")
    house.sign(kit, "release-1", "release-2", now=TODAY - timedelta(days=400))
    return kit.folder


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabRegistry]:
    with LabRegistry(tmp_path_factory.mktemp("registry")) as running:
        yield running


def renew(house: House, kit: Path, until: str) -> Answer:
    trust = ("--trust", house.trust.path, "--desk-key", house.uris["desk"])
    return teraferry("renew", kit, *trust, "--until", until)


def test_the_road_the_mail_and_the_old_copy(house: House, expired: Path, registry: LabRegistry, tmp_path: Path) -> None:
    admin = Admin(tmp_path, registry)
    admin.write_site()
    assert admin.pin(house).status == 0
    on_the_road = Path(shutil.copytree(expired, tmp_path / "stick" / expired.name))
    forgotten = Path(shutil.copytree(expired, tmp_path / "drawer" / expired.name))
    answer = admin.type("verify", on_the_road)
    assert (answer.status, answer.result["reference"]) == (21, "metadata-expired")

    # At home there is only a copy of the metadata folder; what changed is mailed and copied over.
    shutil.copytree(expired / "metadata", tmp_path / "home" / "metadata")
    answer = renew(house, tmp_path / "home", (TODAY + timedelta(days=200)).date().isoformat())
    assert answer.status == 0, answer.stderr
    for changed in answer.result["changed"]:
        shutil.copyfile(changed, on_the_road / "metadata" / Path(changed).name)

    assert admin.type("verify", on_the_road).status == 0
    answer = admin.type("load", on_the_road)
    assert answer.status == 0, answer.stderr
    answer = admin.type("verify", forgotten)
    assert (answer.status, answer.result["reference"]) == (22, "older-than-installed")
    assert "renewed copy" in answer.result["hint"]
    assert admin.type("load", on_the_road).status == 0


@pytest.mark.parametrize("until", ["soon", "2028-13-01", "2028-01-01T00:00", "", "20280101"])
def test_a_date_of_another_form_is_a_usage_error(house: House, expired: Path, until: str) -> None:
    answer = renew(house, expired, until)

    assert (answer.status, answer.result["reference"]) == (2, "until-malformed")


def test_a_day_lasts_until_its_end(house: House, expired: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(expired / "metadata", tmp_path / "copy" / "metadata")).parent
    day = (TODAY + timedelta(days=30)).date().isoformat()

    answer = renew(house, copy, day)

    assert (answer.status, answer.result["expires"]) == (0, f"{day}T23:59:59Z")
