"""The README cannot drift from ``--help``: every command it shows exists, with every option."""

from __future__ import annotations

import re
from importlib import import_module

import click
import pytest
from click.testing import CliRunner

from tests.architecture.source_tree import REPOSITORY

PROGRAMS = {"teraferry": "teraferry.builder.cli", "teraferry-installer": "teraferry.installer.cli"}


def group_of(program: str) -> click.Group:
    """Return the group that no other group of the program's module holds."""
    groups = [value for value in vars(import_module(PROGRAMS[program])).values() if isinstance(value, click.Group)]
    held = {id(inner) for group in groups for inner in group.commands.values()}
    (outermost,) = {id(group): group for group in groups if id(group) not in held}.values()
    return outermost


def shown_lines(program: str) -> list[list[str]]:
    """Return the words after ``program`` of every command line in the README's sh blocks."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    before = r"^\s*(?:\$ )?(?:sudo )?(?:[A-Z_]+=\S+ )*(?:sh )?(?:\S*/)?"
    found = (re.match(rf"{before}{re.escape(program)}(?=\s)([^#]*)", line) for line in lines)
    return [match.group(1).split() for match in found if match]


def commands(group: click.Group, prefix: tuple[str, ...] = ()) -> dict[tuple[str, ...], click.Command]:
    found: dict[tuple[str, ...], click.Command] = {}
    for name, command in group.commands.items():
        found[(*prefix, name)] = command
        if isinstance(command, click.Group):
            found.update(commands(command, (*prefix, name)))
    return found


@pytest.mark.parametrize("program", PROGRAMS)
def test_readme_shows_only_commands_and_options_that_help_lists(program: str) -> None:
    known = commands(group_of(program))
    wrong = []
    for words in shown_lines(program):
        path = tuple(word for word in words if not word.startswith("-"))
        name = next((path[:depth] for depth in (2, 1) if path[:depth] in known), None)
        if name is None:
            wrong.append(" ".join(words))
            continue
        options = {option for parameter in known[name].params for option in parameter.opts} | {"--help"}
        options |= {option for parameter in group_of(program).params for option in parameter.opts}
        given = {word.split("=")[0] for word in words if re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", word)}
        wrong.extend(f"{' '.join(name)} {option}" for option in sorted(given - options))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_explains_itself(program: str) -> None:
    silent = [" ".join(name) for name, command in commands(group_of(program)).items() if not command.help]
    assert not silent, "\n".join(silent)


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_of_every_command_is_printed(program: str) -> None:
    group = group_of(program)
    for name in commands(group):
        done = CliRunner().invoke(group, [*name, "--help"])
        assert done.exit_code == 0, name
