"""The same bytes from the compressor whatever the processor is.

libdeflate picks code by what the processor can do. Here a fixed corpus goes through the very calls that
the writer makes, on this machine and under qemu's user-mode emulation of other models, and the digests
of all results are compared. ``CORES`` names what each model can do that matters to the compressor.
"""

from __future__ import annotations

import hashlib
import json
import platform
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import deflate

from teraferry.bundles.packing import COMPRESSION_LEVEL
from tests.prove.record import REPOSITORY, Outcome, Record

EMULATOR = "qemu-x86_64"
MODELS = {
    "qemu64": "SSE3 and no more",
    "Conroe": "SSSE3",
    "Nehalem": "SSE4.2",
    "Westmere": "SSE4.2, PCLMULQDQ",
    "Haswell-noTSX": "AVX2, BMI2, PCLMULQDQ",
    "EPYC": "AVX2, BMI2, PCLMULQDQ, SHA-NI",
    "max": "all that the emulator knows",
}
SETTINGS: dict[str, int | str] = {"compressor": deflate.__version__, "level": COMPRESSION_LEVEL, "corpus": 1}
PIECE_BYTES = 1024 * 1024


def prove(record: Record) -> Outcome:
    """Compress on every processor and compare."""
    if platform.machine() != "x86_64" or shutil.which(EMULATOR) is None:
        return Outcome(False, f"needs an x86_64 machine and {EMULATOR} (Debian's qemu-user)", {})
    processors = {"this machine": [], **{model: [EMULATOR, "-cpu", model] for model in MODELS}}
    for name, prefix in processors.items():
        if name not in record:
            record.tell(f"compressing on {name}")
            record.done(name, compress_on(prefix))
    found = {name: record[name]["digest"] for name in processors}
    pieces = record["this machine"]["pieces"]
    held = len(set(found.values())) == 1
    said = (
        f"the same bytes on {len(found)} processors"
        if held
        else "other bytes on " + ", ".join(name for name, digest in found.items() if digest != found["this machine"])
    )
    counts: dict[str, int | str] = {
        "compressor": f"deflate {deflate.__version__}, level {COMPRESSION_LEVEL}",
        "pieces": pieces,
        "processors": f"this machine ({this_processor()}), " + ", ".join(f"{n} ({w})" for n, w in MODELS.items()),
        "digest": found["this machine"],
    }
    return Outcome(held, said, counts)


def compress_on(prefix: list[str]) -> dict[str, str | int]:
    """Compress the corpus in a process behind ``prefix``."""
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "tests.prove.compressor"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=True,
    )
    answer: dict[str, str | int] = json.loads(done.stdout.splitlines()[-1])
    return answer


def this_processor() -> str:
    """Say what this machine's processor can do that the compressor looks at."""
    flags = set(re.findall(r"\w+", Path("/proc/cpuinfo").read_text().split("flags", 1)[-1].split("\n", 1)[0]))
    known = {
        "avx512vl": "AVX-512",
        "avx2": "AVX2",
        "bmi2": "BMI2",
        "vpclmulqdq": "VPCLMULQDQ",
        "pclmulqdq": "PCLMULQDQ",
    }
    return ", ".join(name for flag, name in known.items() if flag in flags) or "SSE2"


def corpus() -> Iterator[bytes]:
    """Yield pieces of many kinds: text, numbers, noise, runs, near-repeats, real programs' shapes; odd lengths."""
    draw = random.Random(20260504)
    words = [draw.randbytes(draw.randrange(2, 12)).hex() for _ in range(4_000)]
    yield " ".join(draw.choices(words, k=120_000)).encode()[:PIECE_BYTES]
    yield draw.randbytes(PIECE_BYTES)
    yield draw.randbytes(PIECE_BYTES // 2).hex().encode()
    yield bytes(PIECE_BYTES)
    yield b"".join(number.to_bytes(4, "little") for number in range(PIECE_BYTES // 4))
    block = draw.randbytes(4_096)
    yield b"".join(block[: draw.randrange(4_096)] for _ in range(400))[:PIECE_BYTES]
    yield bytes(draw.choices(range(256), weights=[1 / (1 + n) for n in range(256)], k=PIECE_BYTES))
    # Lengths around those where vector code hands over to the code for what is left.
    for length in (0, 1, 2, 3, 15, 16, 17, 31, 33, 63, 65, 255, 257, 4_095, 4_097, 65_535, 65_537):
        yield (b"abcabcabd" * (length // 9 + 1))[:length]
        yield draw.randbytes(length)
    for _ in range(60):
        length = draw.randrange(1, 40_000)
        alphabet = draw.randbytes(draw.randrange(1, 60))
        yield bytes(draw.choices(alphabet, k=length))
    # One whole member of the format, as the writer hands it over.
    yield (" ".join(draw.choices(words, k=400_000)).encode() * 2)[: 4 * PIECE_BYTES]


def main() -> None:
    """Compress everything as the writer does and print one digest."""
    digest = hashlib.sha256()
    count = 0
    for piece in corpus():
        stream = deflate.deflate_compress(piece, COMPRESSION_LEVEL)
        digest.update(len(stream).to_bytes(8, "big") + stream + deflate.crc32(piece).to_bytes(4, "big"))
        count += 1
    print(json.dumps({"digest": "sha256:" + digest.hexdigest(), "pieces": count}))


if __name__ == "__main__":
    main()
