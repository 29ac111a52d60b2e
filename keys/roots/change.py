"""Change who may sign: root N+1, signed by those who were trusted before it and by those who are from now on.

Both must: the old keys so that a site which knows only them follows, the new ones so that a root whose
keys were lost or never there is not published. What is too little signed is not written, and what a
site would not follow from root 1 is not either.

Source: TUF specification 1.0, 6.1 (root metadata), 5.3 (how a client follows it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from securesystemslib.signer import Key
from tuf.api.metadata import Metadata, Root

from teraferry.bundles.errors import BuildError, Fact, UsageError
from teraferry.keys.evidence import encode_root_evidence
from teraferry.keys.roots.ceremony import require_able
from teraferry.keys.roots.draft import ROOT, NamedKey, RoleDraft, RootDraft, compose_root, draft_of, require_sound_draft
from teraferry.keys.signers import KeyRing
from teraferry.keys.threshold import distinct_signers, is_enough, missing_families
from teraferry.keys.trust import verify_roots
from teraferry.keys.trust_folder import NEWEST_POSSIBLE_ROOT, TrustFolder
from teraferry.keys.tuf_metadata import materials_of, signed_bytes

SHORTEST_KEY_ID = 8
"""Digits of a key id that a person may type: as many as files are named by, and no two keys share."""


@dataclass(frozen=True, slots=True)
class RoleChange:
    """What is to become different in one role."""

    role: str  # "root", "release" or "desk"
    add: str | None = None  # URI of a key that joins
    remove: str | None = None  # id of a key that leaves, or its first digits
    threshold: int | None = None


@dataclass(frozen=True, slots=True)
class RootSuccessor:
    """A root to be signed, and the one before it. Signatures may be added here or elsewhere."""

    old: Metadata[Root]
    new: Metadata[Root]


def change_root(
    folder: TrustFolder, change: RoleChange | None, ring: KeyRing, *, root_keys: Sequence[str], now: datetime
) -> Metadata[Root]:
    """Make and publish root N+1.

    (1) The folder's own chain holds, from root 1 to N.
    (2) Every key that signs or joins is opened; one that joins signs a proof, and in a production
        folder each is bound to its token.
    (3) N+1 keeps every rule of a root; see ``require_sound_draft``.
    (4) Enough keys of N and of N+1 are here; only then does any of them sign.
    (5) A site that pinned root 1 would follow to N+1; only then is it written.

    Args:
        folder: The trust folder.
        change: What is to be different; None makes the same root again with a later expiry.
        ring: Opens keys.
        root_keys: URIs of root keys that sign, of N or of N+1. A root key that joins signs by itself.
        now: The system clock.

    Raises:
        UsageError: ``threshold-impossible``, ``key-id-malformed``, ``trust-folder-missing``,
            ``trust-folder-damaged``, 2.
        BuildError: ``root-signatures-missing``, ``root-rotations-exhausted``, ``key-not-in-role``, and those of
            ``require_sound_draft`` and ``require_able``, 31.
    """
    with folder.locked():
        state = folder.load_state()
        roots = folder.load_roots()
        old = verify_roots(list(roots.values()))[-1]  # (1)
        signers = [ring.open(uri) for uri in root_keys]
        joining = None if change is None or change.add is None else ring.open(change.add)
        present = [*signers, *([joining] if joining else [])]
        for signer in present:
            require_able(signer, production=state.production)  # (2)
        draft = draft_of(old.signed)
        if change is not None:
            draft = change_draft(draft, change, joining)
        require_sound_draft(draft, production=state.production)  # (3)
        if joining is not None and change is not None and change.role == ROOT:
            signers.append(joining)
        successor = succeed(old, draft, expires=now + timedelta(days=state.expires_days["root"]))
        require_signers(successor, [signer.key for signer in signers])  # (4)
        for signer in signers:
            successor.new.signatures[signer.key.keyid] = signer.sign_metadata(signed_bytes(successor.new))
        verify_roots([*roots.values(), successor.new.to_bytes()])  # (5)
        folder.publish(successor.new, encode_root_evidence(present, successor.new, now=now))
        for signer in present:
            folder.note_name(signer.key.keyid, signer.evidence.where)
        return successor.new


def change_draft(draft: RootDraft, change: RoleChange, joining: NamedKey | None) -> RootDraft:
    """Return ``draft`` with ``change`` in it.

    Raises:
        UsageError: ``key-id-malformed``, 2.
        BuildError: ``key-not-in-role``, 31.
    """
    role = draft.roles[change.role]
    leaving = None if change.remove is None else _find(role, change.remove, word=change.role).key.keyid
    keys = [named for named in role.keys if named.key.keyid != leaving]
    keys += [joining] if joining is not None else []
    threshold = role.threshold if change.threshold is None else change.threshold
    return replace(draft, roles={**draft.roles, change.role: RoleDraft(keys, threshold)})


def succeed(old: Metadata[Root], draft: RootDraft, *, expires: datetime) -> RootSuccessor:
    """Return the root after ``old`` that says what ``draft`` says, unsigned.

    Raises:
        BuildError: ``root-rotations-exhausted``, 31.
    """
    version = old.signed.version + 1
    if version > NEWEST_POSSIBLE_ROOT:
        raise BuildError(
            "root-rotations-exhausted",
            f"root {version}: expected at most {NEWEST_POSSIBLE_ROOT}, since a site that pinned root 1 follows no "
            "further",
            hint="Found a new trust folder with trust init; every site pins its root once more.",
            exit_status=31,
            facts={"version": version, "most": NEWEST_POSSIBLE_ROOT},
        )
    return RootSuccessor(old, Metadata(compose_root(draft, version=version, expires=expires)))


def require_signers(successor: RootSuccessor, keys: Sequence[Key]) -> None:
    """Refuse unless the threshold of the old root and of the new one are among ``keys``.

    Raises:
        BuildError: ``key-not-in-role``, 31: a key is a root key of neither.
            ``root-signatures-missing``, 31; its facts say how many of each are here and needed.
    """
    both = (successor.old.signed, successor.new.signed)
    for key in keys:
        if all(key.keyid not in root.roles["root"].keyids for root in both):
            raise _not_in_role(key.keyid[:8], "root", f"root {both[0].version} or {both[1].version}")
    facts: dict[str, Fact] = {}
    lacking = []
    for root, which in zip(both, ("old", "new"), strict=True):
        role = materials_of(root, "root")
        here = distinct_signers(role, [key.keyid for key in keys])
        facts |= {f"{which}_have": len(here), f"{which}_need": role.threshold}
        if not is_enough(role, here):
            families = "".join(f", none of them {family}" for family in missing_families(role, here))
            lacking.append(f"{len(here)} of {role.threshold} root keys of root {root.version}{families}")
    if lacking:
        raise BuildError(
            "root-signatures-missing",
            f"root {both[1].version}: {' and '.join(lacking)} are here, expected enough of both",
            hint="Add --root-key URI for more root keys: those trusted until now, and those trusted from now on. "
            "Nothing was changed.",
            exit_status=31,
            facts=facts,
        )


def _find(role: RoleDraft, typed: str, *, word: str) -> NamedKey:
    digits = typed.strip().lower()
    found = [named for named in role.keys if named.key.keyid.startswith(digits)]
    if len(digits) < SHORTEST_KEY_ID:
        raise UsageError(
            "key-id-malformed",
            f"key id {typed[:70]!r}: {len(digits)} digits, expected at least {SHORTEST_KEY_ID}",
            hint="Type the first 8 digits of the id, as in keys/<8 digits>.pem of the trust folder.",
        )
    if len(found) != 1:
        raise _not_in_role(digits[:8], word, "the newest root")
    return found[0]


def _not_in_role(id8: str, word: str, where: str) -> BuildError:
    return BuildError(
        "key-not-in-role",
        f"key {id8}: none of the {word} keys of {where}, expected one of them",
        hint="See who may sign with: teraferry trust show DIR",
        exit_status=31,
        facts={"key_id": id8, "role": word},
    )
