"""The chain of roots: how one root hands its trust to the next. Pure.

Only the first link is pinned by a person; each later one is believed because the keys of the one
before it signed it, and its own keys did too.

Source: TUF specification 1.0, section 5.3.
"""

from __future__ import annotations

from collections.abc import Sequence

from tuf.api.metadata import Metadata, Root

from teraferry.bundles.errors import TrustError
from teraferry.keys.tuf_metadata import parse_metadata, product_of, require_signed


def verify_pinned_root(root_bytes: bytes) -> Metadata[Root]:
    """Return a root that is about to be pinned: whole, ours, and signed by its own threshold.

    Who it belongs to is not decided here: that is what the fingerprint is for.

    Raises:
        TrustError: ``threshold-not-met``, 20; ``signature-undecided``, 23; ``metadata-unreadable``, 24.
    """
    root = parse_metadata(Root, root_bytes, what="root")
    product_of(root.signed)
    require_signed(root.signed, "root", root)
    return root


def verify_next_root(trusted: Metadata[Root], content: bytes) -> Metadata[Root]:
    """Return the root in ``content``, which must be the successor of ``trusted``.

    Raises:
        TrustError: ``threshold-not-met``, 20; ``signature-invalid``, 20; ``signature-undecided``, 23;
            ``metadata-unreadable``, 24; ``metadata-disagrees``, 24.
    """
    number = trusted.signed.version + 1
    what = f"{number}.root.json"
    successor = parse_metadata(Root, content, what=what)
    # Signed by the old keys first: only then is anything in it, its own keys included, looked at.
    require_signed(trusted.signed, "root", successor)
    require_signed(successor.signed, "root", successor)
    if successor.signed.version != number:
        raise metadata_disagrees(what, f"version {successor.signed.version}", f"version {number}")
    product = product_of(trusted.signed)
    if product_of(successor.signed) != product:
        raise metadata_disagrees(what, f"product {product_of(successor.signed)}", f"product {product}")
    return successor


def verify_roots(contents: Sequence[bytes]) -> list[Metadata[Root]]:
    """Return every root of a chain, the first one first; who that one belongs to is not decided here.

    Args:
        contents: At least one root; each later one is the successor of the one before it.

    Raises:
        TrustError: See ``verify_pinned_root`` and ``verify_next_root``.
    """
    roots = [verify_pinned_root(contents[0])]
    for content in contents[1:]:
        roots.append(verify_next_root(roots[-1], content))
    return roots


def metadata_disagrees(what: str, found: str, expected: str) -> TrustError:
    """Return the refusal of a document that contradicts another one."""
    return TrustError(
        "metadata-disagrees",
        f"metadata {what}: {found}, expected {expected}",
        hint="The files of two kits may be mixed on this medium: copy the whole kit again from its source.",
        exit_status=24,
        facts={"file": what, "found": found, "expected": expected},
    )
