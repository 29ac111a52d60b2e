"""The ceremony that founds a root: who may sign a release, and how many of them must.

Every key that the root names is opened and signs once, here, before it is written down: a root
that names a key which cannot sign would be noticed months later, far away, by the wrong people.
``keys.roots.change`` makes every later root.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import msgspec
from tuf.api.metadata import Metadata, Root

from teraferry.bundles.errors import UsageError
from teraferry.bundles.manifest import Product
from teraferry.keys.evidence import encode_root_evidence
from teraferry.keys.may_sign import require_bound_to_token
from teraferry.keys.roots.draft import DESK, RELEASE, ROOT, RoleDraft, RootDraft, compose_root, require_sound_draft
from teraferry.keys.signers import KeyRing, KeySigner
from teraferry.keys.trust import verify_pinned_root
from teraferry.keys.trust_folder import TrustFolder, TrustState
from teraferry.keys.tuf_metadata import signed_bytes

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
        BuildError: 31; see ``require_sound_draft``, ``require_able``.
    """
    folder.require_new()
    _require_sound(plan)
    roots = [ring.open(uri) for uri in plan.root_keys]
    releases = [ring.open(uri) for uri in plan.release_keys]
    desk = ring.open(plan.desk_key)
    roles = {
        ROOT: RoleDraft(roots, plan.root_threshold),
        RELEASE: RoleDraft(releases, plan.release_threshold),
        DESK: RoleDraft([desk], 1),
    }
    draft = RootDraft(plan.product, roles)
    require_sound_draft(draft, production=plan.production)
    for signer in (*roots, *releases, desk):
        require_able(signer, production=plan.production)
    days = {**DEFAULT_EXPIRY_DAYS, **plan.expires_days}
    root = Metadata(compose_root(draft, version=1, expires=now + timedelta(days=days["root"])))
    for signer in roots:
        root.signatures[signer.key.keyid] = signer.sign_metadata(signed_bytes(root))
    # Read back the way a site will read it, before anything is written.
    made = verify_pinned_root(root.to_bytes())
    state = TrustState(
        format=1,
        product=plan.product,
        counter=0,
        sequences={},
        expires_days=days,
        production=plan.production,
        names={signer.key.keyid: signer.evidence.where for signer in (*roots, *releases, desk)},
    )
    folder.create(made, state, encode_root_evidence([*roots, *releases, desk], made, now=now))
    return made


def require_able(signer: KeySigner, *, production: bool) -> None:
    """Refuse a key that cannot sign, or may not in a production root, before a root names it.

    Raises:
        BuildError: ``key-not-production``, ``signature-not-valid`` or the token's own reason, 31.
    """
    if production:
        require_production(signer)
    signer.sign_metadata(_PROOF)


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


def require_production(signer: KeySigner) -> None:
    """Refuse a key that may have left its token, or never was on one.

    Raises:
        BuildError: ``key-not-production``, 31.
    """
    require_bound_to_token(signer.evidence, key_id=signer.key.keyid, name=signer.name)
