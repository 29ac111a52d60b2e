"""Make a receipt: sign it, note it in the journal, and only then let it be seen.

The file appears once the journal says durably that it was made. So no receipt is at home that the next one does not
name; a power cut in between leaves a receipt that nobody has, which is named and missed by nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from teraferry.bundles.errors import RefusedError, TrustError, UsageError
from teraferry.bundles.receipt import ReceiptSite, digest_of_receipt, encode_receipt
from teraferry.bundles.system.durable import durable_replace
from teraferry.installer.ports import Entry, Journal
from teraferry.installer.receipt.contents import MADE, facts_of_made, key_named_in, receipt_of
from teraferry.keys.site_key import SITE_KEY_NAME, SiteKey, load_site_key, make_site_key


def make_receipt(
    output: Path, *, site: str, state: Path, journal: Journal, now: datetime, new_key: bool
) -> Mapping[str, object]:
    """Write the site's receipt to ``output`` and return the result fields. Call it under the site lock.

    Args:
        output: The file; replaced whole, or not at all.
        site: Name of the site.
        state: The state folder, where the site's key is.
        journal: Gets one entry.
        now: The system's clock.
        new_key: A person says that the old key is gone for good.

    Raises:
        UsageError: ``receipt-not-written``, ``site-key-not-lost``, 2.
        TrustError: ``site-key-lost``, ``site-key-changed``, ``site-key-exposed``, ``site-key-damaged``, 24.
        RefusedError: ``journal-not-writable``, ``site-key-not-kept``, 44. OperatorNeededError: 62.
    """
    entries = journal.replay()
    key = _key_of(state, entries, new_key=new_key)
    receipt = receipt_of(entries, site=ReceiptSite(name=site, key=key.public_pem), now=now)
    content = encode_receipt(key.sign(receipt))
    made = facts_of_made(receipt.number, digest_of_receipt(receipt), key.fingerprint)
    try:
        with durable_replace(output) as file:
            file.write(content)
            file.flush()  # a full medium is told before anything is noted
            journal.append(time_utc=now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), run="", event=MADE, facts=made)
    except OSError as error:
        raise _not_written(output, error) from error
    return {
        "file": str(output),
        "number": receipt.number,
        "site": site,
        "fingerprint": key.fingerprint,
        "receipt": made["receipt"],
        "entries": receipt.journal.entries,
        "head": receipt.journal.head,
        "state": receipt.state,
        "installed": [f"{row.product} {row.version}" for row in receipt.installed if row.stands],
    }


def _key_of(state: Path, entries: Sequence[Entry], *, new_key: bool) -> SiteKey:
    """Return the key that signed the last receipt; before the first one, or where it is lost and said so, a new one."""
    named, found = key_named_in(entries), load_site_key(state)
    if new_key and found is not None:
        raise UsageError(
            "site-key-not-lost",
            f"--new-key: site key {state / SITE_KEY_NAME} is there, expected none",
            hint="Leave --new-key out. Home knows this site by its key: a new one must be enrolled there.",
        )
    if found is None and (named is None or new_key):
        try:
            return make_site_key(state)
        except OSError as error:
            raise _key_not_kept(state, error) from error
    if found is None:
        raise _key_trouble("site-key-lost", f"site key {state / SITE_KEY_NAME}: not there, expected {named}", state)
    if named not in (None, found.fingerprint):
        place = state / SITE_KEY_NAME
        raise _key_trouble("site-key-changed", f"site key {place}: {found.fingerprint}, expected {named}", state)
    return found


def _key_trouble(reference: str, message: str, state: Path) -> TrustError:
    return TrustError(
        reference,
        f"{message}, which signed this site's last receipt",
        hint=f"Restore {SITE_KEY_NAME} from the site's backup. If there is none, see that no file of that name is in "
        f"{state}, type the same command with --new-key, and let home enroll the new key.",
        exit_status=24,
        facts={"path": str(state / SITE_KEY_NAME)},
    )


def _key_not_kept(state: Path, error: OSError) -> RefusedError:
    return RefusedError(
        "site-key-not-kept",
        f"site key {state / SITE_KEY_NAME}: {error.strerror or error}, expected a place for a file",
        hint="Free space on that disk, then type the same command again.",
        exit_status=44,
        facts={"path": str(state / SITE_KEY_NAME)},
    )


def _not_written(output: Path, error: OSError) -> UsageError:
    return UsageError(
        "receipt-not-written",
        f"receipt {output}: {error.strerror or error}, expected a place for a file",
        hint="Name another file with -o.",
        facts={"file": str(output)},
    )
