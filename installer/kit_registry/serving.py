"""The service itself: changed from one generation to another, and believed only once it proved itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from teraferry.bundles.errors import RefusedError
from teraferry.installer.kit_registry.generation import Generation
from teraferry.installer.kit_registry.ports import Door, ServiceUnit
from teraferry.installer.ports import Workload

COME_UP_SECONDS: Final = 60.0
"""A registry that has many images looks at none of them to begin; slow disks and busy machines are given this."""

GONE_SECONDS: Final = 3.0
"""Nothing of it runs for so long: it ended by itself, and waiting longer would not bring it back."""

LOOK_AGAIN_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Service:
    """One registry service on this machine."""

    url: str
    program: Workload
    configuration: Workload  # never started; kept under its digest and selected as a program is
    unit: ServiceUnit | None  # None: the site's own commands start and stop it
    door: Door
    log: str  # where its own words are
    monotonic_seconds: Callable[[], float]
    sleep_seconds: Callable[[float], None]
    gone_seconds: float = GONE_SECONDS
    come_up_seconds: float = COME_UP_SECONDS

    def selected(self) -> Generation | None:
        """Return what the next start runs; None where nothing is selected.

        Raises:
            RefusedError: ``path-not-ours``, 40.
        """
        program, configuration = self.program.selected(), self.configuration.selected()
        return None if program is None or configuration is None else Generation(program, configuration)

    def serves(self, wanted: Generation) -> bool:
        """Tell whether ``wanted`` is selected, runs and proves itself."""
        if self.selected() != wanted or (self.unit is not None and not self.unit.is_written()):
            return False
        try:
            self.require_serving(wanted)
        except RefusedError:
            return False
        return True

    def change_to(self, wanted: Generation) -> None:
        """Stop what runs and start ``wanted``; both are on this machine.

        Raises:
            RefusedError: 40, 44.
        """
        self.program.stop()
        self.configuration.select(wanted.configuration)
        self.program.select(wanted.program)
        # Not before there is something to start: a machine that comes back in between starts what it finds.
        if self.unit is not None:
            self.unit.write()
        self.program.start()

    def require_serving(self, wanted: Generation) -> None:
        """Check that the signed program runs, and what a client meets.

        Raises:
            RefusedError: 44; ``registry-...``. 40: this machine cannot tell.
        """
        running = self.program.running()
        if running != {wanted.program}:
            found = f"runs {', '.join(sorted(running)) or 'nothing'}, expected {wanted.program}"
            raise self._not_up(found)
        self.door.require_guarded()

    def wait_serving(self, wanted: Generation) -> None:
        """Wait until it proves itself, as long as there is something to wait for.

        Raises:
            RefusedError: ``registry-not-up``, 44.
        """
        begun = seen_running = self.monotonic_seconds()
        while True:
            try:
                return self.require_serving(wanted)
            except RefusedError as not_yet:
                now = self.monotonic_seconds()
                seen_running = now if self.program.running() else seen_running
                if now - seen_running > self.gone_seconds:
                    raise self._not_up("its program ended by itself, expected it to stay") from not_yet
                if now - begun > self.come_up_seconds:
                    expected = f"expected it to serve within {self.come_up_seconds:.0f} s"
                    raise self._not_up(f"{not_yet.message}, {expected}") from not_yet
            self.sleep_seconds(LOOK_AGAIN_SECONDS)

    @property
    def hint(self) -> str:
        """Where a person finds out why it does not serve."""
        return f"Its own words are in {self.log}. Set the cause right, then type the same command again."

    def _not_up(self, found: str) -> RefusedError:
        return RefusedError("registry-not-up", f"registry {self.url}: {found}", hint=self.hint, exit_status=44)
