"""Linters as tests: what they find is a failure like any other."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.architecture.source_tree import PACKAGES, REPOSITORY, modules

BASH_FILES = ("scripts/setup", "scripts/test", "scripts/lock", "scripts/build-payload")
POSIX_FILES = ("builder/stub.sh", ".ci/run")


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *argv], cwd=REPOSITORY, capture_output=True, text=True, timeout=280, check=False
    )


def test_ruff_finds_nothing() -> None:
    done = run("ruff", "check", "--output-format", "concise", ".")
    assert done.returncode == 0, done.stdout + done.stderr


def test_code_is_formatted() -> None:
    done = run("ruff", "format", "--check", ".")
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_strict_finds_nothing() -> None:
    done = run("mypy")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("path", "shell"),
    [*((path, "bash") for path in BASH_FILES), *((path, shell) for path in POSIX_FILES for shell in ("dash", "bash"))],
)
def test_shell_file_parses(path: str, shell: str) -> None:
    done = subprocess.run([shell, "-n", path], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_module_tells_its_story() -> None:
    silent = [
        module.path
        for module in modules(*PACKAGES, "tests", "scripts")
        if module.tree.body and not ast.get_docstring(module.tree)
    ]
    assert not silent, "\n".join(silent)


def test_product_guards_nothing_with_assert() -> None:
    # Under -O an assert is not there.
    found = [
        f"{module.path}:{node.lineno}"
        for module in modules(*PACKAGES)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Assert)
    ]
    assert not found, "\n".join(found)


def test_modules_and_functions_stay_short() -> None:
    long = []
    for module in modules(*PACKAGES):
        lines = len((REPOSITORY / module.path).read_text(encoding="utf-8").splitlines())
        if lines > 300:
            long.append(f"{module.path}: {lines} lines, expected at most 300")
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = (node.end_lineno or 0) - node.lineno + 1 - docstring_lines(node)
                if body > 40:
                    long.append(f"{module.path}:{node.lineno} {node.name}: {body} lines, expected at most 40")
    assert not long, "\n".join(long)


def docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    if ast.get_docstring(node) is None:
        return 0
    return (first.end_lineno or 0) - first.lineno + 1
