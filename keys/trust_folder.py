"""The trust folder: what the connected side keeps between two signings. Never a private key.

``N.root.json`` every root there ever was; ``keys/<keyid8>.pem`` the newest root's public keys, to print and hand on;
``evidence/N/`` what the tokens that made root N said of their keys; ``trust.json`` the counter that metadata
versions come from, and each release's ordinal. Both only ever rise: a number given twice would let an old
kit pass for a new one.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from securesystemslib.signer import Key
from tuf.api.metadata import Metadata, Root

from teraferry.bundles import layout
from teraferry.bundles.errors import BuildError, UsageError
from teraferry.bundles.limits import MAX_METADATA_BYTES, MAX_ROOT_METADATA_BYTES, MAX_ROOT_ROTATIONS
from teraferry.bundles.manifest import Product, Version
from teraferry.bundles.model import Model
from teraferry.bundles.system.durable import sync_directory, write_durably
from teraferry.keys.metadata import read_capped
from teraferry.keys.public_keys import encode_pem
from teraferry.keys.trust import verify_pinned_root

STATE: Final = "trust.json"
KEYS_DIR: Final = "keys"
LOCK: Final = ".lock"

NEWEST_POSSIBLE_ROOT: Final = 1 + MAX_ROOT_ROTATIONS
"""A site that pinned root 1 follows no further, so no folder goes further."""

Ordinal = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
Days = Annotated[int, msgspec.Meta(ge=1, le=36_500)]


class TrustState(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``trust.json``."""

    format: Literal[1]
    product: Product
    counter: Ordinal  # the last metadata version that was given to a kit
    sequences: dict[Version, Ordinal]  # release version -> its ordinal, from its first signing
    expires_days: dict[str, Days]  # by role, counted from the signing
    production: bool = False  # only keys that cannot leave their token sign
    names: dict[str, str] = msgspec.field(
        default_factory=dict
    )  # key id -> where the key lies, as it said when it signed; for people


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a kit is numbered with at its first signing."""

    metadata_version: int
    sequence: int
    newer_release: str | None  # a release with a higher ordinal that was numbered before


class TrustFolder:
    """One product's trust folder. Hold ``locked`` around everything that changes it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second signer out: two would give the same number to two kits.

        Raises:
            BuildError: ``trust-folder-busy``, 31.
            UsageError: ``trust-folder-missing``, 2.
        """
        if not (self.path / STATE).is_file():
            raise self._missing()
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise BuildError(
                "trust-folder-busy",
                f"trust folder {self.path}: in use by another signer, expected to be free",
                hint="Wait until the other signing is done, then type the same command again.",
                exit_status=31,
            ) from error
        finally:
            os.close(descriptor)

    def load_state(self) -> TrustState:
        """Return what ``trust.json`` says.

        Raises:
            UsageError: ``trust-folder-missing`` or ``trust-folder-damaged``, 2.
        """
        content = read_capped(self.path / STATE, limit_bytes=MAX_METADATA_BYTES)
        if content is None:
            raise self._missing()
        try:
            return msgspec.json.decode(content, type=TrustState)
        except msgspec.DecodeError as error:
            raise self._damaged(f"{STATE}: {error}") from error

    def store_state(self, state: TrustState) -> None:
        """Replace ``trust.json``, durably."""
        write_durably(self.path / STATE, msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n")

    def load_roots(self) -> dict[int, bytes]:
        """Return every root by its version, 1 first, without a gap.

        Raises:
            UsageError: ``trust-folder-missing`` or ``trust-folder-damaged``, 2.
        """
        roots: dict[int, bytes] = {}
        for version in range(1, NEWEST_POSSIBLE_ROOT + 1):
            content = read_capped(self.path / layout.root_name(version), limit_bytes=MAX_ROOT_METADATA_BYTES)
            if content is not None:
                roots[version] = content
        if not roots:
            raise self._missing()
        absent = next((version for version in range(1, max(roots)) if version not in roots), None)
        if absent is not None:
            # Signing by an older root than the newest would go unnoticed until a site refuses the kit.
            raise self._damaged(f"no {layout.root_name(absent)}, but later roots")
        return roots

    def load_root(self) -> Metadata[Root]:
        """Return the newest root."""
        return verify_pinned_root(list(self.load_roots().values())[-1])

    def create(self, root: Metadata[Root], state: TrustState, evidence: Mapping[str, bytes]) -> None:
        """Write a new trust folder; ``trust.json`` last, since a folder is one only with it.

        Raises:
            UsageError: ``trust-folder-exists``, 2.
        """
        self.require_new()
        self._write_root(root, evidence)
        self.store_state(state)
        sync_directory(self.path)

    def publish(self, root: Metadata[Root], evidence: Mapping[str, bytes]) -> None:
        """Add the successor of the newest root; from here on it counts. Call it under ``locked``.

        The root's own file comes between the new public keys and the removal of the old ones: after a crash
        the folder may hold a public key too many, which harms nobody, and the next change clears it.

        Raises:
            UsageError: ``trust-folder-damaged``, 2: a root of that number is there already.
        """
        if root.signed.version in self.load_roots():
            raise self._damaged(f"{layout.root_name(root.signed.version)} is there already")
        self._write_root(root, evidence)
        wanted = {_pem_name(key) for key in root.signed.keys.values()}
        for path in (self.path / KEYS_DIR).glob("*.pem"):
            if path.name not in wanted:
                path.unlink()
        sync_directory(self.path / KEYS_DIR)

    def _write_root(self, root: Metadata[Root], evidence: Mapping[str, bytes]) -> None:
        folder = self.path / layout.EVIDENCE_DIR / str(root.signed.version)
        folder.mkdir(parents=True, exist_ok=True)
        for key_id, content in evidence.items():
            write_durably(folder / layout.evidence_name(key_id), content)
        keys = self.path / KEYS_DIR
        keys.mkdir(parents=True, exist_ok=True)
        for key in root.signed.keys.values():
            write_durably(keys / _pem_name(key), encode_pem(key))
        write_durably(self.path / layout.root_name(root.signed.version), root.to_bytes())

    def require_new(self) -> None:
        """Refuse a folder that holds something: a root must never be overwritten."""
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise UsageError(
                "trust-folder-exists",
                f"trust folder {self.path}: not empty, expected a new folder",
                hint="Give trust init a folder that does not exist yet.",
            )

    def number(self, version: str) -> Numbers:
        """Take the numbers for a kit of release ``version``, durably, before anything bears them.

        A crash afterwards leaves a gap in the versions, which harms nobody.
        """
        state = self.load_state()
        sequences: Mapping[str, int] = state.sequences
        newest = max(sequences.values(), default=0)
        sequence = sequences.get(version, newest + 1)
        self.store_state(
            msgspec.structs.replace(state, counter=state.counter + 1, sequences={**sequences, version: sequence})
        )
        newer = [other for other, ordinal in sequences.items() if ordinal > sequence]
        return Numbers(state.counter + 1, sequence, newer[-1] if newer else None)

    def note_name(self, key_id: str, name: str) -> None:
        """Remember where a key lies, so that people are told who is still missing, and not only a number."""
        state = self.load_state()
        if state.names.get(key_id) != name:
            self.store_state(msgspec.structs.replace(state, names={**state.names, key_id: name}))

    def _damaged(self, found: str) -> UsageError:
        return UsageError(
            "trust-folder-damaged",
            f"trust folder {self.path}: {found}, expected what trust init and the later changes wrote",
            hint="Restore the trust folder from its backup; its counter must not be lower than any kit's version, and "
            "no root may be missing.",
        )

    def _missing(self) -> UsageError:
        return UsageError(
            "trust-folder-missing",
            f"trust folder {self.path}: no {STATE} in it, expected what trust init wrote",
            hint="Give --trust the folder that was made with: teraferry trust init DIR ...",
        )


def _pem_name(key: Key) -> str:
    return f"{key.keyid[:8]}.pem"
