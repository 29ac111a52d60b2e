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

FORGET_PARTS: Final = """
forget_parts() {
  for left in "$1".part.*; do
    if [ -e "$left" ] && ! kill -0 "${left##*.}" 2>/dev/null; then rm -f "$left"; fi
  done
}
"""
"""``forget_parts PATH`` removes what processes that are gone left half written. Each writes ``PATH.part.$$``: what an
installer that was killed began may still be ending, and must not take another's part away."""
