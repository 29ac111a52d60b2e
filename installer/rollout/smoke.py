"""Smoke tests: what a node that was just brought to the new version must answer before the next one is touched.

A release declares paths, a site declares paths, URLs and commands. Where a question goes is the site's alone to say:
a release names no host and no program. A test passes once its node answers with just the value that is expected,
within its time; a node that answers otherwise, not at all, too late, or about something else has failed. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from teraferry.bundles.errors import RefusedError
from teraferry.bundles.manifest import Manifest
from teraferry.bundles.manifest import Smoke as ReleaseTest
from teraferry.bundles.progress import Progress
from teraferry.installer.rollout.conditions import CannotAnswerError, Condition, Probe, judge_answer
from teraferry.installer.site.asking import DEFAULT_SMOKE_SECONDS, SmokeTable
from teraferry.installer.site.model import Node, Site

ASK_SECONDS: Final = 10.0
"""One question; a node that needs longer for it is asked again while the test's own time lasts."""

ASK_AGAIN_SECONDS: Final = 0.5


class SmokeFailedError(RefusedError):
    """A node did not pass; it is put back, though it runs what was signed and is in the cluster."""

    def __init__(self, reference: str, node: str, found: str, expected: str) -> None:
        super().__init__(
            reference,
            f"smoke test of {node}: {found}, expected {expected}",
            hint="Ask the node the same by hand, and look at its own log; then type the same command again.",
            facts={"node": node, "found": found, "expected": expected},
        )
        self.node = node


@dataclass(frozen=True, slots=True)
class SmokeTest:
    """One question to one node, and its right answer."""

    node: str
    url: str  # "" where a command is run
    ca: str | None
    command: tuple[str, ...]  # run on the node
    condition: Condition
    within_seconds: int

    @property
    def text(self) -> str:
        """What is asked, for people."""
        return f"GET {self.url}" if self.url else " ".join(self.command)

    @property
    def expected(self) -> str:
        """What the answer must hold, for people."""
        return f"{self.condition.field} = {self.condition.equals!r} from {self.text} within {self.within_seconds} s"


def plan_smoke(manifest: Manifest, site: Site, nodes: Iterable[str]) -> tuple[SmokeTest, ...]:
    """Return the tests of ``nodes``, the release's before the site's.

    Args:
        manifest: Its tests go to every node of their role, or to all.
        site: Its tests, and where each node answers.
        nodes: Names of the nodes that this release is brought to.
    """
    named = {node.name: node for node in site.nodes}
    tests: list[SmokeTest] = []
    for node in (named[name] for name in nodes):
        tests += [_of_release(test, node, site) for test in manifest.smoke if test.role in ("", node.role)]
        tests += [_of_site(test, node, site) for test in site.smoke if _is_for(test, node)]
    return tuple(tests)


@dataclass(frozen=True, slots=True)
class SmokeGate:
    """Every test of a rollout, by its node."""

    probes: Mapping[str, Sequence[tuple[SmokeTest, Probe]]]
    monotonic_seconds: Callable[[], float]
    sleep_seconds: Callable[[float], None]
    progress: Progress

    def require_passed(self, node: str) -> list[str]:
        """Ask ``node`` every question of its own until it passes; return what was asked.

        Raises:
            SmokeFailedError: 40; ``smoke-missing``, ``smoke-failed``, ``smoke-cannot-answer``.
        """
        tests = self.probes.get(node, ())
        if not tests:
            # Whoever asks relies on an answer; "there was nothing to ask" is none.
            raise SmokeFailedError("smoke-missing", node, "no test is there", "the tests that the plan names")
        for test, probe in tests:
            self._require_one(test, probe)
        return [test.expected for test, _ in tests]

    def _require_one(self, test: SmokeTest, probe: Probe) -> None:
        give_up = self.monotonic_seconds() + test.within_seconds
        while True:
            left = give_up - self.monotonic_seconds()
            reference, found = _ask(test, probe, timeout_seconds=max(ASK_AGAIN_SECONDS, min(ASK_SECONDS, left)))
            if self.monotonic_seconds() > give_up:
                # An answer that came too late may be right, and is late all the same.
                raise SmokeFailedError(reference or "smoke-cannot-answer", test.node, found, test.expected)
            if not reference:
                self.progress.say("gate", f"{test.node}: {found} from {test.text}", node=test.node)
                return
            self.progress.waiting(f"smoke test of {test.node}", found)
            self.sleep_seconds(ASK_AGAIN_SECONDS)


def _ask(test: SmokeTest, probe: Probe, *, timeout_seconds: float) -> tuple[str, str]:
    """Return ("", found) when the answer is right; else why it is not, and what was found."""
    try:
        verdict = judge_answer(probe.ask(timeout_seconds=timeout_seconds), test.condition)
    except CannotAnswerError as error:
        return "smoke-cannot-answer", f"cannot answer ({error})"
    except RefusedError as refused:
        # Why it could not be asked is all the same to the node: nobody knows that it is well.
        return "smoke-cannot-answer", f"cannot be asked ({refused.message})"
    found = f"{test.condition.field} = {verdict.found!r}"
    return "" if verdict.passes else "smoke-failed", found


def _is_for(test: SmokeTable, node: Node) -> bool:
    return test.node == node.name if test.node is not None else test.role in (None, node.role)


def _of_release(test: ReleaseTest, node: Node, site: Site) -> SmokeTest:
    condition = Condition(test.field, test.equals)
    return SmokeTest(
        node.name,
        _base_url(node) + test.http,
        site.registry.site_ca,
        (),
        condition,
        within_seconds=DEFAULT_SMOKE_SECONDS,
    )


def _of_site(test: SmokeTable, node: Node, site: Site) -> SmokeTest:
    url = test.http or ""
    return SmokeTest(
        node.name,
        url if test.is_whole_url or not url else _base_url(node) + url,
        test.ca or site.registry.site_ca,
        test.command or (),
        Condition(test.pass_when.field, test.pass_when.equals),
        test.within_seconds,
    )


def _base_url(node: Node) -> str:
    return (node.smoke_url or f"http://{node.address}").rstrip("/")
