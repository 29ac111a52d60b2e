"""``release.toml``: what a release is made of, read strictly. Pure: text in, ``Recipe`` out.

A field nobody knows is an error with file, line and the nearest right word, because a misspelled
``platform`` that is silently ignored ships the wrong images to a site no one can reach.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Final, Literal, get_args, get_origin, get_type_hints

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from teraferry.builder.toml_lines import Path, line_of
from teraferry.bundles import errors
from teraferry.bundles.manifest import AnswerField, FileMode, FileName, HttpPath, ImageName, Release, Role
from teraferry.bundles.model import Model
from teraferry.keys.uri import parse_gpg_uri

FILE_NAME: Final = "release.toml"

_NOT_DELIVERED: Final = frozenset({"chart"})
_SCHEMES: Final = ("oci", "docker-archive")
_PATH_IN_MESSAGE: Final = re.compile(r" - at `\$(.*)`$")
_Path = tuple[str | int, ...]
_PLATFORM: Final = r"^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9.]+)?\Z"


class ImageSource(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One image: its name at the site and where it comes from."""

    name: ImageName
    source: str
    platforms: tuple[Annotated[str, msgspec.Meta(pattern=_PLATFORM)], ...] = ()  # empty: all there are

    @property
    def scheme(self) -> Literal["oci", "docker-archive"]:
        """Which kind of source it is."""
        return "oci" if self.source.startswith("oci:") else "docker-archive"

    @property
    def location(self) -> str:
        """The folder or file, relative to the project."""
        return self.source.split(":", 2)[1]

    @property
    def reference(self) -> str:
        """The tag or name inside the source, "" when none was given."""
        return [*self.source.split(":", 2), ""][2]


