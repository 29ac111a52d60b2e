"""Whether the site's registry holds every image of a release already: what ``rollout`` relies on, and ``load`` brings.

Manifests are read and digested here, since a registry is believed in nothing that can be looked at. Of blobs it is
asked only whether they are there, with the right length: whoever pulls one digests it.
"""

from __future__ import annotations

from collections.abc import Iterator

from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.image_plan import ImagePlan, plan_images
from teraferry.installer.images.load import LoadableBundle, LoadReport, blob_tasks
from teraferry.installer.ports import Registry


def require_loaded(bundle: LoadableBundle, registry: Registry) -> LoadReport:
    """Return what a load of ``bundle`` would skip: everything.

    Raises:
        BundleError: 10 or 11, from the plan (``image_plan``).
        RefusedError: ``images-not-loaded``, 40; 44, one of the ``registry-...`` references.
    """
    plans = plan_images(bundle.manifest, bundle.reader)
    missing = {plan.repository: list(_missing_of(plan, registry)) for plan in plans}
    lacking = sorted(name for name, what in missing.items() if what)
    if lacking:
        told = "; ".join(f"{name}: {missing[name][0]}, {len(missing[name])} in all" for name in lacking)
        raise RefusedError(
            "images-not-loaded",
            f"the registry lacks parts of {len(lacking)} images: {told}; expected every image of the release, whole",
            hint="Bring them there first: teraferry-installer load KIT. Or type install KIT, which does both.",
            facts={"images": lacking},
        )
    tasks = blob_tasks(plans)
    tags = tuple(f"{plan.repository}:{plan.tag}" for plan in plans)
    return LoadReport(0, sum(task.length_bytes for task in tasks), 0, len(tasks), tags)


def _missing_of(plan: ImagePlan, registry: Registry) -> Iterator[str]:
    """Return what of an image is not there, in words; the manifest that names all else first."""
    for document in reversed(plan.documents):
        served = registry.get_manifest(plan.repository, document.digest)
        if served is None or digest_of(served) != document.digest:
            yield f"no manifest {document.digest}"
    for digest, length_bytes in plan.blobs.items():
        if not registry.has_blob(plan.repository, digest, length_bytes=length_bytes):
            yield f"no blob {digest} of {length_bytes} bytes"
