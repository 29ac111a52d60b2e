"""The site file: ``/etc/teraferry/site.toml``, or what ``--site`` names, and nothing else, ever.

What it says decides where bytes go and which commands run as root. So it is read only from a
place that only root can write and that did not come with the kit, and it is read strictly: a
field that nobody knows is a mistake that somebody relies on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from teraferry.bundles.errors import UsageError
from teraferry.installer.site.cluster_table import ClusterTable
from teraferry.installer.site.file import read_site_file
from teraferry.installer.site.model import Deploy, Node, Site, Transport, TrustTable
from teraferry.installer.site.registry_table import Credentials, RegistryTable
from teraferry.installer.site.rules import require_sound, require_sound_trust
from teraferry.installer.site.strategy import Strategy, detect_deployment_strategy, parse_environment_tier
from teraferry.installer.site.text import SiteText

__all__ = [
    "ClusterTable",
    "Credentials",
    "Deploy",
    "Node",
    "RegistryTable",
    "Site",
    "Transport",
    "TrustTable",
    "decide_strategy",
    "load_site",
    "load_site_name",
    "load_site_tier",
    "load_site_trust",
    "parse_site",
]


def parse_site(content: bytes, *, name: str, tier: str | None = None) -> Site:
    """Return the site that the bytes of a site file describe, checked whole. Pure.

    Args:
        content: Bytes of the file.
        name: Of the file, for messages.
        tier: "1" or "2", where it was decided already; else what the file itself says.

    Raises:
        UsageError: 2; the reference says what is wrong, ``facts`` hold file, line and field.
    """
    text = SiteText(name, content)
    site = text.decode(text.tables())
    require_sound(site, text, tier=tier)
    return site


def load_site(path: Path, *, kit: Path | None, tier: str | None = None) -> Site:
    """Read the site file.

    Args:
        path: The default, or what ``--site`` named.
        kit: The kit of this run, where there is one: its medium is no place for a site file.
        tier: As ``parse_site``.

    Raises:
        UsageError: 2; see ``site_file.read_site_file`` and ``parse_site``.
    """
    return parse_site(read_site_file(path, kit=kit), name=str(path), tier=tier)


def load_site_tier(path: Path, *, kit: Path | None) -> str | None:
    """Return ``tier`` of the site file as it stands there, and judge nothing else of its content.

    Raises:
        UsageError: The file may not be read, or is not TOML, or ``tier`` is not text.
    """
    text = SiteText(str(path), read_site_file(path, kit=kit))
    table = text.tables().get("site", {})
    tier = table.get("tier") if isinstance(table, dict) else None
    if tier is not None and not isinstance(tier, str):
        raise text.bad_value(("site", "tier"), f'{tier!r}, expected a word in quotes, such as "1"')
    return tier


def load_site_trust(path: Path, *, kit: Path | None) -> TrustTable:
    """Return ``[trust]`` of the site file, and judge nothing else of its content.

    A site whose file is not written yet demands nothing; one whose file cannot be read refuses.

    Raises:
        UsageError: 2; see ``read_site_file``, or ``[trust]`` is wrong.
    """
    try:
        text = SiteText(str(path), read_site_file(path, kit=kit))
    except UsageError as error:
        if error.reference != "site-missing":
            raise
        return TrustTable()
    trust = text.decode_trust(text.tables())
    require_sound_trust(trust, text)
    return trust


def load_site_name(path: Path) -> str:
    """Return the site's name, and judge nothing else than ``[site]``: evidence is given whatever else is wrong.

    Raises:
        UsageError: 2; see ``read_site_file``, or ``[site]`` is wrong.
    """
    text = SiteText(str(path), read_site_file(path, kit=None))
    return text.decode_identity(text.tables()).name


def decide_strategy(environment: Mapping[str, str], path: Path, *, kit: Path | None) -> Strategy:
    """Decide the strategy before anything else is judged: environment first, then the site file.

    A site file that is not there names no tier; whoever needs more of it will say so.

    Raises:
        UsageError: ``tier-missing``, ``tier-unknown``, ``tier-conflict``, or the file may not be read.
    """
    parse_environment_tier(environment)
    try:
        site_tier = load_site_tier(path, kit=kit)
    except UsageError as error:
        if error.reference != "site-missing":
            raise
        site_tier = None
    return detect_deployment_strategy(environment, site_tier)
