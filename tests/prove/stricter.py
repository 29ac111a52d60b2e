"""Where our verdict is stricter than that of python-tuf's client, kind by kind; drawn as ``docs/proof/stricter.md``.

A difference that no line of this table explains is a failure, and so is every kit that we accept and it refuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.lab.repositories import Case


@dataclass(frozen=True, slots=True)
class Stricter:
    """One kind of stricter verdict."""

    name: str
    refusals: frozenset[str]  # our references
    oddities: frozenset[str]  # of the generator; one of them must be in the case
    why: str

    def explains(self, case: Case, refusal: str) -> bool:
        """Tell whether this is why ``case`` is refused with ``refusal`` here and accepted there."""
        oddities = {*case.oddities, *(["seen_before"] if case.names_what_was_seen_before else [])}
        return refusal in self.refusals and bool(oddities & self.oddities)


_ANY: Final = frozenset(
    {
        *("metadata-unreadable", "metadata-disagrees", "threshold-not-met", "signature-invalid", "signature-undecided"),
        *("metadata-too-large", "metadata-expired", "older-than-installed", "bundle-not-described", "product-differs"),
    }
)

STRICTER: Final = (
    Stricter(
        "one spelling",
        frozenset({"metadata-unreadable", "threshold-not-met", "signature-invalid"}),
        frozenset({"another_spelling", "signed_part_changed", "signature_spelled_otherwise", "bit_flipped"}),
        "Bytes that two readers could read in two ways are not read: a member twice, members beside the signed part, "
        "true for 1, a date or a signature in another spelling than the signed one.",
    ),
    Stricter(
        "no wrong signature",
        frozenset({"signature-invalid"}),
        frozenset(
            {
                *("wrong_signature_of_a_trusted_key", "signature_under_another_id", "bit_flipped"),
                *("signature_of_one_key_under_the_other", "signature_spelled_otherwise"),
            }
        ),
        "A wrong signature under a trusted key's id refuses even where enough others are right: nobody makes one by "
        "accident.",
    ),
    Stricter(
        "a key counts once",
        frozenset({"threshold-not-met"}),
        frozenset({"key_under_two_ids"}),
        "Keys are equal when their material is; a second id for it adds nothing to a threshold.",
    ),
    Stricter(
        "offered kinds of keys",
        frozenset({"signature-undecided", "threshold-not-met"}),
        frozenset({"kind_of_key_not_offered"}),
        "P-521 and other kinds that no root of ours may hold never count.",
    ),
    Stricter(
        "one product",
        frozenset({"product-differs", "metadata-disagrees", "metadata-unreadable"}),
        frozenset({"another_product"}),
        "A root speaks of one product, and so must every successor and every bundle; TUF knows no products.",
    ),
    Stricter(
        "one bundle",
        frozenset({"bundle-not-described"}),
        frozenset({"bundle_described_otherwise"}),
        "Targets describe exactly one bundle in our own terms, and delegate nothing.",
    ),
    Stricter(
        "the order of releases",
        frozenset({"older-than-installed"}),
        frozenset({"sequence_lowered", "versions_lowered", "other_version", "versions_as_before"}),
        "A release's ordinal never falls, and the release keys' versions stay when a desk key is replaced.",
    ),
    Stricter(
        "no time before a proven one",
        frozenset({"metadata-expired"}),
        frozenset({"clock_behind"}),
        "A clock set back does not revive what a release that was accepted proves to be past.",
    ),
    Stricter(
        "nothing beside the chain",
        frozenset({"root-chain-broken", "metadata-disagrees"}),
        frozenset({"file_missing", "snapshot_names_more", "consistent_snapshot", "wrong_root_version"}),
        "A root beyond a gap may be the one that revokes a key; a snapshot lists the targets and nothing more.",
    ),
    Stricter(
        "the kit, not the cache",
        _ANY,
        frozenset({"seen_before"}),
        "A file that is named with the version of the last visit python-tuf does not look at: it goes on with what "
        "it kept. A site judges the kit that lies before it.",
    ),
)


def render() -> str:
    """Return ``docs/proof/stricter.md``."""
    rows = [
        f"| {one.name} | {', '.join(f'`{name}`' for name in sorted(one.refusals))} | {one.why} |" for one in STRICTER
    ]
    return "\n".join(
        [
            "# Stricter than TUF's own client",
            "",
            "`scripts/prove oracle` lets our verifier and python-tuf's `ngclient` judge the same generated",
            "repositories. Both give the same verdict, or ours is stricter in one of these ways; a kit that it refuses",
            "and we accept is a failure. Written from `tests/prove/stricter.py`.",
            "",
            "| kind | our refusals | why |",
            "| --- | --- | --- |",
            *rows,
            "",
        ]
    )
