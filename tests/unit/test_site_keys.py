"""``[[key]]`` in a site file: every store's own fields, strictly, and no field that another store would need."""

from __future__ import annotations

import pytest

from teraferry.bundles.errors import UsageError
from teraferry.installer.site.load import parse_site
from teraferry.installer.site.model import Site
from tests.fakes.site_toml import SITE

TPM = """
[[key]]
name = "Company_Key"
node = "vol-1"
store = "tpm"
handle = "0x81010002"
auth = "/etc/terachat/tpm.auth"
twin = "0x81010003"
twin_auth = "/etc/terachat/twin.auth"
counter = "0x01500001"
blobs = ["/var/lib/terachat/company.key.wrapped"]
protected = ["/var/lib/tpm"]
recovery_proof = "/etc/teraferry/company-key-recovery.json"
"""
TOKEN = """
[[key]]
name = "Vault_Key"
node = "vol-1"
store = "pkcs11"
handle = "pkcs11:token=vault;object=vault?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/vault.pin"
accepted_without_recovery = "Lan, 2026-03-04, test bench"
"""
PROGRAM = """
[[key]]
name = "Enclave_Key"
node = "vol-1"
store = "command"
handle = "enclave-1"
command = ["/usr/local/bin/enclave", "--json"]
"""


def parse(*keys: str) -> Site:
    return parse_site((SITE + "".join(keys)).encode(), name="site.toml")


def test_key_of_every_store_is_read() -> None:
    site = parse(TPM, TOKEN, PROGRAM)

    assert [(key.name, key.store) for key in site.keys] == [
        ("Company_Key", "tpm"),
        ("Vault_Key", "pkcs11"),
        ("Enclave_Key", "command"),
    ]
    assert site.keys[0].blobs == ("/var/lib/terachat/company.key.wrapped",)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (TPM.replace("vol-1", "nobody"), "node"),
        (TPM + TPM, "name"),
        (TPM.replace("0x81010002", "81010002"), "handle"),
        (TPM.replace("0x81010002", "0x8101zz02"), "handle"),
        (TPM.replace("0x81010003", "twin"), "twin"),
        (TPM.replace("0x01500001", "0x015000010"), "counter"),
        (TPM.replace('twin = "0x81010003"\n', ""), "twin_auth"),
        (TPM.replace("/etc/terachat/tpm.auth", "tpm.auth"), "auth"),
        (TPM.replace("/var/lib/tpm", "/var/lib/../tpm"), "protected"),
        (TPM.replace("/var/lib/terachat/company", "/var/lib//company"), "blobs"),
        (TPM.replace("/etc/teraferry/company", "company"), "recovery_proof"),
        (TPM + 'accepted_without_recovery = "Lan, 2026-03-04, both"\n', "accepted_without_recovery"),
        (TOKEN.replace("Lan, 2026-03-04, test bench", "yes"), "accepted_without_recovery"),
        (TOKEN.replace("&pin-source=file:/etc/vault.pin", ""), "handle"),
        (TOKEN.replace("file:/etc/vault.pin", "file:vault.pin"), "handle"),
        (TOKEN.replace("pkcs11:token=vault;", "pkcs11:"), "handle"),
        (TOKEN.replace("pkcs11:token", "file:token"), "handle"),
        (TOKEN + 'auth = "/etc/x"\n', "auth"),
        (TOKEN + 'command = ["x"]\n', "command"),
        (PROGRAM + 'twin = "0x81010003"\n', "twin"),
        (PROGRAM + 'tcti = "device:/dev/tpm0"\n', "tcti"),
        (PROGRAM.replace('command = ["/usr/local/bin/enclave", "--json"]\n', ""), "command"),
        (PROGRAM.replace('"/usr/local/bin/enclave"', '""'), "command"),
    ],
)
def test_key_that_makes_no_sense_is_refused_with_its_field(text: str, field: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)

    assert caught.value.reference in ("site-bad-value", "site-missing-field")
    assert str(caught.value.facts["field"]).endswith(field)


def test_pin_in_a_key_uri_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        parse(TOKEN.replace("pin-source=file:/etc/vault.pin", "pin-value=135724"))

    assert "135724" not in caught.value.message + caught.value.hint
