"""What a test opens, and closes again, also when it could not be opened whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Opened(ABC):
    """Use as a context, or ``open`` and ``close``."""

    @abstractmethod
    def open(self) -> None:
        """Bring everything up."""

    @abstractmethod
    def close(self) -> None:
        """End everything, or whatever of it there is."""

    def __enter__(self) -> Self:
        try:
            self.open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
