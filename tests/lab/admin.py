"""A site on loopback for tests of the installer's commands: a real registry, a signed kit, no cluster.

The commands run from source, as processes of their own, the way an admin types them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from teraferry.builder.kit import locate_kit
from teraferry.keys.tuf_metadata import Root, fingerprint_of, parse_metadata
from tests.lab.builds import file_table, image_table, locked, teraferry, write_recipe
from tests.lab.house import House
from tests.lab.images import layer_tar, make_oci_layout, random_bytes
from tests.lab.registry import LabRegistry
from tests.lab.secops import Answer, parse_answer

RELEASE = '[release]\nproduct = "terachat"\nversion = "{version}"\nupgrades_from = ">=4.0"\n'
NOBODY = "127.77.0.1"
"""A loopback address that nobody listens on."""

SOURCE = (sys.executable, "-m", "teraferry.installer.cli")


def make_house(folder: Path) -> House:
    """Return keys and a trust folder that are valid today."""
    return House(folder, product="terachat").open(now=datetime.now(UTC))


def make_kit(house: House, version: str = "4.2.0", *, installer: Path | None = None) -> Path:
    """Return a signed kit with one image and one file."""
    project = house.folder / f"project-{version}"
    text = RELEASE.format(version=version)
    write_recipe(project, text + image_table("terachat/api", "oci:images:api") + file_table("bin/weed", "weed", "0755"))
    make_oci_layout(project / "images", "api", [layer_tar({"opt/app": random_bytes(50_000, seed=1)})])
    (project / "weed").write_bytes(b"#!/bin/sh\nexit 0\n")
    kit = house.folder / f"terachat-{version}"
    built = teraferry("build", locked(project), "-o", kit, "--installer", installer or project / "teraferry-installer")
    if built.status:
        raise AssertionError(built.stderr)
    house.sign(locate_kit(kit), "release-1", "release-2", now=datetime.now(UTC))
    return kit


def fingerprint(house: House) -> str:
    """Return what is printed on paper."""
    return fingerprint_of(parse_metadata(Root, house.root, what="root"))


@dataclass
class Admin:
    """Types commands at a site: ``site.toml`` and a state folder in ``folder``."""

    folder: Path
    registry: LabRegistry
    installer: tuple[str, ...] = SOURCE
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def site(self) -> Path:
        """The site file."""
        return self.folder / "site.toml"

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.folder / "state"

    def write_site(self) -> Path:
        """Write a site whose storage cluster answers nobody."""
        registry = self.registry
        credentials = f'{{ user = "{registry.user}", password_file = "{registry.password_file}" }}'
        lines = ['[site]\nname = "loopback"\ntier = "1"', f'[registry]\nurl = "{registry.url}"']
        lines += [f'ca = "{registry.ca_file}"', f"credentials = {credentials}"]
        lines += [f'[cluster]\nengine = "seaweedfs"\nmasters = ["{NOBODY}:19333"]']
        for name, role, address in (("master-1", "master", f"{NOBODY}:19333"), ("vol-1", "volume", f"{NOBODY}:18080")):
            lines += [f'[[node]]\nname = "{name}"\nrole = "{role}"\naddress = "{address}"']
            lines += ["transport = { local = true }"]
        lines += ['[[deploy]]\nfile = "bin/weed"\nrole = "volume"\nworkload = "binary"']
        lines += [f'path = "{self.folder}/opt/weed"\nstart = ["true"]\nstop = ["true"]']
        self.site.write_text("\n".join(lines) + "\n")
        self.site.chmod(0o644)
        return self.site

    def type(self, *arguments: str | Path, tier: str | None = "1") -> Answer:
        """Type a command with ``--json`` behind it; site and state stand before it."""
        return self.type_as_is("--site", self.site, "--state", self.state, *arguments, "--json", tier=tier)

    def type_as_is(self, *arguments: str | Path, tier: str | None = "1", folder: Path | None = None) -> Answer:
        """Type just this, standing in ``folder``, with no terminal to ask on."""
        own = {name: value for name, value in os.environ.items() if name != "DEPLOYMENT_TIER"}
        if tier is not None:
            own["DEPLOYMENT_TIER"] = tier
        done = subprocess.run(
            [*self.installer, *map(str, arguments)],
            env={**own, **self.environment},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=False,
        )
        return parse_answer(done)

    def pin(self, house: House) -> Answer:
        """Pin the house's root, from a file of this machine."""
        root = self.folder / "root-from-paper.json"
        shutil.copyfile(house.folder / "trust" / "1.root.json", root)
        return self.type("trust", "pin", root, "--fingerprint", fingerprint(house))
