"""A million inputs for every way in, found by a coverage-guided fuzzer (atheris, on LLVM's libFuzzer).

Held means: no input of any target did anything but return or raise an error of ours, none took longer than
``INPUT_SECONDS``, and no process grew past ``MEMORY_MB``. What is found is kept, and the proof fails.

At the end the corpus that tells the most for its size is left in ``tests/corpus``; the suite replays it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.keep import CORPUS, keep
from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS
from tests.prove.record import REPOSITORY, Outcome, Record

EXECUTIONS = 1_000_000  # a target
SLICE = 100_000  # in one process; what an interruption loses at most
MEMORY_MB = 512  # resident; the interpreter and its modules take 60 of them
INPUT_SECONDS = 10
SLICE_SECONDS = 3600  # then the process is ended and the proof fails
LOCK = REPOSITORY / "requirements-fuzz.lock"


def _harness_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted((REPOSITORY / "tests" / "fuzz").glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


SETTINGS: dict[str, int | str] = {"executions": EXECUTIONS, "slice": SLICE, "harness": _harness_digest()}


SIGNING_ROOM = ("request", "answer")
HOME = ("receipt",)
SITE = tuple(name for name in TARGETS if name not in (*SIGNING_ROOM, *HOME))


def prove_site(record: Record) -> Outcome:
    """Fuzz what a site reads."""
    return prove(record, SITE)


def prove_signing_room(record: Record) -> Outcome:
    """Fuzz what the signing room reads and sends back."""
    return prove(record, SIGNING_ROOM)


def prove_home(record: Record) -> Outcome:
    """Fuzz what sites hand back."""
    return prove(record, HOME)


def prove(record: Record, names: Sequence[str]) -> Outcome:
    """Fuzz targets, a slice at a time."""
    fuzzer = fuzzer_folder()
    if not (fuzzer / "atheris").is_dir():
        return Outcome(False, f"needs {LOCK.name} installed in {fuzzer}, as scripts/prove does", {})
    if record.is_new:
        shutil.rmtree(record.folder, ignore_errors=True)
    findings: list[str] = []
    for name in names:
        working = lay_out_corpus(record.folder, name)
        for number in range(EXECUTIONS // SLICE):
            piece = f"{name} {number}"
            if piece in record:
                continue
            executions, peak_mb, found = fuzz(name, working, number, fuzzer=fuzzer)
            if found:
                findings.append(f"{name}: {found}")
                break  # The same input would end the next slice too.
            record.done(piece, {"executions": executions, "peak_mb": peak_mb})
            record.tell(f"{piece}: {executions} executions, {len(list(working.iterdir()))} inputs, {peak_mb} MB")
    for name in names:
        keep(name, [path.read_bytes() for path in sorted((record.folder / "corpus" / name).iterdir())])
    return outcome_of(record, names, findings)


def fuzzer_folder() -> Path:
    """Return where ``scripts/prove`` installs the fuzzer: apart from the environment that the tests run in."""
    return REPOSITORY / ".cache" / f"fuzzer-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]}"


def lay_out_corpus(folder: Path, name: str) -> Path:
    """Return the working corpus of a target: what an interrupted run left, what is kept, and the seeds."""
    working = folder / "corpus" / name
    working.mkdir(parents=True, exist_ok=True)
    for path in (CORPUS / name).glob("*"):
        shutil.copy(path, working / path.name)
    for number, content in enumerate(SEEDS[name]()):
        (working / f"seed-{number}").write_bytes(content)
    return working


def fuzz(name: str, working: Path, number: int, *, fuzzer: Path) -> tuple[int, int, str]:
    """Run one slice in a process of its own.

    Returns:
        Executions, peak of resident memory in MB, and what was found: "" for nothing.
    """
    findings = working.parent.parent / "findings"
    findings.mkdir(exist_ok=True)
    argv = [
        *(sys.executable, "-m", "tests.fuzz.worker", name),
        *(f"-runs={SLICE}", f"-seed={number + 1}", f"-max_len={TARGETS[name].max_bytes}"),
        *(f"-rss_limit_mb={MEMORY_MB}", f"-timeout={INPUT_SECONDS}"),
        *("-print_final_stats=1", f"-artifact_prefix={findings}/{name}-", str(working)),
    ]
    environment = {**os.environ, "PYTHONPATH": str(fuzzer), "PYTHONHASHSEED": "0"}
    try:
        done = subprocess.run(
            argv,
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SLICE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 0, 0, f"not done after {SLICE_SECONDS} seconds"
    said = done.stdout.decode("utf-8", "replace")
    if done.returncode != 0:
        (findings / f"{name}.log").write_text(said)
        errors = [
            line
            for line in said.splitlines()
            if re.match(r"[\w.]*(Error|Exception)\b|.*ERROR: libFuzzer", line.strip())
        ]
        return 0, 0, f"{'; '.join(errors)[:300] or f'status {done.returncode}'} (input and log in {findings})"
    return _figure(said, "number_of_executed_units"), _figure(said, "peak_rss_mb"), ""


def _figure(said: str, name: str) -> int:
    found = re.search(rf"^stat::{name}:\s*(\d+)", said, re.MULTILINE)
    if found is None:
        raise ValueError(f"libFuzzer did not say {name}")
    return int(found.group(1))


def outcome_of(record: Record, names: Sequence[str], findings: list[str]) -> Outcome:
    """Return whether every one of ``names`` was run to the end and nothing was found."""
    counts: dict[str, int | str] = {}
    for name in names:
        counts[name] = sum(found["executions"] for piece, found in record.pieces().items() if piece.split()[0] == name)
    counts["peak MB"] = max((found["peak_mb"] for found in record.pieces().values()), default=0)
    short = [name for name in names if int(counts[name]) < EXECUTIONS]
    if findings:
        return Outcome(False, "; ".join(findings), counts)
    if short:
        return Outcome(False, f"fewer than {EXECUTIONS} executions of {', '.join(short)}", counts)
    return Outcome(True, f"no crash, no hang, no memory above {MEMORY_MB} MB in {EXECUTIONS} executions each", counts)
