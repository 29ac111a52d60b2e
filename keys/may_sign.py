"""Which keys may sign what they are asked to sign. Pure."""

from __future__ import annotations

from tuf.api.metadata import Root

from teraferry.bundles.errors import BuildError
from teraferry.keys.signers import SignerEvidence


def require_in_role(key_id: str, *, role: str, root: Root, name: str) -> None:
    """Refuse a key that is none of the keys of ``role``.

    Args:
        key_id: TUF's id of the key.
        role: The TUF role that signs.
        root: The newest root.
        name: The key as a person knows it; no secret.

    Raises:
        BuildError: ``key-not-in-role``, 31.
    """
    if key_id not in root.roles[role].keyids:
        raise BuildError(
            "key-not-in-role",
            f"{name}: key {key_id[:8]} is none of the {role} keys of root {root.version}, expected one of them",
            hint="See who may sign with: teraferry trust show DIR",
            exit_status=31,
            facts={"key_id": key_id, "role": role},
        )


def require_bound_to_token(evidence: SignerEvidence, *, key_id: str, name: str) -> None:
    """Refuse a key that may have left its token, or never was on one.

    Args:
        evidence: What is known of where the private half lies.
        key_id: TUF's id of the key.
        name: The key as a person knows it; no secret.

    Raises:
        BuildError: ``key-not-production``, 31.
    """
    if not evidence.is_fit_for_production:
        flags = [flag for flag, is_set in evidence.flags.items() if is_set]
        raise BuildError(
            "key-not-production",
            f"{name}: {evidence.kind} key with {', '.join(flags) or 'no flags'}, expected a token key "
            "that is local, sensitive, always_sensitive and never_extractable",
            hint="Generate the key on the token itself and name it by a pkcs11: URI.",
            exit_status=31,
            facts={"key_id": key_id, "kind": evidence.kind, "flags": flags},
        )
