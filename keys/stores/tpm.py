"""A key in a TPM 2.0, asked by tpm2-tools on its node.

Looking is reading public areas, which needs no login. The proof is a signature over a fresh nonce,
or, for a sealed secret such as ``Company_Key``, the keyed digest by its twin: the same bytes imported
as an HMAC key. The secret is never unsealed. A twin shows that the twin survived; so the public area
of the sealed object is compared beside it.

A login of a key without ``noda`` counts: a wrong one, and even a power cut after a right one, brings
the TPM nearer to its lockout, which shuts every such key. So such a key is used only where the site
declared an authorization file, and only while two tries are left. Else it is judged by its public
area alone, and that is said.

Handles are persistent and logins are plain, so nothing is left in the TPM: no context has to be
flushed, which on a shared device could be somebody else's.

Source: ``docs/keys.md``; TPM 2.0 Library, part 1, section 19.8 (dictionary attack protection).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from teraferry.bundles.system.process import Completed
from teraferry.keys.continuity.live_proof import pem_of
from teraferry.keys.ports import Look, NodeRunner
from teraferry.keys.stores.refusals import require_ran, undecided
from teraferry.keys.stores.tpm_answers import (
    RC_HANDLE,
    RC_NV_UNINITIALIZED,
    Lockout,
    PublicArea,
    explain,
    login_not_risked,
    parse_handles,
    parse_lockout,
    parse_public,
    return_code,
)

DEFAULT_TCTI: Final = "device:/dev/tpmrm0"
"""The kernel's resource manager. Spelled out: left alone, the tools would try a simulator on loopback, too."""

TOOL_SECONDS: Final = 30.0
"""A TPM may think for seconds over an RSA signature."""

SAFE_TRIES: Final = 2
"""A login is tried only while one more could fail: the last try is never spent."""

FIRST_PLATFORM_HANDLE: Final = 0x81800000
"""From here on the platform hierarchy owns persistent objects, which the firmware shuts at boot."""

COUNTER_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class TpmKey:
    """What site.toml says of one key; files are on the node."""

    name: str
    node: str
    handle: int
    auth: str | None = None  # file with the authorization value
    twin: int | None = None  # the same secret as an HMAC key
    twin_auth: str | None = None
    counter: int | None = None  # index of an NV counter
    tcti: str = DEFAULT_TCTI

    @property
    def what(self) -> str:
        """The key, as a person would name it."""
        return f"key {self.name} in the TPM of {self.node}"


