"""Private keys that can sign, wherever they lie: one file a kind, chosen by the key's URI.

No private key ever enters this program from a token; the token signs and hands back bytes.
"""

from teraferry.keys.signers.ring import KeyRing
from teraferry.keys.signers.signer import KeySigner, SignerEvidence

__all__ = ["KeyRing", "KeySigner", "SignerEvidence"]
