"""What tpm2-tools print, and what a TPM's return codes mean for a key. Pure.

The tools print a small YAML of their own; only the few lines that are needed are read, and a line
that is not there refuses. Of an error only the TPM's return code is used.

Source: tpm2-tools 5.4; TPM 2.0 Library, part 2, section 6.6.3 (TPM_RC); codes as seen with swtpm 0.7.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from teraferry.bundles.errors import RefusedError
from teraferry.keys.stores.refusals import undecided

RC_HANDLE: Final = 0x18B
"""TPM_RC_HANDLE of the first handle: nothing at this handle that may be used."""

RC_NV_UNINITIALIZED: Final = 0x14A
"""A counter that was never incremented: a new one at an old index."""

_RC: Final = re.compile(r"\((0x[0-9A-Fa-f]{3,8})\)")
_FIELD: Final = re.compile(r"^([a-z][a-z -]*):\s*(\S.*)?$")
_VALUE: Final = re.compile(r"^\s+value:\s*(\S.*)$")
_VARIABLE: Final = re.compile(r"^\s*([A-Za-z0-9_]+):\s*(0x[0-9A-Fa-f]+|\d+)\s*$")
_HANDLE: Final = re.compile(r"^\s*-\s*(0x[0-9A-Fa-f]+)\s*$")

_SCHEMES: Final = ("ecdsa", "rsapss", "rsassa")
_DEFAULT_SCHEME: Final = {"ecc": "ecdsa", "rsa": "rsapss"}

_LOCKED, _LOGIN, _POLICY = "tpm-locked-out", "tpm-login-failed", "tpm-policy-failed"
_MEANINGS: Final[dict[int, tuple[str, str, str]]] = {
    0x921: (
        _LOCKED,
        "it is locked after too many failed logins",
        "Wait as long as it says (`tpm2_getcap properties-variable`), or unlock it with the lockout authorization. "
        "The key is there all the while.",
    ),
    0x98E: (_LOGIN, "the authorization value is wrong, and this counted as a failed login", ""),
    0x9A2: (_LOGIN, "the authorization value is wrong", ""),
    0x12F: (_LOGIN, "this key takes no plain authorization value", ""),
    0x99D: (_POLICY, "a policy of the key does not hold now", "Look whether firmware or boot order were changed."),
    0x902: ("tpm-failed", "it has no room for one more context", "Use its resource manager: tcti = device:/dev/tpmrm0"),
}
_LOGIN_HINT: Final = "Correct the file that `auth` or `twin_auth` names on that node. It is not tried again by itself."


@dataclass(frozen=True, slots=True)
class PublicArea:
    """What a TPM tells anybody about an object."""

    name: str  # digest of the public area: changes with the key and with its attributes
    attributes: frozenset[str]
    kind: str  # "ecc", "rsa", "keyedhash", "symcipher"
    scheme: str = ""  # what it signs by: its own, or one that it can do
    scheme_digest: str = ""

    @property
    def signs(self) -> bool:
        """Tell whether it signs what it is given."""
        return self.kind in ("ecc", "rsa") and "sign" in self.attributes and "restricted" not in self.attributes

    @property
    def digests(self) -> bool:
        """Tell whether it makes keyed digests."""
        return self.kind == "keyedhash" and "sign" in self.attributes and "restricted" not in self.attributes

    @property
    def counts_failures(self) -> bool:
        """Tell whether a wrong login, or a power cut after a right one, brings the TPM nearer to its lockout."""
        return "noda" not in self.attributes


@dataclass(frozen=True, slots=True)
class Lockout:
    """How near the TPM is to refusing every login."""

    failed: int
    most: int
    is_locked: bool
    hierarchies: bool  # owner and endorsement objects may be used at all

    @property
    def tries_left(self) -> int:
        """Logins that may fail before it locks."""
        return 0 if self.is_locked else max(0, self.most - self.failed)


def parse_handle(text: str) -> int:
    """Return the handle that ``text`` (hex) is.

    Raises:
        ValueError: No hex number of a TPM handle.
    """
    if not re.fullmatch(r"0x[0-9A-Fa-f]{1,8}", text):
        raise ValueError(f"{text[:20]!r}, expected a handle such as 0x81010002")
    return int(text, 16)


def parse_public(text: str, what: str) -> PublicArea:
    """Return the public area that ``tpm2_readpublic`` printed.

    Raises:
        RefusedError: ``tpm-unreadable``, 40.
    """
    fields: dict[str, str] = {}
    section = ""
    for line in text.splitlines():
        if field := _FIELD.match(line):
            section = field.group(1)
            fields[section] = (field.group(2) or "").strip()
        elif (value := _VALUE.match(line)) and not fields.get(section):
            fields[section] = value.group(1).strip()
    if not re.fullmatch(r"[0-9a-f]{8,200}", fields.get("name", "")) or not fields.get("type"):
        raise _unreadable(what, "tpm2_readpublic")
    own, digest = fields.get("scheme", ""), fields.get("scheme-halg", "")
    return PublicArea(
        fields["name"],
        frozenset(fields.get("attributes", "").split("|")) - {""},
        fields["type"],
        own if own in _SCHEMES else _DEFAULT_SCHEME.get(fields["type"], ""),
        digest if digest.startswith("sha") else "sha256",
    )


def parse_lockout(text: str, what: str) -> Lockout:
    """Return what ``tpm2_getcap properties-variable`` says of failed logins.

    Raises:
        RefusedError: ``tpm-unreadable``, 40: a number is missing, and none is guessed.
    """
    found = {m.group(1): int(m.group(2), 0) for line in text.splitlines() if (m := _VARIABLE.match(line))}
    try:
        return Lockout(
            failed=found["TPM2_PT_LOCKOUT_COUNTER"],
            most=found["TPM2_PT_MAX_AUTH_FAIL"],
            is_locked=bool(found["inLockout"]),
            hierarchies=bool(found["shEnable"] and found["ehEnable"]),
        )
    except KeyError as error:
        raise _unreadable(what, "tpm2_getcap") from error


def parse_handles(text: str) -> frozenset[int]:
    """Return the handles that ``tpm2_getcap handles-persistent`` lists."""
    return frozenset(int(m.group(1), 16) for line in text.splitlines() if (m := _HANDLE.match(line)))


def return_code(stderr: bytes) -> int | None:
    """Return the TPM's own return code in what a tool said; None when the TPM was not heard."""
    found = _RC.findall(stderr.decode("utf-8", "replace"))
    return int(found[-1], 16) if found else None


