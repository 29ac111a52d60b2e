"""From the bytes of site.toml to its tables; what is wrong is told with file, line and suggestion. Pure."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from teraferry.bundles.errors import Fact, UsageError
from teraferry.bundles.model import Model
from teraferry.installer.site.model import Identity, Site, TrustTable

_Parsed = TypeVar("_Parsed")

Where = tuple[str | int, ...]
"""The way to a field: ``("node", 1, "address")``."""

_TABLE = re.compile(r"\s*(\[\[?)\s*([A-Za-z0-9_.\"' -]+?)\s*\]\]?\s*(?:#.*)?$")
_FIELD = re.compile(r"\s*[\"']?([A-Za-z0-9_-]+)[\"']?\s*[=.]")
_SYNTAX_LINE = re.compile(r"line (\d+)")
_PATH = re.compile(r" - at `(?:key in )?\$([^`]*)`")
_STEP = re.compile(r"\.([A-Za-z0-9_-]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"unknown field `([^`]*)`")
_MISSING = re.compile(r"missing required field `([^`]*)`")
_CLOSE_ENOUGH = 0.6  # difflib's own default


class _OnlyTrust(Model, frozen=True):
    trust: TrustTable


class _OnlyIdentity(Model, frozen=True):
    identity: Identity = msgspec.field(name="site")


class SiteText:
    """One site file: its name for messages, and its lines for finding the right one."""

    def __init__(self, name: str, content: bytes) -> None:
        self.name = name
        self._content = content

    def tables(self) -> dict[str, Any]:
        """Return the file as plain tables.

        Raises:
            UsageError: ``site-syntax``, 2.
        """
        try:
            return tomllib.loads(self._content.decode("utf-8"))
        except UnicodeDecodeError as error:
            line = self._content.count(b"\n", 0, error.start) + 1
            raise self._syntax(line, "bytes that are not UTF-8") from None
        except tomllib.TOMLDecodeError as error:
            found = _SYNTAX_LINE.search(str(error))
            line = int(found.group(1)) if found else self._content.count(b"\n") + 1
            raise self._syntax(line, str(error)) from None
        except ValueError:
            # What tomllib lets through from Python: thousands of digits.
            raise self._syntax(1, "a number with too many digits") from None
        except RecursionError:
            raise self._syntax(1, "nested too deeply") from None

    def _syntax(self, line: int, found: str) -> UsageError:
        return UsageError(
            "site-syntax",
            f"site file {self.name}, line {line}: {found}, expected TOML",
            hint=f"Correct line {line} of {self.name}; text stands in quotes, lists in [ ].",
            facts={"file": self.name, "line": line},
        )

    def decode(self, tables: Mapping[str, Any]) -> Site:
        """Return the tables as a site, every field known and of its type.

        Raises:
            UsageError: ``site-unknown-field``, ``site-missing-field`` or ``site-bad-value``, 2.
        """
        try:
            return msgspec.convert(tables, Site)
        except msgspec.ValidationError as error:
            raise self._invalid(str(error)) from None

    def decode_trust(self, tables: Mapping[str, Any]) -> TrustTable:
        """Return ``[trust]`` alone, every field known and of its type; the other tables may say what they like.

        Raises:
            UsageError: ``site-unknown-field`` or ``site-bad-value``, 2.
        """
        try:
            return msgspec.convert({"trust": tables.get("trust", {})}, _OnlyTrust).trust
        except msgspec.ValidationError as error:
            raise self._invalid(str(error)) from None

    def decode_identity(self, tables: Mapping[str, Any]) -> Identity:
        """Return ``[site]`` alone, as ``decode_trust`` does.

        Raises:
            UsageError: ``site-unknown-field``, ``site-missing-field`` or ``site-bad-value``, 2.
        """
        try:
            return msgspec.convert({"site": tables["site"]} if "site" in tables else {}, _OnlyIdentity).identity
        except msgspec.ValidationError as error:
            raise self._invalid(str(error)) from None

    def _invalid(self, told: str) -> UsageError:
        where = _where(told)
        unknown, missing = _UNKNOWN.search(told), _MISSING.search(told)
        if unknown:
            return self._unknown(where, unknown.group(1))
        if missing:
            return self._missing(where, missing.group(1))
        found, _, _ = told.partition(" - at ")
        words = allowed_words(where)
        expected = f", expected one of {', '.join(words)}" if words and "expected" not in found.lower() else ""
        return self.bad_value(where, found[:1].lower() + found[1:] + expected)

    def _unknown(self, where: Where, field: str) -> UsageError:
        known = known_fields(where)
        close = difflib.get_close_matches(field, known, n=1, cutoff=_CLOSE_ENOUGH)
        line = self.line_of((*where, field))
        suggestion = f"Did you mean {close[0]}? " if close else ""
        facts: dict[str, Fact] = {"field": field, "suggestion": close[0] if close else None, "known": list(known)}
        return UsageError(
            "site-unknown-field",
            f"site file {self.name}, line {line}: {field} in {shown(where)}, expected one of {', '.join(known)}",
            hint=f"{suggestion}Correct or remove {field} in line {line} of {self.name}.",
            facts={"file": self.name, "line": line, **facts},
        )

    def _missing(self, where: Where, field: str) -> UsageError:
        line = self.line_of(where)
        what = f"[{field}]" if not where else field
        return UsageError(
            "site-missing-field",
            f"site file {self.name}, line {line}: {shown(where)} without {what}, expected it there",
            hint=f"Add {what} to {shown(where)} in {self.name}.",
            facts={"file": self.name, "line": line, "field": field},
        )

    def bad_value(self, where: Where, found: str, *, reference: str = "site-bad-value", hint: str = "") -> UsageError:
        """Return the error for a value that makes no sense; ``found`` ends with ``expected ...``."""
        line = self.line_of(where)
        return UsageError(
            reference,
            f"site file {self.name}, line {line}: {shown(where)}: {found}",
            hint=hint or f"Correct {shown(where)} in line {line} of {self.name}.",
            facts={"file": self.name, "line": line, "field": shown(where)},
        )

    def checked(self, where: Where, parse: Callable[[], _Parsed]) -> _Parsed:
        """Return what ``parse`` makes of the value at ``where``.

        Raises:
            UsageError: ``site-bad-value``, 2, with the words of its ``ValueError``.
        """
        try:
            return parse()
        except ValueError as error:
            raise self.bad_value(where, str(error)) from None

    def line_of(self, where: Where) -> int:
        """Return the line where a field stands, or the line of the nearest table around it; 1 at worst.

        Only messages use it: a header inside a multi-line text can mislead it, never a decision.
        """
        lines = self._lines()
        for length in range(len(where), 0, -1):
            if where[:length] in lines:
                return lines[where[:length]]
        return 1

    def _lines(self) -> dict[Where, int]:
        lines: dict[Where, int] = {}
        counts: dict[Where, int] = {}
        table: Where = ()
        for number, line in enumerate(self._content.decode("utf-8", "replace").splitlines(), start=1):
            header, field = _TABLE.match(line), _FIELD.match(line)
            if header:
                table = tuple(part.strip(" \"'") for part in header.group(2).split("."))
                if header.group(1) == "[[":
                    lines.setdefault(table, number)
                    counts[table] = counts.get(table, -1) + 1
                    table = (*table, counts[table])
                elif table[:1] in counts:
                    # A [node.transport] belongs to the [[node]] that stands above it.
                    table = (table[0], counts[table[:1]], *table[1:])
                lines.setdefault(table, number)
            elif field:
                lines.setdefault((*table, field.group(1)), number)
        return lines


def known_fields(where: Where) -> tuple[str, ...]:
    """Return the names that the table at ``where`` may hold; () where nobody knows that table."""
    table = _table_at(where)
    return () if table is None else table.__struct_encode_fields__


def allowed_words(where: Where) -> tuple[str, ...]:
    """Return the words that the field at ``where`` may be; () where it is not one of a few words."""
    names = [step for step in where if isinstance(step, str)]
    table = _table_at(tuple(names[:-1]))
    kind = get_type_hints(table).get(names[-1]) if table is not None and names else None
    return tuple(str(word) for word in get_args(kind)) if get_origin(kind) is Literal else ()


def _table_at(where: Where) -> type[msgspec.Struct] | None:
    table: type[msgspec.Struct] | None = Site
    for step in where:
        if isinstance(step, str) and table is not None:
            table = _table_of(table, step)
    return table


def _table_of(table: type[msgspec.Struct], name: str) -> type[msgspec.Struct] | None:
    for field in msgspec.structs.fields(table):
        if field.encode_name == name:
            for kind in (field.type, *get_args(field.type)):
                if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                    return kind
    return None


def shown(where: Where) -> str:
    """Return the way to a field as people read it: ``[[node]] 2, address``."""
    if not where:
        return "the file"
    if len(where) > 1 and isinstance(where[1], int):
        head, rest = f"[[{where[0]}]] {where[1] + 1}", where[2:]
    else:
        head, rest = f"[{where[0]}]", where[1:]
    return ", ".join([head, *([".".join(str(step) for step in rest)] if rest else [])])


def _where(told: str) -> Where:
    found = _PATH.search(told)
    steps = _STEP.findall(found.group(1)) if found else []
    return tuple(name if name else int(number) for name, number in steps if number != "...")
