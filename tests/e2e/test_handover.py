"""A later visit: the frozen installer at the site hands the command over to the one that the kit brings.

Two real installer files from one payload: the site's holds root 1, the kit's was frozen with another
root and so is another file. The site has a registry and no cluster, so the last word of an install is
that the cluster does not answer; who said it, and how often it was handed over, is what is looked at.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from teraferry.builder.freeze import default_payload, freeze_installer
from teraferry.bundles import layout
from teraferry.bundles.digest import digest_of
from tests.lab.admin import Admin, make_house, make_kit
from tests.lab.house import House
from tests.lab.installer_file import flip_byte, write_root
from tests.lab.registry import LabRegistry
from tests.lab.secops import Answer


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return make_house(tmp_path_factory.mktemp("house"))


@pytest.fixture(scope="module")
def old_file(house: House) -> Path:
    """The installer file of the first visit."""
    root = house.folder / "trust" / "1.root.json"
    return freeze_installer(house.folder / "old-installer", root=root, payload=default_payload()).path


@pytest.fixture(scope="module")
def new_file(house: House) -> Path:
    root = write_root(house.folder / "another.root.json")
    return freeze_installer(house.folder / "new-installer", root=root, payload=default_payload()).path


@pytest.fixture(scope="module")
def signed_kit(house: House, new_file: Path) -> Path:
    return make_kit(house, installer=new_file)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabRegistry]:
    with LabRegistry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def kit(signed_kit: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed_kit, tmp_path / "stick" / signed_kit.name))


@pytest.fixture
def admin(tmp_path: Path, house: House, registry: LabRegistry, old_file: Path) -> Admin:
    """The site after its first visit: its own installer file, and the root pinned."""
    own = Path(shutil.copy(old_file, tmp_path / "teraferry-installer"))
    home = {"TERAFERRY_HOME": str(tmp_path / "home")}
    admin = Admin(tmp_path, registry, installer=("sh", str(own)), environment=home)
    admin.write_site()
    assert admin.pin(house).status == 0
    return admin


def home_of(admin: Admin) -> Path:
    return admin.folder / "home"


def copies(admin: Admin) -> list[Path]:
    return sorted((admin.state / "installers").glob("*"))


def handovers(answer: Answer) -> list[str]:
    return [str(event["installer"]) for event in answer.events if event["event"] == "handed-over"]


@pytest.mark.parametrize("command", [("install", "--yes"), ("load",)], ids=" ".join)
def test_new_installer_takes_the_command_over_once(
    admin: Admin, kit: Path, new_file: Path, command: tuple[str, ...]
) -> None:
    answer = admin.type(command[0], kit, *command[1:])

    assert len(copies(admin)) == 1, answer.stderr
    (copy,) = copies(admin)
    assert handovers(answer) == [str(copy)]
    assert digest_of(copy.read_bytes()) == digest_of(new_file.read_bytes())
    wanted = (40, "cluster-unreachable") if command[0] == "install" else (0, "ok")
    assert (answer.status, answer.result["reference"]) == wanted, answer.stderr
    assert len(list(home_of(admin).glob("?" * 32))) == 2  # both programs were unpacked there, and nowhere else


def test_arguments_keep_their_order_and_the_folder_they_are_relative_to(admin: Admin, kit: Path) -> None:
    relative = kit.relative_to(admin.folder)

    answer = admin.type_as_is(
        *("load", relative, "--state", "state", "--json", "--site", "site.toml", "--check-registry"),
        folder=admin.folder,
    )

    assert (answer.status, len(handovers(answer))) == (0, 1), answer.stderr
    assert answer.result["tags"] == ["terachat/api:4.2.0"]
    assert admin.type("trust", "show").result["sequence"] == 1  # in the state folder that was named


def test_changed_installer_on_the_stick_is_refused_and_the_sites_own_goes_on(admin: Admin, kit: Path) -> None:
    flip_byte(kit / layout.INSTALLER, -5)

    answer = admin.type("load", kit)

    assert (answer.status, answer.result["reference"]) == (10, "installer-differs")
    assert copies(admin) == []
    assert handovers(answer) == []
    assert admin.type("status").status == 0


def test_bundle_is_read_once_and_by_the_new_installer(admin: Admin, kit: Path) -> None:
    answer = admin.type("load", kit)

    events = [event["event"] for event in answer.events if event.get("phase", "verify") == "verify"]
    told = [name for name in events if name in ("trusted", "handed-over", "phase")]
    assert told == ["trusted", "handed-over", "trusted", "phase"], answer.events


def test_bad_bundle_is_refused_by_the_new_installer_and_nothing_is_loaded(admin: Admin, kit: Path) -> None:
    flip_byte(kit / "terachat-4.2.0.tar.gz", 100)

    answer = admin.type("load", kit)

    assert (answer.status, answer.result["reference"]) == (10, "chunk-digest-mismatch"), answer.stderr
    assert len(handovers(answer)) == 1
    assert admin.type("trust", "show").result["sequence"] == 0


def test_installer_that_too_few_keys_vouch_for_is_neither_copied_nor_started(admin: Admin, kit: Path) -> None:
    targets = kit / "metadata" / "targets.json"
    document = json.loads(targets.read_bytes())
    del document["signatures"][0]
    targets.write_text(json.dumps(document))

    answer = admin.type("load", kit)

    assert (answer.status, answer.result["reference"]) == (20, "threshold-not-met"), answer.stderr
    assert (copies(admin), handovers(answer)) == ([], [])


def test_visit_with_the_same_installer_hands_nothing_over(admin: Admin, kit: Path, new_file: Path) -> None:
    own = Path(shutil.copy(new_file, admin.folder / "teraferry-installer-new"))
    admin.installer = ("sh", str(own))

    answer = admin.type("load", kit)

    assert (answer.status, handovers(answer)) == (0, []), answer.stderr
    assert not (admin.state / "installers").exists()


def test_copies_of_earlier_visits_are_gone_after_the_next(admin: Admin, kit: Path) -> None:
    first = admin.type("load", kit)
    assert first.status == 0, first.stderr
    (copy,) = copies(admin)
    earlier = copy.with_name(f"{layout.INSTALLER}-{'0' * 16}")
    earlier.write_bytes(b"an installer of some earlier visit")

    admin.type("load", kit)

    assert copies(admin) == [copy]
