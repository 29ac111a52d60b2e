"""How many release keys signed a kit, and how many it takes until the desk may close it. Pure.

A site asks for the threshold, and for one of each family where ML-DSA keys sign. A kit is closed only when a
first visit can judge it too: that has nothing but stock OpenSSL, so the threshold must be met
by keys which that can check.
"""

from __future__ import annotations

from dataclasses import dataclass

from tuf.api.metadata import Metadata, Root, Targets

from teraferry.keys.public_keys import MLDSA, has_openssl_line
from teraferry.keys.threshold import distinct_signers, missing_families
from teraferry.keys.tuf_metadata import is_signed_by, materials_of


@dataclass(frozen=True, slots=True)
class Quorum:
    """Distinct release keys that signed, and how many it takes in all."""

    have: int
    need: int

    @property
    def is_met(self) -> bool:
        """Tell whether the desk may close the kit."""
        return self.have >= self.need


def release_quorum(root: Root, targets: Metadata[Targets]) -> Quorum:
    """Return how far the signing of ``targets`` is, by the release keys of ``root``."""
    role = materials_of(root, Targets.type)
    good = [key_id for key_id in role.materials if is_signed_by(root.keys[key_id], targets)]
    signed = distinct_signers(role, good)
    checkable = sum(has_openssl_line(root.keys[key_id]) for key_id in signed.values())
    still = max(0, role.threshold - checkable) + (MLDSA in missing_families(role, signed))
    return Quorum(len(signed), len(signed) + still)
