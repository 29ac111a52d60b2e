"""Wires how nodes fetch large files of a release from the site's registry by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from teraferry.bundles.errors import RefusedError

if TYPE_CHECKING:
    from teraferry.bundles.digest import Buffer, Digest
    from teraferry.bundles.progress import Progress
    from teraferry.installer.adapters.workload.pulled_file import PullSource
    from teraferry.installer.ports import Registry
    from teraferry.installer.rollout.plan import Plan
    from teraferry.installer.site.model import Site

MAX_CA_BYTES = 100_000
"""The site's CA goes to the node as one word of a command, and Linux takes 128 KiB for one."""


def make_pulls(
    site: Site,
    plan: Plan,
    make_registry: Callable[[Site], Registry],
    pieces: Callable[[Digest], Iterable[Buffer]],
    progress: Progress,
) -> PullSource | None:
    """Return where the nodes of ``plan`` fetch its large files; None where every file is sent from here."""
    files = {target.digest: target.length_bytes for target in plan.targets if target.is_pulled}
    if not files:
        return None
    from teraferry.installer.adapters.registry.settings import load_credentials
    from teraferry.installer.adapters.workload.pulled_file import PullSource
    from teraferry.installer.cli_registry import registry_settings
    from teraferry.installer.images.files import REPOSITORY, PublishedFiles

    settings = registry_settings(site)
    return PullSource(
        repository_url=f"{settings.url.rstrip('/')}/v2/{REPOSITORY}",
        ca_pem=partial(_read_ca, Path(site.registry.ca or "")),
        credentials=lambda: load_credentials(settings),
        publish=PublishedFiles(make_registry(site), files, pieces).publish,
        progress=progress,
    )


def _read_ca(ca: Path) -> str:
    text = ca.read_text()
    if len(text) > MAX_CA_BYTES:
        raise RefusedError(
            "registry-ca-too-large",
            f"CA file {ca}: {len(text)} bytes, expected at most {MAX_CA_BYTES}, which can be handed to a node",
            hint="Write a file with nothing but the registry's CA into [registry] ca of site.toml.",
        )
    return text
