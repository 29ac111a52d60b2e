"""Every command of the installer, typed as an admin types it: result line, exit status, what is left behind."""

from __future__ import annotations

import base64
import contextlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from teraferry.installer.adapters.journal.file import FileJournal
from teraferry.installer.cli import main_group
from teraferry.installer.rollout.runs import installed_version_of, open_run_of
from tests.lab.admin import Admin, fingerprint, make_house, make_kit
from tests.lab.house import House
from tests.lab.installer_file import flip_byte
from tests.lab.registry import LabRegistry, tiny_disk
from tests.lab.secops import Answer
from tests.unit.test_lock import held_elsewhere


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return make_house(tmp_path_factory.mktemp("house"))


@pytest.fixture(scope="module")
def signed_kit(house: House) -> Path:
    return make_kit(house)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabRegistry]:
    with LabRegistry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def stranger(tmp_path: Path, registry: LabRegistry) -> Admin:
    """An admin of a site that pinned nothing yet."""
    admin = Admin(tmp_path, registry)
    admin.write_site()
    return admin


@pytest.fixture
def admin(stranger: Admin, house: House) -> Admin:
    answer = stranger.pin(house)
    assert answer.status == 0, answer.stderr
    return stranger


@pytest.fixture
def kit(signed_kit: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(signed_kit, tmp_path / "stick" / signed_kit.name))


def commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*words, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))


def bundle_of(kit: Path) -> Path:
    return next(kit.glob("*.tar.gz"))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# What every command does


@pytest.mark.parametrize("words", [(), *commands(main_group)], ids=" ".join)
def test_help_shows_an_example(admin: Admin, words: tuple[str, ...]) -> None:
    done = subprocess.run([*admin.installer, *words, "--help"], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0
    assert re.search(r"Example:\s+\w", done.stdout)


def test_last_line_is_the_result_line_and_its_status_the_exit_status(admin: Admin, kit: Path) -> None:
    typed: list[tuple[str | Path, ...]] = [("verify", kit), ("plan", kit), ("load", kit), ("status",), ("doctor",)]
    typed += [("journal", "verify"), ("journal", "show"), ("trust", "show"), ("install", kit, "--yes")]
    typed += [("verify", kit / "nothing"), ("trust", "pin", kit / "nothing", "--fingerprint", "0")]

    for words in typed:
        answer = admin.type(*words)
        assert answer.result["event"] == "result", words
        assert answer.result["status"] == answer.status, words
        assert answer.result["command"] == " ".join(map(str, words[: 2 if words[0] in ("trust", "journal") else 1]))
        assert "Traceback" not in answer.stderr
        if answer.status:
            assert answer.result["message"], words
            assert answer.result["hint"], words


@pytest.mark.parametrize(
    "words",
    [("verify",), ("verify", "KIT", "--force"), ("rollout",), ("trust", "pin", "R"), ("verify", "A", "B")],
    ids=" ".join,
)
def test_wrong_command_line_is_a_usage_error_with_a_result_line(admin: Admin, words: tuple[str, ...]) -> None:
    answer = admin.type(*words)

    assert (answer.status, answer.result["status"], answer.result["reference"]) == (2, 2, "usage")


@pytest.mark.parametrize("place", ["before", "after", "site before, state after"])
def test_site_and_state_may_stand_before_or_after_the_command(admin: Admin, place: str) -> None:
    site, state = ("--site", admin.site), ("--state", admin.state)
    orders: dict[str, tuple[str | Path, ...]] = {
        "before": (*site, *state, "trust", "show", "--json"),
        "after": ("trust", "show", *site, *state, "--json"),
        "site before, state after": (*site, "trust", "show", "--json", *state),
    }

    assert admin.type_as_is(*orders[place]).result["product"] == "terachat"


def test_what_stands_after_the_command_counts_more(admin: Admin, tmp_path: Path) -> None:
    answer = admin.type_as_is("--state", admin.state, "trust", "show", "--state", tmp_path / "other", "--json")

    assert answer.result["reference"] == "site-not-pinned"


def test_quiet_command_prints_nothing_but_its_result(admin: Admin, kit: Path) -> None:
    answer = admin.type("verify", kit, "--quiet")

    assert (answer.stderr, len(answer.events)) == ("", 1)


def test_command_line_loads_nothing_that_a_short_command_does_not_need() -> None:
    heavy = {"urllib3", "grpclib", "google.protobuf", "tuf", "securesystemslib", "cryptography", "rich", "asyncio"}
    program = "import sys, teraferry.installer.cli; print('\\n'.join(sys.modules))"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert heavy & set(done.stdout.split()) == set()


def test_verify_loads_no_network_client(admin: Admin, kit: Path) -> None:
    clients = {"urllib3", "grpclib", "google.protobuf", "http.client", "ssl", "asyncio", "rich"}
    program = """
import sys
from teraferry.bundles.system.console import run_program
from teraferry.installer.adapters.journal.file import FileJournal
from teraferry.installer.cli import main_group
from teraferry.installer.rollout.runs import installed_version_of, open_run_of
status = run_program(main_group, sys.argv[1:], name="teraferry-installer")
print("\\n".join(sys.modules), file=sys.stderr)
sys.exit(status)
"""
    argv = [sys.executable, "-c", program, "verify", str(kit), "--state", str(admin.state)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)

    assert clients & set(done.stderr.split()) == set()


# Trust


def test_pinned_site_shows_what_was_pinned(admin: Admin, house: House) -> None:
    result = admin.type("trust", "show").result

    assert (result["product"], result["fingerprint"], result["root_version"]) == ("terachat", fingerprint(house), 1)


def test_state_folder_belongs_to_its_owner_alone(admin: Admin) -> None:
    assert admin.state.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in admin.state.rglob("*"))


