"""Memory of one size that is lent out, and lent again once nobody looks into it any more.

Taking 4 MiB from the machine and giving them back for every chunk costs a thousand page faults, or, kept by the
allocator for each thread, tens of MiB that no bundle explains [measured].
"""

from __future__ import annotations

import threading


class RecycledMemory:
    """Lends pieces of ``piece_bytes``; as many as were ever looked into at once. Safe for several threads."""

    def __init__(self, piece_bytes: int) -> None:
        self._piece_bytes = piece_bytes
        self._pieces: list[bytearray] = []
        self._lock = threading.Lock()

    def lend(self) -> memoryview:
        """Return writable memory that nobody else looks into; it is free again with the last view into it."""
        with self._lock:
            for piece in self._pieces:
                if not _is_looked_into(piece):
                    break
            else:
                piece = bytearray(self._piece_bytes)
                self._pieces.append(piece)
            return memoryview(piece)


def _is_looked_into(piece: bytearray) -> bool:
    """Tell whether a view into ``piece`` is left: Python refuses to resize memory that somebody looks into."""
    try:
        last = piece.pop()
    except BufferError:
        return True
    piece.append(last)  # It still has its place: nothing moves.
    return False
