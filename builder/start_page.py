"""``START-HERE.html``: the one page of a kit, for a person who has nothing but the medium.

The same release and root give the same bytes: the page is signed, and a second signer, on
another day, must sign the same one. It links to nothing and runs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from tuf.api.metadata import Metadata, Root

from teraferry.bundles import layout
from teraferry.keys.public_keys import has_openssl_line, is_checkable_by_dgst, material_of, openssl_line
from teraferry.keys.tuf_metadata import fingerprint_of

_TEMPLATES: Final = Path(__file__).parent / "templates"
KEYS_VARIABLE: Final = '"$KEYS"'
"""Folder with the public keys that reached the site another way; the reader sets it in the first line."""


@dataclass(frozen=True, slots=True)
class ReleaseKey:
    """One release key as the page shows it."""

    id8: str
    kind: str
    fingerprint: str  # SHA-256 of the DER public key
    openssl: str | None  # None: stock OpenSSL cannot check this kind
    is_dgst: bool


def render_start_page(
    *, product: str, version: str, roots: Sequence[Metadata[Root]], openpgp: str | None = None
) -> bytes:
    """Return the page.

    Args:
        product: The release's product.
        version: The release's version.
        roots: Every root of the trust folder, 1 first; the last says who signs.
        openpgp: Fingerprint of the OpenPGP key that the release asks for.
    """
    newest = roots[-1].signed
    role = newest.roles["targets"]
    keys = [_release_key(newest, key_id) for key_id in sorted(role.keyids)]
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("start_here.html.j2").render(
        product=product,
        version=version,
        kit=f"{product}-{version}",
        bundle=layout.bundle_name(product, version),
        installer=layout.INSTALLER,
        checksums=layout.CHECKSUMS,
        page=layout.START_PAGE,
        newest_root=f"{layout.METADATA_DIR}/{layout.root_name(newest.version)}",
        roots=[(root.signed.version, _grouped(fingerprint_of(root))) for root in roots],
        keys=[key for key in keys if key.openssl is not None],
        unchecked_keys=[key for key in keys if key.openssl is None],
        threshold=role.threshold,
        openpgp=openpgp and _grouped(openpgp),
        openpgp_signature=layout.OPENPGP_SIGNATURE,
    )
    return page.encode("utf-8") + b"\n"


def _release_key(root: Root, key_id: str) -> ReleaseKey:
    key = root.keys[key_id]
    id8 = key_id[:8]
    kinds = {
        "ecdsa-sha2-nistp256": "P-256",
        "ecdsa-sha2-nistp384": "P-384",
        "rsassa-pss-sha256": "RSA-PSS",
        "ed25519": "Ed25519",
        "ml-dsa-65/1": "ML-DSA-65",
    }
    if not has_openssl_line(key):
        return ReleaseKey(id8, kinds[key.scheme], material_of(key), None, is_dgst=False)
    line = openssl_line(
        key,
        key_file=f"{KEYS_VARIABLE}/{id8}.pem",
        signature_file=layout.signature_name(key_id),
        content_file=layout.CHECKSUMS,
    )
    return ReleaseKey(id8, kinds[key.scheme], material_of(key), line, is_dgst=is_checkable_by_dgst(key))


def _grouped(digits: str) -> str:
    # In groups of four: people compare it with paper, aloud.
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))
