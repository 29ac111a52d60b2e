"""Which file system a path lies on, and whether that can be pulled out of the machine.

Rim: reads /proc and /sys. The two roots are arguments so that the answers can be tested on
a machine without a stick in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePath

MOUNT_TABLE = Path("/proc/self/mountinfo")
BLOCK_DEVICES = Path("/sys/dev/block")

OWNERLESS = frozenset({"vfat", "msdos", "exfat", "iso9660", "udf", "ntfs", "ntfs3", "fuseblk", "hfs"})
"""File systems of media. They keep no owner of a file: what ``stat`` says is an option of the mount."""

_MAX_LAYERS = 8  # encryption on a volume on a RAID on a partition; more is a loop


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the mount table."""

    point: PurePath
    kind: str  # ext4, vfat ...
    device: str  # major:minor


def parse_mounts(table: str) -> tuple[Mount, ...]:
    """Return the mounts of a mountinfo table, in the order they were mounted.

    Source: proc(5), /proc/PID/mountinfo. Blanks in a path are written as octal escapes.
    """
    mounts = []
    for line in table.splitlines():
        before, separator, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if separator and len(fields) > 4:
            mounts.append(Mount(PurePath(_unescaped(fields[4])), kinds[0], fields[2]))
    return tuple(mounts)


def mount_of(path: PurePath, mounts: tuple[Mount, ...]) -> Mount | None:
    """Return the mount that ``path`` (real, absolute) lies on: the innermost, and of those the last."""
    found: Mount | None = None
    for mount in mounts:
        inside = path == mount.point or mount.point in path.parents
        if inside and (found is None or len(mount.point.parts) >= len(found.point.parts)):
            found = mount
    return found


def is_removable(device: str, *, block_devices: Path = BLOCK_DEVICES) -> bool:
    """Tell whether a block device, or a disk below it, is a stick, a card or a USB disk.

    Args:
        device: ``major:minor``. One without a block device (tmpfs, NFS) is not removable.
        block_devices: ``/sys/dev/block``.
    """
    layers, seen = [block_devices / device], 0
    while layers and seen < _MAX_LAYERS:
        layer, seen = layers.pop().resolve(), seen + 1
        if re.search(r"/usb\d+/|/mmc_host/", f"{layer}/"):
            return True
        for folder in (layer, layer.parent):  # a partition's disk is its parent
            flag = folder / "removable"
            if flag.is_file() and flag.read_text().strip() == "1":
                return True
        # LUKS and LVM hide the stick below them.
        below = layer / "slaves"
        layers.extend(below.iterdir() if below.is_dir() else ())
    return False


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), text)
