"""The systemd unit of the kit's registry, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from teraferry.bundles.errors import RefusedError
from teraferry.bundles.system.durable import write_durably
from teraferry.bundles.system.process import Completed, run
from teraferry.installer.adapters.registry.kit_files import not_written
from teraferry.installer.kit_registry.documents import UNIT_MARK

UNITS: Final = Path("/etc/systemd/system")
SYSTEMD_RUNS: Final = Path("/run/systemd/system")
"""sd_booted(3): there when systemd is what runs this machine."""

_SECONDS: Final = 60.0


class KitUnit:
    """``ServiceUnit`` of systemd.

    Args:
        name: Of the unit, without ``.service``.
        content: The unit as wanted.
    """

    def __init__(self, name: str, content: bytes) -> None:
        self._file = f"{name}.service"
        self._path = UNITS / self._file
        self._content = content

    def require_ours(self) -> None:
        """Check that systemd runs here, and that nobody else wrote a unit of that name."""
        if not SYSTEMD_RUNS.is_dir():
            raise RefusedError(
                "registry-no-systemd",
                f"unit {self._file}: no systemd runs here, expected it to start the registry",
                hint="Write start and stop into [registry.service] of site.toml: docs/registry.md has an example.",
                exit_status=44,
            )
        found = self._found()
        if found is not None and not found.startswith(UNIT_MARK.encode()):
            raise RefusedError(
                "registry-unit-not-ours",
                f"unit {self._path}: not written by this installer, expected none, or ours",
                hint="Write another name into `unit` of [registry.service], then type the same command again.",
                exit_status=44,
                facts={"path": str(self._path)},
            )

    def is_written(self) -> bool:
        """Tell whether it is there as wanted, and enabled."""
        return self._found() == self._content and self._systemctl("is-enabled", "--quiet", self._file).status == 0

    def write(self) -> None:
        """Write and enable it; see ``kit_registry.ports.ServiceUnit``."""
        self.require_ours()
        try:
            write_durably(self._path, self._content)
        except OSError as error:
            raise not_written(f"unit {self._path}", error) from error
        for words in (("daemon-reload",), ("enable", self._file)):
            done = self._systemctl(*words)
            if done.status != 0:
                said = done.stderr.decode("utf-8", "replace").strip()[-200:]
                raise RefusedError(
                    "registry-not-written",
                    f"unit {self._file}: {done.replayable}: status {done.status}, {said}, expected status 0",
                    hint="Type that command by hand to see why, then the same command again.",
                    exit_status=44,
                )

    def _found(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise not_written(f"unit {self._path}", error) from error

    def _systemctl(self, *words: str) -> Completed:
        try:
            return run(["systemctl", *words], timeout_seconds=_SECONDS)
        except OSError as error:
            raise not_written("systemctl", error) from error
