"""What is signed of a kit, composed from what lies in it. Pure: reading it is ``builder.sign``'s.

The first signer composes it and every later one composes it again, with the numbers and dates
that were signed, and compares: nobody signs a description that the kit no longer fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from tuf.api.metadata import Targets

from teraferry.builder.describe import BuiltBundle
from teraferry.bundles.errors import BuildError, Fact
from teraferry.bundles.index import SignedBundle
from teraferry.bundles.layout import bundle_name
from teraferry.keys.checksums import encode_checksums
from teraferry.keys.release.facts import encode_bundle, encode_file
from teraferry.keys.trusted import SignedFile


def compose_bundle(built: BuiltBundle, *, sequence: int, signed_at: datetime) -> SignedBundle:
    """Return the facts that are signed of a bundle."""
    release = built.manifest.release
    return SignedBundle(
        name=bundle_name(release.product, release.version),
        length_bytes=built.length_bytes,
        digest=built.digest,
        format=built.manifest.format,
        product=release.product,
        version=release.version,
        sequence=sequence,
        index_offset_bytes=built.index_offset_bytes,
        index_digest=built.index_digest,
        signed_at=whole_seconds(signed_at),
    )


def compose_targets(
    files: Mapping[str, SignedFile], bundle: SignedBundle, *, version: int, expires: datetime
) -> Targets:
    """Return the targets of a kit: its bundle, and ``files`` by their names."""
    described = {name: encode_file(name, file) for name, file in files.items()}
    described[bundle.name] = encode_bundle(bundle)
    return Targets(version=version, expires=whole_seconds(expires), targets=described)


def compose_checksums(files: Mapping[str, SignedFile], bundle: SignedBundle) -> bytes:
    """Return ``SHA256SUMS``: the files in the order given, and the bundle."""
    return encode_checksums([*((name, file.digest) for name, file in files.items()), (bundle.name, bundle.digest)])


def names_that_differ(now: Targets, signed: Targets) -> list[str]:
    """Return the files that are not what was signed, sorted."""
    names = now.targets.keys() | signed.targets.keys()
    return sorted(name for name in names if now.targets.get(name) != signed.targets.get(name))


def kit_changed(folder: str, names: list[str]) -> BuildError:
    """Return the refusal to add a signature to a kit that is no longer what others signed."""
    facts: dict[str, Fact] = {"kit": folder, "changed": names}
    return BuildError(
        "kit-changed",
        f"kit {folder}: {', '.join(names) or 'its metadata'} changed, expected what the first signer signed",
        hint="Sign the kit that build wrote. Rebuilt on purpose? Build it into a new folder; everybody signs again.",
        exit_status=31,
        facts=facts,
    )


def kit_of_another_trust_folder(folder: str, *, found: int, expected: int | None) -> BuildError:
    """Return the refusal of a kit that the trust folder has not numbered, or numbered otherwise."""
    return BuildError(
        "kit-of-another-trust-folder",
        f"kit {folder}: sequence {found}, expected {expected}, as the trust folder numbered it",
        hint="Give --trust the folder that the first signer used, or a copy of it as new as the kit.",
        exit_status=31,
        facts={"found": found, "expected": expected},
    )


def kit_of_older_root(folder: str, *, newest: int) -> BuildError:
    """Return the refusal to finish a kit whose signed page still names the keys of an older root."""
    return BuildError(
        "kit-of-older-root",
        f"kit {folder}: begun before root {newest}, expected a kit that was first signed under it",
        hint="The root changed meanwhile, and the kit's page names the old keys. Build it into a new folder; everybody "
        "signs that one.",
        exit_status=31,
        facts={"kit": folder, "root": newest},
    )


def whole_seconds(moment: datetime) -> datetime:
    """Return the time as TUF writes it."""
    return moment.astimezone(UTC).replace(microsecond=0)
