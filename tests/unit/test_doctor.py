"""Every probe is run and told, whatever the one before it said; each failure comes with its fix."""

from __future__ import annotations

import io
import json

import pytest

from teraferry.bundles.errors import RefusedError, UsageError
from teraferry.bundles.progress import Silent
from teraferry.bundles.system.console import Console, run_command
from teraferry.installer.doctor import Check, Probe, require_all_well, rows_of, run_probes


def good() -> str:
    return "all there"


def bad() -> str:
    raise UsageError("some-reference", "disk sda: 0 bytes free, expected 1", hint="Free some room.")


def broken() -> str:
    raise PermissionError(13, "Permission denied", "/somewhere")


def checks_of(*looks: Probe) -> list[Check]:
    return run_probes(looks, Silent())


def test_probe_that_finds_all_well_has_no_fix() -> None:
    assert checks_of(Probe("disk", good)) == [Check("disk", ok=True, found="all there", fix="")]


def test_failed_probe_tells_what_was_found_and_its_fix() -> None:
    found = "disk sda: 0 bytes free, expected 1"

    assert checks_of(Probe("disk", bad)) == [Check("disk", ok=False, found=found, fix="Free some room.")]


@pytest.mark.parametrize("first", [bad, broken])
def test_probes_after_a_failed_one_are_run(first: object) -> None:
    checks = checks_of(Probe("one", first), Probe("two", good))  # type: ignore[arg-type]

    assert [(check.name, check.ok) for check in checks] == [("one", False), ("two", True)]
    assert all(check.fix for check in checks if not check.ok)


def test_all_well_refuses_nothing() -> None:
    require_all_well(checks_of(Probe("one", good)))


def test_refusal_holds_every_check_and_the_failed_ones_with_their_fix() -> None:
    checks = checks_of(Probe("one", good), Probe("two", bad))

    with pytest.raises(RefusedError) as refused:
        require_all_well(checks)

    assert (refused.value.exit_status, refused.value.reference) == (40, "doctor-found-faults")
    assert refused.value.facts["checks"] == rows_of(checks)
    assert refused.value.facts["failed"] == ["two: disk sda: 0 bytes free, expected 1 → Free some room."]


def test_refusal_is_a_table_for_scripts_and_lines_for_people() -> None:
    out, err = io.StringIO(), io.StringIO()
    console = Console(json=True, quiet=True, out=out, err=err, terminal=False, color=False)
    checks = checks_of(Probe("one", good), Probe("two", bad))

    def examine() -> dict[str, object]:
        require_all_well(checks)
        return {}

    assert run_command("doctor", console, examine) == 40
    result = json.loads(out.getvalue())
    assert [(row["name"], row["ok"]) for row in result["checks"]] == [("one", True), ("two", False)]
    assert all({"name", "ok", "warning", "found", "fix"} == set(row) for row in result["checks"])
    assert "    two: disk sda" in err.getvalue()
    assert "{" not in err.getvalue()
