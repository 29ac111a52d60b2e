"""An attacker hands us a site file: on the medium, through a link, or by writing into the real one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePath

import pytest

from teraferry.bundles.errors import UsageError
from teraferry.bundles.limits import MAX_SITE_TOML_BYTES
from teraferry.installer.site.file import read_site_file
from teraferry.installer.site.mounts import is_removable, mount_of, parse_mounts

NOBODY = 65534


def written(path: Path, content: bytes = b"[site]\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def refusal(path: Path, *, kit: Path | None = None) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read_site_file(path, kit=kit)
    assert caught.value.exit_status == 2
    assert caught.value.facts["file"]
    return caught.value


@pytest.fixture
def medium(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, as a stick is."""
    stick = tmp_path / "stick"
    stick.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "stick", stick], check=False)
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        yield stick
    finally:
        subprocess.run(["umount", "--lazy", stick], check=True)


# ---- on the medium


@pytest.mark.parametrize("place", ["site.toml", "metadata/site.toml"])
def test_site_file_inside_the_kit_is_refused(tmp_path: Path, place: str) -> None:
    kit = tmp_path / "kit"

    assert refusal(written(kit / place), kit=kit).reference == "site-file-on-medium"


def test_site_file_beside_the_bundle_is_refused_when_the_bundle_is_named(tmp_path: Path) -> None:
    bundle = written(tmp_path / "kit" / "a.tar.gz")

    assert refusal(written(tmp_path / "kit" / "site.toml"), kit=bundle).reference == "site-file-on-medium"


def test_site_file_inside_the_kit_is_refused_when_the_kit_is_named_by_a_link(tmp_path: Path) -> None:
    path = written(tmp_path / "kit" / "site.toml")
    (tmp_path / "link").symlink_to(tmp_path / "kit")

    assert refusal(path, kit=tmp_path / "link").reference == "site-file-on-medium"


def test_site_file_inside_the_kit_is_refused_when_its_path_goes_round(tmp_path: Path) -> None:
    written(tmp_path / "kit" / "site.toml")
    (tmp_path / "other").mkdir()

    path = tmp_path / "other" / ".." / "kit" / "site.toml"
    assert refusal(path, kit=tmp_path / "kit").reference == "site-file-on-medium"


def test_site_file_elsewhere_on_the_medium_of_the_kit_is_refused(medium: Path) -> None:
    (medium / "kit").mkdir()

    assert refusal(written(medium / "etc" / "site.toml"), kit=medium / "kit").reference == "site-file-on-medium"


def test_site_file_of_the_machine_is_read_while_the_kit_lies_on_a_medium(medium: Path, tmp_path: Path) -> None:
    (medium / "kit").mkdir()

    assert read_site_file(written(tmp_path / "site.toml", b"x"), kit=medium / "kit") == b"x"


def test_site_file_is_read_while_the_kit_was_copied_beside_it(tmp_path: Path) -> None:
    (tmp_path / "kit").mkdir()

    assert read_site_file(written(tmp_path / "site.toml", b"x"), kit=tmp_path / "kit") == b"x"


def test_medium_is_told_before_its_owners_are(medium: Path) -> None:
    (medium / "kit").mkdir()
    path = written(medium / "site.toml")
    os.chown(path, NOBODY, NOBODY)

    assert refusal(path, kit=medium / "kit").reference == "site-file-on-medium"


def test_hard_way_in_by_a_link_to_the_medium_is_refused(medium: Path, tmp_path: Path) -> None:
    written(medium / "site.toml")
    (tmp_path / "etc").symlink_to(medium)

    assert refusal(tmp_path / "etc" / "site.toml").reference == "site-link"


# ---- links and things that are no files


def test_site_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    target = written(tmp_path / "real.toml")
    (tmp_path / "site.toml").symlink_to(target)

    assert refusal(tmp_path / "site.toml").reference == "site-link"


def test_link_that_leads_nowhere_is_refused_as_a_link(tmp_path: Path) -> None:
    (tmp_path / "site.toml").symlink_to(tmp_path / "absent")

    assert refusal(tmp_path / "site.toml").reference == "site-link"


def test_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "site.toml", 0o600)

    assert refusal(tmp_path / "site.toml").reference == "site-not-a-file"


@pytest.mark.parametrize("path", ["/dev/zero", "/dev"])
def test_device_and_folder_are_refused(path: str) -> None:
    assert refusal(Path(path)).reference in ("site-not-a-file", "site-file-on-medium")


def test_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).reference == "site-not-a-file"


@pytest.mark.parametrize("path", ["absent.toml", "absent/site.toml"])
def test_missing_site_file_is_told_as_missing(tmp_path: Path, path: str) -> None:
    assert refusal(tmp_path / path).reference == "site-missing"


# ---- writers


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o664])
def test_site_file_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "site.toml")
    path.chmod(mode)

    assert refusal(path).reference == "site-writable"


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o644])
def test_site_file_that_only_root_may_write_is_read(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "site.toml", b"x")
    path.chmod(mode)

    assert read_site_file(path, kit=None) == b"x"


