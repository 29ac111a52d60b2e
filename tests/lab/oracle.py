"""python-tuf's own client over a kit's ``metadata/``: what another implementation thinks of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlparse

from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.ngclient import FetcherInterface, Updater

_PREFIX = "media:///"


class FolderFetcher(FetcherInterface):
    """Serves files below one folder; a missing one is the 404 that ends the walk over the roots."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = (self._folder / unquote(urlparse(url).path).lstrip("/")).resolve()
        if not path.is_relative_to(self._folder):
            raise DownloadHTTPError("outside", 403)
        if not path.is_file():
            raise DownloadHTTPError("absent", 404)
        yield path.read_bytes()


def ask_ngclient(kit: Path, root: bytes, *, target: str | None = None) -> str:
    """Return "accepted", or the name of the error with which ngclient refuses; its settings are the defaults.

    Args:
        kit: The kit folder.
        root: The root that the client trusts to begin with.
        target: A file of the kit to be fetched and compared as well.
    """
    with tempfile.TemporaryDirectory() as cache:
        folder = Path(cache)
        (folder / "metadata").mkdir()
        (folder / "targets").mkdir()
        updater = Updater(
            metadata_dir=str(folder / "metadata"),
            metadata_base_url=f"{_PREFIX}metadata/",
            target_dir=str(folder / "targets"),
            target_base_url=_PREFIX,
            fetcher=FolderFetcher(kit),
            bootstrap=root,
        )
        try:
            updater.refresh()
            if target is not None:
                info = updater.get_targetinfo(target)
                if info is None:
                    return "NoSuchTarget"
                updater.download_target(info)
        except (RepositoryError, DownloadError) as error:
            return type(error).__name__
    return "accepted"