class TpmStore:
    """``KeyStore`` of one key in a TPM."""

    def __init__(self, key: TpmKey, runner: NodeRunner) -> None:
        self._key = key
        self._runner = runner

    def look(self) -> Look | None:
        """Read public areas and the counter; see ``keys.ports.KeyStore``."""
        area, twin = self._public(self._key.handle), self._public(self._key.twin)
        if area is None:
            return None
        marks = {"name": area.name, "attributes": "|".join(sorted(area.attributes))}
        if self._key.twin is not None:
            marks["twin"] = twin.name if twin is not None else "gone"
        user, said = self._user(area, twin)
        proof = "presence" if user is None else "signature" if user[1].signs else "hmac"
        pem = self._pem() if area.kind in ("ecc", "rsa") else ""
        counter = self._counter() if self._key.counter is not None else None
        return Look(proof, marks, public_key=pem, counter=counter, said=said)  # type: ignore[arg-type]

    def answer(self, challenge: bytes) -> bytes | None:
        """Sign ``challenge``, or make its keyed digest; see ``keys.ports.KeyStore``.

        Raises:
            RefusedError: 40; ``tpm-login-not-risked``, ``tpm-locked-out``, ``tpm-login-failed`` and others.
        """
        area, twin = self._public(self._key.handle), self._public(self._key.twin)
        if area is None or (self._key.twin is not None and twin is None):
            return None
        user, said = self._user(area, twin)
        if user is None:
            raise undecided("key-proof-not-possible", self._key.what, said, "Give this [[key]] a twin in site.toml.")
        handle, used, auth = user
        self._require_login_safe(used)
        if used.signs:
            how = ["-f", "plain", "-s", used.scheme, "-g", used.scheme_digest]
            argv = ["tpm2_sign", "-Q", "-c", f"0x{handle:08X}", *how, "-o", "/dev/stdout"]
        else:
            argv = ["tpm2_hmac", "-c", f"0x{handle:08X}"]
        done = self._run([*argv, *(["-p", f"file:{auth}"] if auth else [])], stdin=challenge)
        if done.status == 0:
            return done.stdout
        if return_code(done.stderr) == RC_HANDLE and self._is_gone(handle):
            return None
        raise explain(done.stderr, self._key.what)

    def _user(self, area: PublicArea, twin: PublicArea | None) -> tuple[tuple[int, PublicArea, str | None] | None, str]:
        """Return which object proves the key: handle, public area, file of its authorization; or why none does."""
        key = self._key
        candidates = [(key.handle, area, key.auth)] if area.signs or area.digests else []
        if twin is not None and twin.digests and key.twin is not None:
            candidates.append((key.twin, twin, key.twin_auth))
        if not candidates:
            return None, "it neither signs nor has an HMAC twin, so only its public area is compared"
        for handle, used, auth in candidates:
            if auth is not None or not used.counts_failures:
                return (handle, used, auth), ""
        # Even with an empty value a login of such a key counts, and a wrong guess would be ours.
        return None, "its logins count as failures and no `auth` is declared, so only its public area is compared"

    def _require_login_safe(self, used: PublicArea) -> None:
        if not used.counts_failures:
            return
        lockout = self._lockout()
        if lockout.tries_left < SAFE_TRIES:
            raise login_not_risked(self._key.what, lockout)

    def _public(self, handle: int | None) -> PublicArea | None:
        if handle is None:
            return None
        done = self._run(["tpm2_readpublic", "-c", f"0x{handle:08X}"])
        if done.status == 0:
            return parse_public(done.text(), self._key.what)
        if return_code(done.stderr) == RC_HANDLE and self._is_gone(handle):
            return None
        raise explain(done.stderr, self._key.what)

    def _is_gone(self, handle: int) -> bool:
        """Tell whether the TPM, asked another way, says the same: "lost" is not said on one word alone.

        A handle whose hierarchy is shut answers like one that is gone.
        """
        listed = self._run(["tpm2_getcap", "handles-persistent"])
        if listed.status != 0:
            raise explain(listed.stderr, self._key.what)
        if (
            handle not in parse_handles(listed.text())
            and handle < FIRST_PLATFORM_HANDLE
            and self._lockout().hierarchies
        ):
            return True
        raise undecided(
            "tpm-hierarchy-shut",
            self._key.what,
            f"0x{handle:08X} may not be used now",
            "Look whether the firmware shuts a hierarchy of the TPM: tpm2_getcap properties-variable",
        )

    def _lockout(self) -> Lockout:
        done = self._run(["tpm2_getcap", "properties-variable"])
        if done.status != 0:
            raise explain(done.stderr, self._key.what)
        return parse_lockout(done.text(), self._key.what)

    def _pem(self) -> str:
        argv = ["tpm2_readpublic", "-Q", "-c", f"0x{self._key.handle:08X}", "-f", "pem", "-o", "/dev/stdout"]
        done = self._run(argv)
        try:
            return pem_of(done.stdout)
        except ValueError as error:
            raise explain(done.stderr, self._key.what) from error

    def _counter(self) -> int | None:
        """Return the counter; None when it is gone, or was made anew and never incremented."""
        index = f"0x{self._key.counter:08X}"
        done = self._run(["tpm2_nvreadpublic", index])
        if return_code(done.stderr) == RC_HANDLE:
            return None
        if done.status == 0 and "no_da" not in done.text():
            # Reading is a login, with an empty value; a wrong one would count.
            hint = "Define the counter with no_da and authread, or leave `counter` out."
            raise undecided("tpm-login-not-risked", self._key.what, f"counter {index} counts failed logins", hint)
        done = self._run(["tpm2_nvread", index, "-s", str(COUNTER_BYTES)])
        if done.status == 0 and len(done.stdout) == COUNTER_BYTES:
            return int.from_bytes(done.stdout, "big")
        if return_code(done.stderr) == RC_NV_UNINITIALIZED:
            return None
        raise explain(done.stderr, self._key.what)

    def _run(self, argv: Sequence[str], *, stdin: bytes = b"") -> Completed:
        done = self._runner.run([argv[0], "-T", self._key.tcti, *argv[1:]], stdin=stdin, timeout_seconds=TOOL_SECONDS)
        require_ran(done, self._key.what, "tpm2-tools")
        return done