def test_wrong_fingerprint_pins_nothing(stranger: Admin, house: House) -> None:
    root = house.folder / "trust" / "1.root.json"

    answer = stranger.type("trust", "pin", root, "--fingerprint", "0" * 64)

    assert (answer.status, answer.result["reference"]) == (24, "fingerprint-differs")
    assert stranger.type("trust", "show").result["reference"] == "site-not-pinned"


@pytest.mark.parametrize("words", [("verify",), ("plan",), ("load",), ("install", "--yes")], ids=" ".join)
def test_site_that_pinned_nothing_refuses_and_leaves_nothing(
    stranger: Admin, kit: Path, words: tuple[str, ...]
) -> None:
    answer = stranger.type(words[0], kit, *words[1:])

    assert (answer.status, answer.result["reference"]) == (24, "site-not-pinned")
    assert "trust pin" in answer.result["hint"]
    assert not stranger.state.exists()


# Verify


def test_verify_names_the_release_and_changes_nothing(admin: Admin, kit: Path) -> None:
    before = tree(admin.state), tree(kit)

    answer = admin.type("verify", kit)

    assert (answer.status, answer.result["product"], answer.result["version"]) == (0, "terachat", "4.2.0")
    assert (len(answer.result["signers"]), answer.result["chunks"]) == (2, 1)
    assert re.fullmatch("[0-9a-f]{64}", answer.result["sha256"])
    assert (tree(admin.state), tree(kit)) == before


def test_verify_takes_the_bundle_file_for_its_kit(admin: Admin, kit: Path) -> None:
    assert admin.type("verify", bundle_of(kit)).result["version"] == "4.2.0"


def test_verify_needs_no_site_file_and_no_tier(admin: Admin, kit: Path) -> None:
    admin.site.unlink()

    assert admin.type("verify", kit, tier=None).status == 0


@pytest.mark.parametrize("command", ["verify", "plan", "load", "install"])
@pytest.mark.parametrize("path", ["nothing", "empty", "a" * 5000], ids=["nothing", "empty", "too long a name"])
def test_path_that_is_no_kit_is_refused(admin: Admin, tmp_path: Path, command: str, path: str) -> None:
    medium = tmp_path / "stick"
    (medium / "empty").mkdir(parents=True)

    answer = admin.type(command, medium / path, *(["--yes"] if command == "install" else []))

    assert (answer.status, answer.result["reference"]) in [(2, "kit-not-found"), (11, "medium-unreadable")]


def cut(kit: Path) -> None:
    with bundle_of(kit).open("r+b") as file:
        file.truncate(1000)


CHANGES: dict[str, tuple[Callable[[Path], object], int]] = {
    "the bundle is gone": (lambda kit: bundle_of(kit).unlink(), 10),
    "the bundle is cut off": (cut, 10),
    "a byte is flipped": (lambda kit: flip_byte(bundle_of(kit), 700), 10),
    "the metadata is gone": (lambda kit: shutil.rmtree(kit / "metadata"), 20),
}