def explain(stderr: bytes, what: str) -> RefusedError:
    """Return why a key could not be asked, from what a tool said. A key that is gone is not explained here."""
    code = return_code(stderr)
    if code is None or code >> 16:
        hint = "Look at the TPM's device and at `tcti` of this [[key]]: tpm2_getcap properties-fixed"
        return undecided("tpm-unreachable", what, "no TPM answered", hint)
    reference, found, hint = _MEANINGS.get(code, ("tpm-failed", f"the TPM answered 0x{code:X}", "See: tpm2_rc_decode"))
    return undecided(reference, what, found, hint or _LOGIN_HINT)


def login_not_risked(what: str, lockout: Lockout) -> RefusedError:
    """Return why a login is not tried: it could be the one that locks the TPM."""
    return undecided(
        "tpm-login-not-risked",
        what,
        f"{lockout.failed} of {lockout.most} failed logins, and one more could lock it",
        "Find out who fails to log in. Wait until the TPM forgets a failure (TPM2_PT_LOCKOUT_INTERVAL), or reset the "
        "counter with the lockout authorization. The key is not lost.",
    )


def _unreadable(what: str, tool: str) -> RefusedError:
    return undecided("tpm-unreadable", what, f"{tool} printed something else", "Install tpm2-tools 5 on that node.")
