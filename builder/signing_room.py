"""Where signing happens: the trust folder, the keys and the clock, for one run of a command."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from teraferry.builder.kit import Kit
from teraferry.bundles import layout
from teraferry.bundles.progress import Progress
from teraferry.bundles.system.durable import write_durably
from teraferry.keys.may_sign import require_in_role
from teraferry.keys.roots.ceremony import require_production
from teraferry.keys.signers import KeyRing, KeySigner
from teraferry.keys.trust_folder import TrustFolder
from teraferry.keys.tuf_metadata import Metadata, Root, T


@dataclass(frozen=True, slots=True)
class SigningRoom:
    """The trust folder and the machine's rim, for one run of ``sign``."""

    folder: TrustFolder
    ring: KeyRing
    progress: Progress
    now: datetime

    def open_key(self, uri: str, root: Root, *, role: str) -> KeySigner:
        """Return the key that ``uri`` names, if it may sign for ``role``.

        Raises:
            UsageError: 2; see ``parse_key_uri``.
            BuildError: 31; ``key-not-in-role``, ``key-not-production``, or why the key cannot sign.
        """
        signer = self.ring.open(uri)
        if self.folder.load_state().production:
            require_production(signer)
        require_in_role(signer.key.keyid, role=role, root=root, name=signer.name)
        return signer

    def publish_roots(self, kit: Kit) -> None:
        """Put every root of the trust folder into ``kit``: a site may be several behind."""
        (kit.folder / layout.METADATA_DIR / layout.EVIDENCE_DIR).mkdir(parents=True, exist_ok=True)
        for version, content in self.folder.load_roots().items():
            write_durably(kit.folder / layout.METADATA_DIR / layout.root_name(version), content)


def write_metadata(kit: Kit, name: str, metadata: Metadata[T]) -> None:
    """Replace one metadata file of ``kit``, durably."""
    write_durably(kit.folder / layout.METADATA_DIR / name, metadata.to_bytes())
