"""Two verifiers that judge the same media one after the other: ours, as a site uses it, and python-tuf's client."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.ngclient import Updater

from teraferry.bundles.errors import TeraFerryError
from teraferry.keys.metadata import read_metadata
from teraferry.keys.trust import verify_pinned_root, verify_release
from teraferry.keys.trusted import Floor
from tests.lab.oracle import FolderFetcher

BASE_URL = "media:///"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier says of a medium."""

    reference: str  # "accepted", or the name of its refusal
    files: Mapping[str, tuple[int, str]]  # what it believes afterwards: length and SHA-256 by file name

    @property
    def accepted(self) -> bool:
        """Whether it may be installed."""
        return self.reference == "accepted"


class OurSite:
    """What a site remembers between visits: the newest root it accepted, and the floor."""

    def __init__(self, root: bytes) -> None:
        self._first = root
        self._root = root
        self._floor = Floor()

    def judge(self, kit: Path, now: datetime) -> Verdict:
        """Judge the kit, and remember it if it is accepted."""
        try:
            version = verify_pinned_root(self._root).signed.version
            files = read_metadata(kit, after_root=version)
            release = verify_release(files, trusted_root=self._root, floor=self._floor, now=now)
        except TeraFerryError as error:
            return Verdict(error.reference, {})
        self._root, self._floor = release.root, release.floor
        return Verdict("accepted", {name: (file.length_bytes, file.digest) for name, file in release.targets.items()})


class NgClient:
    """python-tuf's client with its cache; its settings are the defaults, its clock is set."""

    def __init__(self, root: bytes, folder: Path) -> None:
        self._first = root
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "metadata").mkdir(parents=True)

    def judge(self, kit: Path, now: datetime) -> Verdict:
        """Judge the kit."""
        try:
            updater = Updater(
                metadata_dir=str(self._folder / "metadata"),
                metadata_base_url=f"{BASE_URL}metadata/",
                target_dir=str(self._folder),
                target_base_url=BASE_URL,
                fetcher=FolderFetcher(kit),
                bootstrap=self._first,
            )
            updater._trusted_set.reference_time = now  # It offers no other way to say what time it is.
            updater.refresh()
        except (RepositoryError, DownloadError) as error:
            return Verdict(type(error).__name__, {})
        found = updater._trusted_set.targets.targets
        return Verdict(
            "accepted", {name: (file.length, f"sha256:{file.hashes.get('sha256')}") for name, file in found.items()}
        )


def lay_out(files: Mapping[str, bytes], kit: Path) -> Path:
    """Write a kit that has nothing but metadata, over what lay there."""
    folder = kit / "metadata"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in files:
            path.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return kit
