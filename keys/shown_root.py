"""A root as ``trust`` prints it: roles, keys, and the fingerprint that goes on paper."""

from __future__ import annotations

from collections.abc import Mapping

from tuf.api.metadata import Metadata, Root

from teraferry.keys.public_keys import material_of
from teraferry.keys.tuf_metadata import fingerprint_of, product_of


def shown_root(root: Metadata[Root]) -> Mapping[str, object]:
    """Return the result fields of ``trust init``, ``show`` and every change."""
    signed = root.signed
    return {
        "product": product_of(signed),
        "version": signed.version,
        "fingerprint": fingerprint_of(root),
        "expires": signed.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "roles": {
            name: {"threshold": role.threshold, "keys": sorted(role.keyids)} for name, role in signed.roles.items()
        },
        "keys": [
            {"id": key.keyid, "kind": key.scheme, "fingerprint": material_of(key)} for key in signed.keys.values()
        ],
    }