@pytest.mark.parametrize("change", CHANGES)
def test_medium_that_lost_something_is_refused(admin: Admin, kit: Path, change: str) -> None:
    apply, status = CHANGES[change]
    apply(kit)

    assert admin.type("verify", kit).status == status


def test_verify_takes_the_bundle_file_as_well(admin: Admin, kit: Path) -> None:
    answer = admin.type("verify", bundle_of(kit))

    assert (answer.status, answer.result["version"]) == (0, "4.2.0"), answer.stderr


@pytest.mark.parametrize("name", ["another.tar.gz", "START-HERE.html"])
def test_file_of_a_kit_that_is_not_its_signed_bundle_is_not_verified_in_its_name(
    admin: Admin, kit: Path, name: str
) -> None:
    if name != "START-HERE.html":
        shutil.copyfile(bundle_of(kit), kit / name)

    answer = admin.type("verify", kit / name)

    assert (answer.status, answer.result["reference"]) == (10, "bundle-not-signed")
    assert answer.result["expected"] == bundle_of(kit).name


# Plan


def test_plan_tells_steps_bytes_and_what_each_gate_sees(admin: Admin, kit: Path) -> None:
    before = tree(admin.state)

    result = admin.type("plan", kit).result

    assert (result["tier"], result["strategy"], result["nodes"]) == ("1", "rolling", ["vol-1"])
    assert (result["steps"] != [], result["stays"] != []) == (True, True)
    assert (result["registry_bytes"] > 50_000, result["node_bytes"]) == (True, 17)
    assert (result["gates"]["registry"], result["gates"]["version"]) == ("ready", "allowed")
    assert result["gates"]["cluster"].startswith("cannot tell")
    assert tree(admin.state) == before


@pytest.mark.parametrize("command", ["plan", "load", "install", "status"])
def test_tier_is_asked_for_only_where_it_decides(admin: Admin, kit: Path, command: str) -> None:
    admin.site.write_text(admin.site.read_text().replace('tier = "1"\n', ""))
    words = {"status": ("status",), "install": ("install", kit, "--yes")}.get(command, (command, kit))

    answer = admin.type(*words, tier=None)

    wanted = (0, "ok") if command == "status" else (2, "tier-missing")
    assert (answer.status, answer.result["reference"]) == wanted


# Load


def test_load_brings_the_images_and_a_second_one_skips_them(admin: Admin, kit: Path) -> None:
    first, second = admin.type("load", kit), admin.type("load", kit, "--check-registry")

    assert (first.status, first.result["tags"]) == (0, ["terachat/api:4.2.0"])
    assert first.result["loaded_bytes"] + first.result["skipped_bytes"] == second.result["skipped_bytes"]
    assert second.result["loaded_bytes"] == 0
    assert admin.type("trust", "show").result["sequence"] == 1


def test_load_on_a_full_state_disk_says_so_and_goes_on_later(stranger: Admin, house: House, kit: Path) -> None:
    with tiny_disk(stranger.state, size_bytes=64 * 1024):
        assert stranger.pin(house).status == 0
        before, filler = tree(stranger.state), stranger.state / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)

        refused = stranger.type("load", kit)

        assert (refused.status, refused.result["reference"]) == (44, "trust-store-not-writable"), refused.stderr
        assert {name: content for name, content in tree(stranger.state).items() if name != "filler"} == before
        filler.unlink()
        assert stranger.type("load", kit).status == 0


def test_load_is_journaled_with_its_signers_and_is_no_install(admin: Admin, kit: Path) -> None:
    signers = admin.type("verify", kit).result["signers"]

    tags = admin.type("load", kit).result["tags"]

    entries = FileJournal(admin.state / "journal.jsonl").replay()
    assert [entry.event for entry in entries] == ["root-pinned", "release-accepted", "load-started", "loaded"]
    assert (entries[2].facts["version"], entries[2].facts["signers"]) == ("4.2.0", signers)
    assert entries[3].facts["tags"] == tags
    status = admin.type("status").result
    assert (status["release"], status["state"]) == (None, "nothing installed")
    assert (open_run_of(entries), installed_version_of(entries)) == (None, None)


