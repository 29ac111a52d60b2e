"""``load``: bring the images of a release to the registry, and write down which and who signed them.

Nothing is rolled out, so these entries belong to no run that could be resumed, and they do not say that the
release is installed.
"""

from __future__ import annotations

from collections.abc import Callable

from teraferry.bundles.progress import Progress
from teraferry.installer.images.load import LoadReport, load_images
from teraferry.installer.kit_registry.bring_up import KitRegistry
from teraferry.installer.ports import Journal, Registry
from teraferry.installer.rollout.execute import Clock, RunRecord
from teraferry.installer.trust.record import release_facts
from teraferry.installer.verify import VerifiedBundle

LOADING, LOADED = "load-started", "loaded"


def load(
    bundle: VerifiedBundle,
    registry: Registry,
    *,
    journal: Journal,
    clock: Clock,
    accept_trust: Callable[[], object],
    jobs: int,
    progress: Progress,
    check_registry: bool,
    kit_registry: KitRegistry | None = None,
) -> LoadReport:
    """Load every image of ``bundle``, with an entry before the first tag and one after the last.

    A load that is refused half-way leaves journal and trust store as they were. From the first tag on both must
    know: an older kit must not come in again, and whoever finds the tag must find who brought it.

    Args:
        bundle: Verified.
        registry: The site's own.
        journal: Read before anything is sent: a broken one refuses first.
        clock: For the entries.
        accept_trust: Raises the floor of the trust store, durably.
        jobs: Connections that push at the same time.
        progress: Told of bytes.
        check_registry: Also read every blob back.
        kit_registry: At a site without a registry: the one that the release brings.

    Raises:
        BundleError: 10, 11. RefusedError: 44. OperatorNeededError: ``journal-corrupt``, ``registry-down``, 62.
        RolledBackError: ``registry-rolled-back``, 50.
    """
    if kit_registry is not None:
        kit_registry.bring_up(bundle)
    signed = bundle.release.bundle
    run = f"load-{signed.product}-{signed.version}-{len(journal.replay()) + 1}"
    record = RunRecord(journal, run=run, clock=clock)

    def begin() -> None:
        accept_trust()
        record.note(LOADING, "", **release_facts(bundle.release))

    report = load_images(
        bundle, registry, jobs=jobs, progress=progress, check_registry=check_registry, before_tags=begin
    )
    if report.tags:
        record.note(LOADED, tags=list(report.tags), loaded_bytes=report.loaded_bytes)
    return report
