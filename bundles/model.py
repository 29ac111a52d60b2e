"""The base of every document we read: frozen, and no field it does not know."""

from __future__ import annotations

import msgspec


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A strict, immutable record decoded from JSON or TOML."""