class FileSource(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One file: its name in the release and where it comes from, relative to the project."""

    name: FileName
    source: str
    mode: FileMode = "0644"


class Expect(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the answer to a smoke test must hold."""

    field: AnswerField
    equals: str | int | bool


class SmokeSource(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[[smoke]]``: a question to every node that this release was brought to, and its right answer."""

    http: HttpPath
    expect: Expect
    role: Role | None = None  # none: nodes of every role


class OpenPgp(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[openpgp]``: the OpenPGP key that signs ``SHA256SUMS`` as well."""

    key: str  # gpg:FINGERPRINT

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the primary key."""
        return parse_gpg_uri(self.key).fingerprint


class Recipe(Model, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of ``release.toml``."""

    release: Release
    image: tuple[ImageSource, ...] = ()
    file: tuple[FileSource, ...] = ()
    smoke: tuple[SmokeSource, ...] = ()
    openpgp: OpenPgp | None = None


def parse_recipe(text: str, *, file: str) -> Recipe:
    """Return the recipe in ``text``.

    Args:
        text: The whole of ``release.toml``.
        file: How errors call it.

    Raises:
        UsageError: ``recipe-syntax``, ``recipe-unknown-field``, ``recipe-missing-field``,
            ``recipe-wrong-value``, ``recipe-not-delivered``, ``recipe-duplicate``, ``recipe-empty`` or
            ``source-not-delivered``, 2.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"at line (\d+)", str(error))
        line = int(place.group(1)) if place else len(text.splitlines())
        raise _refusal("recipe-syntax", f"{error}, expected TOML", file=file, line=line) from error
    except ValueError as error:
        # What tomllib lets through from Python: thousands of digits.
        raise _refusal("recipe-syntax", "a number with too many digits, expected TOML", file=file, line=1) from error
    except RecursionError as error:
        raise _refusal(
            "recipe-syntax", "nested too deeply, expected the tables of a release", file=file, line=1
        ) from error
    where = _Place(text, file)
    _require_delivered(document, where)
    _require_known_fields(document, Recipe, where, path=())
    try:
        recipe = msgspec.convert(document, type=Recipe)
    except msgspec.ValidationError as error:
        raise _wrong_value(error, where) from error
    _require_sense(recipe, where)
    return recipe


class _Place:
    """The file an error is about."""

    def __init__(self, text: str, file: str) -> None:
        self._text, self._file = text, file

    def refusal(self, reference: str, path: Path, message: str, *, hint: str = "") -> errors.UsageError:
        line = line_of(self._text, path)
        return _refusal(reference, message, file=self._file, line=line, hint=hint)


def _refusal(reference: str, message: str, *, file: str, line: int, hint: str = "") -> errors.UsageError:
    return errors.UsageError(
        reference,
        f"{file}:{line}: {message}",
        hint=hint or f"Correct line {line} of {file}, then type the same command again.",
        facts={"file": file, "line": line},
    )


def _require_delivered(document: Mapping[str, object], where: _Place) -> None:
    for name in sorted(_NOT_DELIVERED & document.keys()):
        raise where.refusal(
            "recipe-not-delivered",
            (name,),
            f"table {name}: this version does not carry it, expected release, image, file or smoke",
            hint=f"Remove the table {name}; nothing at the site would act on it yet. A chart can travel as a [[file]].",
        )


def _require_known_fields(value: object, model: type[msgspec.Struct], where: _Place, *, path: _Path) -> None:
    if not isinstance(value, Mapping):
        return  # msgspec names the wrong type.
    known = get_type_hints(model)
    known = {name: known[name] for name in model.__struct_fields__}
    for name in value:
        if name not in known:
            raise _unknown_field(str(name), known, where, path=path)
    required = [field.name for field in msgspec.structs.fields(model) if field.required]
    for name in required:
        if name not in value:
            table = ".".join(str(part) for part in path if isinstance(part, str)) or "the file"
            message = f"{table}: field {name} is missing, expected {', '.join(required)}"
            raise where.refusal("recipe-missing-field", (*path, name), message)
    for name, inner in value.items():
        nested, repeated = _model_in(known[name])
        if nested is None:
            continue
        items: Iterable[object] = inner if isinstance(inner, list) else [inner]
        for number, item in enumerate(items):
            _require_known_fields(item, nested, where, path=(*path, name, number) if repeated else (*path, name))


def _model_in(annotation: object) -> tuple[type[msgspec.Struct] | None, bool]:
    """Return the model a field holds, if any, and whether it holds many."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return annotation, False
    if get_origin(annotation) is tuple:
        return _model_in(get_args(annotation)[0])[0], True
    if get_origin(annotation) is UnionType:
        return _model_in(get_args(annotation)[0])
    return None, False


def _unknown_field(name: str, known: Iterable[str], where: _Place, *, path: _Path) -> errors.UsageError:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    table = ".".join(str(part) for part in path if isinstance(part, str)) or "the file"
    return where.refusal(
        "recipe-unknown-field",
        (*path, name),
        f"{table}: unknown field {name}, expected one of {', '.join(names)}",
        hint=f"Write {near[0]} instead of {name}." if near else f"Remove {name}.",
    )


def _wrong_value(error: msgspec.ValidationError, where: _Place) -> errors.UsageError:
    message = str(error)
    found = _PATH_IN_MESSAGE.search(message)
    path: list[str | int] = []
    for name, number in re.findall(r"\.([A-Za-z_]+)|\[(\d+)\]", found.group(1) if found else ""):
        path.append(name or int(number))
    said = ".".join(str(part) for part in path) or "the file"
    return where.refusal("recipe-wrong-value", path, f"{said}: {_PATH_IN_MESSAGE.sub('', message)}")


def _require_sense(recipe: Recipe, where: _Place) -> None:
    """Refuse what has the right form but no meaning."""
    if not recipe.image and not recipe.file:
        message = "release: no image and no file, expected at least one"
        raise where.refusal("recipe-empty", ("release",), message, hint="Add an [[image]] or a [[file]].")
    try:
        SpecifierSet(recipe.release.upgrades_from)
    except InvalidSpecifier as error:
        message = f"upgrades_from: {recipe.release.upgrades_from!r}, expected versions such as '>=4.0,<4.2'"
        raise where.refusal("recipe-wrong-value", ("release", "upgrades_from"), message) from error
    for number, image in enumerate(recipe.image):
        _require_delivered_source(image.source, where, ("image", number, "source"))
    if recipe.openpgp is not None:
        _require_fingerprint(recipe.openpgp.key, where)
    _require_distinct("image", [image.name for image in recipe.image], where)
    _require_distinct("file", [file.name for file in recipe.file], where)
    asked = [f"{test.http} {test.expect.field} {test.role or ''}".strip() for test in recipe.smoke]
    _require_distinct("smoke", asked, where)


def _require_fingerprint(key: str, where: _Place) -> None:
    try:
        uri = parse_gpg_uri(key)
    except errors.UsageError as error:
        message = f"openpgp.key: {key[:80]!r}, expected gpg: and the 40 digits that gpg --fingerprint prints"
        raise where.refusal("recipe-wrong-value", ("openpgp", "key"), message) from error
    if uri.pin_file is not None:
        message = "openpgp.key: with a pin-source, expected gpg:FINGERPRINT alone; the signer says where the PIN is"
        raise where.refusal("recipe-wrong-value", ("openpgp", "key"), message)


def _require_distinct(table: str, names: Sequence[str], where: _Place) -> None:
    for number, name in enumerate(names):
        if name in names[:number]:
            message = f"{table} {name}: named twice, expected once"
            raise where.refusal("recipe-duplicate", (table, number, "name"), message)


def _require_delivered_source(source: str, where: _Place, path: Path) -> None:
    scheme, _, rest = source.partition(":")
    if scheme in _SCHEMES and rest.split(":")[0]:
        return
    forms = "oci:DIR[:tag] or docker-archive:FILE[:ref]"
    if scheme == "registry":
        raise where.refusal(
            "source-not-delivered",
            path,
            f"source {source!r}: this version reads no registry, expected {forms}",
            hint="Copy the image into a folder first: skopeo copy docker://HOST/NAME:TAG oci:images:TAG",
        )
    raise where.refusal("recipe-wrong-value", path, f"source {source!r}: unknown form, expected {forms}")
