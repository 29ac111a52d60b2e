"""What must hold in each ``[[key]]`` of a site file. Pure.

A field that belongs to another store is refused: somebody would rely on it.
"""

from __future__ import annotations

from typing import Final

from teraferry.bundles.errors import UsageError
from teraferry.installer.site.model import Key, Site
from teraferry.installer.site.paths import require_absolute, require_words
from teraferry.installer.site.text import SiteText, Where
from teraferry.keys.continuity.recovery import require_acceptance
from teraferry.keys.stores.tpm_answers import parse_handle
from teraferry.keys.uri import Pkcs11Uri, parse_key_uri

_ONLY: Final = {
    "auth": "tpm",
    "twin": "tpm",
    "twin_auth": "tpm",
    "counter": "tpm",
    "tcti": "tpm",
    "command": "command",
}
"""Field -> the one store that has it."""


def require_sound_keys(site: Site, text: SiteText) -> None:
    """Check every ``[[key]]``.

    Raises:
        UsageError: ``site-bad-value`` or ``site-missing-field``, 2.
    """
    seen: set[str] = set()
    nodes = {node.name for node in site.nodes}
    for number, key in enumerate(site.keys):
        where: Where = ("key", number)
        if key.name in seen:
            raise text.bad_value((*where, "name"), f"{key.name} twice, expected one key a name")
        seen.add(key.name)
        if key.node not in nodes:
            raise text.bad_value((*where, "node"), f"{key.node}, which is no node, expected the name of a [[node]]")
        for field, store in _ONLY.items():
            if getattr(key, field) is not None and key.store != store:
                raise text.bad_value((*where, field), f'beside store = "{key.store}", expected it only with {store}')
        _require_handle(key, text, where)
        _require_places(key, text, where)
        _require_recovery(key, text, where)


def _require_handle(key: Key, text: SiteText, where: Where) -> None:
    if key.store == "tpm":
        for field, value in (("handle", key.handle), ("twin", key.twin), ("counter", key.counter)):
            try:
                parse_handle(value or "0x0")
            except ValueError as error:
                raise text.bad_value((*where, field), str(error)) from None
        if key.twin_auth is not None and key.twin is None:
            raise text.bad_value((*where, "twin_auth"), "without twin, expected it only with it")
    elif key.store == "pkcs11":
        _require_uri(key, text, where)
    elif key.command is None:
        found = "absent, expected the program"
        raise text.bad_value((*where, "command"), found, reference="site-missing-field")
    else:
        require_words(key.command, text, (*where, "command"))


def _require_uri(key: Key, text: SiteText, where: Where) -> None:
    try:
        uri = parse_key_uri(key.handle)
    except UsageError as error:
        # Said without the value: somebody may have written a PIN into it.
        raise text.bad_value((*where, "handle"), error.message, hint=error.hint) from None
    if not isinstance(uri, Pkcs11Uri) or uri.pin_file is None:
        found = "no pkcs11: URI with pin-source, expected one: the key proves itself by signing"
        raise text.bad_value((*where, "handle"), found)
    require_absolute(uri.pin_file, text, (*where, "handle"))


def _require_places(key: Key, text: SiteText, where: Where) -> None:
    named = [("blobs", path) for path in key.blobs] + [("protected", path) for path in key.protected]
    singles = (("auth", key.auth), ("twin_auth", key.twin_auth), ("recovery_proof", key.recovery_proof))
    for field, path in (*named, *((field, path) for field, path in singles if path is not None)):
        require_absolute(path, text, (*where, field))


def _require_recovery(key: Key, text: SiteText, where: Where) -> None:
    # Neither is no mistake of the file: doctor, plan and install refuse it, with what to do.
    if key.accepted_without_recovery is None:
        return
    if key.recovery_proof is not None:
        found = "beside recovery_proof, expected one of the two"
        raise text.bad_value((*where, "accepted_without_recovery"), found)
    try:
        require_acceptance(key.accepted_without_recovery)
    except ValueError as error:
        raise text.bad_value((*where, "accepted_without_recovery"), str(error)) from None
