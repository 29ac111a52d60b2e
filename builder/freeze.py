"""Make the installer file: a POSIX-sh stub, the prebuilt payload, its digest list and one root.

Nothing is compiled or compressed here, so the same payload and root give the same bytes on any
machine. The file, byte by byte:

1. ``stub.sh`` with the lengths and digests below filled in, padded with newlines to ``STUB_BYTES``;
2. the packed program of the payload;
3. the digest list: the payload's lines and one for ``root.json``, sorted by name;
4. ``root.json``.

The stub knows the SHA-256 of 2 and 3; the list names every file of the program and the root.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

import teraferry
from teraferry.builder.payload import Payload, digest_line, load_payload
from teraferry.bundles.errors import BuildError, UsageError
from teraferry.bundles.limits import MAX_METADATA_BYTES
from teraferry.bundles.system.durable import durable_replace
from teraferry.keys.tuf_metadata import Metadata, Root, fingerprint_of, parse_metadata, require_signed

STUB_BYTES: Final = 16 * 1024
"""Length of the stub with its padding: a fixed one, so that no length depends on another's digits."""

ROOT_NAME: Final = "root.json"


@dataclass(frozen=True, slots=True)
class InstallerFile:
    """An installer file that was made."""

    path: Path
    sha256: str  # 64 hex digits
    size_bytes: int
    root_fingerprint: str  # 64 hex digits
    glibc: str
    machine: str


def default_payload() -> Path:
    """Return where ``scripts/build-payload`` leaves its result in this checkout."""
    return Path(teraferry.__file__).resolve().parent.parent / "build" / "payload.tar"


def freeze_installer(output: Path, *, root: Path, payload: Path) -> InstallerFile:
    """Write the installer file ``output``, whole and durably or not at all.

    Args:
        output: Replaced when it exists.
        root: Root metadata, signed by its own threshold.
        payload: What ``scripts/build-payload`` made.

    Raises:
        UsageError: ``root-file-unreadable``, 2.
        TrustError: ``metadata-unreadable``, 24; ``threshold-not-met``, 20; ``signature-undecided``, 23.
        BuildError: ``payload-missing``, ``payload-unusable``, ``installer-not-written``, 30.
    """
    root_bytes = _load_root_bytes(root)
    trusted = _require_root(root, root_bytes)
    ready = load_payload(payload)
    lines = _with_root(ready, root_bytes)
    content = b"".join((render_stub(ready, lines, root_bytes), ready.program, lines, root_bytes))
    try:
        with durable_replace(output, mode=0o755) as sink:
            sink.write(content)
    except OSError as error:
        raise BuildError(
            "installer-not-written",
            f"installer file {output}: {error.strerror}, expected a place that can be written",
            hint="Name a file in a folder that exists and has room: teraferry freeze -o FILE ...",
            facts={"file": str(output)},
        ) from error
    return InstallerFile(
        path=output,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        root_fingerprint=fingerprint_of(trusted),
        glibc=ready.facts.glibc,
        machine=ready.facts.machine,
    )


def render_stub(payload: Payload, lines: bytes, root_bytes: bytes) -> bytes:
    """Return the stub for these sections, ``STUB_BYTES`` long.

    Raises:
        BuildError: ``payload-unusable``, 30: a fact of it would be shell code.
    """
    facts = payload.facts
    for fact in (facts.version, facts.machine, facts.glibc):
        if not fact.replace(".", "").replace("_", "").replace("+", "").replace("-", "").isalnum() or not fact.isascii():
            raise BuildError(
                "payload-unusable",
                f"installer payload: fact {fact!r}, expected letters, digits and . _ + -",
                hint="Type: scripts/build-payload",
            )
    values: dict[str, str | int] = {
        "VERSION": facts.version,
        "MACHINE": facts.machine,
        "GLIBC": facts.glibc,
        "STUB_BYTES": STUB_BYTES,
        "PACKED_BYTES": len(payload.program),
        "PACKED_SHA256": hashlib.sha256(payload.program).hexdigest(),
        "LIST_BYTES": len(lines),
        "LIST_SHA256": hashlib.sha256(lines).hexdigest(),
        "ROOT_BYTES": len(root_bytes),
        "UNPACKED_BYTES": facts.unpacked_bytes,
    }
    stub = resources.files("teraferry.builder").joinpath("stub.sh").read_text(encoding="ascii")
    for name, value in values.items():
        stub = stub.replace(f"@{name}@", str(value))
    if len(stub) > STUB_BYTES:
        raise ValueError(f"stub.sh: {len(stub)} bytes, expected at most {STUB_BYTES}: raise STUB_BYTES")
    return stub.encode("ascii").ljust(STUB_BYTES, b"\n")


def _load_root_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_METADATA_BYTES + 1)
    except OSError as error:
        raise UsageError(
            "root-file-unreadable",
            f"root {path}: {error.strerror}, expected a file N.root.json",
            hint="Name the newest root of your trust folder: --root DIR/N.root.json",
            facts={"file": str(path)},
        ) from error


def _require_root(path: Path, content: bytes) -> Metadata[Root]:
    # A root that its own keys did not sign would make an installer that refuses every kit.
    metadata = parse_metadata(Root, content, what=str(path))
    require_signed(metadata.signed, "root", metadata)
    return metadata


def _with_root(payload: Payload, root_bytes: bytes) -> bytes:
    lines = [*payload.digest_lines.splitlines(keepends=True), digest_line(ROOT_NAME, root_bytes)]
    lines.sort(key=lambda line: line[66:].rstrip(b"\n"))
    return b"".join(lines)
