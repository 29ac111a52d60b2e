"""The direction of dependencies: bundles <- keys <- {builder, installer}, and decisions stay pure."""

from __future__ import annotations

import sys

import pytest

from tests.architecture.source_tree import PACKAGES, is_within, modules

MAY_IMPORT = {
    "bundles": {"bundles"},
    "keys": {"bundles", "keys"},
    "builder": {"bundles", "keys", "builder"},
    "installer": {"bundles", "keys", "installer"},
}

PURE = (
    *("bundles/digest.py", "bundles/manifest.py", "bundles/index.py", "bundles/layout.py", "bundles/limits.py"),
    *("bundles/oci.py", "bundles/errors.py", "bundles/progress.py", "keys/threshold.py", "keys/trust.py"),
    *("bundles/receipt.py", "builder/receipt_chain.py", "builder/receipt_words.py", "installer/receipt/contents.py"),
    *("keys/continuity/judge.py", "keys/continuity/live_proof.py", "keys/continuity/recovery.py"),
    *("keys/stores/tpm_answers.py", "keys/stores/pkcs11_answers.py"),
    *(
        "installer/rollout/gates.py",
        "installer/rollout/plan.py",
        "installer/rollout/journal.py",
        "installer/rollout/key_journal.py",
        "installer/rollout/protected.py",
        "installer/rollout/smoke.py",
        "installer/site/asking.py",
        "installer/site/asking_rules.py",
        "installer/site/key_rules.py",
        "installer/site/strategy.py",
    ),
)
IMPURE = {"os", "io", "pathlib", "subprocess", "socket", "ssl", "tempfile", "random", "time", "logging"}

NETWORK = {
    *("socket", "ssl", "http", "urllib.request", "urllib3", "requests", "httpx", "aiohttp", "asyncssh"),
    *("grpclib", "grpc", "ftplib", "smtplib", "socketserver", "xmlrpc"),
}
NETWORK_PLACES = ("builder/sources/", "installer/adapters/")
NETWORK_GUARDS = {"installer/egress.py"}
"""Knows address families only to refuse connections; the test below holds it to that."""


def test_packages_import_only_what_lies_below_them() -> None:
    wrong = [
        f"{module.path}:{line} imports {name}"
        for module in modules(*PACKAGES)
        for line, name in module.imports()
        if is_within(name, "teraferry") and name.count(".") and name.split(".")[1] in PACKAGES
        if name.split(".")[1] not in MAY_IMPORT[module.package]
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", PURE)
def test_pure_module_imports_nothing_that_acts(path: str) -> None:
    (module,) = (module for module in modules(*PACKAGES) if module.path == path)
    wrong = [f"{path}:{line} imports {name}" for line, name in module.imports() if name.split(".")[0] in IMPURE]
    assert not wrong, "\n".join(wrong)


def test_pure_module_imports_no_module_of_ours_that_acts() -> None:
    acting = ("teraferry.bundles.system", "teraferry.installer.adapters", "teraferry.builder.sources")
    wrong = [
        f"{module.path}:{line} imports {name}"
        for module in modules(*PACKAGES)
        if module.path in PURE
        for line, name in module.imports()
        if any(is_within(name, place) for place in acting)
    ]
    assert not wrong, "\n".join(wrong)


def test_network_clients_are_imported_only_by_sources_and_adapters() -> None:
    wrong = [
        f"{module.path}:{line} imports {name}"
        for module in modules(*PACKAGES)
        if not module.path.startswith(NETWORK_PLACES) and module.path not in NETWORK_GUARDS
        for line, name in module.imports()
        if any(is_within(name, client) for client in NETWORK)
    ]
    assert not wrong, "\n".join(wrong)


def test_adapters_are_imported_only_by_cli_modules_and_adapters() -> None:
    # What is not imported cannot be constructed; ports are how the rest sees an adapter.
    wrong = [
        f"{module.path}:{line} imports {name}"
        for module in modules(*PACKAGES)
        if not module.path.startswith("installer/adapters/") and not module.path.split("/")[-1].startswith("cli")
        for line, name in module.imports()
        if is_within(name, "teraferry.installer.adapters")
    ]
    assert not wrong, "\n".join(wrong)


def test_only_the_clock_reads_the_clock() -> None:
    wrong = [
        f"{module.path}:{line} imports {name}"
        for module in modules(*PACKAGES)
        if module.path != "bundles/system/clock.py"
        for line, name in module.imports()
        if is_within(name, "time")
    ]
    assert not wrong, "\n".join(wrong)


def test_modules_are_named_by_their_whole_name_everywhere() -> None:
    """``import installer`` would be another project's package, and a second copy of every class of ours."""
    bare = {*PACKAGES, "lab", "fakes"}
    wrong = [
        f"{module.path}:{line} imports {name}"
        for module in modules(*PACKAGES, "tests", "scripts")
        for line, name in module.imports()
        if name.startswith(".") or name.split(".")[0] in bare
    ]
    assert not wrong, "\n".join(wrong)


def test_product_never_imports_the_tests() -> None:
    wrong = [
        f"{module.path}:{line} imports {name}"
        for module in modules(*PACKAGES)
        for line, name in module.imports()
        if is_within(name, "tests") or is_within(name, "pytest") or is_within(name, "hypothesis")
    ]
    assert not wrong, "\n".join(wrong)


def test_impure_names_are_modules_of_python() -> None:
    # A misspelt name in the lists above would forbid nothing.
    assert sys.stdlib_module_names >= IMPURE
