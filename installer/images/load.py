"""Bring the images of a verified bundle into the site's registry: blobs, documents, and tags last.

(1) Every image is planned from its signed documents before a byte is sent. (2) The registry lets us in.
(3) Blobs, over several connections: what is there is skipped, what another repository holds is mounted,
the rest is streamed from memory that was verified. (4) Documents by digest, children first, each read back
and digested. (5) Only when all of that is done for *all* images, tags, each read back and digested. A
failure before (5) leaves blobs that nothing names, never a tag; the same command again goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from teraferry.bundles.digest import Digest, digest_of
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.image_plan import Document, ImagePlan, ReadsDocuments, plan_images
from teraferry.bundles.manifest import Manifest
from teraferry.bundles.progress import Progress
from teraferry.installer.images.blobs import BlobLoader, BlobTask, StreamsBlobs
from teraferry.installer.ports import Registry
from teraferry.installer.together import run_together


class ReadsBundle(StreamsBlobs, ReadsDocuments, Protocol):
    """What loading needs of a bundle reader: bytes that were verified before they are handed out."""


class LoadableBundle(Protocol):
    """A bundle that passed every check; in the product only ``installer.verify`` makes one."""

    @property
    def manifest(self) -> Manifest:
        """What the bundle holds."""

    @property
    def reader(self) -> ReadsBundle:
        """Hands out verified bytes. Threads may share it."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load did."""

    loaded_bytes: int  # sent to the registry
    skipped_bytes: int  # there already, or mounted from another repository
    blobs_loaded: int
    blobs_skipped: int
    tags: tuple[str, ...]  # "name:version", every image, also those that stood already


def load_images(
    bundle: LoadableBundle,
    registry: Registry,
    *,
    jobs: int,
    progress: Progress,
    check_registry: bool = False,
    before_tags: Callable[[], object] | None = None,
    require_not_stopped: Callable[[], None] = lambda: None,
) -> LoadReport:
    """Load every image of ``bundle`` and tag it ``name:<release version>``. Idempotent.

    Args:
        bundle: Verified.
        registry: The site's own.
        progress: Told of bytes that are done for good, from several threads.
        jobs: Connections that push at the same time, at least 1.
        check_registry: Also read every blob back and compare its digest.
        before_tags: Called once when all bytes are there, before the first tag; raises to leave nothing tagged.
        require_not_stopped: Called before each blob; raises to leave nothing but blobs.

    Raises:
        BundleError: 10 or 11, from the plan (``image_plan``) or from the reader.
        RefusedError: 44, one of the ``registry-...`` references.
    """
    # (1)
    plans = plan_images(bundle.manifest, bundle.reader)
    if not plans:
        return LoadReport(0, 0, 0, 0, ())
    # (2)
    registry.require_ready()
    # (3)
    tasks = blob_tasks(plans)
    progress.start("load", total_bytes=sum(task.length_bytes for task in tasks), detail=f"{len(plans)} images")
    loader = BlobLoader(
        bundle.reader,
        registry,
        progress=progress,
        check_registry=check_registry,
        require_not_stopped=require_not_stopped,
    )
    loader.load(tasks, jobs=jobs)
    # (4)
    run_together([partial(_push_documents, registry, plan) for plan in plans], jobs=jobs)
    # (5)
    if before_tags is not None:
        before_tags()
    tags = tuple(_tag(registry, plan, progress) for plan in plans)
    return LoadReport(loader.loaded_bytes, loader.skipped_bytes, loader.blobs_loaded, loader.blobs_skipped, tags)


def blob_tasks(plans: Sequence[ImagePlan]) -> tuple[BlobTask, ...]:
    """Return each distinct blob once, with every repository that needs it; the largest first.

    The largest first, so that no connection is left alone with it at the end.
    """
    repositories: dict[Digest, list[str]] = {}
    lengths: dict[Digest, int] = {}
    for plan in plans:
        for digest, length_bytes in plan.blobs.items():
            lengths[digest] = length_bytes
            if plan.repository not in repositories.setdefault(digest, []):
                repositories[digest].append(plan.repository)
    tasks = (BlobTask(digest, lengths[digest], tuple(names)) for digest, names in repositories.items())
    return tuple(sorted(tasks, key=lambda task: (-task.length_bytes, task.digest)))


def _push_documents(registry: Registry, plan: ImagePlan) -> None:
    for document in plan.documents:
        if registry.get_manifest(plan.repository, document.digest) is None:
            registry.put_manifest(plan.repository, document.digest, document.content, document.media_type)
        _require_served(registry, plan, document.digest, document)


def _tag(registry: Registry, plan: ImagePlan, progress: Progress) -> str:
    name = f"{plan.repository}:{plan.tag}"
    standing = registry.get_manifest(plan.repository, plan.tag)
    if standing is not None and digest_of(standing) == plan.top.digest:
        return name
    if standing is not None:
        text = f"{name} pointed at {digest_of(standing)}; it now points at the signed {plan.top.digest}"
        progress.say("tag-moved", text, tag=name, found=digest_of(standing), expected=plan.top.digest)
    registry.put_manifest(plan.repository, plan.tag, plan.top.content, plan.top.media_type)
    _require_served(registry, plan, plan.tag, plan.top)
    return name


def _require_served(registry: Registry, plan: ImagePlan, reference: str, document: Document) -> None:
    """Read a manifest back and digest it: what was accepted is not yet what will be pulled."""
    served = registry.get_manifest(plan.repository, reference)
    found = "nothing" if served is None else digest_of(served)
    if found != document.digest:
        raise RefusedError(
            "registry-answer-wrong",
            f"manifest {plan.repository} {reference}: the registry serves {found}, expected {document.digest}",
            hint="Its storage or something between changes bytes. Have the registry checked and that manifest deleted "
            "from it, then type the same command again.",
            exit_status=44,
            facts={"repository": plan.repository, "found": found, "expected": document.digest},
        )