def test_load_whose_registry_refuses_leaves_the_state_as_it_was(admin: Admin, kit: Path) -> None:
    before = tree(admin.state)
    admin.site.write_text(admin.site.read_text().replace(admin.registry.url, "https://127.0.0.1:9"))

    answer = admin.type("load", kit)

    assert answer.status == 44, answer.stderr
    assert tree(admin.state) == before


def test_load_sends_nothing_on_a_broken_journal(admin: Admin, kit: Path) -> None:
    journal = admin.state / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b"root-pinned", b"ROOT-pinned") * 2)
    before = tree(admin.state)

    answer = admin.type("load", kit)

    assert (answer.status, answer.result["reference"]) == (62, "journal-corrupt")
    assert tree(admin.state) == before


@pytest.mark.parametrize("case", ["right", "wrong", "down"])
def test_registry_password_is_neither_told_nor_written_down(admin: Admin, kit: Path, case: str) -> None:
    password = admin.registry.password if case == "right" else "Tr0ub4dor-and-3-horses"
    secret = admin.folder / "registry.password"
    secret.write_text(password)
    secret.chmod(0o600)
    text = admin.site.read_text().replace(str(admin.registry.password_file), str(secret))
    admin.site.write_text(text if case != "down" else text.replace(admin.registry.url, "https://127.0.0.1:9"))

    answers = [admin.type("load", kit, "--check-registry"), admin.type("doctor"), admin.type("plan", kit)]

    assert answers[0].status == (0 if case == "right" else 44), answers[0].stderr
    told = "".join(f"{answer.stderr}{answer.events}{answer.result}" for answer in answers)
    written = b"".join(path.read_bytes() for path in admin.state.rglob("*") if path.is_file())
    basic = base64.b64encode(f"{admin.registry.user}:{password}".encode()).decode()
    for form in (password, basic):
        assert form not in told
        assert form.encode() not in written


def test_second_installer_is_refused_and_told_who_holds_the_lock(admin: Admin, kit: Path) -> None:
    with held_elsewhere(admin.state) as holder:
        answer = admin.type("load", kit)

    assert (answer.status, answer.result["reference"]) == (42, "locked")
    assert answer.result["holder"] == f"process {holder.pid}"


# Install


def test_install_without_a_terminal_wants_a_yes_before_any_work(admin: Admin, kit: Path) -> None:
    bundle_of(kit).unlink()

    answer = admin.type("install", kit)

    assert (answer.status, answer.result["reference"]) == (2, "confirmation-needed")
    assert "--yes" in answer.result["hint"]


def test_install_is_refused_while_the_cluster_cannot_be_asked(admin: Admin, kit: Path) -> None:
    before = tree(admin.state)

    answer = admin.type("install", kit, "--yes")

    assert (answer.status, answer.result["reference"]) == (40, "cluster-unreachable")
    assert tree(admin.state) == before


def test_rollout_is_refused_while_the_registry_lacks_an_image_and_changes_nothing(
    admin: Admin, kit: Path, tmp_path: Path
) -> None:
    with LabRegistry(tmp_path / "empty") as empty:
        elsewhere = Admin(admin.folder, empty)
        elsewhere.write_site()
        before = tree(admin.state)

        answer = elsewhere.type("rollout", kit, "--yes")

    assert (answer.status, answer.result["reference"]) == (40, "images-not-loaded")
    assert answer.result["images"] == ["terachat/api"]
    assert tree(admin.state) == before


def test_rollout_goes_on_to_the_next_gate_once_the_images_are_loaded(admin: Admin, kit: Path) -> None:
    admin.type("load", kit)

    answer = admin.type("rollout", kit, "--yes")

    assert (answer.result["command"], answer.result["reference"]) == ("rollout", "cluster-unreachable")


def hold(admin: Admin, count: int) -> None:
    """Write what the site's legal hold says, and a site file that asks it."""
    said = admin.folder / "hold.json"
    said.write_text(f'{{"active_holds": {count}}}')
    said.chmod(0o644)
    asked = f'{{ file = "{said}", max_age_seconds = 600, pass_when = {{ field = "active_holds", equals = 0 }} }}'
    admin.write_site()
    with admin.site.open("a") as file:
        file.write(f"[compliance]\nlegal_hold = {asked}\naudit_export = {asked}\n")


