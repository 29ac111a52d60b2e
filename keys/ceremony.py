"""The ceremony that makes a root: who may sign a release, and how many of them must.

Every key that the root names is opened and signs once, here, before it is written down: a root
that names a key which cannot sign would be noticed months later, far away, by the wrong people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import msgspec
from tuf.api.metadata import Metadata, Root
from tuf.api.metadata import Role as TufRole

from teraferry.bundles.errors import BuildError, Fact, UsageError
from teraferry.bundles.manifest import Product
from teraferry.keys.public_keys import is_checkable_by_dgst, material_of
from teraferry.keys.signers import KeyRing, KeySigner
from teraferry.keys.trust import verify_pinned_root
from teraferry.keys.trust_folder import TrustFolder, TrustState
from teraferry.keys.tuf_metadata import CUSTOM, signed_bytes

DEFAULT_EXPIRY_DAYS: Final[Mapping[str, int]] = {"root": 3650, "targets": 1825, "snapshot": 365, "timestamp": 365}
"""Long, since media travel by courier and a site is visited twice a year."""

_PROOF: Final = b"teraferry: this key can sign"


@dataclass(frozen=True, slots=True)
class TrustPlan:
    """What ``trust init`` was asked for. Keys are URIs."""

    product: str
    root_keys: Sequence[str]
    root_threshold: int
    release_keys: Sequence[str]
    release_threshold: int
    desk_key: str
    expires_days: Mapping[str, int] = field(default_factory=dict)
    production: bool = False


def init_trust(folder: TrustFolder, plan: TrustPlan, ring: KeyRing, *, now: datetime) -> Metadata[Root]:
    """Make root 1, signed by every root key, and the trust folder around it.

    Raises:
        UsageError: ``threshold-impossible``, ``expiry-malformed``, ``product-malformed``,
            ``trust-folder-exists``, 2.
        BuildError: ``key-used-twice``, ``key-not-production``, ``release-keys-not-checkable``, or
            why a key could not sign, 31.
    """
    folder.require_new()
    _require_sound(plan)
    signers = {
        "root": [ring.open(uri) for uri in plan.root_keys],
        "targets": [ring.open(uri) for uri in plan.release_keys],
        "desk": [ring.open(plan.desk_key)],
    }
    _require_distinct(signers, production=plan.production)
    _require_checkable(signers["targets"], plan.release_threshold)
    for signer in (signer for holders in signers.values() for signer in holders):
        if plan.production:
            require_production(signer)
        signer.sign_metadata(_PROOF)
    days = {**DEFAULT_EXPIRY_DAYS, **plan.expires_days}
    root = Metadata(_compose(plan, signers, expires=now + timedelta(days=days["root"])))
    for signer in signers["root"]:
        root.signatures[signer.key.keyid] = signer.sign_metadata(signed_bytes(root))
    # Read back the way a site will read it, before anything is written.
    made = verify_pinned_root(root.to_bytes())
    state = TrustState(
        format=1, product=plan.product, counter=0, sequences={}, expires_days=days, production=plan.production
    )
    folder.create(made, state)
    return made


def _compose(plan: TrustPlan, signers: Mapping[str, Sequence[KeySigner]], *, expires: datetime) -> Root:
    ids = {name: [signer.key.keyid for signer in holders] for name, holders in signers.items()}
    return Root(
        version=1,
        expires=expires.replace(microsecond=0),
        keys={signer.key.keyid: signer.key for holders in signers.values() for signer in holders},
        roles={
            "root": TufRole(ids["root"], plan.root_threshold),
            "targets": TufRole(ids["targets"], plan.release_threshold),
            "snapshot": TufRole(ids["desk"], 1),
            "timestamp": TufRole(ids["desk"], 1),
        },
        consistent_snapshot=False,
        unrecognized_fields={CUSTOM: {"format": 1, "product": plan.product}},
    )


def _require_sound(plan: TrustPlan) -> None:
    try:
        msgspec.convert(plan.product, Product)
    except msgspec.ValidationError as error:
        raise UsageError(
            "product-malformed",
            f"product {plan.product[:70]!r}: {error}, expected lowercase letters, digits, dots and dashes",
            hint="Use the product of release.toml, for example: --product terachat",
        ) from error
    for role, keys, threshold in (
        ("root", plan.root_keys, plan.root_threshold),
        ("release", plan.release_keys, plan.release_threshold),
    ):
        if not 1 <= threshold <= len(keys):
            raise UsageError(
                "threshold-impossible",
                f"--{role}-threshold: {threshold}, expected 1..{len(keys)}, the number of --{role}-key options",
                hint=f"Give more --{role}-key options or a threshold that so many keys can meet.",
                facts={"role": role, "threshold": threshold, "keys": len(keys)},
            )
    for role, days in plan.expires_days.items():
        if role not in DEFAULT_EXPIRY_DAYS or not 1 <= days <= 36_500:
            raise UsageError(
                "expiry-malformed",
                f"--expires {role[:20]}={days}: not a role and a number of days, expected "
                f"{', '.join(DEFAULT_EXPIRY_DAYS)} and 1..36500",
                hint="Write it as: --expires timestamp=365",
            )


def _require_distinct(signers: Mapping[str, Sequence[KeySigner]], *, production: bool) -> None:
    seen: dict[str, tuple[str, str]] = {}
    prefixes: set[str] = set()
    for role, holders in signers.items():
        for signer in holders:
            material = material_of(signer.key)
            if material in seen and (production or seen[material][0] == role):
                raise _refused(
                    "key-used-twice",
                    f"{signer.name}: the same key as {seen[material][1]}, expected different keys",
                    "Give each person a key of their own; one key must never count twice.",
                    signer,
                )
            if material not in seen and signer.key.keyid[:8] in prefixes:
                raise _refused(
                    "key-id-collides",
                    f"{signer.name}: its id begins like another key's, expected different first 8 digits",
                    "Make a new key in its place; files in the kit are named by these 8 digits.",
                    signer,
                )
            seen.setdefault(material, (role, signer.name))
            prefixes.add(signer.key.keyid[:8])


def _require_checkable(release: Sequence[KeySigner], threshold: int) -> None:
    checkable = sum(is_checkable_by_dgst(signer.key) for signer in release)
    if checkable < threshold:
        facts: dict[str, Fact] = {"checkable": checkable, "need": threshold}
        raise BuildError(
            "release-keys-not-checkable",
            f"release keys: {checkable} can be checked by openssl dgst, expected at least {threshold}, the threshold",
            hint="Use P-256, P-384 or RSA for more of the release keys: a first visit has nothing but stock openssl.",
            exit_status=31,
            facts=facts,
        )


def require_production(signer: KeySigner) -> None:
    """Refuse a key that may have left its token, or never was on one.

    Raises:
        BuildError: ``key-not-production``, 31.
    """
    if not signer.evidence.is_fit_for_production:
        flags = [name for name, is_set in signer.evidence.flags.items() if is_set]
        raise BuildError(
            "key-not-production",
            f"{signer.name}: {signer.evidence.kind} key with {', '.join(flags) or 'no flags'}, expected a token key "
            "that is local, sensitive, always_sensitive and never_extractable",
            hint="Generate the key on the token itself and name it by a pkcs11: URI.",
            exit_status=31,
            facts={"key_id": signer.key.keyid, "kind": signer.evidence.kind, "flags": flags},
        )


def _refused(reference: str, message: str, hint: str, signer: KeySigner) -> BuildError:
    return BuildError(reference, message, hint=hint, exit_status=31, facts={"key_id": signer.key.keyid})
