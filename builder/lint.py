"""References that would leave the site, found in the text files a release carries. Pure.

At an isolated site such a reference fails at the worst moment: after a restart, on one node, long
after the installer has gone. So it is an error of the build, with file and line.

The rules, each named by what it looks for:
1. an image named without a registry means Docker Hub, unless it is an image of this release;
2. a public registry's host, anywhere;
3. a pull policy that asks the registry at every start;
4. a URL to a host that is not the site's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from teraferry.builder.run_command_images import images_in_command
from teraferry.builder.site_hosts import is_public_registry, is_site_host
from teraferry.bundles.digest import Digest
from teraferry.bundles.errors import BuildError

LINTED_SUFFIXES: Final = (".yml", ".yaml", ".service", ".container", ".kube", ".env", ".toml", ".json")
"""Files that name images: compose, Kubernetes, systemd units and quadlets, environments, configuration."""

_URL_SUFFIXES: Final = (".yml", ".yaml", ".service", ".container", ".kube", ".env")
"""Files whose URLs are followed. A program's own configuration may name a licence or a schema."""

MAX_LINE_CHARACTERS: Final = 1024 * 1024
"""A longer line is looked at in pieces, so that a large file costs no memory."""

_IMAGE_KEY: Final = re.compile(
    r"""^\s*(?:-\s+)?(?:export\s+|Environment=)?["']?(?:[A-Za-z0-9_]*_)?image["']?\s*[:=]\s*(?:[&!]\S+\s+)?(\S.*)$""",
    re.IGNORECASE,
)
_INLINE_IMAGE: Final = re.compile(r"""[{,]\s*["']?image["']?\s*[:=]\s*["']?([^\s"',}]+)""", re.IGNORECASE)
_PULL_POLICY: Final = re.compile(
    r"""(?:imagePullPolicy["']?\s*:\s*["']?always|pull_policy["']?\s*:\s*["']?always|^\s*Pull\s*=\s*(?:always|newer)"""
    r"""|--pull[ =](?:always|newer))\b""",
    re.IGNORECASE,
)
_URL: Final = re.compile(r"""\bhttps?://([^\s/"'<>)\]},]+)""", re.IGNORECASE)
_HOSTED: Final = re.compile(r"""(?<![\w./-])((?:[a-z0-9-]+\.)+[a-z]{2,}(?::\d+)?)/[\w./${}:@-]+""", re.IGNORECASE)
_DEFAULT: Final = re.compile(r"""\$\{[^}:]*:?-([^}]+)\}""")
# Read by people, or used as a name only: nothing ever connects to them.
_NOT_FETCHED: Final = re.compile(
    r"""^\s*(?:-\s+)?["']?(?:Documentation\s*=|\$?(?:schema|id|xmlns)["']?\s*[:=]|org\.opencontainers\.image\.)""",
    re.IGNORECASE,
)
_COMMENT: Final = re.compile(r"""(?:^|\s)#.*$""")
_VALUE: Final = re.compile(r"""^(?:"([^"]*)"|'([^']*)'|([^\s,#]+))""")


