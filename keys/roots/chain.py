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
    higher and is of the same product. What does not belong to the chain refuses: a root beyond a gap, or
    beyond the most that are followed, may be the one that revokes a key.

    Raises:
        TrustError: ``threshold-not-met``, ``signature-invalid``, 20; ``signature-undecided``, 23;
            ``metadata-unreadable``, ``metadata-disagrees``, ``root-chain-broken``, 24.
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
    beyond = [number for number in sorted(roots) if number > trusted.signed.version]
    if beyond:
        raise _chain_broken(beyond[0], last=trusted.signed.version, first=first)
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


def _chain_broken(found: int, *, last: int, first: int) -> TrustError:
    is_too_far = found == last + 1
    wanted = f"at most {MAX_ROOT_ROTATIONS} roots after root {first}" if is_too_far else f"root {last + 1} before it"
    return TrustError(
        "root-chain-broken",
        f"metadata {found}.root.json: it follows root {last}, expected {wanted}",
        hint="Copy the whole kit again from its source; it must hold every root, without a gap."
        if not is_too_far
        else "This site is too far behind to follow by itself: ask the release's owner how to pin a newer root.",
        exit_status=24,
        facts={"found": found, "last": last},
    )