def test_site_file_of_another_owner_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "site.toml")
    os.chown(path, NOBODY, 0)

    assert refusal(path).reference == "site-owner"


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
def test_folder_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "etc" / "deep" / "site.toml")
    (tmp_path / "etc").chmod(mode)

    error = refusal(path)

    assert (error.reference, error.facts["file"]) == ("site-writable", str(tmp_path / "etc"))


def test_folder_of_another_owner_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "etc" / "site.toml")
    os.chown(tmp_path / "etc", NOBODY, 0)

    assert refusal(path).reference == "site-owner"


def test_sticky_folder_is_accepted_since_others_cannot_rename_in_it(tmp_path: Path) -> None:
    path = written(tmp_path / "shared" / "site.toml", b"x")
    (tmp_path / "shared").chmod(0o1777)

    assert read_site_file(path, kit=None) == b"x"


def test_access_list_that_lets_another_user_write_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "site.toml")
    # POSIX ACL, version 2: user::rw-, user:65534:rw-, group::---, mask::rw-, other::---
    entries = [(1, 6, 0xFFFFFFFF), (2, 6, NOBODY), (4, 0, 0xFFFFFFFF), (16, 6, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)]
    packed = b"\2\0\0\0" + b"".join(
        tag.to_bytes(2, "little") + bits.to_bytes(2, "little") + who.to_bytes(4, "little") for tag, bits, who in entries
    )
    try:
        os.setxattr(path, "system.posix_acl_access", packed)
    except OSError:
        pytest.skip("this file system keeps no access lists")

    assert refusal(path).reference == "site-writable"


# ---- size


def test_site_file_at_the_limit_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "site.toml", b"#" * MAX_SITE_TOML_BYTES)

    assert len(read_site_file(path, kit=None)) == MAX_SITE_TOML_BYTES


def test_site_file_one_byte_above_the_limit_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "site.toml", b"#" * (MAX_SITE_TOML_BYTES + 1))

    assert refusal(path).reference == "site-too-large"


# ---- which file system, and can it be pulled out

TABLE = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:26 / /tmp rw shared:2 - tmpfs tmpfs rw
41 22 8:17 / /media/my\\040stick rw,nosuid - vfat /dev/sdb1 rw,uid=0
42 41 8:33 / /media/my\\040stick rw - ext4 /dev/sdc1 rw
43 22 8:49 / /media/my rw - exfat /dev/sdd1 rw
"""


@pytest.mark.parametrize(
    ("path", "device"),
    [
        ("/etc/site.toml", "8:1"),
        ("/tmp/site.toml", "0:26"),
        ("/media/my stick/site.toml", "8:33"),
        ("/media/my/site.toml", "8:49"),
        ("/media/mystick/site.toml", "8:1"),
    ],
)
def test_file_lies_on_the_innermost_and_last_mount(path: str, device: str) -> None:
    mount = mount_of(PurePath(path), parse_mounts(TABLE))

    assert mount is not None
    assert mount.device == device


def device(root: Path, number: str, real: str, *, removable: str = "0") -> Path:
    """Make what /sys shows of one block device."""
    folder = root / "devices" / real
    folder.mkdir(parents=True, exist_ok=True)
    disk = folder.parent if folder.name[-1].isdigit() else folder
    (disk / "removable").write_text(f"{removable}\n")
    block = root / "dev" / "block"
    block.mkdir(parents=True, exist_ok=True)
    (block / number).symlink_to(folder)
    return folder


@pytest.mark.parametrize(
    ("real", "removable", "pulled"),
    [
        ("pci0/ata1/block/sda/sda1", "0", False),
        ("pci0/ata1/block/sdb/sdb1", "1", True),
        ("pci0/usb2/2-1/host6/block/sdc/sdc1", "0", True),
        ("platform/mmc_host/mmc0/block/card/card1", "0", True),
        ("pci0/nvme/nvme0/vol", "0", False),
    ],
)
def test_stick_card_and_usb_disk_can_be_pulled_out(tmp_path: Path, real: str, removable: str, pulled: bool) -> None:
    device(tmp_path, "8:17", real, removable=removable)

    assert is_removable("8:17", block_devices=tmp_path / "dev" / "block") is pulled


def test_encryption_does_not_hide_the_stick_below_it(tmp_path: Path) -> None:
    stick = device(tmp_path, "8:17", "pci0/usb2/block/sdc/sdc1")
    crypt = device(tmp_path, "253:0", "virtual/block/dm-x")
    (crypt / "slaves").mkdir()
    (crypt / "slaves" / "sdc1").symlink_to(stick)

    assert is_removable("253:0", block_devices=tmp_path / "dev" / "block")


def test_file_system_without_a_device_cannot_be_pulled_out(tmp_path: Path) -> None:
    assert not is_removable("0:26", block_devices=tmp_path)