def test_install_is_postponed_while_a_legal_hold_runs_and_changes_nothing(admin: Admin, kit: Path) -> None:
    hold(admin, 1)
    before = tree(admin.state)

    answer = admin.type("install", kit, "--yes")

    assert (answer.status, answer.result["reference"]) == (41, "compliance-lock")
    assert (answer.result["probe"], answer.result["found"]) == ("legal_hold", 1)
    assert tree(admin.state) == before
    assert admin.type("plan", kit).result["gates"]["compliance"].startswith("refused")


def test_install_goes_on_to_the_next_gate_when_no_hold_runs(admin: Admin, kit: Path) -> None:
    hold(admin, 0)

    answer = admin.type("install", kit, "--yes", "--wait", "1m")

    assert answer.result["reference"] == "cluster-unreachable"


# Status and journal


def test_status_of_a_new_site_says_what_to_type(admin: Admin) -> None:
    result = admin.type("status").result

    assert (result["release"], result["state"]) == (None, "nothing installed")
    assert "install KIT" in result["next"]


def test_journal_is_verified_and_shown(admin: Admin, house: House) -> None:
    verified, shown = admin.type("journal", "verify").result, admin.type("journal", "show")

    assert verified["entries"] == shown.result["entries"] == 1
    assert verified["head"] == shown.result["head"]
    (entry,) = (event for event in shown.events if event["event"] == "entry")
    assert fingerprint(house) in entry["text"]


@pytest.mark.parametrize("words", [("status",), ("journal", "verify"), ("journal", "show")], ids=" ".join)
def test_broken_journal_is_named(admin: Admin, words: tuple[str, ...]) -> None:
    flip_byte(admin.state / "journal.jsonl", 20)

    answer = admin.type(*words)

    assert (answer.status, answer.result["reference"]) == (62, "journal-corrupt")


def test_journal_that_cannot_be_read_is_named(admin: Admin) -> None:
    (admin.state / "journal.jsonl").unlink()
    (admin.state / "journal.jsonl").mkdir()

    answer = admin.type("status")

    assert (answer.status, answer.result["reference"]) == (62, "journal-unreadable")


# Doctor


def rows(answer: Answer) -> dict[str, bool]:
    assert all({"name", "ok", "warning", "found", "fix"} == set(row) for row in answer.result["checks"])
    assert all(bool(row["fix"]) == (row["warning"] or not row["ok"]) for row in answer.result["checks"])
    return {row["name"]: row["ok"] for row in answer.result["checks"]}


def test_doctor_lists_every_check_also_when_one_failed(admin: Admin) -> None:
    answer = admin.type("doctor")

    assert (answer.status, answer.result["reference"]) == (40, "doctor-found-faults")
    good = dict.fromkeys(("tier", "trust", "clock", "journal", "registry", "node master-1", "node vol-1"), True)
    assert rows(answer) == {**good, "cluster": False}


def test_doctor_of_a_site_that_pinned_nothing_says_how_to_pin(stranger: Admin) -> None:
    answer = stranger.type("doctor")

    assert rows(answer)["trust"] is False
    assert "trust pin" in next(row["fix"] for row in answer.result["checks"] if row["name"] == "trust")
    assert not stranger.state.exists()


def test_doctor_says_when_no_tier_is_named(admin: Admin) -> None:
    admin.site.write_text(admin.site.read_text().replace('tier = "1"\n', ""))

    assert rows(admin.type("doctor", tier=None))["tier"] is False


def test_doctor_names_a_registry_that_does_not_let_us_in(admin: Admin, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.password"
    wrong.write_text("wrong\n")
    wrong.chmod(0o600)
    text = admin.site.read_text().replace(str(admin.registry.password_file), str(wrong))
    admin.site.write_text(text)

    answer = admin.type("doctor")
    assert rows(answer)["registry"] is False, answer


def test_doctor_names_a_node_that_cannot_be_reached(admin: Admin) -> None:
    local = "transport = { local = true }"
    text = admin.site.read_text().rsplit(local, 1)
    admin.site.write_text('transport = { command = ["true"] }'.join(text))

    checks = rows(admin.type("doctor"))

    assert (checks["node master-1"], checks["node vol-1"]) == (True, False)


def test_doctor_without_a_usable_site_file_still_tells_the_rest(admin: Admin) -> None:
    admin.site.write_text(admin.site.read_text() + "nonsense = 1\n")

    answer = admin.type("doctor")

    assert answer.status == 2
    assert rows(answer) == dict.fromkeys(("tier", "trust", "clock", "journal"), True)
