"""A site's own key program, as ``docs/keys.md`` describes it; keys are files in a folder.

Usage: key_program.py FOLDER signature|hmac [FAULT]. With a FAULT it breaks one rule of the protocol.
"""

from __future__ import annotations

import hmac
import json
import secrets
import sys
from pathlib import Path
from typing import Any


def answer(folder: Path, kind: str, fault: str, question: dict[str, Any]) -> dict[str, Any]:
    """Return what the program says to ``question``."""
    if not folder.is_dir():
        return {"state": "undecided", "reason": "the box is unplugged"}
    ask = question["ask"]
    if ask not in ("look", "prove") and fault != "understands-everything":
        return {"state": "undecided", "reason": "unknown question"}
    file = folder / question["handle"]
    if not file.exists():
        if fault != "never-absent":
            return {"state": "absent"}
        file = next(folder.iterdir())
    content = file.read_bytes()
    if ask == "prove":
        return {"state": "present", "answer": prove(content, kind, fault, bytes.fromhex(question["challenge"])).hex()}
    marks = {"size": str(len(content))} | ({"nonce": secrets.token_hex(4)} if fault == "restless" else {})
    looked: dict[str, Any] = {"state": "present", "proof": kind, "marks": {} if fault == "no-marks" else marks}
    if kind == "signature":
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        public = Ed25519PrivateKey.from_private_bytes(content).public_key()
        looked["public_key"] = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return looked


def prove(content: bytes, kind: str, fault: str, challenge: bytes) -> bytes:
    """Return the signature over ``challenge``, or its keyed digest."""
    if fault == "other-key":
        content = secrets.token_bytes(32)
    if fault == "one-answer":
        challenge = b""
    if kind == "signature":
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(content).sign(challenge)
    return hmac.digest(content, challenge, "sha256")


def main() -> int:
    """Answer one question."""
    folder, kind, fault = Path(sys.argv[1]), sys.argv[2], (*sys.argv[3:], "")[0]
    if fault == "silent":
        return 0
    if fault == "fails":
        return 1
    said = json.dumps(answer(folder, kind, fault, json.load(sys.stdin)))
    print(f"welcome\n{said}" if fault == "chatty" else said)
    return 0


if __name__ == "__main__":
    sys.exit(main())
