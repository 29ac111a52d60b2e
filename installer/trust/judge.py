"""May this site trust this kit? Its pin, its journal, its site file and the kit's metadata, asked in that order."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from teraferry.bundles.progress import Progress
from teraferry.installer.ports import Journal
from teraferry.installer.site.load import load_site_trust
from teraferry.installer.trust.openpgp import demand_of
from teraferry.installer.trust.record import require_store_current
from teraferry.installer.verify import choose_pin, kit_folder, trust_release
from teraferry.keys.trust_store import TrustStore
from teraferry.keys.trusted import TrustedRelease


def trust_kit(
    kit: Path,
    *,
    store: TrustStore,
    journal: Journal,
    site_file: Path,
    built_at: datetime,
    now: datetime,
    progress: Progress,
) -> TrustedRelease:
    """Return what the signatures of ``kit`` say, if this site may believe them; no byte of the bundle is read.

    Raises:
        TrustError: 20-24. BundleError: 10, 11. UsageError: 2. OperatorNeededError: 62, the journal is broken.
    """
    pinned = choose_pin(store, kit)
    require_store_current(pinned, journal.replay())
    # A medium that cannot be read must not be told as a fault of the site file.
    kit_folder(kit)
    demand = demand_of(load_site_trust(site_file, kit=kit))
    return trust_release(kit, pinned=pinned, built_at=built_at, now=now, progress=progress, openpgp=demand)
