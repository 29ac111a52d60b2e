"""What a root is to say, and the rules that every root of ours keeps before anybody signs it. Pure.

``trust init`` and every later change draw up a draft and come through here, so no sequence of
harmless changes ends in a root that could not have been founded: one key in two places, fewer
keys than the threshold, a release that stock openssl cannot check.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from securesystemslib.signer import Key
from tuf.api.metadata import Role as TufRole
from tuf.api.metadata import Root

from teraferry.bundles.errors import BuildError, Fact, UsageError
from teraferry.keys.public_keys import CLASSICAL, MLDSA, family_of, is_checkable_by_dgst, material_of
from teraferry.keys.tuf_metadata import CUSTOM, EACH_FAMILY, product_of

ROOT: Final = "root"
RELEASE: Final = "release"
DESK: Final = "desk"

TUF_ROLES: Final[Mapping[str, tuple[str, ...]]] = {
    ROOT: ("root",),
    RELEASE: ("targets",),
    DESK: ("snapshot", "timestamp"),
}
"""Our word for the people who hold the keys, and the TUF roles that they fill."""


class NamedKey(Protocol):
    """A key, and how a person would call it in a refusal. A ``KeySigner`` is one."""

    @property
    def key(self) -> Key:
        """The public half."""

    @property
    def name(self) -> str:
        """For people; no secret."""


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key that a root lists already; whoever holds it need not be here."""

    key: Key

    @property
    def name(self) -> str:
        """Its id, as the files in a kit are named by it."""
        return f"key {self.key.keyid[:8]}"


@dataclass(frozen=True, slots=True)
class RoleDraft:
    """Who may sign for one role, and how many of them must."""

    keys: Sequence[NamedKey]
    threshold: int


@dataclass(frozen=True, slots=True)
class RootDraft:
    """A root before it has a number and a date."""

    product: str
    roles: Mapping[str, RoleDraft]  # by the words of ``TUF_ROLES``


def draft_of(root: Root) -> RootDraft:
    """Return what ``root`` says, to be changed."""
    roles = {}
    for word, filled in TUF_ROLES.items():
        role = root.roles[filled[-1]]
        roles[word] = RoleDraft([ListedKey(root.keys[key_id]) for key_id in role.keyids], role.threshold)
    return RootDraft(product_of(root), roles)


def compose_root(draft: RootDraft, *, version: int, expires: datetime) -> Root:
    """Return the root that ``draft`` describes, unsigned."""
    custom: dict[str, object] = {"format": 1, "product": draft.product}
    mixed = [name for word in draft.roles if _has_mldsa(draft.roles[word]) for name in TUF_ROLES[word]]
    if mixed:
        custom[EACH_FAMILY] = sorted(mixed)
    return Root(
        version=version,
        expires=expires.replace(microsecond=0),
        keys={named.key.keyid: named.key for role in draft.roles.values() for named in role.keys},
        roles={
            name: TufRole([named.key.keyid for named in role.keys], role.threshold)
            for word, role in draft.roles.items()
            for name in TUF_ROLES[word]
        },
        consistent_snapshot=False,
        unrecognized_fields={CUSTOM: custom},
    )


def require_sound_draft(draft: RootDraft, *, production: bool) -> None:
    """Refuse a draft that breaks a rule which every root of ours keeps.

    (1) Each threshold can be met, and the desk's is one: one person closes a kit.
    (2) No key stands twice in a role, by its material; a production root has none in two roles either.
    (3) At least as many release keys as their threshold are checkable by ``openssl dgst``.
    (4) Where ML-DSA keys sign, a classical one does too, and none is in a production root.

    Raises:
        UsageError: ``threshold-impossible``, 2.
        BuildError: ``key-used-twice``, ``key-id-collides``, ``release-keys-not-checkable``,
            ``family-rule-impossible`` or ``key-not-production``, 31.
    """
    for word, role in draft.roles.items():
        _require_possible(word, role)  # (1)
    _require_distinct(draft.roles, production=production)  # (2)
    _require_checkable(draft.roles[RELEASE])  # (3)
    for word, role in draft.roles.items():
        _require_families(word, role, production=production)  # (4)


def _require_possible(word: str, role: RoleDraft) -> None:
    most = min(1, len(role.keys)) if word == DESK else len(role.keys)
    if not 1 <= role.threshold <= most:
        raise UsageError(
            "threshold-impossible",
            f"role {word}: threshold {role.threshold} with {len(role.keys)} keys, expected 1..{max(most, 1)}",
            hint="Give the role another key, or a threshold that its keys can meet."
            if word != DESK
            else "One desk key closes a kit: a second one is a spare, and one must stay.",
            facts={"role": word, "threshold": role.threshold, "keys": len(role.keys)},
        )


def _require_distinct(roles: Mapping[str, RoleDraft], *, production: bool) -> None:
    seen: dict[str, dict[str, NamedKey]] = {}  # material -> role -> the key there
    prefixes: set[str] = set()
    for word, role in roles.items():
        for named in role.keys:
            others = seen.setdefault(material_of(named.key), {})
            twin = next(iter(others.values()), None) if production else others.get(word)
            if twin is not None:
                raise _refused(
                    "key-used-twice",
                    f"{named.name}: the same key as {twin.name}, expected different keys",
                    "Give each person a key of their own; one key must never count twice.",
                    named,
                )
            if not others and named.key.keyid[:8] in prefixes:
                raise _refused(
                    "key-id-collides",
                    f"{named.name}: its id begins like another key's, expected different first 8 digits",
                    "Make a new key in its place; files in the kit are named by these 8 digits.",
                    named,
                )
            others[word] = named
            prefixes.add(named.key.keyid[:8])


def _require_checkable(release: RoleDraft) -> None:
    checkable = sum(is_checkable_by_dgst(named.key) for named in release.keys)
    if checkable < release.threshold:
        facts: dict[str, Fact] = {"checkable": checkable, "need": release.threshold}
        raise BuildError(
            "release-keys-not-checkable",
            f"release keys: {checkable} can be checked by openssl dgst, expected at least {release.threshold}, the "
            "threshold",
            hint="Use P-256, P-384 or RSA for more of the release keys: a first visit has nothing but stock openssl.",
            exit_status=31,
            facts=facts,
        )


def _require_families(word: str, role: RoleDraft, *, production: bool) -> None:
    if not _has_mldsa(role):
        return
    if production:
        named = next(named for named in role.keys if family_of(named.key) == MLDSA)
        raise _refused(
            "key-not-production",
            f"{named.name}: an ML-DSA key, expected a kind that a token holds",
            "ML-DSA is an experiment for development roots. Use P-256, P-384, RSA or Ed25519 on a token.",
            named,
        )
    if role.threshold < 2 or CLASSICAL not in {family_of(named.key) for named in role.keys}:
        raise BuildError(
            "family-rule-impossible",
            f"role {word}: threshold {role.threshold} with an ML-DSA key among its {len(role.keys)}, expected at least "
            "2 and a classical key beside it, since one of each family must sign",
            hint="Add a classical key to the role, or raise its threshold; the desk's role takes no ML-DSA key.",
            exit_status=31,
            facts={"role": word, "threshold": role.threshold, "keys": len(role.keys)},
        )


def _has_mldsa(role: RoleDraft) -> bool:
    return any(family_of(named.key) == MLDSA for named in role.keys)


def _refused(reference: str, message: str, hint: str, named: NamedKey) -> BuildError:
    return BuildError(reference, message, hint=hint, exit_status=31, facts={"key_id": named.key.keyid})
