"""release.toml is read strictly, and what is wrong is named with file and line."""

from __future__ import annotations

import pytest

from teraferry.builder.recipe import Recipe, parse_recipe
from teraferry.bundles.errors import UsageError

FULL = """\
[release]
product = "terachat"
version = "4.2.0"
upgrades_from = ">=4.0,<4.2"

[[image]]
name = "terachat/api"
source = "oci:images:api"
platforms = ["linux/amd64"]

[[image]]
name = "terachat/web"
source = "docker-archive:web.tar:terachat/web:4.2"

[[file]]
name = "bin/weed"
source = "dist/weed"
mode = "0755"
"""


def parse(text: str) -> Recipe:
    return parse_recipe(text, file="release.toml")


def refused(text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        parse(text)
    return caught.value


def test_recipe_with_every_table_is_read() -> None:
    recipe = parse(FULL)

    assert recipe.release.version == "4.2.0"
    assert (recipe.image[0].scheme, recipe.image[0].location, recipe.image[0].reference) == ("oci", "images", "api")
    assert recipe.image[1].reference == "terachat/web:4.2"
    assert recipe.file[0].mode == "0755"


def test_recipe_with_an_unknown_field_names_line_and_the_nearest_word() -> None:
    error = refused(FULL.replace('platforms = ["linux/amd64"]', 'platform = ["linux/amd64"]'))

    assert (error.reference, error.exit_status, error.facts["line"]) == ("recipe-unknown-field", 2, 9)
    assert "platforms" in error.hint


def test_recipe_with_an_unknown_field_in_a_later_table_names_that_line() -> None:
    error = refused(FULL.replace('source = "docker-archive', 'sauce = "docker-archive'))

    assert (error.reference, error.facts["line"]) == ("recipe-unknown-field", 13)
    assert "source" in error.hint


def test_recipe_with_an_unknown_table_names_its_line() -> None:
    error = refused(FULL + '\n[[images]]\nname = "x"\n')

    assert (error.reference, error.facts["line"]) == ("recipe-unknown-field", 20)
    assert "image" in error.hint


def test_recipe_without_a_required_field_names_the_table() -> None:
    error = refused(FULL.replace('version = "4.2.0"\n', ""))

    assert (error.reference, error.facts["line"]) == ("recipe-missing-field", 1)
    assert "version" in error.message


def test_recipe_that_is_no_toml_names_the_line() -> None:
    error = refused('[release]\nproduct = "a\n')

    assert (error.reference, error.facts["line"]) == ("recipe-syntax", 2)


@pytest.mark.parametrize(
    ("right", "wrong", "line"),
    [
        ('mode = "0755"', 'mode = "755"', 18),
        ('mode = "0755"', "mode = 755", 18),
        ('version = "4.2.0"', 'version = "../4"', 3),
        ('name = "bin/weed"', 'name = "../weed"', 16),
        ('name = "terachat/api"', 'name = "ghcr.io/Terachat"', 7),
        ('upgrades_from = ">=4.0,<4.2"', 'upgrades_from = "newer than 4"', 4),
        ('source = "oci:images:api"', 'source = "images"', 8),
        ('source = "oci:images:api"', 'source = "oci:"', 8),
        ('platforms = ["linux/amd64"]', 'platforms = ["amd64"]', 9),
    ],
)
def test_recipe_with_a_wrong_value_names_its_line(right: str, wrong: str, line: int) -> None:
    error = refused(FULL.replace(right, wrong))

    assert (error.reference, error.facts["line"]) == ("recipe-wrong-value", line)


def test_recipe_with_a_registry_source_says_which_sources_there_are() -> None:
    error = refused(FULL.replace("oci:images:api", "registry:registry.site.local/api:1"))

    assert (error.reference, error.exit_status, error.facts["line"]) == ("source-not-delivered", 2, 8)
    assert "oci:DIR" in error.message


def test_recipe_with_a_table_of_a_later_version_is_refused_not_ignored() -> None:
    error = refused(FULL + "[[chart]]\nsource = 'a.tgz'\n")

    assert (error.reference, error.exit_status) == ("recipe-not-delivered", 2)


SMOKE = '[[smoke]]\nhttp = "/health"\nexpect = { field = "status", equals = "ok" }\n'


def test_recipe_names_smoke_tests_for_every_node_or_for_one_role() -> None:
    recipe = parse(FULL + SMOKE + SMOKE.replace("health", "ready") + 'role = "app"\n')

    assert [(test.http, test.expect.field, test.expect.equals, test.role) for test in recipe.smoke] == [
        ("/health", "status", "ok", None),
        ("/ready", "status", "ok", "app"),
    ]


@pytest.mark.parametrize(
    ("table", "reference"),
    [
        (SMOKE.replace("/health", "https://elsewhere/health"), "recipe-wrong-value"),
        (SMOKE.replace("/health", "//elsewhere/health"), "recipe-wrong-value"),
        (SMOKE.replace(', equals = "ok"', ""), "recipe-missing-field"),
        (SMOKE.replace("equals", "equal"), "recipe-unknown-field"),
        (SMOKE + 'command = ["a"]\n', "recipe-unknown-field"),
        (SMOKE + SMOKE.replace('"ok"', '"up"'), "recipe-duplicate"),
    ],
)
def test_recipe_with_a_smoke_test_that_makes_no_sense_is_refused(table: str, reference: str) -> None:
    error = refused(FULL + table)

    assert (error.reference, error.exit_status) == (reference, 2)
    assert int(str(error.facts["line"])) > FULL.count("\n")


def test_recipe_names_the_openpgp_key_that_signs_as_well() -> None:
    recipe = parse_recipe(FULL + f'[openpgp]\nkey = "gpg:{"0b12 724d" * 5}"\n', file="release.toml")

    assert recipe.openpgp is not None
    assert recipe.openpgp.fingerprint == "0B12724D" * 5


@pytest.mark.parametrize(
    "key", ["gpg:15EAD025", "A" * 40, "gpg:", f"gpg:{'A' * 40}?pin-source=file:/pin", "file:a.pem"]
)
def test_recipe_with_an_openpgp_key_that_is_no_fingerprint_names_its_line(key: str) -> None:
    error = refused(FULL + f'[openpgp]\nkey = "{key}"\n')

    assert (error.reference, error.facts["line"]) == ("recipe-wrong-value", FULL.count("\n") + 2)


def test_recipe_with_an_unknown_openpgp_field_says_which_there_are() -> None:
    error = refused(FULL + '[openpgp]\nkeys = "gpg:"\n')

    assert error.reference == "recipe-unknown-field"
    assert "Write key" in error.hint


@pytest.mark.parametrize("table", ["image", "file"])
def test_recipe_that_names_two_things_alike_is_refused(table: str) -> None:
    source = "oci:a" if table == "image" else "a"
    twice = f'[[{table}]]\nname = "same"\nsource = "{source}"\n' * 2

    error = refused('[release]\nproduct = "a"\nversion = "1"\n' + twice)

    assert (error.reference, error.facts["line"]) == ("recipe-duplicate", 8)


def test_recipe_without_image_and_file_is_refused() -> None:
    assert refused('[release]\nproduct = "a"\nversion = "1"\n').reference == "recipe-empty"


def test_recipe_nested_without_end_is_refused() -> None:
    assert refused("a = " + "[" * 100_000).reference == "recipe-syntax"


def test_recipe_with_a_number_that_python_will_not_read_is_refused() -> None:
    assert refused("a = " + "9" * 5000).reference == "recipe-syntax"
