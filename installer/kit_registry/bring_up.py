"""The registry that a release brings to a site without one: set up once, then kept through every upgrade.

Four steps, each looked at before it is done, so that a pulled plug leaves one of them to be done again:

1. The folders are made, and that of the images is marked, once.
2. The program is brought beside the one that serves, under its digest; so is its configuration.
3. Certificates, keys and the password are made, where there are none.
4. The service changes to the new program and configuration, and must prove itself: it runs the signed digest, shows
   its certificate, lets in whoever has the password, and nobody else. If it does not, what served before serves again.

Images, keys and password belong to the site and not to a release: no step replaces one. A failure before (4) changed
nothing that serves. The entries in the journal are a run of their own; what the release does with its nodes begins
after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Final

from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import OperatorNeededError, RefusedError, RolledBackError
from teraferry.bundles.image_plan import plan_images
from teraferry.bundles.manifest import File
from teraferry.bundles.progress import Progress
from teraferry.installer.images.load import blob_tasks
from teraferry.installer.kit_registry.generation import BEGUN, RETURNED, SERVE, Generation, last_good_of
from teraferry.installer.kit_registry.ports import Identity, Places
from teraferry.installer.kit_registry.serving import Service
from teraferry.installer.ports import Journal
from teraferry.installer.rollout.execute import Action, Clock, RunRecord, execute
from teraferry.installer.rollout.plan import Step
from teraferry.installer.trust.record import release_facts
from teraferry.installer.verify import VerifiedBundle

LAY_OUT, STAGE, IDENTITY = "lay_out_registry", "stage_registry", "make_registry_identity"
CONFIGURATION_MODE: Final = 0o600


@dataclass(frozen=True, slots=True)
class KitRegistryParts:
    """The hands; ``cli`` puts the adapters in."""

    file: str  # the program's name in a release
    content: bytes  # its configuration, as site.toml wants it
    service: Service
    identity: Identity
    places: Places
    journal: Journal
    clock: Clock
    progress: Progress
    advice: str  # where the password is and who needs the CA: said whenever something was done


class KitRegistry:
    """The registry of a site that has none of its own."""

    def __init__(self, parts: KitRegistryParts) -> None:
        self.parts = parts

    def program_of(self, bundle: VerifiedBundle) -> File | None:
        """Return the registry program of a release; None where it brings none, and the one that is here stays."""
        return next((file for file in bundle.manifest.files if file.name == self.parts.file), None)

    def require_ready(self, bundle: VerifiedBundle) -> None:
        """Check everything that can be checked without changing anything.

        Raises:
            UsageError: 2. RefusedError: 40, 44. BundleError: 10, 11.
        """
        parts = self.parts
        self._wanted(bundle)
        parts.places.require_sound(was_laid_out=self._last_good() is not None)
        parts.identity.due()
        if parts.service.unit is not None:
            parts.service.unit.require_ours()
        parts.places.require_address(is_running=bool(parts.service.program.running()))
        images = plan_images(bundle.manifest, bundle.reader)
        parts.places.require_room({task.digest: task.length_bytes for task in blob_tasks(images)})

    def foresee(self, bundle: VerifiedBundle) -> tuple[str, ...]:
        """Return the steps that are due, in words; none where the registry serves as the release wants it.

        Raises:
            UsageError: 2. RefusedError: 40, 44.
        """
        return tuple(action.step.text for action in self._due(bundle, self._wanted(bundle)))

    def bring_up(self, bundle: VerifiedBundle) -> bool:
        """Have the registry serve as the release wants it; return whether anything had to be done.

        Raises:
            UsageError: 2. RefusedError: 40, 44: what served before serves. BundleError: 10, 11.
            RolledBackError: ``registry-rolled-back``, 50: it serves again.
            OperatorNeededError: ``registry-down``, 62: neither program serves.
        """
        parts = self.parts
        parts.progress.start("registry")
        self.require_ready(bundle)
        wanted = self._wanted(bundle)
        before = self._last_good() or self._serving()
        due = self._due(bundle, wanted)
        if not due:
            parts.progress.say("registry", f"the registry at {parts.service.url} serves as this release wants it")
            return False
        signed = bundle.release.bundle
        run = f"registry-{signed.product}-{signed.version}-{len(parts.journal.replay()) + 1}"
        record = RunRecord(parts.journal, run=run, clock=parts.clock)
        record.note(BEGUN, "", **release_facts(bundle.release))
        try:
            execute(due, record, parts.progress)
        except RefusedError as failed:
            if not record.is_begun(SERVE):
                raise
            self._go_back(before, wanted, failed, record)
        parts.progress.say("registry", parts.advice)
        return True

    def _wanted(self, bundle: VerifiedBundle) -> Generation:
        file = self.program_of(bundle)
        program = file.digest if file is not None else self.parts.service.program.selected()
        if program is None:
            raise RefusedError(
                "registry-program-missing",
                f"release {bundle.release.bundle.version}: no file {self.parts.file}, expected the registry program "
                "that [registry.service] of site.toml names",
                hint="Ask the release engineer for a kit with it, or name a registry that this site has.",
                facts={"file": self.parts.file},
            )
        return Generation(program, digest_of(self.parts.content))

    def _last_good(self) -> Generation | None:
        return last_good_of(self.parts.journal.replay())

    def _serving(self) -> Generation | None:
        """Return what serves now, as a journal that was lost would have said it."""
        selected = self.parts.service.selected()
        return selected if selected is not None and self.parts.service.serves(selected) else None

    def _due(self, bundle: VerifiedBundle, wanted: Generation) -> list[Action]:
        """Return the steps that are not true yet; whatever else is made, the service begins anew with it."""
        made_once = self._lay_out(), self._stage(bundle, wanted), self._identity()
        due = [action for action in made_once if not action.is_true()]
        serve = self._serve(wanted)
        return [*due, serve] if due or not serve.is_true() else []

    def _stage(self, bundle: VerifiedBundle, wanted: Generation) -> Action:
        parts, file = self.parts, self.program_of(bundle)
        what = "the registry program that is here" if file is None else f"{file.name} ({file.length_bytes} bytes)"

        def is_true() -> bool:
            return parts.service.program.staged(wanted.program) and parts.service.configuration.staged(
                wanted.configuration
            )

        def act() -> None:
            if file is not None:
                parts.service.program.stage(bundle.pieces(file.digest), file.digest, mode=int(file.mode, 8) | 0o100)
            parts.service.configuration.stage([parts.content], wanted.configuration, mode=CONFIGURATION_MODE)

        step = Step(STAGE, STAGE, "", f"bring {what} and its configuration to this machine, beside what serves now")
        return _action(step, is_true, act, lambda: asdict(wanted))

    def _identity(self) -> Action:
        identity = self.parts.identity
        # A look at what is there reads keys: once for the words, and again whenever it decides.
        step = Step(IDENTITY, IDENTITY, "", f"make {'; '.join(identity.due())}")
        return _action(step, lambda: not identity.due(), identity.make, lambda: asdict(identity.fingerprints()))

    def _lay_out(self) -> Action:
        places = self.parts.places
        step = Step(LAY_OUT, LAY_OUT, "", "make the folders of the registry's images and settings")
        return _action(step, places.are_laid_out, places.lay_out, dict)

    def _serve(self, wanted: Generation) -> Action:
        parts = self.parts

        def is_true() -> bool:
            # What runs may have begun before the configuration changed: only the journal knows.
            return self._last_good() == wanted and parts.service.serves(wanted)

        def confirm() -> Mapping[str, object]:
            parts.service.wait_serving(wanted)
            return {**asdict(wanted), **asdict(parts.identity.fingerprints())}

        url = parts.service.url
        text = f"start the registry as {url}, and see that it shows its certificate and asks for its password"
        step = Step(SERVE, SERVE, "", text)
        return _action(step, is_true, lambda: parts.service.change_to(wanted), confirm)

    def _go_back(self, before: Generation | None, wanted: Generation, failed: RefusedError, record: RunRecord) -> None:
        """Have what served before serve again, and raise; what never served well is stopped."""
        parts = self.parts
        if before is None or before == wanted:
            if before is None:
                with suppress(RefusedError):
                    parts.service.program.stop()
            raise failed
        parts.progress.say("registry", f"{failed.message}: going back to the program before, {before.program}")
        try:
            parts.service.change_to(before)
            parts.service.wait_serving(before)
        except RefusedError as worse:
            raise OperatorNeededError(
                "registry-down",
                f"registry {parts.service.url}: the new program failed ({failed.message}), and the one before does not "
                f"serve ({worse.message}), expected one of them to",
                hint=f"{parts.service.hint} The images are untouched; no node was.",
                exit_status=62,
                facts={"cause": failed.reference},
            ) from worse
        record.note(RETURNED, SERVE, **asdict(before))
        raise RolledBackError(
            "registry-rolled-back",
            f"{failed.message}; the program before serves again, with all its images, keys and its password",
            hint="Keep the kit, and ask the release's owner for one whose registry program works.",
            facts={"cause": failed.reference, "program": before.program},
        ) from failed


def _action(
    step: Step,
    is_true: Callable[[], bool],
    act: Callable[[], None],
    confirm: Callable[[], Mapping[str, object]],
) -> Action:
    return Action(step, lambda: False, is_true, act, confirm, {})
