"""What every script that runs on a node may use. A node needs a POSIX shell, coreutils and /proc."""

from __future__ import annotations

from typing import Final

DIGEST_OF: Final = """
digest_of() {
  if command -v openssl >/dev/null; then openssl dgst -sha256 -r; else sha256sum; fi
}
"""
"""``digest_of <FILE`` prints 64 hex digits and more words. openssl, where a node has it, uses the processor's
SHA instructions, which coreutils does not: several times faster on a large program."""
