"""The README's first release in five minutes, typed as it stands there: a stranger ends with a kit that verifies."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

REPOSITORY = Path(__file__).parents[2]
SECTION = "A first release in five minutes"
SCRIPTS = "./scripts/setup && ./scripts/build-payload"
"""What ``scripts/test`` typed before any test ran."""


def shell_lines() -> str:
    """Return every line that the section tells a person to type, up to where the site begins."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", text.partition(f"## {SECTION}\n")[2], flags=re.MULTILINE)[0]
    connected_side = section.partition("\nAt the site, ")[0]
    return "".join(re.findall(r"^```sh\n(.*?)^```", connected_side, re.MULTILINE | re.DOTALL))


def test_first_release_of_the_readme_can_be_pasted(tmp_path: Path) -> None:
    scripts, separator, lines = shell_lines().partition(SCRIPTS)
    assert (scripts, separator) == ("", SCRIPTS)
    for script in re.findall(r"\./(scripts/\S+)", SCRIPTS):
        assert (REPOSITORY / script).stat().st_mode & 0o111
    clone = tmp_path / "teraferry"
    clone.mkdir()
    (clone / ".venv").symlink_to(REPOSITORY / ".venv")

    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail"], input=lines.encode(), cwd=clone, capture_output=True, timeout=150
    )

    assert done.returncode == 0, done.stderr.decode(errors="replace")
    answers = re.findall(r"^([a-z ]+): done$", done.stdout.decode(), re.MULTILINE)
    assert answers == ["trust init", "freeze", "new", "lock", "build", "sign", "sign", "verify"]
    kit = tmp_path / "first-release" / "example-1.0.0"
    assert {"START-HERE.html", "teraferry-installer", "example-1.0.0.tar.gz"} <= {path.name for path in kit.iterdir()}