_NO_IMAGES: Final = (
    ".png",
    ".jpg",
    ".jpeg",
    ".gif",
    ".svg",
    ".ico",
    ".webp",
    ".bmp",
    ".avif",
    ".qcow2",
    ".iso",
    ".img",
    ".image",
    ".build",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One reference that would leave the site."""

    file: str
    line: int
    found: str
    why: str


class Lint:
    """Collects findings over the files of one release.

    Args:
        version: The release's; an image of it is tagged with this at the site.
        images: The release's images by name, with the digests they may be called by.
    """

    def __init__(self, *, version: str, images: Mapping[str, frozenset[Digest]]) -> None:
        self._version, self._images = version, images
        self._findings: list[Finding] = []

    def is_linted(self, name: str, source: str) -> bool:
        """Tell whether a file is text that may name images."""
        return name.lower().endswith(LINTED_SUFFIXES) or source.lower().endswith(LINTED_SUFFIXES)

    def check(self, lines: Iterable[str], *, name: str, file: str) -> None:
        """Look through one file.

        Args:
            lines: All of it, in order.
            name: What it is called; its suffix says what a comment looks like and whether URLs count.
            file: How findings call it.
        """
        lower = name.lower()
        for number, line in _logical_lines(lines, has_comments=not lower.endswith(".json")):
            seen: set[str] = set()
            for found, why in self._faults(line, has_urls=lower.endswith(_URL_SUFFIXES)):
                # One reference can break two rules; the first says it best.
                if not any(found in earlier or earlier in found for earlier in seen):
                    seen.add(found)
                    self._findings.append(Finding(file, number, found, why))

    def require_clean(self) -> None:
        """Refuse the release if anything was found.

        Raises:
            BuildError: ``reference-leaves-site``, 30, for the first finding; ``facts`` list all.
        """
        if not self._findings:
            return
        first = self._findings[0]
        raise BuildError(
            "reference-leaves-site",
            f"{first.file}:{first.line}: {first.found}: {first.why}, expected a reference that stays at the site",
            hint=(
                "Carry the image as an [[image]] and write ${REGISTRY}/NAME:"
                f"{self._version}; an isolated site has nothing else to ask."
            ),
            facts={
                "file": first.file,
                "line": first.line,
                "found": first.found,
                "findings": [f"{item.file}:{item.line}: {item.found}: {item.why}" for item in self._findings],
            },
        )

    def _faults(self, line: str, *, has_urls: bool) -> Iterator[tuple[str, str]]:
        policy = _PULL_POLICY.search(line)
        if policy:
            yield policy.group(0).strip(), "asks the registry at every start"
        for reference in _images_in(line):
            # Compose falls back to what stands after ":-" when the site sets nothing.
            for meant in (reference, _DEFAULT.sub(r"\1", reference)):
                why = self._image_fault(meant)
                if why:
                    yield meant, why
        for match in _HOSTED.finditer(line):
            if is_public_registry(match.group(1)):
                yield match.group(0), f"{match.group(1)} is a public registry"
        if has_urls and not _NOT_FETCHED.match(line):
            for match in _URL.finditer(line):
                host = match.group(1).rpartition("@")[2]
                if not is_site_host(host):
                    yield match.group(0), f"{host} is not a host of the site"

    def _image_fault(self, reference: str) -> str | None:
        """Return why ``reference`` would leave the site, or None."""
        host, name, tag, digest = split_reference(reference)
        carried = name in self._images
        if host is None:
            if _is_placeholder(name):
                return None
            if not carried:
                return "has no registry, so it means Docker Hub, and this release does not carry it"
            if digest:
                return None if digest in self._images[name] else "is not the image this release carries"
            if tag == self._version or _is_placeholder(tag):
                return None
            return f"the site knows it only as {name}:{self._version}, so it would be sought at Docker Hub"
        if is_public_registry(host):
            return f"{host} is a public registry"
        if is_site_host(host) or carried:
            return None
        return f"{host} is not a host of the site, and this release does not carry {name}"


def split_reference(reference: str) -> tuple[str | None, str, str, str]:
    """Return ``(registry host or None, name, tag, digest)`` of an image reference.

    The first part is a host when it holds a dot or a colon, is ``localhost``, or is a placeholder.

    Source: github.com/distribution/reference, ``splitDockerDomain``.
    """
    rest, _, digest = reference.partition("@")
    masked = re.sub(r"\$\{[^}]*\}", lambda match: match.group(0).replace("/", "\0").replace(":", "\1"), rest)
    first, slash, others = masked.partition("/")
    host: str | None = None
    if slash and (first == "localhost" or "." in first or ":" in first or "$" in first or "{" in first):
        host, masked = first, others
    name, _, tag = masked.partition(":")
    back = str.maketrans({"\0": "/", "\1": ":"})
    return host.translate(back) if host else None, name.translate(back), tag.translate(back), digest


def _images_in(line: str) -> Iterator[str]:
    key = _IMAGE_KEY.match(line)
    if key:
        value = _VALUE.match(key.group(1))
        text = next((group for group in value.groups() if group), "") if value else ""
        # A mapping (Helm's "image:" with "repository:" below) or a YAML anchor names no image itself.
        if text and text[0] not in "{[&*|>" and not _is_picture(text):
            yield text
    for match in _INLINE_IMAGE.finditer(line):
        if not _is_picture(match.group(1)):
            yield match.group(1)
    yield from images_in_command(line)


def _is_picture(text: str) -> bool:
    # Configuration says "image" of pictures and disks too, and a quadlet of another unit (x.image, x.build).
    return text.startswith(("/", "./", "../", "data:", "http:", "https:")) or text.lower().endswith(_NO_IMAGES)


def _is_placeholder(text: str) -> bool:
    return text.startswith(("$", "{{")) or "${" in text


def _logical_lines(lines: Iterable[str], *, has_comments: bool) -> Iterator[tuple[int, str]]:
    """Yield each line with its number, comments left out and lines that end in a backslash joined."""
    held, start = "", 0
    for number, raw in enumerate(lines, start=1):
        line = (_COMMENT.sub("", raw) if has_comments else raw).rstrip()
        start = start or number
        if line.endswith("\\") and len(held) < MAX_LINE_CHARACTERS:
            held += line[:-1] + " "
            continue
        yield start, held + line
        held, start = "", 0
    if held:
        yield start, held
