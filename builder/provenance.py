"""How a bundle came about, as an in-toto statement. Pure, and without clock or host.

A host name or a date would make two builds of one release differ, and then nobody could check a
build by repeating it. Who built it and when is what the signatures say.

Source: in-toto attestation framework, Statement v1; SLSA v1.0 provenance.
"""

from __future__ import annotations

from typing import Final

import msgspec

from teraferry import __version__
from teraferry.builder.recipe import Recipe
from teraferry.bundles.archive_writer import COMPRESSOR
from teraferry.bundles.digest import Digest, hex_of
from teraferry.bundles.manifest import Manifest

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"


def encode_provenance(manifest: Manifest, recipe: Recipe, *, recipe_digest: Digest, lock_digest: Digest) -> bytes:
    """Return the statement: what was made, from which recipe, lock and sources, by which builder.

    Args:
        manifest: What the bundle holds; its images and files are the subjects.
        recipe: Where each came from.
        recipe_digest: Of ``release.toml``.
        lock_digest: Of ``release.lock.json``.
    """
    sources = {f"image {image.name}": image.source for image in recipe.image}
    sources |= {f"file {file.name}": file.source for file in recipe.file}
    subjects = {f"image {image.name}": image.digest for image in manifest.images}
    subjects |= {f"file {file.name}": file.digest for file in manifest.files}
    release = manifest.release
    predicate = {
        "buildDefinition": {
            "buildType": "urn:teraferry:build:1",
            "externalParameters": {"product": release.product, "version": release.version},
            "resolvedDependencies": [
                _resource("release.toml", recipe_digest),
                _resource("release.lock.json", lock_digest),
                *(_resource(sources[name], digest) for name, digest in sorted(subjects.items())),
            ],
        },
        "runDetails": {"builder": {"id": "urn:teraferry", "version": {"teraferry": __version__, "gzip": COMPRESSOR}}},
    }
    statement = {
        "_type": STATEMENT_TYPE,
        "predicateType": PREDICATE_TYPE,
        "subject": [_resource(name, digest) for name, digest in sorted(subjects.items())],
        "predicate": predicate,
    }
    return msgspec.json.encode(statement, order="sorted") + b"\n"


def _resource(name: str, digest: Digest) -> dict[str, object]:
    return {"name": name, "digest": {"sha256": hex_of(digest)}}
