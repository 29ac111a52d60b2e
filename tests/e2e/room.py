"""One isolated site and one trust for the end-to-end tests, and the question each refusal must answer.

The admin's command line runs at the site from source, which starts quickest; that the frozen
file answers the same is ``test_frozen_and_source_agree``'s to show. Kits are changed on the
stick itself, seen from here through the holder of the site's namespaces.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.images import layer_tar, make_oci_layout, random_bytes
from tests.lab.secops import Answer, Secops
from tests.lab.site import MEDIUM, SITE_FILE, LabSite

SOURCE = (sys.executable, "-m", "teraferry.installer.cli")
"""The installer, unfrozen."""


@dataclass
class Room:
    """SecOps, their kits, and the site that pinned their root."""

    folder: Path
    secops: Secops
    site: LabSite
    rolling: Path  # the kit with a real program, signed first
    older: Path
    kit: Path  # the newest kit; its program is never rolled out
    images: dict[str, str]  # name -> source, for more projects
    installer: tuple[str, ...] = SOURCE
    _names: Iterator[int] = field(default_factory=lambda: iter(range(1_000_000)))

    # ---- the stick

    def stick(self, there: Path | None = None) -> Path:
        """Return where this process sees a path of the site's stick."""
        return Path(f"/proc/{self.site.node.pid}/root{there or MEDIUM}")

    @contextmanager
    def carried(self, kit: Path, *, change: Callable[[Path], object] = lambda folder: None) -> Iterator[Path]:
        """Put ``kit`` on the stick, changed by ``change``, for one test; gives its path at the site."""
        there = MEDIUM / f"{kit.name}-{next(self._names)}"
        folder = self.stick(there)
        shutil.copytree(self._original(kit), folder, copy_function=os.link)
        try:
            change(folder)
            yield there
        finally:
            shutil.rmtree(folder)

    def _original(self, kit: Path) -> Path:
        """Return a whole copy of ``kit`` on the stick; the kits of the tests link to its files."""
        original = self.stick(MEDIUM / ".originals" / kit.parent.name / kit.name)
        if not original.exists():
            shutil.copytree(kit, original)
        return original

    # ---- the admin

    def type(self, *arguments: str | Path, tier: str | None = "1", installer: tuple[str, ...] = ()) -> Answer:
        """Type a command at the site."""
        return self.site.type(*(installer or self.installer), *map(str, arguments), tier=tier, timeout_seconds=240)

    def pin(self, state: Path, root: Path, fingerprint: str) -> None:
        """Let the store in ``state`` trust ``root``, which is a file of this machine."""
        copy = self.site.etc / "root-from-paper.json"
        shutil.copyfile(root, copy)
        answer = self.type("--state", state, "trust", "pin", SITE_FILE.parent / copy.name, "--fingerprint", fingerprint)
        assert answer.status == 0, answer.stderr

    def write_site_file(self, name: str, change: Callable[[str], str]) -> Path:
        """Write a changed copy of the site file beside it, and return its path at the site."""
        target = self.site.etc / name
        target.write_text(change(self.site.site_toml()))
        target.chmod(0o644)
        return SITE_FILE.parent / name

    # ---- what must be true of every refusal

    def digests(self) -> dict[str, str]:
        """Return what must not change: registry, nodes, state, all else below /var/lib, and /etc/teraferry."""
        return {
            **self.site.digests(),
            "var-lib": tree_digest(self.site.state.parent),
            "etc-teraferry": tree_digest(self.site.etc),
        }

    def refuses(self, status: int, reference: str | set[str], do: Callable[[], Answer]) -> Answer:
        """Do something that must be refused; check the refusal and that nothing changed."""
        before = self.digests()
        answer = do()
        after = self.digests()
        require_refusal(answer, status, reference)
        assert after == before, {name for name in before if before[name] != after[name]}
        return answer


def require_refusal(answer: Answer, status: int, reference: str | set[str]) -> None:
    """Check what every refusal says: its status, its reference, what happened and what to type next."""
    wanted = {reference} if isinstance(reference, str) else reference
    assert "Traceback" not in answer.stderr, answer.stderr
    assert (answer.status, answer.result.get("reference") in wanted) == (status, True), (answer.result, answer.stderr)
    assert answer.result["status"] == answer.status
    assert answer.result["message"]
    assert answer.result["hint"]
    assert "what to do:" in answer.stderr


def tree_digest(folder: Path) -> str:
    """Return one digest of all names, modes and bytes below ``folder``; unpacked installers are left out."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if {"installer", "installers"} & set(relative.parts):
            continue
        status = path.lstat()
        digest.update(f"{relative}\0{status.st_mode:o}\0".encode())
        if path.is_symlink():
            digest.update(str(path.readlink()).encode())
        elif path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def tags_in(storage: Path) -> list[str]:
    """Return every tag that a registry's disk holds."""
    return sorted(str(path.relative_to(storage)) for path in storage.rglob("_manifests/tags/*"))


def build_kit(
    secops: Secops, folder: Path, version: str, *, program: Path, layer_bytes: int, openpgp: str | None = None
) -> Path:
    """Build one kit with an image and a program; it is not signed yet. ``openpgp``: the key that it asks for."""
    layout = folder / f"images-{version}"
    layers = [layer_tar({"opt/app": random_bytes(layer_bytes, seed=int(version.replace(".", "")))})]
    make_oci_layout(layout, "api", layers)
    images = {"terachat/api": f"oci:{layout}:api"}
    asks = f'[openpgp]\nkey = "gpg:{openpgp}"' if openpgp else ""
    project = secops.project(version, images=images, files={"bin/weed": program}, extra=asks)
    kit = folder / "kits" / f"terachat-{version}"
    kit.parent.mkdir(exist_ok=True)
    secops.build(project, kit)
    return kit


def index_offset(kit: Path) -> int:
    """Return where the index of a signed kit's bundle begins, as its metadata says."""
    targets = json.loads((kit / "metadata" / "targets.json").read_bytes())["signed"]["targets"]
    rows: list[dict[str, Any]] = [row["custom"]["teraferry"] for row in targets.values() if "custom" in row]
    return int(rows[0]["index_offset_bytes"])


def bundle_of(kit: Path) -> Path:
    """Return the bundle in a kit folder."""
    return next(kit.glob("*.tar.gz"))


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Replace a file by a changed one; other links to it keep the old bytes."""
    content = change(path.read_bytes())
    path.unlink()
    path.write_bytes(content)


def flip(path: Path, position: int) -> None:
    """Flip one bit of one byte; negative positions count from the end."""

    def change(content: bytes) -> bytes:
        at = position % len(content)
        return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]

    rewrite(path, change)
