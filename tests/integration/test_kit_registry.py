"""A site without a registry gets the one its kit brings: set up, proven, pulled from, upgraded, taken back.

The program is Debian's docker-registry, the machines are namespaces, and whoever pulls is skopeo with nothing but the
name, the CA and the password.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import OperatorNeededError, RefusedError, RolledBackError, TeraFerryError, UsageError
from teraferry.bundles.system.clock import now_utc
from teraferry.installer.adapters.registry.kit_door import KitDoor
from teraferry.installer.adapters.registry.settings import RegistrySettings
from teraferry.installer.cli_kit_registry import look_at_kit_registry
from teraferry.installer.cli_wiring import Place
from teraferry.installer.doctor import Advice
from teraferry.installer.expiry import Horizon
from teraferry.installer.kit_registry.certificates import SERVER_DAYS, Period, make_server_certificate
from teraferry.installer.kit_registry.generation import BEGUN, RETURNED
from teraferry.installer.site.load import load_site
from teraferry.installer.verify import VerifiedBundle
from tests.lab.kit_registry import ADDRESS, IMAGE, PROGRAM, PROGRAMS, USER, KitRegistryLab, Kits, KitSite, kits_in
from tests.lab.registry import LabRegistry, tiny_disk

OLD, NEW = PROGRAMS["old"], PROGRAMS["new"]


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Kits:
    return kits_in(tmp_path_factory.getbasetemp() / "registry-kits")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KitRegistryLab]:
    with KitRegistryLab(tmp_path_factory.mktemp("lab")) as opened:
        yield opened


@pytest.fixture
def site(lab: KitRegistryLab, tmp_path: Path) -> Iterator[KitSite]:
    site = KitSite(lab, tmp_path / "site", host=ADDRESS)
    yield site
    site.end()


def refused(site: KitSite, bundle: VerifiedBundle) -> TeraFerryError:
    with pytest.raises(TeraFerryError) as caught:
        site.bring_up(bundle)
    return caught.value


# As an admin types it


def test_bare_site_gets_a_registry_that_its_machines_pull_from_and_keeps_it_through_an_upgrade(
    lab: KitRegistryLab, kits: Kits, tmp_path: Path
) -> None:
    site = KitSite(lab, tmp_path / "site")
    site.admin.pin(kits.house)
    try:
        planned = site.type("plan", kits.paths["old"]).result
        assert planned["gates"]["registry"] == "will be brought up from the release"
        assert [step.split()[0] for step in planned["steps"]][:4] == ["make", "bring", "make", "start"]
        assert not site.settings.exists()

        first = site.type("install", kits.paths["old"], "--yes")

        assert first.status == 0, first.stderr
        assert site.events().index("done serve_registry") < site.events().index("run-started")
        assert f"password in {site.password}" in first.stderr
        kept, pulled = site.kept(), site.digest_of("1.0.0")
        assert "unauthorized" in site.skopeo(
            "list-tags", f"docker://{site.host}:{site.port}/{IMAGE}", password="no", check=False
        )

        second = site.type("load", kits.paths["new"])

        assert second.status == 0, second.stderr
        assert site.running() == NEW
        assert (site.kept(), site.digest_of("1.0.0")) == (kept, pulled)
        assert site.digest_of("1.1.0") != pulled
        assert site.type("doctor").stderr.count("serves, asks for its password") == 1
        password = site.password.read_text().strip()
        said = [first.stderr, second.stderr, (site.state / "journal.jsonl").read_text(), site.log.read_text()]
        assert not [text for text in said if password in text or "PRIVATE" in text]
    finally:
        site.end()


# What is made, once


def test_what_is_made_belongs_to_root_alone_and_a_second_time_changes_nothing(site: KitSite, kits: Kits) -> None:
    assert site.bring_up(kits.bundle("old"))

    private = [site.password, *(site.settings / name for name in ("ca.key", "server.key", "htpasswd", "config.yml"))]
    assert [path.stat().st_mode & 0o777 for path in private] == [0o600] * 5
    assert [path.stat().st_mode & 0o777 for path in (site.settings, site.data)] == [0o700] * 2
    assert site.events() == [BEGUN] + [
        f"{event} {step}"
        for step in ("lay_out_registry", "stage_registry", "make_registry_identity", "serve_registry")
        for event in ("intent", "done")
    ]
    (begun,) = site.entries(BEGUN)
    assert (begun.facts["version"], len(begun.facts["signers"])) == ("1.0.0", 2)  # type: ignore[arg-type]
    kept, process = site.kept(), site.pid_file.read_text()

    assert not site.bring_up(kits.bundle("old"))
    assert not site.bring_up(kits.bundle("without"))

    assert (site.kept(), site.pid_file.read_text(), len(site.events())) == (kept, process, 9)


def test_journal_that_was_lost_learns_anew_what_serves_and_what_to_go_back_to(site: KitSite, kits: Kits) -> None:
    site.bring_up(kits.bundle("old"))
    shutil.rmtree(site.state)

    assert refused(site, kits.bundle("broken")).reference == "registry-rolled-back"
    shutil.rmtree(site.state)
    assert site.bring_up(kits.bundle("old"))

    assert (site.events()[-1], site.running()) == ("done serve_registry", OLD)
    assert not site.bring_up(kits.bundle("old"))


def test_password_and_ca_that_are_there_are_used_and_a_certificate_is_renewed_by_the_ca_that_is_kept(
    site: KitSite, kits: Kits
) -> None:
    site.password.write_text("chosen by the site\n")
    site.password.chmod(0o600)
    site.bring_up(kits.bundle("old"))
    kept = site.kept()
    assert kept["registry.password"] == b"chosen by the site\n"

    # As one is that was made eleven years ago.
    long_ago = datetime.now(UTC) - timedelta(days=SERVER_DAYS - 100)
    old = make_server_certificate(
        kept["server.key"],
        authority_pem=kept[site.ca.name],
        authority_key_pem=kept["ca.key"],
        host=ADDRESS,
        period=Period(long_ago, long_ago),
    )
    (site.settings / "server.pem").write_bytes(old)
    site.bring_up(kits.bundle("old"))

    assert (site.settings / "server.pem").read_bytes() != old
    assert [name for name, content in site.kept().items() if content != kept[name]] == ["server.pem"]
    assert site.entries("done")[-2].step == "make_registry_identity"
    assert not site.bring_up(kits.bundle("old"))


def test_password_that_the_site_changes_is_the_one_that_counts(site: KitSite, kits: Kits) -> None:
    site.bring_up(kits.bundle("old"))
    site.password.write_text("another one\n")

    site.bring_up(kits.bundle("old"))

    assert "authentication" in site.skopeo(
        "inspect", f"docker://{ADDRESS}:5000/{IMAGE}:9", password="wrong", check=False
    )
    assert "unknown" in site.skopeo("inspect", f"docker://{ADDRESS}:5000/{IMAGE}:9", check=False)


def test_ca_of_the_site_s_own_is_used_and_nothing_of_it_is_made(site: KitSite, kits: Kits) -> None:
    with LabRegistry(site.folder / "other", certificate_hosts=(ADDRESS,)) as theirs:
        shutil.copyfile(theirs.ca_file, site.ca)
    assert refused(site, kits.bundle("old")).reference == "registry-certificate-missing"
    site.settings.mkdir(mode=0o700, exist_ok=True)
    for name in ("server.pem", "server.key"):
        shutil.copy(site.folder / "other" / name, site.settings / name)

    site.bring_up(kits.bundle("old"))

    assert not (site.settings / "ca.key").exists()
    assert (site.settings / "server.pem").read_bytes() == (site.folder / "other" / "server.pem").read_bytes()


def test_what_a_killed_installer_left_half_written_is_removed(site: KitSite, kits: Kits) -> None:
    torn = [written(site.settings / f".{name}.4711.part") for name in ("ca.key", "server.pem")]
    torn += [written(site.data / "..teraferry-registry.4711.part"), written(site.folder / ".registry.password.1.part")]
    site.settings.chmod(0o700)

    site.bring_up(kits.bundle("old"))

    assert not [path for path in torn if path.exists()]


def test_doctor_sees_it_missing_well_ending_and_gone(lab: KitRegistryLab, site: KitSite, kits: Kits) -> None:
    def look(days_later: int = 0) -> str | Advice:
        described, ahead = load_site(site.site, kit=None), Horizon(now_utc() + timedelta(days=days_later), 183)
        assert described.registry.service is not None
        service, place = described.registry.service, Place(site.site, site.state)
        return lab.node.call(lambda: look_at_kit_registry(described, service, place, ahead))

    site.state.mkdir(mode=0o700)
    missing = look()
    site.bring_up(kits.bundle("old"))

    assert isinstance(missing, Advice)
    assert "not there yet" in missing.found
    assert isinstance(look(), str)
    ending = look(days_later=SERVER_DAYS - 100)
    assert isinstance(ending, Advice)
    assert "its certificate expires on" in ending.found
    site.end()
    with pytest.raises(RefusedError) as caught:
        look()
    assert caught.value.reference in ("registry-not-up", "registry-unreachable")


# What fails


def test_program_that_does_not_serve_leaves_nothing_running_and_a_better_one_is_taken(
    site: KitSite, kits: Kits
) -> None:
    error = refused(site, kits.bundle("broken"))

    assert (error.exit_status, error.reference) == (44, "registry-not-up")
    kept = site.kept()
    site.bring_up(kits.bundle("old"))
    assert (site.running(), site.kept()) == (OLD, kept)


def test_upgrade_to_a_program_that_does_not_serve_brings_the_old_one_back(site: KitSite, kits: Kits) -> None:
    site.bring_up(kits.bundle("old"))
    kept = site.kept()
    image = site.data / "an-image"
    image.write_bytes(b"kept")

    with pytest.raises(RolledBackError) as caught:
        site.bring_up(kits.bundle("broken"))

    assert (caught.value.exit_status, caught.value.reference) == (50, "registry-rolled-back")
    assert caught.value.facts["program"] == digest_of(OLD)
    assert (site.running(), site.kept(), image.read_bytes()) == (OLD, kept, b"kept")
    assert site.events()[-2:] == ["failed serve_registry", f"{RETURNED} serve_registry"]
    assert not site.bring_up(kits.bundle("old"))


def test_configuration_that_does_not_serve_is_taken_back_with_its_program(site: KitSite, kits: Kits) -> None:
    site.bring_up(kits.bundle("old"))
    before = (site.settings / "config.yml").read_bytes()
    site.more = 'listen = "192.0.2.1:5000"'  # nobody's address
    site.write_site()

    assert refused(site, kits.bundle("new")).reference == "registry-rolled-back"

    assert (site.settings / "config.yml").read_bytes() == before
    assert site.running() == OLD


def test_program_that_runs_and_does_not_serve_is_not_believed(site: KitSite, kits: Kits) -> None:
    site.more = f'listen = "{ADDRESS}:5001"'  # not where the URL leads
    site.write_site()

    error = refused(site, kits.bundle("old"))

    assert (error.exit_status, error.reference) == (44, "registry-not-up")
    assert site.entries("done")[-1].step != "serve_registry"
    with pytest.raises(FileNotFoundError):
        site.running()


def test_registry_that_serves_from_another_program_is_not_believed(site: KitSite, kits: Kits) -> None:
    text = site.site.read_text()
    site.site.write_text(text.replace(f"setsid {site.program}", f"setsid {PROGRAM}"))

    error = refused(site, kits.bundle("old"))

    assert (error.exit_status, error.reference) == (44, "registry-not-up")
    assert site.running() == OLD  # the same bytes, and not the file that was signed and checked


def test_program_before_that_is_gone_leaves_the_registry_to_a_person(site: KitSite, kits: Kits) -> None:
    site.bring_up(kits.bundle("old"))
    for version in Path(f"{site.program}.d").iterdir():
        version.unlink()

    error = refused(site, kits.bundle("broken"))

    assert isinstance(error, OperatorNeededError)
    assert (error.exit_status, error.reference) == (62, "registry-down")


def test_release_without_the_program_is_no_way_to_begin(site: KitSite, kits: Kits) -> None:
    error = refused(site, kits.bundle("without"))

    assert (error.exit_status, error.reference) == (40, "registry-program-missing")
    assert not site.data.exists()


def test_port_that_another_program_has_is_told_before_anything_is_made(
    lab: KitRegistryLab, site: KitSite, kits: Kits
) -> None:
    def listen() -> socket.socket:
        taken = socket.create_server((ADDRESS, 5000))
        taken.listen()
        return taken

    with lab.node.call(listen):
        error = refused(site, kits.bundle("old"))

    assert (error.exit_status, error.reference) == (44, "registry-port-taken")
    assert not site.settings.exists()


@pytest.mark.parametrize("host", ["10.81.0.3", "nobody.invalid"])
def test_name_that_leads_elsewhere_is_told_before_anything_is_made(
    lab: KitRegistryLab, kits: Kits, tmp_path: Path, host: str
) -> None:
    site = KitSite(lab, tmp_path / "site", host=host)

    error = refused(site, kits.bundle("old"))

    assert (error.exit_status, error.reference) == (44, "registry-not-this-machine")
    assert not site.settings.exists()


def test_images_that_do_not_fit_are_told_before_anything_is_made(site: KitSite, kits: Kits, tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", size_bytes=20_000_000) as disk:
        site.data = disk / "data"
        site.write_site()

        error = refused(site, kits.bundle("old"))

        assert (error.exit_status, error.reference) == (44, "registry-no-room")
        assert not site.settings.exists()


def test_full_disk_under_the_settings_is_told_and_the_next_try_goes_on(
    site: KitSite, kits: Kits, tmp_path: Path
) -> None:
    with tiny_disk(tmp_path / "disk", size_bytes=16_384) as disk:
        site.settings = disk / "settings"
        site.write_site()

        error = refused(site, kits.bundle("old"))

        assert error.reference in ("registry-not-written", "node-no-space")
        assert "PRIVATE" not in error.message
        before = {path: path.read_bytes() for path in site.settings.rglob("*.key")}
        subprocess.run(["mount", "-o", "remount,size=1000000", str(disk)], check=True)
        site.bring_up(kits.bundle("old"))
        assert {path: path.read_bytes() for path in before} == before
        site.end()


def test_disk_of_the_images_that_is_not_mounted_is_no_empty_registry(site: KitSite, kits: Kits) -> None:
    site.bring_up(kits.bundle("old"))
    site.data.rename(site.folder / "elsewhere")
    site.data.mkdir(mode=0o700)

    error = refused(site, kits.bundle("new"))

    assert (error.exit_status, error.reference) == (44, "registry-data-missing")
    assert (site.running(), list(site.data.iterdir())) == (OLD, [])


# Who may decide what lies there


def link_away(path: Path) -> None:
    target = path.with_name(f"{path.name}-elsewhere")
    target.mkdir(mode=0o700)
    path.symlink_to(target)


def written(path: Path, content: str = "x\n", *, mode: int = 0o600) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    path.chmod(mode)
    return path


def folder(path: Path, *, mode: int = 0o700) -> Path:
    path.mkdir()
    path.chmod(mode)
    return path


def no_certificate(site: KitSite) -> None:
    written(site.settings / "ca.key")
    written(site.ca)


UNSAFE: dict[str, tuple[Callable[[KitSite], object], str]] = {
    "data is a link": (lambda site: link_away(site.data), "registry-place-unsafe"),
    "settings is a link": (lambda site: link_away(site.settings), "registry-place-unsafe"),
    "the program's folder is a link": (lambda site: link_away(site.program.parent), "registry-place-unsafe"),
    "others write data": (lambda site: folder(site.data, mode=0o777), "registry-place-unsafe"),
    "another owns data": (lambda site: shutil.chown(folder(site.data), 65534), "registry-place-unsafe"),
    "data is a file": (lambda site: written(site.data), "registry-place-unsafe"),
    "others read the password": (lambda site: written(site.password, mode=0o644), "registry-password-file"),
    "the password is empty": (lambda site: written(site.password, ""), "registry-password-file"),
    "the password is too long": (lambda site: written(site.password, "x" * 73), "registry-password-file"),
    "the password is a link to nowhere": (
        lambda site: site.password.symlink_to("/nonexistent/password"),
        "registry-password-file",
    ),
    "others read the CA's key": (lambda site: written(site.settings / "ca.key", mode=0o640), "registry-key-exposed"),
    "the server's key is a link": (
        lambda site: (folder(site.settings) / "server.key").symlink_to(written(site.folder / "elsewhere" / "key")),
        "registry-key-exposed",
    ),
    "the CA is no certificate": (no_certificate, "registry-certificate-unusable"),
}


@pytest.mark.parametrize("change", UNSAFE)
def test_place_that_others_have_a_hand_in_is_refused_and_left_alone(site: KitSite, kits: Kits, change: str) -> None:
    apply, reference = UNSAFE[change]
    apply(site)
    before = sorted(site.folder.rglob("*"))

    error = refused(site, kits.bundle("old"))

    assert (error.exit_status, error.reference) == (2, reference)
    assert [path for path in sorted(site.folder.rglob("*")) if path not in before] == [site.state]


def test_key_that_is_damaged_is_told_and_never_replaced(site: KitSite, kits: Kits) -> None:
    site.bring_up(kits.bundle("old"))
    for name in ("ca.key", "server.key", "server.pem"):
        whole = (site.settings / name).read_bytes()
        (site.settings / name).write_bytes(b"neither key nor certificate")
        damaged = site.kept()

        error = refused(site, kits.bundle("new"))

        assert (error.exit_status, error.reference) == (2, "registry-certificate-unusable")
        assert (site.kept(), site.running()) == (damaged, OLD)
        (site.settings / name).write_bytes(whole)


def test_url_of_another_name_is_refused_while_the_ca_is_that_of_the_old_one(site: KitSite, kits: Kits) -> None:
    site.bring_up(kits.bundle("old"))
    site.site.write_text(site.site.read_text().replace(site.url, "https://localhost:5000"))

    error = refused(site, kits.bundle("old"))

    assert (error.exit_status, error.reference) == (2, "registry-ca-other-name")


def test_ca_s_certificate_that_is_lost_is_made_again_of_its_key(site: KitSite, kits: Kits) -> None:
    site.bring_up(kits.bundle("old"))
    kept = site.kept()
    old = site.folder / "as-nodes-have-it.pem"
    site.ca.rename(old)

    site.bring_up(kits.bundle("old"))

    assert [name for name, content in site.kept().items() if content != kept[name]] == [site.ca.name]
    done = subprocess.run(["openssl", "verify", "-CAfile", old, site.settings / "server.pem"], capture_output=True)
    assert done.returncode == 0, done.stderr


# The door


@pytest.mark.parametrize(
    ("with_password", "shown", "reference"),
    [(True, "", "registry-certificate"), (False, "as it is", "registry-not-guarded"), (True, "as it is", "")],
)
def test_registry_is_believed_only_with_its_certificate_and_its_password(
    tmp_path: Path, with_password: bool, shown: str, reference: str
) -> None:
    with LabRegistry(tmp_path / "registry", with_password=with_password) as running:
        settings = RegistrySettings(running.url, Path(running.ca_file), USER, running.password_file)
        pem = subprocess.run(
            ["openssl", "x509", "-in", running.folder / "server.pem", "-outform", "DER"],
            capture_output=True,
            check=True,
        ).stdout
        door = KitDoor(settings, lambda: digest_of(pem) if shown else "sha256:another")

        if not reference:
            door.require_guarded()
            return
        with pytest.raises(RefusedError) as caught:
            door.require_guarded()

    assert (caught.value.exit_status, caught.value.reference) == (44, reference)


def test_wrong_file_of_the_password_is_told_by_its_owner_and_mode(site: KitSite, kits: Kits) -> None:
    site.bring_up(kits.bundle("old"))
    site.password.chmod(0o644)

    with pytest.raises(UsageError) as caught:
        site.bring_up(kits.bundle("new"))

    assert "chmod 600" in caught.value.hint
    assert site.running() == OLD
