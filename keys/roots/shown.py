"""A root as ``trust`` prints it: roles, keys, and the fingerprint that goes on paper."""

from __future__ import annotations

from collections.abc import Mapping

from tuf.api.metadata import Metadata, Root

from teraferry.keys.public_keys import material_of
from teraferry.keys.tuf_metadata import fingerprint_of, product_of


def shown_root(root: Metadata[Root], names: Mapping[str, str] | None = None) -> Mapping[str, object]:
    """Return the result fields of every ``trust`` command.

    Args:
        root: The newest root.
        names: By key id, where the key lies, as far as the trust folder knows: a person must see whose key to
            replace. None at a site, which knows nothing of that.
    """
    signed = root.signed
    keys = []
    for key in signed.keys.values():
        where = {} if names is None else {"where": names.get(key.keyid, "")}
        keys.append({"id": key.keyid, **where, "kind": key.scheme, "fingerprint": material_of(key)})
    return {
        "product": product_of(signed),
        "version": signed.version,
        "fingerprint": fingerprint_of(root),
        "expires": signed.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "roles": {
            name: {"threshold": role.threshold, "keys": sorted(role.keyids)} for name, role in signed.roles.items()
        },
        "keys": keys,
    }
