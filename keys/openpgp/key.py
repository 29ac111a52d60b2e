"""A public OpenPGP key in a file: its bytes as gpgv wants them, and whose they are. Pure.

gpgv takes a binary keyring and no armor. The fingerprint is worked out here, so that a file
with another key in it is told before a kit is blamed for it.

Source: RFC 4880, 4.2 (packet headers), 5.5.2 (public keys), 6.2 (armor), 12.2 (fingerprints);
RFC 9580, 5.5.4.2 and 5.5.4.3 (version 5 and 6 keys).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

MAX_PUBLIC_KEY_BYTES: Final = 1024 * 1024
"""A public key with many subkeys and a photograph is below 100 kB."""

_BEGIN: Final = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
_END: Final = "-----END PGP PUBLIC KEY BLOCK-----"
_PUBLIC_KEY: Final = 6  # packet tag
_OLD_LENGTHS: Final = (1, 2, 4)  # bytes of the length, by its type


def parse_public_key(content: bytes) -> bytes:
    """Return the keyring in ``content``, armored or binary, in binary.

    Raises:
        ValueError: It is no public key, or a private one.
    """
    if b"PRIVATE KEY" in content:
        raise ValueError("a private key, which never belongs here")
    if content[:1] and content[0] & 0x80:
        return content
    lines = [line.strip() for line in content.decode("ascii", "replace").splitlines()]
    if _BEGIN not in lines or _END not in lines:
        raise ValueError("no public OpenPGP key")
    body = lines[lines.index(_BEGIN) + 1 : lines.index(_END)]
    # Headers such as "Comment:" end at an empty line; "=" begins the checksum.
    body = body[body.index("") + 1 :] if "" in body else body
    try:
        keyring = base64.b64decode("".join(line for line in body if not line.startswith("=")), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("armor that is damaged") from error
    if not keyring:
        raise ValueError("no public OpenPGP key")
    return keyring


def fingerprint_of_key(keyring: bytes) -> str:
    """Return the fingerprint of the first primary key in ``keyring``, in capitals.

    Raises:
        ValueError: It does not begin with a public key of version 4, 5 or 6.
    """
    try:
        tag, body = _first_packet(keyring)
        version = body[0]
    except IndexError as error:
        raise ValueError("a key that is cut off") from error
    if tag != _PUBLIC_KEY:
        raise ValueError(f"OpenPGP packet {tag} in the first place, where a public key belongs")
    if version == 4:
        # SHA-1 names the key, by the standard; it signs nothing here.
        framed = b"\x99" + len(body).to_bytes(2, "big") + body
        return hashlib.sha1(framed, usedforsecurity=False).hexdigest().upper()
    if version in (5, 6):
        mark = b"\x9a" if version == 5 else b"\x9b"
        return hashlib.sha256(mark + len(body).to_bytes(4, "big") + body).hexdigest().upper()
    raise ValueError(f"an OpenPGP key of version {version}")


def _first_packet(keyring: bytes) -> tuple[int, bytes]:
    head = keyring[0]
    if head & 0x40:
        tag = head & 0x3F
        start, length = _new_length(keyring)
    else:
        tag = head >> 2 & 0x0F
        if head & 0x03 == 3:
            raise ValueError("a packet without a length")
        start = 1 + _OLD_LENGTHS[head & 0x03]
        length = int.from_bytes(keyring[1:start], "big")
    body = keyring[start : start + length]
    if not 0 < length == len(body) < 2**16:
        raise ValueError("a key that is cut off")
    return tag, body


def _new_length(keyring: bytes) -> tuple[int, int]:
    first = keyring[1]
    if first < 192:
        return 2, first
    if first < 224:
        return 3, (first - 192 << 8) + keyring[2] + 192
    if first == 255:
        return 6, int.from_bytes(keyring[2:6], "big")
    raise ValueError("a packet in pieces, where a whole key belongs")
