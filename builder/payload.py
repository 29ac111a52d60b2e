"""The prebuilt installer payload: the program's files, packed once, with what they need of a machine.

``scripts/build-payload`` makes it in a clean environment; ``builder.freeze`` puts a stub before
it and a root behind it. The payload file is a plain tar of three members, in this order:

1. ``payload.json``: ``PayloadFacts``;
2. ``SHA256SUMS``: one line for each file of the program, sorted by name, as ``sha256sum`` writes it;
3. ``program.tar.gz``: the files themselves, for a site that has only POSIX tools.

The same files give the same payload: sorted, mtime 0, owner 0, gzip header without name or time.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path
from typing import Final

import msgspec

from teraferry.bundles import layout
from teraferry.bundles.errors import BuildError
from teraferry.bundles.limits import MAX_INSTALLER_BYTES
from teraferry.bundles.system.durable import durable_replace

FACTS_NAME: Final = "payload.json"
"""In the payload file, and once more among the program's files, where the installer reads it."""

PROGRAM_NAME: Final = "program.tar.gz"
EXECUTABLE_NAME: Final = layout.INSTALLER
RESERVED_NAMES: Final = (layout.CHECKSUMS, "root.json", FACTS_NAME)
"""Names beside the executable that are ours to write."""


class PayloadFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a payload is and what it needs.

    Args:
        version: Version of TeraFerry.
        machine: Processor as ``uname -m`` names it.
        glibc: Oldest glibc that has every symbol the files ask for: ``2.36``.
        built_utc: RFC 3339 time of the build; the site's clock is never believed to be before it.
        unpacked_bytes: Sum of the files' lengths.
    """

    version: str
    machine: str
    glibc: str
    built_utc: str
    unpacked_bytes: int
    format: int = 1


class Payload(msgspec.Struct, frozen=True):
    """A payload that was read and agrees with itself."""

    facts: PayloadFacts
    digest_lines: bytes
    program: bytes


def store_payload(tree: Path, facts: PayloadFacts, output: Path) -> None:
    """Pack the program in ``tree`` into the payload file ``output``, durably.

    Args:
        tree: Directory with the executable ``teraferry-installer``; regular files only.
        facts: ``unpacked_bytes`` is filled in here.
        output: Replaced when it exists.

    Raises:
        BuildError: ``payload-unusable``, 30: the tree holds what a payload may not hold.
    """
    files = _files_of(tree)
    sizes = sum(len(content) for content, _ in files.values())
    facts = msgspec.structs.replace(facts, unpacked_bytes=sizes)
    encoded = msgspec.json.format(msgspec.json.encode(facts)) + b"\n"
    files[FACTS_NAME] = (encoded, 0o600)
    lines = b"".join(digest_line(name, files[name][0]) for name in sorted(files))
    program = gzip.compress(_tar_of(files), compresslevel=9, mtime=0)
    members = {FACTS_NAME: (encoded, 0o644), layout.CHECKSUMS: (lines, 0o644), PROGRAM_NAME: (program, 0o644)}
    with durable_replace(output) as sink:
        sink.write(_tar_of(members))


def load_payload(path: Path) -> Payload:
    """Return the payload in the file ``path``.

    Raises:
        BuildError: ``payload-missing`` or ``payload-unusable``, 30.
    """
    try:
        if path.stat().st_size > MAX_INSTALLER_BYTES:
            raise _unusable(path, f"more than {MAX_INSTALLER_BYTES} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise BuildError(
            "payload-missing",
            f"installer payload {path}: {error.strerror}, expected a file that scripts/build-payload made",
            hint="Type: scripts/build-payload. Or name a payload with --payload FILE.",
            facts={"file": str(path)},
        ) from error
    members = _members_of(path, content)
    try:
        facts = msgspec.json.decode(members[FACTS_NAME], type=PayloadFacts)
    except msgspec.DecodeError as error:
        raise _unusable(path, f"{FACTS_NAME}: {error}") from error
    if facts.format != 1:
        raise _unusable(path, f"format {facts.format}")
    return Payload(facts, members[layout.CHECKSUMS], members[PROGRAM_NAME])


def digest_line(name: str, content: bytes) -> bytes:
    """Return the line of ``sha256sum`` for one file."""
    return f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode()


def _files_of(tree: Path) -> dict[str, tuple[bytes, int]]:
    files: dict[str, tuple[bytes, int]] = {}
    for path in sorted(tree.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            continue
        name = path.relative_to(tree).as_posix()
        # The site checks the list with sha256sum and find, which escape or split other names.
        if path.is_symlink() or not path.is_file() or not name.isascii() or not name.isprintable() or "\\" in name:
            raise _unusable(tree, f"{name!r} is not a regular file with a plain name")
        if name in RESERVED_NAMES:
            raise _unusable(tree, f"{name} is a name of ours")
        files[name] = (path.read_bytes(), 0o700 if path.stat().st_mode & 0o100 else 0o600)
    if EXECUTABLE_NAME not in files:
        raise _unusable(tree, f"no {EXECUTABLE_NAME}")
    return files


def _tar_of(files: dict[str, tuple[bytes, int]]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, (content, mode) in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _members_of(path: Path, content: bytes) -> dict[str, bytes]:
    wanted = [FACTS_NAME, layout.CHECKSUMS, PROGRAM_NAME]
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            found = {member.name: archive.extractfile(member) for member in archive}
            if list(found) != wanted:
                raise _unusable(path, f"members {', '.join(found)[:200]}")
            return {name: file.read() for name, file in found.items() if file is not None}
    except tarfile.TarError as error:
        raise _unusable(path, str(error)) from error


def _unusable(path: Path, found: str) -> BuildError:
    return BuildError(
        "payload-unusable",
        f"installer payload {path}: {found}, expected what scripts/build-payload makes",
        hint="Type: scripts/build-payload",
        facts={"file": str(path)},
    )
