"""The OpenPGP signature that a site's policy may demand, on top of the release keys and never in their place.

It is over ``SHA256SUMS``. So first those lines must be exactly what the signed metadata says, and then the
bytes that were compared are the bytes whose signature is checked: a medium that answers
differently the second time is not asked a second time.

The check is gpgv's, started by us, and the judgement of its status lines ours. python-gnupg, which signs,
would be one more package in the installer file, drives gpg and not gpgv, and calls a signature by a
revoked key "valid".
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from teraferry.bundles import layout
from teraferry.bundles.limits import MAX_CHECKSUMS_BYTES, MAX_OPENPGP_SIGNATURE_BYTES
from teraferry.bundles.progress import Progress
from teraferry.installer.site.model import TrustTable
from teraferry.keys.checksums import checksums_of, require_checksums
from teraferry.keys.metadata import read_capped
from teraferry.keys.openpgp.gpgv import GPGV, has_gpgv, load_openpgp_key, require_openpgp_signature
from teraferry.keys.openpgp.judge import parse_fingerprint
from teraferry.keys.trusted import TrustedRelease


@dataclass(frozen=True, slots=True)
class OpenPgpDemand:
    """What ``[trust]`` of a site file asks for."""

    fingerprint: str
    key_file: Path


def demand_of(trust: TrustTable) -> OpenPgpDemand | None:
    """Return what the site demands; None when it demands no OpenPGP signature."""
    if trust.require_openpgp is None:
        return None
    return OpenPgpDemand(parse_fingerprint(trust.require_openpgp), Path(trust.openpgp_key_file))


def require_demanded_openpgp(
    folder: Path,
    release: TrustedRelease,
    demand: OpenPgpDemand | None,
    *,
    now: datetime,
    proven_past: datetime,
    progress: Progress,
) -> str | None:
    """Return the fingerprint whose good signature the kit in ``folder`` bears, None where none is demanded.

    Args:
        folder: The kit folder, unverified but for its metadata.
        release: What the release keys signed.
        demand: The site's.
        now: System clock.
        proven_past: The newest date that this site knows to be past.
        progress: Told what was checked, and what was not and why.

    Raises:
        BundleError: ``checksums-differ``, 10; ``medium-unreadable``, 11.
        TrustError: 20-24; see ``keys.openpgp.gpgv`` and ``keys.openpgp.judge``.
    """
    path = folder / layout.OPENPGP_SIGNATURE
    if demand is None:
        if os.path.lexists(path):
            progress.say("openpgp-not-demanded", _not_checked())
        return None
    content = read_capped(folder / layout.CHECKSUMS, limit_bytes=MAX_CHECKSUMS_BYTES) or b""
    require_checksums(content, checksums_of(release))
    key = load_openpgp_key(demand.key_file, demand.fingerprint)
    signature = read_capped(path, limit_bytes=MAX_OPENPGP_SIGNATURE_BYTES)
    found = require_openpgp_signature(content, signature, key, now=now, proven_past=proven_past)
    text = f"OpenPGP key {found.fingerprint} signed {layout.CHECKSUMS} on {found.signed_at:%Y-%m-%d}"
    progress.say("openpgp", text, fingerprint=found.fingerprint)
    return found.fingerprint


def _not_checked() -> str:
    text = f"{layout.OPENPGP_SIGNATURE} was not checked: site.toml demands no OpenPGP signature"
    return text if has_gpgv() else f"{text}, and {GPGV}, which checks them, is not on this machine"
