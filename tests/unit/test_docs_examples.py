"""What the documentation shows can be typed: its examples parse, and its tables know every field."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from teraferry.builder.recipe import Recipe, parse_recipe
from teraferry.installer.site import model as site_model
from teraferry.installer.site.asking import SmokeTable
from teraferry.installer.site.cluster_table import ClusterTable
from teraferry.installer.site.database_table import PgbouncerTable, PostgresqlTable
from teraferry.installer.site.load import parse_site
from teraferry.installer.site.registry_table import RegistryTable, ServiceTable
from teraferry.keys.uri import parse_key_uri

REPOSITORY = Path(__file__).parents[2]
TABLES = (
    *(site_model.Identity, RegistryTable, ServiceTable, site_model.TrustTable, ClusterTable),
    *(site_model.Node, site_model.Transport, site_model.Deploy, site_model.Key, SmokeTable),
    *(site_model.GreenTable, site_model.TrafficTable, site_model.MonitorTable, site_model.ReplicationTable),
    *(PostgresqlTable, PgbouncerTable),
)
"""Tables of site.toml; docs/site.md has a row for each of their fields."""


def examples(page: str) -> list[str]:
    """Return the TOML blocks of ``page``."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    return [str(block) for block in re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]


def example(page: str) -> str:
    """Return the one TOML block of ``page``."""
    (block,) = examples(page)
    return block


def test_site_file_of_the_documentation_is_accepted() -> None:
    tier_1 = examples("docs/site.md")[0]
    site = parse_site(tier_1.encode(), name="docs/site.md")

    assert {node.role for node in site.nodes} == {"master", "filer", "volume"}


def test_tables_of_tier_2_of_the_documentation_are_accepted_behind_it() -> None:
    tier_1, tier_2, *_ = examples("docs/site.md")
    site = parse_site((tier_1.replace('tier = "1"', 'tier = "2"') + tier_2).encode(), name="docs/site.md")

    assert [node.name for node in site.nodes_of_cluster("green")] == ["green-1"]
    assert {node.name for node in site.nodes_of_cluster("blue")} == {"master-1", "filer-1", "vol-1", "vol-2"}


def test_registries_of_the_documentation_are_accepted() -> None:
    tier_1 = examples("docs/site.md")[0]
    _, registry, by_commands = examples("docs/registry.md")
    url_to_credentials = tier_1[tier_1.index("[registry]") : tier_1.index("[cluster]")]

    site = parse_site(tier_1.replace(url_to_credentials, registry + "\n").encode(), name="docs/registry.md")
    without_systemd = registry[: registry.index("[registry.service]")] + by_commands
    other = parse_site(tier_1.replace(url_to_credentials, without_systemd + "\n").encode(), name="docs/registry.md")

    assert site.registry.service is not None
    assert other.registry.service is not None
    assert (site.registry.service.unit_name, other.registry.service.unit_name) == ("teraferry-registry", None)


def test_release_file_of_the_readme_is_accepted() -> None:
    recipe = parse_recipe(example("README.md"), file="README.md")

    assert isinstance(recipe, Recipe)
    assert recipe.image
    assert recipe.file


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_site_page_has_a_row_for_every_field(table: type[msgspec.Struct]) -> None:
    rows = re.findall(r"^\| (`[^|]+`) \|", (REPOSITORY / "docs/site.md").read_text(encoding="utf-8"), re.MULTILINE)
    named = {word.rpartition(".")[2] for row in rows for word in re.findall(r"`([^`]+)`", row)}
    missing = [field.encode_name for field in msgspec.structs.fields(table) if field.encode_name not in named]

    # Tables of their own, with rows of their own.
    assert set(missing) <= {"postgresql", "pgbouncer"}


def test_key_uris_of_the_documentation_are_read() -> None:
    text = (REPOSITORY / "docs/trust.md").read_text(encoding="utf-8")
    uris = re.findall(r"[`'](pkcs11:[^`'\s]+)[`']", text)

    assert [parse_key_uri(uri).text for uri in uris] == uris
    assert len(uris) > 5


@pytest.mark.parametrize(
    "page", ["README.md", *(f"docs/{path.name}" for path in sorted((REPOSITORY / "docs").glob("*.md")))]
)
def test_links_of_the_documentation_lead_somewhere(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    broken = [link for link in links if not (REPOSITORY / page).parent.joinpath(link).exists()]

    assert broken == []
