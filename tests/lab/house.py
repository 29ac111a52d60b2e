"""The connected side in one object, in process: development keys in files, one trust folder, real kits.

For tests that need many kits quickly; ``softhsm`` is for those about tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tuf.api.metadata import Metadata, Root

from teraferry.builder.kit import Kit, locate_kit
from teraferry.builder.sign import SigningOutcome, sign_kit
from teraferry.builder.signing_room import SigningRoom
from teraferry.builder.verify_kit import verify_kit
from teraferry.bundles import layout
from teraferry.bundles.archive_writer import write_archive
from teraferry.bundles.digest import digest_of
from teraferry.bundles.manifest import File, Manifest, Release, encode_manifest
from teraferry.bundles.progress import Silent
from teraferry.keys.metadata import read_metadata
from teraferry.keys.roots.ceremony import TrustPlan, init_trust
from teraferry.keys.roots.change import RoleChange, change_root
from teraferry.keys.signers import KeyRing
from teraferry.keys.signers.file import PrivateKey
from teraferry.keys.trust import verify_release
from teraferry.keys.trust_folder import TrustFolder
from teraferry.keys.trusted import Floor, TrustedRelease
from teraferry.keys.tuf_metadata import signed_bytes
from tests.fakes.small_bundle import sources_of

PRODUCT = "demo"
NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)

MAKERS: dict[str, Callable[[], PrivateKey]] = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "rsa": lambda: rsa.generate_private_key(public_exponent=65537, key_size=3072),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ml-dsa": mldsa.MLDSA65PrivateKey.generate,
}


def no_pin(what: str) -> str:
    """Fail: these keys have no PIN."""
    raise RuntimeError(f"asked for the PIN of {what}")


def make_file_key(folder: Path, name: str, kind: str = "p256") -> str:
    """Write a private key and return its URI."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.pem"
    path.write_bytes(MAKERS[kind]().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return f"file:{path}"


@dataclass
class House:
    """Keys ``root-1 root-2 root-3`` (2 of 3), ``release-1 ...`` (2 of n) and ``desk``."""

    folder: Path
    release_kinds: Sequence[str] = ("p256", "p384", "p256")
    release_threshold: int = 2
    product: str = PRODUCT
    uris: dict[str, str] = field(default_factory=dict)

    def open(self, *, now: datetime = NOW) -> House:
        """Make the keys and found the trust folder."""
        kinds = {"root-1": "ed25519", "root-2": "p256", "root-3": "p384", "desk": "p256"}
        kinds |= {f"release-{number}": kind for number, kind in enumerate(self.release_kinds, start=1)}
        self.uris = {name: make_file_key(self.folder / "private", name, kind) for name, kind in kinds.items()}
        with KeyRing(no_pin) as ring:
            init_trust(self.trust, self.plan, ring, now=now)
        return self

    @property
    def plan(self) -> TrustPlan:
        """What trust init is asked for."""
        return TrustPlan(
            product=self.product,
            root_keys=[self.uris[f"root-{number}"] for number in (1, 2, 3)],
            root_threshold=2,
            release_keys=[uri for name, uri in self.uris.items() if name.startswith("release-")],
            release_threshold=self.release_threshold,
            desk_key=self.uris["desk"],
        )

    @property
    def trust(self) -> TrustFolder:
        """The trust folder."""
        return TrustFolder(self.folder / "trust")

    @property
    def root(self) -> bytes:
        """Root 1, as it would reach a site on another way."""
        return (self.folder / "trust" / "1.root.json").read_bytes()

    def build(
        self,
        version: str = "1.0.0",
        *,
        name: str | None = None,
        blobs: Sequence[bytes] = (b"blob",),
        openpgp: str | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> Kit:
        """Return an unsigned kit of ``version``.

        Args:
            openpgp: Fingerprint of the key that it asks for.
            files: Name -> program that the release holds.
        """
        folder = self.folder / (name or f"{self.product}-{version}")
        folder.mkdir()
        release = Release(product=self.product, version=version)
        held = tuple(
            File(name=path, mode="0755", digest=digest_of(content), length_bytes=len(content))
            for path, content in (files or {}).items()
        )
        blobs = [*blobs, *(files or {}).values()]
        manifest = encode_manifest(Manifest(format=1, release=release, files=held, openpgp=openpgp or msgspec.UNSET))
        with (folder / layout.bundle_name(self.product, version)).open("w+b") as file:
            sources = sources_of(blobs, {layout.MANIFEST: manifest})
            write_archive(file, sources, jobs=1, mtime=0, progress=Silent())
        (folder / layout.INSTALLER).write_bytes(b"#!/bin/sh\necho installer\n")
        return locate_kit(folder)

    def sign(
        self, kit: Kit, *names: str, desk: bool = True, now: datetime = NOW, trust: TrustFolder | None = None
    ) -> SigningOutcome:
        """Sign with the release keys of these names, and the desk key."""
        with KeyRing(no_pin) as ring:
            room = SigningRoom(trust or self.trust, ring, Silent(), now)
            keys = [self.uris[name] for name in names]
            return sign_kit(kit, room, keys=keys, desk_key=self.uris["desk"] if desk else None)

    def kit(self, version: str = "1.0.0", *, now: datetime = NOW, name: str | None = None) -> Kit:
        """Return a kit that is signed by two release keys and closed."""
        kit = self.build(version, name=name)
        self.sign(kit, "release-1", "release-2", now=now)
        return kit

    def judge(self, kit: Kit, *, floor: Floor | None = None, now: datetime = NOW) -> TrustedRelease:
        """Judge the kit's metadata as a site that pinned root 1."""
        files = read_metadata(kit.folder, after_root=1)
        return verify_release(files, trusted_root=self.root, floor=floor or Floor(), now=now)

    def verify(self, kit: Kit, *, now: datetime = NOW) -> dict[str, object]:
        """Run the whole of ``teraferry verify``."""
        return verify_kit(kit, self.root, progress=Silent(), now=now)

    def sign_root(self, root: Root, *names: str) -> bytes:
        """Return ``root`` signed by the root keys of these names."""
        metadata = Metadata(root)
        with KeyRing(no_pin) as ring:
            for name in names:
                signature = ring.open(self.uris[name]).sign_metadata(signed_bytes(metadata))
                metadata.signatures[signature.keyid] = signature
        return metadata.to_bytes()

    def next_root(self) -> Root:
        """Return an unsigned successor of the newest root, still with the same keys."""
        root = self.trust.load_root().signed
        root.version += 1
        root.expires = NOW + timedelta(days=3650)
        return root

    def change(self, change: RoleChange | None, *names: str, now: datetime = NOW) -> Root:
        """Make root N+1 as ``teraferry trust`` does, signed by the root keys of these names."""
        with KeyRing(no_pin) as ring:
            keys = [self.uris[name] for name in names]
            return change_root(self.trust, change, ring, root_keys=keys, now=now).signed

    def key_id(self, name: str) -> str:
        """Return the id of the key of this name."""
        with KeyRing(no_pin) as ring:
            return ring.open(self.uris[name]).key.keyid

    def publish_root(self, content: bytes, version: int) -> None:
        """Put a root into the trust folder."""
        (self.folder / "trust" / layout.root_name(version)).write_bytes(content)

    def add_key(self, name: str, kind: str = "p256") -> None:
        """Make one more private key."""
        self.uris[name] = make_file_key(self.folder / "private", name, kind)
