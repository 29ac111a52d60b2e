"""One fuzzer process: ``python -m tests.fuzz.worker TARGET [libFuzzer's own arguments]``.

It needs atheris on its path, which ``scripts/prove`` puts there and the suite does without.
"""

from __future__ import annotations

import importlib
import sys

INSTRUMENTED = ["teraferry", "tuf", "securesystemslib", "tomllib"]
"""Packages whose branches the fuzzer sees."""

NOT_INSTRUMENTED = ["teraferry.keys.strict_json"]
"""It looks at every character, and counting that halves the speed; what it lets through is what matters."""


def main() -> None:
    """Fuzz one target until libFuzzer is done; what it finds ends the process with another status than 0."""
    atheris = importlib.import_module("atheris")
    name = sys.argv[1]
    with atheris.instrument_imports(include=INSTRUMENTED, exclude=NOT_INSTRUMENTED):
        target = importlib.import_module("tests.fuzz.targets").TARGETS[name]
    mutate = importlib.import_module("tests.fuzz.mutate").mutate

    def run(content: bytes) -> None:
        target.run(content)

    def change(content: bytes, max_bytes: int, seed: int) -> bytes:
        changed = mutate(name, content, seed) if seed % 2 else None
        if changed is None or len(changed) > max_bytes:
            blind: bytes = atheris.Mutate(content, max_bytes)
            return blind
        return bytes(changed)

    atheris.Setup([sys.argv[0], *sys.argv[2:]], run, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
