"""The words and JSON of the console. Pure: nothing here prints, waits or reads a clock."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping

from teraferry.bundles.errors import TeraFerryError

RESULT_FIELDS = frozenset({"event", "command", "status", "reference", "message", "hint"})
"""Fields of a result line that belong to the console; a fact of the same name becomes ``fact_NAME``."""


def printable(text: str) -> str:
    """Return ``text`` with everything escaped that a terminal would obey instead of show.

    A file name from a medium may hold escape sequences, a newline, or marks that turn the
    direction of writing; shown raw, it could hide a refusal or forge a line of ours.
    """
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")


def indented(text: str, *, margin: str = "  ") -> str:
    """Return ``text`` safe to print; lines after the first are indented, so none can pose as a line of ours."""
    return f"\n{margin}".join(printable(line) for line in text.split("\n"))


def size_text(count_bytes: float) -> str:
    """Return bytes as people read them: ``1.2 GiB``."""
    amount = float(count_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def duration_text(seconds: float) -> str:
    """Return seconds as people read them: ``12 s``, ``3 min 20 s``, ``1 h 05 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def encode_line(fields: Mapping[str, object]) -> str:
    """Return one JSON object on one line, ASCII only, whatever is in the fields."""
    return json.dumps(plain(fields), ensure_ascii=True, allow_nan=False)


def plain(value: object) -> object:
    """Return ``value`` as JSON can hold it; what JSON has no word for becomes text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in value), key=str)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    names = getattr(value, "__struct_fields__", None) or getattr(value, "__dataclass_fields__", None)
    if names is not None:
        return {name: plain(getattr(value, name)) for name in names}
    return str(value)


def result_fields(command: str, fields: Mapping[str, object]) -> dict[str, object]:
    """Return the last line under ``--json`` of a command that did what it was asked."""
    return {
        "event": "result",
        "command": command,
        "status": 0,
        "reference": "ok",
        **_renamed(fields),
    }


def error_fields(command: str, error: TeraFerryError) -> dict[str, object]:
    """Return the last line under ``--json`` of a command that ended in ``error``."""
    return {
        "event": "result",
        "command": command,
        "status": error.exit_status,
        "reference": error.reference,
        "message": error.message,
        "hint": error.hint,
        **_renamed(error.facts),
    }


def _renamed(fields: Mapping[str, object]) -> dict[str, object]:
    # A fact may not overwrite the status that a script decides by.
    return {(f"fact_{name}" if name in RESULT_FIELDS else name): item for name, item in fields.items()}


def result_lines(command: str, fields: Mapping[str, object]) -> list[str]:
    """Return a result as a few lines for people."""
    lines = [f"{command}: done"]
    for name, item in fields.items():
        shown = plain(item)
        label = printable(name.replace("_", " "))
        if isinstance(shown, list) and any(isinstance(row, dict | list) for row in shown):
            lines.append(f"  {label}:")
            lines.extend(f"    {_inline(row)}" for row in shown)
        elif isinstance(shown, dict) and any(isinstance(row, dict | list) for row in shown.values()):
            lines.append(f"  {label}:")
            lines.extend(f"    {printable(name)}: {_inline(row)}" for name, row in shown.items())
        else:
            lines.append(f"  {label}: {_sized(name, shown)}")
    return lines


def _sized(name: str, shown: object) -> str:
    if name.endswith("_bytes") and isinstance(shown, int):
        return f"{shown} ({size_text(shown)})"
    return _inline(shown)


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{printable(str(name))}={_inline(item)}" for name, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(_inline(item) for item in value) or "none"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return printable(str(value))


def error_lines(command: str, error: TeraFerryError) -> list[str]:
    """Return an error for people: what happened, found and expected; then what to type next."""
    lines = [f"{command}: {_verdict(error.exit_status)}"]
    lines.append(f"  what happened: {indented(error.message, margin='    ')}")
    # The message says every single fact; only lists have no room in it. Tables are for scripts.
    lines.extend(_listed(error.facts))
    lines.append(f"  what to do:    {indented(error.hint, margin='    ')}")
    lines.append(f"  reference:     {error.reference}, exit status {error.exit_status}")
    return lines


def _verdict(exit_status: int) -> str:
    # "Refused" promises that nothing was changed, so it may not be said of what broke half-way.
    if exit_status == _STOPPED:
        return "STOPPED"
    return "FAILED" if exit_status in _BROKE or exit_status >= _CHANGED else "REFUSED"


_STOPPED = 43
_BROKE = (11, 30, 31)
_CHANGED = 50


def _listed(facts: Mapping[str, object]) -> Iterable[str]:
    for name, fact in facts.items():
        rows = [item for item in fact if isinstance(item, str)] if isinstance(fact, list) else []
        if rows:
            yield f"  {name.replace('_', ' ')}:"
            yield from (f"    {printable(row)}" for row in rows)
