"""What must hold between the fields of the tables that ask: compliance probes and smoke tests. Pure."""

from __future__ import annotations

import re
from functools import partial
from typing import Final

from teraferry.installer.site.addresses import is_loopback, parse_url
from teraferry.installer.site.asking import Probe, SmokeTable
from teraferry.installer.site.model import Site
from teraferry.installer.site.paths import require_absolute, require_words
from teraferry.installer.site.text import SiteText, Where

_PATH: Final = re.compile(r"/(?!/)[!-~]*\Z")


def require_sound_questions(site: Site, text: SiteText) -> None:
    """Check ``[compliance]`` and ``[[smoke]]``.

    Raises:
        UsageError: ``site-bad-value``, 2.
    """
    for name, probe in site.compliance.probes.items() if site.compliance else ():
        _require_probe(probe, text, ("compliance", name))
    for number, test in enumerate(site.smoke):
        _require_smoke(test, site, text, ("smoke", number))


def _require_probe(probe: Probe, text: SiteText, where: Where) -> None:
    if sum(way is not None for way in (probe.http, probe.command, probe.file)) != 1:
        raise text.bad_value(where, "expected exactly one of http, command and file")
    # A file that is never too old would let an install through for ever, whoever stopped writing it.
    if (probe.file is None) != (probe.max_age_seconds is None):
        raise text.bad_value(where, "expected max_age_seconds with file, and only with it")
    if probe.http is not None:
        scheme, host, _ = text.checked((*where, "http"), partial(parse_url, probe.http))
        if scheme == "http" and not is_loopback(host):
            raise text.bad_value((*where, "http"), f"plain HTTP to {host}, expected https: anybody there could answer")
    if probe.ca is not None:
        require_absolute(probe.ca, text, (*where, "ca"))
    if probe.command is not None:
        require_words(probe.command, text, (*where, "command"))
    if probe.file is not None:
        require_absolute(probe.file, text, (*where, "file"))


def _require_smoke(test: SmokeTable, site: Site, text: SiteText, where: Where) -> None:
    if (test.http is None) == (test.command is None):
        raise text.bad_value(where, "expected exactly one of http and command")
    if test.role is not None and test.node is not None:
        raise text.bad_value(where, "role and node, expected at most one of them")
    # A test for nobody would never be run, and whoever wrote it relies on it.
    if test.role is not None and not site.nodes_of(test.role):
        raise text.bad_value((*where, "role"), f"{test.role}, which no node has, expected the role of a node")
    if test.node is not None and test.node not in {node.name for node in site.nodes}:
        raise text.bad_value((*where, "node"), f"{test.node}, expected the name of a [[node]]")
    if test.http is not None and test.is_whole_url:
        text.checked((*where, "http"), partial(parse_url, test.http))
    elif test.http is not None and not _PATH.match(test.http):
        raise text.bad_value((*where, "http"), f"{test.http[:80]!r}, expected a path that begins with one /, or a URL")
    if test.ca is not None:
        require_absolute(test.ca, text, (*where, "ca"))
    if test.command is not None:
        require_words(test.command, text, (*where, "command"))
