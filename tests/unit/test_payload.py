"""The payload file: the same bytes from the same files, and refused when it is not one of ours."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from teraferry.builder.payload import load_payload, store_payload
from teraferry.bundles.errors import BuildError
from tests.lab.installer_file import FACTS, write_tree


def stored(folder: Path, name: str = "payload.tar") -> Path:
    store_payload(folder, FACTS, folder.parent / name)
    return folder.parent / name


def test_same_files_give_the_same_payload_whatever_their_times_and_order(tmp_path: Path) -> None:
    first = write_tree(tmp_path / "one")
    second = tmp_path / "two"
    for path in sorted(first.rglob("*"), reverse=True):
        if path.is_file():
            copy = second / path.relative_to(first)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
            copy.chmod(path.stat().st_mode)
            os.utime(copy, (1, 1))

    assert stored(first, "1").read_bytes() == stored(second, "2").read_bytes()


def test_payload_is_read_back_as_it_was_stored(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")

    payload = load_payload(stored(tree))

    names = [line[66:] for line in payload.digest_lines.decode().splitlines()]
    assert names == ["_internal/lib-b.txt", "_internal/lib.d/a.so", "payload.json", "teraferry-installer"]
    assert payload.facts.glibc == FACTS.glibc
    files = (path for path in tree.rglob("*") if path.is_file())
    assert payload.facts.unpacked_bytes == sum(path.stat().st_size for path in files)


def test_programs_of_the_payload_belong_to_root_and_only_executables_execute(tmp_path: Path) -> None:
    payload = load_payload(stored(write_tree(tmp_path / "tree")))

    with tarfile.open(fileobj=io.BytesIO(payload.program)) as archive:
        modes = {member.name: (member.mode, member.uid, member.gid, member.mtime) for member in archive}

    assert modes["teraferry-installer"] == (0o700, 0, 0, 0)
    assert modes["_internal/lib.d/a.so"] == (0o600, 0, 0, 0)


@pytest.mark.parametrize("name", ["new\nline", "back\\slash", "höhe", "SHA256SUMS", "root.json", "payload.json"])
def test_name_that_the_digest_list_cannot_carry_is_refused(tmp_path: Path, name: str) -> None:
    tree = write_tree(tmp_path / "tree")
    (tree / name).write_text("x")

    with pytest.raises(BuildError) as caught:
        stored(tree)

    assert caught.value.reference == "payload-unusable"


def test_link_in_the_tree_is_refused(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    (tree / "link").symlink_to("teraferry-installer")

    with pytest.raises(BuildError) as caught:
        stored(tree)

    assert caught.value.reference == "payload-unusable"


def test_tree_without_the_executable_is_refused(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "tree")
    (tree / "teraferry-installer").unlink()

    with pytest.raises(BuildError) as caught:
        stored(tree)

    assert caught.value.reference == "payload-unusable"


def test_missing_payload_is_told_apart_and_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BuildError) as caught:
        load_payload(tmp_path / "none.tar")

    assert (caught.value.reference, caught.value.exit_status) == ("payload-missing", 30)
    assert "scripts/build-payload" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"not a tar", b"\0" * 10240])
def test_file_that_is_no_payload_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "payload.tar"
    path.write_bytes(content)

    with pytest.raises(BuildError) as caught:
        load_payload(path)

    assert caught.value.reference == "payload-unusable"


def test_payload_cut_short_is_refused(tmp_path: Path) -> None:
    path = stored(write_tree(tmp_path / "tree"))
    path.write_bytes(path.read_bytes()[:20_000])

    with pytest.raises(BuildError) as caught:
        load_payload(path)

    assert caught.value.reference == "payload-unusable"


def test_payload_of_a_later_format_is_refused(tmp_path: Path) -> None:
    path = stored(write_tree(tmp_path / "tree"))
    path.write_bytes(path.read_bytes().replace(b'"format": 1', b'"format": 2', 1))

    with pytest.raises(BuildError) as caught:
        load_payload(path)

    assert caught.value.reference == "payload-unusable"
