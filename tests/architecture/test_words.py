"""What may not stand in the repository, and what has to: addresses, paths, promises, references."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from teraferry.bundles.errors import TeraFerryError
from tests.architecture.source_tree import PACKAGES, REPOSITORY, Module, modules, tracked_text

# Spelled in pieces, since this file is searched too.
REGISTRY_HOSTS = ["py" + "pi.org", "python" + "hosted.org", "deb." + "debian.org", "security." + "debian.org"]
REGISTRY_HOSTS += ["registry.npm" + "js.org", "proxy.golang" + ".org", "artifact" + "registry", "-docker.pkg" + ".dev"]
MACHINE_PATHS = ["/wo" + "rk/(main|shared)", "/ro" + r"ot/\.(pyenv|cache|config|ssh)", "/tmp" + "/tf"]
UNFINISHED = [r"\bTO" + r"DO\b", r"\bFIX" + r"ME\b", r"\bXX" + r"X\b", "NotImplemented" + "Error"]

REFERENCE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
DEFAULT_STATUS = {one.__name__: one.statuses[0] for one in TeraFerryError.__subclasses__() if one.statuses}
"""Error class -> the status it has when a raise names none."""

ERRORS_PAGE = REPOSITORY / "docs" / "errors.md"


@pytest.mark.parametrize("host", REGISTRY_HOSTS)
def test_no_file_names_a_package_registry(host: str) -> None:
    found = [f"{name}:{number}" for name, number, line in tracked_text() if host in line]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", MACHINE_PATHS)
def test_no_file_names_a_path_of_the_machine_it_was_written_on(path: str) -> None:
    found = [f"{name}:{number}" for name, number, line in tracked_text() if re.search(rf"(?<![\w.]){path}", line)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("word", UNFINISHED)
def test_nothing_is_left_unfinished(word: str) -> None:
    found = [f"{name}:{number}" for name, number, line in tracked_text() if re.search(word, line)]
    assert not found, "\n".join(found)


@dataclass(frozen=True)
class Raised:
    """One place that names a reference."""

    reference: str
    status: int | None  # None: decided at run time
    place: str


def raised_references() -> list[Raised]:
    """Return every reference that the product's source spells out, with its status and where."""
    found = [one for module in modules(*PACKAGES) for one in raised_in(module)]
    stub = (REPOSITORY / "builder" / "stub.sh").read_text(encoding="ascii")
    for number, line in enumerate(stub.splitlines(), start=1):
        if refused := re.search(r"\brefuse (\d+) ([a-z-]+)", line):
            found.append(Raised(refused.group(2), int(refused.group(1)), f"builder/stub.sh:{number}"))
    return found


def raised_in(module: Module) -> Iterator[Raised]:
    positions = dict.fromkeys(DEFAULT_STATUS, 0) | reference_positions(module)
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called not in positions:
            continue
        named = {keyword.arg: keyword.value for keyword in node.keywords}
        position = positions[called]
        value = named.get("reference", node.args[position] if position < len(node.args) else None)
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield Raised(value.value, status_of(called, named), f"{module.path}:{node.lineno}")


def reference_positions(module: Module) -> dict[str, int]:
    """Return the helpers of a module that take a reference, and which argument it is."""
    found = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef):
            names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args) if argument.arg != "self"]
            if "reference" in names:
                found[node.name] = names.index("reference")
            elif "reference" in [argument.arg for argument in node.args.kwonlyargs]:
                found[node.name] = len(names)
    return found


def status_of(called: str, named: dict[str | None, ast.expr]) -> int | None:
    if "exit_status" not in named:
        return DEFAULT_STATUS.get(called)
    value = named["exit_status"]
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, int) else None


def listed_statuses() -> dict[str, set[int]]:
    """Return what docs/errors.md lists: rows ``| `reference` | status, status | meaning |``."""
    page = ERRORS_PAGE.read_text(encoding="utf-8") if ERRORS_PAGE.exists() else ""
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (\d+(?:, \d+)*) \|", page, re.MULTILINE)
    return {reference: {int(status) for status in statuses.split(", ")} for reference, statuses in rows}


def test_every_reference_is_kebab_case() -> None:
    wrong = [f"{one.reference} ({one.place})" for one in raised_references() if not REFERENCE.fullmatch(one.reference)]
    assert not wrong, "\n".join(wrong)


def test_every_reference_is_listed_with_its_status() -> None:
    listed = listed_statuses()
    missing: dict[str, str] = {}
    for one in raised_references():
        if one.reference not in listed:
            missing.setdefault(f"{one.reference} | {one.status or '?'}", one.place)
        elif one.status is not None and one.status not in listed[one.reference]:
            missing.setdefault(f"{one.reference} | {one.status}, listed with another status", one.place)
    lines = [f"{row} | {place}" for row, place in sorted(missing.items())]
    assert not lines, f"docs/errors.md lacks {len(lines)} rows:\n" + "\n".join(lines)


def test_every_listed_reference_is_raised_somewhere() -> None:
    source = "".join((REPOSITORY / module.path).read_text(encoding="utf-8") for module in modules(*PACKAGES))
    source += (REPOSITORY / "builder" / "stub.sh").read_text(encoding="ascii")
    stale = [name for name in listed_statuses() if f'"{name}"' not in source and f" {name} " not in source]
    assert not stale, "\n".join(stale)
