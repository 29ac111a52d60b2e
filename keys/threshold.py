"""Decide whether enough distinct trusted keys signed a payload.

Pure: ``keys.trust`` has already checked each signature, so only policy is left.

Source: TUF specification, section 4.3 (a threshold counts keys, not signatures).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from teraferry.bundles.errors import Fact, TrustError


@dataclass(frozen=True, slots=True)
class Role:
    """Which keys may sign for one purpose, and how many of them must."""

    name: str
    materials: Mapping[str, str]  # TUF key id -> SHA-256 of the DER SPKI: the key itself, whatever its id
    threshold: int  # distinct keys
    families: Mapping[str, str] = field(default_factory=dict)  # key id -> family; empty: no family is demanded

    def __post_init__(self) -> None:
        # Zero would accept an unsigned bundle. More than the keys there are is met by nobody,
        # which refuses by itself and is told as a threshold that is not met.
        if self.threshold < 1:
            raise ValueError(f"role {self.name}: threshold {self.threshold}, expected at least 1")


def require_threshold(role: Role, verified_key_ids: Iterable[str], undecided_key_ids: Iterable[str] = ()) -> list[str]:
    """Return the ids of the keys of ``role`` that signed, one id a key, sorted.

    A role of two families wants one key of each among them: a threshold counts heads, and heads of
    one family all fall on the day that family is broken.

    Args:
        role: The keys that count, and how many must.
        verified_key_ids: Ids whose signature over the payload is valid. May repeat a key, name it
            by a second id, or name one outside the role; none of these adds to the count.
        undecided_key_ids: Ids with a signature that this program could not check.

    Raises:
        TrustError: ``threshold-not-met``, 20: too few distinct keys of ``role`` signed.
            ``family-missing``, 20: enough, but none of one family.
            ``signature-undecided``, 23: too few, and the unchecked ones could have made up for it.
    """
    signed = distinct_signers(role, verified_key_ids)
    if is_enough(role, signed):
        return sorted(signed.values())
    undecided = {
        material: key_id
        for material, key_id in distinct_signers(role, undecided_key_ids).items()
        if material not in signed
    }
    if is_enough(role, {**signed, **undecided}):
        raise TrustError(
            "signature-undecided",
            f"role {role.name}: {len(signed)} valid signatures and {len(undecided)} that cannot be checked here, "
            f"expected {role.threshold}",
            hint="This program does not know the kind of key. Ask for a newer teraferry-installer.",
            exit_status=23,
            facts=_facts(role, signed),
        )
    if len(signed) >= role.threshold:
        raise _family_missing(role, signed)
    raise threshold_not_met(role, signed)


def is_enough(role: Role, signed: Mapping[str, str]) -> bool:
    """Tell whether these keys meet the role's threshold and its families; ``signed`` maps material to id."""
    return len(signed) >= role.threshold and not missing_families(role, signed)


def missing_families(role: Role, signed: Mapping[str, str]) -> list[str]:
    """Return the families of ``role`` of which nobody signed, sorted."""
    return sorted(set(role.families.values()).difference(role.families.get(key_id, "") for key_id in signed.values()))


def threshold_not_met(role: Role, signed: Mapping[str, str]) -> TrustError:
    """Return the refusal; ``signed`` maps key material to key id."""
    return TrustError(
        "threshold-not-met",
        f"role {role.name}: signed by {len(signed)} of its keys, expected at least {role.threshold}",
        hint="Do not use this kit. Ask the release's owner for one that is signed by enough of the keys trusted here.",
        exit_status=20,
        facts=_facts(role, signed),
    )


def _family_missing(role: Role, signed: Mapping[str, str]) -> TrustError:
    (family, *_) = missing_families(role, signed)
    return TrustError(
        "family-missing",
        f"role {role.name}: signed by {len(signed)} keys and no {family} key, expected one of each family",
        hint="Do not use this kit. Ask the release's owner for one that a key of each family signed.",
        exit_status=20,
        facts={**_facts(role, signed), "family": family},
    )


def _facts(role: Role, signed: Mapping[str, str]) -> dict[str, Fact]:
    return {"role": role.name, "have": len(signed), "need": role.threshold, "signers": sorted(signed.values())}


def distinct_signers(role: Role, key_ids: Iterable[str]) -> dict[str, str]:
    """Return key material -> one of its ids, for the keys of ``role`` among ``key_ids``."""
    # By material: one key listed under two ids must not satisfy a threshold of two.
    return {role.materials[key_id]: key_id for key_id in sorted(key_ids) if key_id in role.materials}
