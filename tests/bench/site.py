"""A site for the bench: state, site file and the real installer file; registries come and go."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.data import Workshop
from tests.bench.measure import Peaks, Run, peaks_of, run_command, tree_bytes
from tests.lab.registry import LabRegistry


class BenchSite:
    """Types installer commands as an admin would, with a state folder of its own."""

    def __init__(self, shop: Workshop) -> None:
        self.folder = shop.folder / "site"
        self._shop = shop
        self.state = self.folder / "state"
        self.home = self.folder / "home"
        self.site_file = self.folder / "site.toml"
        self.environment = {"TERAFERRY_HOME": str(self.home), "DEPLOYMENT_TIER": "1"}

    def open(self) -> BenchSite:
        """Pin the root."""
        self.folder.mkdir(mode=0o755)
        self.home.mkdir(mode=0o700)
        shown = run_fingerprint(self._shop.root)
        run_command([*self.argv("trust", "pin", self._shop.root, "--fingerprint", shown)], environment=self.environment)
        shutil.copytree(self.state, self.folder / "pinned")
        return self

    def forget_releases(self) -> None:
        """Go back to a site that pinned the root and accepted nothing: an older kit after a newer is refused."""
        shutil.rmtree(self.state)
        shutil.copytree(self.folder / "pinned", self.state)

    def argv(self, *words: str | Path) -> list[str | Path]:
        """Return an installer command line."""
        place: list[str | Path] = ["--state", self.state, "--site", self.site_file] if words[0] != "--help" else []
        return ["sh", self._shop.installer, *words, *place]

    def installer(self, *words: str | Path) -> Run:
        """Run the installer file."""
        return run_command(self.argv(*words), environment=self.environment)

    def watch(self, *words: str | Path) -> Peaks:
        """Run the installer file under watch for memory and for new disk at the site."""
        return peaks_of(self.argv(*words), environment=self.environment, watched=self.folder)

    def disk_bytes(self) -> int:
        """Return what the site's own folders take."""
        return tree_bytes(self.state) + tree_bytes(self.home)

    def use(self, registry: LabRegistry) -> None:
        """Write a site file that names this registry."""
        self.site_file.write_text(
            f'[site]\nname = "bench"\ntier = "1"\n[registry]\nurl = "{registry.url}"\n'
            '[cluster]\nengine = "seaweedfs"\nmasters = ["127.0.0.1:9333"]\nmode = "safe"\n'
            'soak_seconds = 0\nstalled_after_seconds = 60\non_failure = "stop"\n'
            '[[node]]\nname = "m"\nrole = "master"\naddress = "127.0.0.1:9333"\ntransport = { local = true }\n'
        )
        self.site_file.chmod(0o644)

    @contextmanager
    def registry(self, *, holding: Path | None = None) -> Iterator[LabRegistry]:
        """Run a registry, empty or with a copy of what lies in ``holding``; its storage is removed afterwards."""
        folder = self.folder / "registry"
        storage = folder / "storage"
        folder.mkdir()
        if holding:
            # Hard links: a registry never writes into a blob or link file that it wrote once.
            shutil.copytree(holding, storage, copy_function=os.link)
        lab = LabRegistry(folder, tls=False, with_password=False)
        try:
            with lab:
                self.use(lab)
                yield lab
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def run_fingerprint(root: Path) -> str:
    """Return the fingerprint that would be printed on paper."""
    from tuf.api.metadata import Root

    from teraferry.keys.tuf_metadata import fingerprint_of, parse_metadata

    return fingerprint_of(parse_metadata(Root, root.read_bytes(), what="root"))


def skopeo_argv(bundle: Path, image: str, version: str, registry: LabRegistry, scratch: Path) -> list[str | Path]:
    """Return the command that copies one image of a bundle into a registry."""
    address = registry.url.removeprefix("http://")
    return [
        "skopeo",
        "--tmpdir",
        scratch,
        "copy",
        "--all",
        "--quiet",
        "--dest-tls-verify=false",
        f"oci-archive:{bundle}:{image}:{version}",
        f"docker://{address}/{image}:{version}",
    ]
