"""What a registry's answer, or its silence, means to the person at the site. Pure.

Each cause that needs another remedy has its own reference: a full disk is not a wrong password.

Source: OCI distribution specification v1.1, "Error codes"; docker-registry 2.8.2 as measured (it
answers 500 with the operating system's error number when its disk is full).
"""

from __future__ import annotations

import errno
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from teraferry.bundles.errors import Fact, RefusedError

MAX_ERROR_BODY_BYTES: Final = 64 * 1024
"""An error document is a few hundred bytes; the rest of a longer one is not read."""

_QUOTED_BYTES: Final = 300
_DISK_FULL: Final = re.compile(
    rf'no space left|disk quota|quota exceeded|"Err":\s*({errno.ENOSPC}|{errno.EDQUOT})\b'
    r"|exceeds?\b.{0,80}\b(quota|limit)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and as much of the body as an error needs."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class _ErrorItem(msgspec.Struct):
    code: str = ""
    message: str = ""


class _ErrorDocument(msgspec.Struct):
    errors: list[_ErrorItem] = msgspec.field(default_factory=list)


def is_full(answer: Answer) -> bool:
    """Tell whether the registry had no room. Only an error answer can say so."""
    if answer.status < 400:
        return False
    text = answer.body[:MAX_ERROR_BODY_BYTES].decode("utf-8", "replace")
    return answer.status == 507 or _DISK_FULL.search(text) is not None


def is_worth_retrying(answer: Answer) -> bool:
    """Tell whether the same request may get another answer: 5xx, but not a full disk."""
    return answer.status >= 500 and not is_full(answer)


def refusal(answer: Answer, *, registry: str, doing: str) -> RefusedError:
    """Return the error for an unwelcome ``answer`` to ``doing`` ("push blob sha256:...")."""
    facts: dict[str, Fact] = {"registry": registry, "doing": doing, "http_status": answer.status}
    found = f"registry {registry}: {answer.status} to {doing}{_quoted(answer)}"
    if answer.status in {401, 403} and not is_full(answer):
        return RefusedError(
            "registry-password",
            f"{found}, expected to be let in",
            hint=_login_hint(answer),
            exit_status=44,
            facts=facts,
        )
    if is_full(answer):
        return RefusedError(
            "registry-full",
            f"{found}, expected room for the release",
            hint="Make room where the registry keeps its blobs (or raise its quota), then type the same command again. "
            "Stopped, distribution may be rid of the broken uploads in docker/registry/v2/repositories/*/_uploads too.",
            exit_status=44,
            facts=facts,
        )
    if answer.status >= 500:
        return RefusedError(
            "registry-failing",
            f"{found}, expected success",
            hint="Look at the registry's own log and set it right, then type the same command again.",
            exit_status=44,
            facts=facts,
        )
    return RefusedError(
        "registry-refused", f"{found}, expected success", hint=_refused_hint(answer), exit_status=44, facts=facts
    )


def unreachable(*, registry: str, doing: str, cause: str) -> RefusedError:
    """Return the error for a registry that does not answer."""
    return RefusedError(
        "registry-unreachable",
        f"registry {registry}: {cause} during {doing}, expected an answer",
        hint="Start the registry or mend the way to it (is url in site.toml right?), then type the same command again.",
        exit_status=44,
        facts={"registry": registry, "doing": doing},
    )


def certificate_refused(*, registry: str, cause: str) -> RefusedError:
    """Return the error for a registry that could not prove who it is."""
    return RefusedError(
        "registry-certificate",
        f"registry {registry}: {cause}, expected a valid certificate for that name from the site's CA",
        hint="Check ca and url under [registry] in site.toml, the machine's clock, and the registry's certificate.",
        exit_status=44,
        facts={"registry": registry},
    )


def answer_wrong(*, registry: str, what: str, found: str, expected: str) -> RefusedError:
    """Return the error for a registry that serves something else than what it was given."""
    return RefusedError(
        "registry-answer-wrong",
        f"{what} from registry {registry}: {found}, expected {expected}",
        hint="Its storage or something in between changes bytes. Have the registry checked; delete that manifest "
        "from it, then type the same command again.",
        exit_status=44,
        facts={"registry": registry, "found": found, "expected": expected},
    )


def certificate_cause(error: ssl.SSLError) -> str | None:
    """Return why TLS could not be set up; None when the connection merely broke."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message or "certificate not accepted"
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)):
        return None
    reason = (error.reason or "").replace("_", " ").lower()
    return f"TLS failed ({reason or 'no reason given'})"


def _quoted(answer: Answer) -> str:
    try:
        items = msgspec.json.decode(answer.body[:MAX_ERROR_BODY_BYTES], type=_ErrorDocument).errors
        text = "; ".join(f"{item.code} {item.message}".strip() for item in items)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        text = answer.body[:_QUOTED_BYTES].decode("utf-8", "replace")
    # A registry's words go to a terminal: control characters could redraw it.
    shown = "".join(character if character.isprintable() else " " for character in text).strip()
    return f" ({shown[:_QUOTED_BYTES]})" if shown else ""


def _login_hint(answer: Answer) -> str:
    if answer.headers.get("WWW-Authenticate", "").lower().startswith("bearer"):
        return "This registry did not take user and password themselves: allow basic authentication for this user."
    return "Check user and password_file under [registry] in site.toml, and that this user may push."


def _refused_hint(answer: Answer) -> str:
    if answer.status == 405:
        return "The registry is read-only: make it writable (maintenance.readonly), then type the same command again."
    if answer.status == 413:
        return "A proxy before the registry limits the size of a request: lift that limit, then type the command again."
    if 300 <= answer.status < 400:
        return (
            "The registry sends us to another server. Switch that off (distribution: storage.redirect.disable: true)."
        )
    return "Look at the registry's own log for this request, set the cause right, then type the same command again."
