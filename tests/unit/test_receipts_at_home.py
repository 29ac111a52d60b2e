"""Home believes a receipt by the key it enrolled and by the receipts it saw, and keeps what it believed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from teraferry.builder.receipts import SeenReceipt, enroll_site, show_receipt
from teraferry.builder.sites_folder import KEY, RECEIPTS, SitesFolder
from teraferry.bundles.errors import TeraFerryError
from teraferry.bundles.receipt import EarlierReceipt, Receipt, encode_receipt
from tests.fakes.receipts import first_receipt, head, next_receipt, site_key

replace = msgspec.structs.replace
NAME = "hanoi-dc1"
FIRST = first_receipt()
SECOND = next_receipt(FIRST, entries=10)
OTHER_SITE = replace(FIRST.site, key=site_key("other").public_pem)


class Home:
    """A folder of sites, and a stick on which receipts come."""

    def __init__(self, folder: Path) -> None:
        self.stick = folder / "stick"
        self.stick.mkdir()
        self.path = folder / "data" / "sites"
        self.sites = SitesFolder(self.path)

    def write(self, receipt: Receipt, *, by: str = "site") -> Path:
        file = self.stick / f"{receipt.number}.receipt"
        file.write_bytes(encode_receipt(site_key(by).sign(receipt)))
        return file

    def show(self, receipt: Receipt, *, by: str = "site", site_key: Path | None = None) -> SeenReceipt:
        return show_receipt(self.write(receipt, by=by), self.sites, site_key=site_key)

    def enroll(self, receipt: Receipt, *, by: str = "site", replace: str | None = None) -> SeenReceipt:
        return enroll_site(self.write(receipt, by=by), self.sites, replace=replace)

    def kept(self) -> list[str]:
        return sorted(str(path.relative_to(self.path)) for path in self.path.rglob("*") if path.is_file())


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def refused(caught: pytest.ExceptionInfo[TeraFerryError]) -> tuple[int, str]:
    return caught.value.exit_status, caught.value.reference


def test_site_is_enrolled_once_and_its_next_receipt_is_shown_and_kept(home: Home) -> None:
    enrolled = home.enroll(FIRST)
    shown = home.show(SECOND)

    assert enrolled.fingerprint == shown.fingerprint == site_key("site").fingerprint
    assert (shown.receipt, shown.compared, shown.never_seen) == (SECOND, (1,), ())
    assert home.kept() == [f"{NAME}/{RECEIPTS}/1.json", f"{NAME}/{RECEIPTS}/2.json", f"{NAME}/{KEY}"]
    assert (home.path / NAME / KEY).read_text() == FIRST.site.key


def test_receipt_of_a_site_that_nobody_enrolled_is_refused_and_not_kept(home: Home) -> None:
    with pytest.raises(TeraFerryError) as caught:
        home.show(FIRST)

    assert refused(caught) == (24, "site-not-enrolled")
    assert not home.path.exists()


def test_enrolling_again_changes_nothing(home: Home) -> None:
    home.enroll(FIRST)
    home.enroll(FIRST)

    assert len(home.kept()) == 2


def test_first_receipt_that_does_not_fit_its_own_key_is_not_enrolled(home: Home) -> None:
    with pytest.raises(TeraFerryError) as caught:
        home.enroll(FIRST, by="other")

    assert refused(caught) == (24, "receipt-signature-wrong")
    assert not home.path.exists()


def test_another_key_for_an_enrolled_site_is_refused_by_both_commands(home: Home) -> None:
    home.enroll(FIRST)
    for act in (home.show, home.enroll):
        with pytest.raises(TeraFerryError) as caught:
            act(replace(FIRST, site=OTHER_SITE), by="other")
        assert refused(caught) == (24, "receipt-of-another-key")
    assert len(home.kept()) == 2


def test_key_is_replaced_only_by_naming_the_old_one_and_the_old_receipts_stay(home: Home) -> None:
    home.enroll(FIRST)
    anew = replace(FIRST, site=OTHER_SITE)
    with pytest.raises(TeraFerryError) as caught:
        home.enroll(anew, by="other", replace=site_key("other").fingerprint)
    assert refused(caught) == (24, "replaced-site-key-differs")
    home.enroll(anew, by="other", replace=site_key("site").fingerprint.upper())

    aside = f"{NAME}~{site_key('site').fingerprint[:8]}"
    assert home.kept() == sorted(f"{folder}/{file}" for folder in (NAME, aside) for file in (KEY, f"{RECEIPTS}/1.json"))
    with pytest.raises(TeraFerryError):
        home.show(SECOND)


def test_new_key_over_the_same_journal_continues_and_over_another_one_is_said_not_to(home: Home) -> None:
    old = site_key("site").fingerprint
    home.enroll(FIRST)
    seen = home.enroll(replace(SECOND, site=OTHER_SITE), by="other", replace=old)
    assert (seen.fields()["continues"], seen.compared) == (True, (1,))

    begun_anew = replace(FIRST, site=FIRST.site, journal=head(1, "another"))
    seen = home.enroll(begun_anew, replace=site_key("other").fingerprint)
    assert seen.fields()["continues"] is False
    assert "WRITTEN ANEW" in seen.broken


def test_replace_where_nothing_is_enrolled_is_refused(home: Home) -> None:
    with pytest.raises(TeraFerryError) as caught:
        home.enroll(FIRST, replace="0" * 64)
    assert refused(caught) == (2, "nothing-to-replace")


def test_rewritten_journal_is_refused_and_not_kept(home: Home) -> None:
    home.enroll(FIRST)
    lie = EarlierReceipt(receipt=SECOND.earlier[0].receipt, journal=head(2, "another"))
    with pytest.raises(TeraFerryError) as caught:
        home.show(replace(SECOND, earlier=(lie,)))

    assert refused(caught) == (24, "receipt-chain-broken")
    assert len(home.kept()) == 2


def test_receipts_that_were_never_shown_are_named(home: Home) -> None:
    home.enroll(FIRST)

    assert home.show(next_receipt(SECOND, entries=20)).never_seen == (2,)
    assert home.show(SECOND).never_seen == ()


def test_key_given_by_hand_is_believed_and_nothing_is_kept(home: Home, tmp_path: Path) -> None:
    pem = tmp_path / "site.pem"
    pem.write_text(FIRST.site.key)
    seen = home.show(SECOND, site_key=pem)

    assert (seen.kept, seen.compared) == (None, ())
    assert not home.path.exists()
    with pytest.raises(TeraFerryError) as caught:
        home.show(replace(FIRST, site=OTHER_SITE), by="other", site_key=pem)
    assert refused(caught) == (24, "receipt-of-another-key")


def test_key_given_by_hand_is_no_way_round_the_enrolled_one(home: Home, tmp_path: Path) -> None:
    home.enroll(FIRST)
    pem = tmp_path / "other.pem"
    pem.write_text(OTHER_SITE.key)
    with pytest.raises(TeraFerryError) as caught:
        home.show(replace(FIRST, site=OTHER_SITE), by="other", site_key=pem)
    assert refused(caught) == (24, "receipt-of-another-key")


@pytest.mark.parametrize("content", [None, b"", b"\xff", b"-----BEGIN PUBLIC KEY-----\n"])
def test_file_that_is_no_public_key_is_refused(home: Home, tmp_path: Path, content: bytes | None) -> None:
    pem = tmp_path / "site.pem"
    if content is not None:
        pem.write_bytes(content)
    with pytest.raises(TeraFerryError) as caught:
        home.show(FIRST, site_key=pem)
    assert refused(caught) == (2, "site-key-not-public")


def test_missing_file_is_said_to_be_missing(home: Home) -> None:
    with pytest.raises(TeraFerryError) as caught:
        show_receipt(home.stick / "none", home.sites, site_key=None)
    assert refused(caught) == (2, "receipt-missing")


@pytest.mark.parametrize("damage", ["key lost", "receipts lost", "receipt changed", "receipt of another key"])
def test_folder_that_could_not_tell_a_rewritten_journal_refuses(home: Home, damage: str) -> None:
    home.enroll(FIRST)
    folder = home.path / NAME
    receipt = folder / RECEIPTS / "1.json"
    if damage == "key lost":
        (folder / KEY).unlink()
    elif damage == "receipts lost":
        receipt.unlink()
    elif damage == "receipt changed":
        receipt.write_bytes(receipt.read_bytes().replace(b'"entries":2', b'"entries":1'))
    else:
        receipt.write_bytes(encode_receipt(site_key("other").sign(FIRST)))
    with pytest.raises(TeraFerryError) as caught:
        home.show(SECOND)
    assert refused(caught) == (2, "sites-folder-damaged")


def test_enrolling_that_was_interrupted_is_begun_anew(home: Home) -> None:
    part = home.path / f".{NAME}.part"
    (part / RECEIPTS).mkdir(parents=True)
    (part / KEY).write_text("torn")
    home.enroll(FIRST)

    assert home.show(SECOND).compared == (1,)
    assert not part.exists()


def test_folder_that_cannot_be_written_is_named(home: Home) -> None:
    home.path.parent.mkdir()
    home.path.write_text("a file")
    with pytest.raises(TeraFerryError) as caught:
        home.enroll(FIRST)
    assert refused(caught) == (2, "sites-folder-unwritable")


def test_link_in_place_of_a_receipt_is_not_followed(home: Home) -> None:
    link = home.stick / "link"
    link.symlink_to(home.write(FIRST))
    with pytest.raises(TeraFerryError) as caught:
        enroll_site(link, home.sites, replace=None)
    assert caught.value.exit_status == 24
