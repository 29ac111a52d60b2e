"""Follow the chain of roots: how a site that missed years of changes finds out who may sign today. Pure.

A visit may be the first in years, and people and tokens have changed meanwhile. Each root was signed by
those who were trusted before it, so the pinned one leads to the last, however little the two have in common.

Source: TUF specification 1.0, 5.3.
"""

from __future__ import annotations

from collections.abc import Mapping

from tuf.api.metadata import Metadata, Root

from teraferry.bundles.errors import TrustError
from teraferry.bundles.limits import MAX_ROOT_ROTATIONS
from teraferry.keys.tuf_metadata import parse_metadata, product_of, require_signed


def follow_roots(
    roots: Mapping[int, bytes], trusted: Metadata[Root], trusted_bytes: bytes
) -> tuple[Metadata[Root], bytes]:
    """Return the last root of the chain that begins at ``trusted``, and its bytes.

    Every link is signed by the threshold of the one before it and by its own, is numbered one
    higher and is of the same product.

    Raises:
        TrustError: ``threshold-not-met``, ``signature-invalid``, 20; ``signature-undecided``, 23;
            ``metadata-unreadable``, ``metadata-disagrees``, 24.
    """
    first = trusted.signed.version
    for number in range(first + 1, first + 1 + MAX_ROOT_ROTATIONS):
        content = roots.get(number)
        if content is None:
            break
        what = f"{number}.root.json"
        successor = parse_metadata(Root, content, what=what)
        # Signed by the old keys first: only then is anything in it, its own keys included, looked at.
        require_signed(trusted.signed, "root", successor)
        require_signed(successor.signed, "root", successor)
        if successor.signed.version != number:
            raise disagrees(what, f"version {successor.signed.version}", f"version {number}")
        product = product_of(trusted.signed)
        if product_of(successor.signed) != product:
            raise disagrees(what, f"product {product_of(successor.signed)}", f"product {product}")
        trusted, trusted_bytes = successor, content
    return trusted, trusted_bytes


def disagrees(what: str, found: str, expected: str) -> TrustError:
    """Return the refusal of files that do not belong together."""
    return TrustError(
        "metadata-disagrees",
        f"metadata {what}: {found}, expected {expected}",
        hint="The files of two kits may be mixed on this medium: copy the whole kit again from its source.",
        exit_status=24,
        facts={"file": what, "found": found, "expected": expected},
    )
