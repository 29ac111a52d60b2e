"""The refusal of a key that may not sign what it is asked to sign. Pure."""

from __future__ import annotations

from tuf.api.metadata import Root

from teraferry.bundles.errors import BuildError


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
