"""``teraferry new``: a release that builds as it is, with every field explained where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from teraferry.builder.recipe import FILE_NAME
from teraferry.bundles.errors import UsageError
from teraferry.bundles.system.durable import write_durably

SAMPLE_NAME: Final = "files/hello.txt"

_SAMPLE: Final = "Hello from the other side of the gap.\n"

_RECIPE: Final = """\
# What this release is made of. Every path starts at the folder of this file.
# Next: teraferry lock, then teraferry build -o KIT

[release]
product = "example"                # small letters, digits, . _ -
version = "1.0.0"
# upgrades_from = ">=0.9,<1.0"     # sites with another version are refused, with the reason

# One table for each image. At the site it is tagged NAME:<version of this release>.
# [[image]]
# name = "example/api"
# source = "oci:images:api"        # oci:DIR[:tag] or docker-archive:FILE[:ref] (what docker save writes)
# platforms = ["linux/amd64"]      # leave it out to carry all platforms the source holds

# One table for each file: a binary, a compose file, a systemd unit, a chart.
[[file]]
name = "hello.txt"                 # as site.toml will call it
source = "files/hello.txt"
mode = "0644"                      # "0755" for programs

# One table for each smoke test: asked of every node this release was brought to, before the next one is touched.
# The answer must be 2xx and JSON, and hold just this; else the node goes back to its old version.
# [[smoke]]
# http = "/health"                 # a path: which hosts there are, the site says
# expect = { field = "status", equals = "ok" }
# role = "app"                     # or volume, filer; leave it out to ask nodes of every role
"""


def create_project(folder: Path) -> tuple[Path, ...]:
    """Write a commented recipe and a sample file into ``folder``; return what was written.

    Raises:
        UsageError: 2; ``project-exists`` (a file would be overwritten; nothing was written) or
            ``project-unwritable``.
    """
    contents = {folder / FILE_NAME: _RECIPE, folder / SAMPLE_NAME: _SAMPLE}
    for path in contents:
        if path.exists():
            raise UsageError(
                "project-exists",
                f"file {path}: is there already, expected a new project",
                hint="Choose another folder, or edit the release.toml that is there.",
                facts={"file": str(path)},
            )
    try:
        for path, text in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(path, text.encode())
    except OSError as error:
        raise UsageError(
            "project-unwritable",
            f"project {folder}: {error.strerror or error}, expected a folder or a place for one",
            hint="Choose another folder.",
            facts={"project": str(folder)},
        ) from error
    return tuple(contents)
