"""The signing room, typed as people would, on real tokens: each answer on a machine of its own."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from teraferry.builder.cli import teraferry
from teraferry.bundles.system.console import run_program
from tests.integration.test_signing import Desk
from tests.lab.house import House


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    made = Desk(tmp_path_factory.mktemp("desk"))
    status, _, stderr = made.init("--production")
    assert status == 0, stderr
    return made


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    return House(tmp_path).build().folder


def ask(desk: Desk, kit: Path, file: Path) -> dict[str, Any]:
    status, result, stderr = desk.type("sign", str(kit), "--trust", str(desk.trust), "--request", str(file))
    assert status == 0, stderr
    return result


def answer(desk: Desk, request: Path, name: str, *more: str) -> tuple[int, dict[str, Any], str]:
    return desk.type("sign", "--answer", str(request), "--key", desk.keys[name].uri, "--yes", *more)


def attach(desk: Desk, kit: Path, *files: str, more: tuple[str, ...] = ()) -> tuple[int, dict[str, Any], str]:
    options = [word for file in files for word in ("--attach", file)]
    return desk.type("sign", str(kit), "--trust", str(desk.trust), *options, *more)


def test_tokens_that_never_meet_sign_a_kit_that_verifies(desk: Desk, kit: Path, tmp_path: Path) -> None:
    asked = ask(desk, kit, tmp_path / "release.request")
    assert (asked["kind"], asked["signed"], asked["missing"]["targets"]) == ("release", [], {"have": 0, "need": 2})
    assert {one["name"] for one in asked["awaited"]} == {f"key release-{n} on token release-{n}" for n in (1, 2, 3)}

    files = []
    for name in ("release-3", "release-1"):
        elsewhere = tmp_path / f"machine-of-{name}"
        elsewhere.mkdir()
        shutil.copyfile(tmp_path / "release.request", elsewhere / "release.request")
        status, result, stderr = answer(desk, elsewhere / "release.request", name)
        assert (status, result["digest"]) == (0, asked["digest"]), stderr
        assert Path(result["answer"]).name == f"release.request.{result['signed'][0][:8]}.answer"
        files.append(result["answer"])

    status, result, stderr = attach(desk, kit, *files)
    assert (status, set(result["missing"])) == (0, {"snapshot", "timestamp"}), stderr
    asked = ask(desk, kit, tmp_path / "desk.request")
    assert asked["kind"] == "desk"
    status, result, stderr = answer(desk, tmp_path / "desk.request", "desk", "-o", str(tmp_path / "closing"))
    assert (status, result["answer"]) == (0, str(tmp_path / "closing")), stderr
    status, result, stderr = attach(desk, kit, str(tmp_path / "closing"))

    assert (status, result["missing"], result["awaited"]) == (0, {}, []), stderr
    assert desk.verify(kit)[0] == 0


def test_answers_carry_the_tokens_word(desk: Desk, kit: Path, tmp_path: Path) -> None:
    ask(desk, kit, tmp_path / "r")
    _, result, _ = answer(desk, tmp_path / "r", "release-2")
    attach(desk, kit, result["answer"])

    (path,) = (kit / "metadata" / "evidence").iterdir()
    signed = json.loads(path.read_bytes())["signed"]
    assert (signed["facts"]["token"], signed["flags"]["never_extractable"]) == ("release-2", True)


def test_a_changed_request_is_not_answered_and_leaves_no_file(desk: Desk, kit: Path, tmp_path: Path) -> None:
    request = tmp_path / "r"
    ask(desk, kit, request)
    request.write_text(request.read_text().replace("demo 1.0.0", "demo 1.0.1"))

    status, result, _ = answer(desk, request, "release-1")

    assert (status, result["reference"]) == (31, "request-changed")
    assert list(tmp_path.glob("*.answer")) == []


def test_nobody_signs_without_being_asked(desk: Desk, kit: Path, tmp_path: Path) -> None:
    ask(desk, kit, tmp_path / "r")

    status, result, _ = desk.type("sign", "--answer", str(tmp_path / "r"), "--key", desk.keys["release-1"].uri)

    assert (status, result["reference"]) == (2, "confirmation-needed")
    assert list(tmp_path.glob("*.answer")) == []


@pytest.mark.parametrize(("typed", "status"), [("n\n", 43), ("y\n", 0)])
def test_on_a_terminal_the_whole_text_is_shown_before_the_question(
    desk: Desk, kit: Path, tmp_path: Path, typed: str, status: int
) -> None:
    digest = ask(desk, kit, tmp_path / "r")["digest"]
    words = ["sign", "--answer", str(tmp_path / "r"), "--key", desk.keys["release-1"].uri, "--quiet", "--json"]
    person, terminal = pty.openpty()
    os.write(person, typed.encode())

    done = subprocess.run(
        [sys.executable, "-m", "teraferry.builder.cli", *words],
        env={**os.environ, **desk.hsm.environment},
        stdin=terminal,
        capture_output=True,
        timeout=60,
        check=False,
    )
    os.close(person)
    os.close(terminal)

    shown = done.stderr.decode()
    assert done.returncode == status, shown
    assert " ".join(digest[7:][at : at + 8] for at in range(0, 64, 8)) in shown
    assert shown.index("TERAFERRY SIGNING REQUEST: sign this release") < shown.index("do you sign this?")
    assert len(list(tmp_path.glob("*.answer"))) == (status == 0)


@pytest.mark.parametrize(
    "words",
    [
        ["KIT", "--trust", "TRUST", "--answer", "F", "--key", "K"],
        ["--answer", "F", "--key", "K", "--desk-key", "K"],
        ["--answer", "F", "--request", "F", "--key", "K"],
        ["KIT", "--trust", "TRUST", "--request", "F", "--key", "K"],
        ["KIT", "--trust", "TRUST", "--request", "F", "--attach", "F"],
        ["KIT", "--trust", "TRUST", "--key", "K", "--since", "KIT"],
        ["KIT", "--trust", "TRUST", "--key", "K", "--yes"],
    ],
    ids=" ".join,
)
def test_options_that_do_not_go_together_are_a_usage_error(
    kit: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused_here(kit, words, capsys) == "options-conflict"


@pytest.mark.parametrize(
    ("words", "reference"),
    [
        (["--key", "K"], "usage"),
        (["KIT", "--key", "K"], "usage"),
        (["--answer", "F", "--yes"], "key-needed"),
        (["--answer", "F", "--key", "K", "--key", "K", "--yes"], "key-needed"),
        (["--answer", "F", "--key", "K", "--yes"], "signing-file-missing"),
        (["KIT", "--trust", "TRUST", "--attach", "F"], "signing-file-missing"),
    ],
    ids=str,
)
def test_what_is_missing_on_the_command_line_is_named(
    kit: Path, words: list[str], reference: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused_here(kit, words, capsys) == reference


def refused_here(kit: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Type it in this process, where no token is reached: what is refused is the line itself."""
    real = {"KIT": str(kit), "TRUST": str(kit / "trust"), "F": str(kit / "none"), "K": "file:none.pem"}
    status = run_program(teraferry, ["sign", *(real.get(word, word) for word in words), "--json"], name="teraferry")
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (status, result["status"]) == (2, 2)
    return str(result["reference"])
