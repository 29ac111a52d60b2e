"""A PIN, a passphrase and a password are planted in every way they are given, and found nowhere afterwards.

Not in what a command says (with or without error), nor in the kit, request, answer, evidence, trust folder,
journal or trust store, nor in the argv of any process while it runs. To add a command or a kind of secret: plant
a canary in ``Ground`` and add a row to ``CASES``.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import subprocess
import sys
import termios
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from teraferry.keys.site_key import SITE_KEY_NAME, load_site_key
from tests.lab.admin import Admin
from tests.lab.builds import RELEASE, image_table, locked, write_recipe
from tests.lab.canaries import ArgvWatch, Canary, files_below, traces
from tests.lab.images import layer_tar, make_oci_layout
from tests.lab.registry import LabRegistry
from tests.lab.softhsm import LabKey, SoftHsm

TERAFERRY = (sys.executable, "-m", "teraferry.builder.cli")
NAMES = ("root-1", "release-1", "release-2", "desk")


@dataclass
class Ground:
    """Tokens and a key file locked by canaries, a trust folder, a kit, a registry with a canary for a password."""

    folder: Path
    said: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.secret = self.folder / "secret"  # what the owners of the secrets keep: searched nowhere
        self.work = self.folder / "work"  # everything else: searched whole
        self.secret.mkdir()
        self.work.mkdir()
        self.canaries = [Canary(f"PIN of {name}") for name in NAMES]
        self.passphrase = Canary("passphrase of a key file")
        self.wrong = Canary("wrong PIN, passphrase or password")
        self.hsm = SoftHsm(self.secret / "hsm").create()
        self.keys: dict[str, LabKey] = {}
        for canary, name in zip(self.canaries, NAMES, strict=True):
            self.keys[name] = self.hsm.token_with_key(name, pin=canary.text)
        self.registry = LabRegistry(self.secret / "registry", password=Canary("password").text)
        self.password = Canary("password of the registry", self.registry.password)
        self.locked_key = self.secret / "locked.pem"
        self._openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-aes256")
        self.trust, self.kit = self.work / "trust", self.work / "kit"
        self.admin = Admin(self.work, self.registry)

    def all(self) -> list[Canary]:
        """Return everything that was planted."""
        return [*self.canaries, self.passphrase, self.wrong, self.password]

    def type(self, *words: str | Path, pin: Canary | None = None) -> tuple[int, dict[str, Any]]:
        """Type a command of the connected side; ``pin`` goes into TERAFERRY_PIN."""
        done = subprocess.run(
            [*TERAFERRY, *map(str, words), "--json"],
            env=self._environment(pin),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=False,
        )
        self.said += [done.stdout, done.stderr]
        return done.returncode, json.loads(done.stdout.splitlines()[-1])

    def type_on_a_terminal(self, *words: str | Path, typed: Canary) -> int:
        """Type a command on a terminal of its own, and ``typed`` once it asks."""
        person, terminal = pty.openpty()
        process = subprocess.Popen(
            [*TERAFERRY, *map(str, words)],
            env=self._environment(None),
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(terminal)
        shown = b""
        try:
            while b" of " not in shown.rpartition(b"PIN")[2]:
                shown += os.read(person, 4096)
            os.write(person, typed.text.encode() + b"\n")
            while True:
                shown += os.read(person, 4096)
        except OSError:
            pass  # the terminal ends with its last process
        finally:
            os.close(person)
        self.said.append(shown)
        return process.wait(timeout=60)

    def sign(self, *words: str | Path) -> tuple[str | Path, ...]:
        """Return the words of ``sign`` for this kit."""
        return ("sign", self.kit, "--trust", self.trust, *words)

    def bare(self, name: str) -> str:
        """Return the URI of a key without where its PIN is."""
        return self.keys[name].uri_without_pin

    def _environment(self, pin: Canary | None) -> dict[str, str]:
        return {**os.environ, **self.hsm.environment, **({"TERAFERRY_PIN": pin.text} if pin else {})}

    def _openssl(self, *words: str) -> None:
        argv = ["openssl", *words, "-pass", "env:PASSPHRASE", "-out", str(self.locked_key)]
        subprocess.run(argv, env={**os.environ, "PASSPHRASE": self.passphrase.text}, check=True, capture_output=True)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    made = Ground(tmp_path_factory.mktemp("canaries"))
    project = write_recipe(made.work / "project", RELEASE + image_table("terachat/api", "oci:images:api"))
    make_oci_layout(project / "images", "api", [layer_tar({"opt/app": b"app"})])
    locked(project)
    assert made.type("build", project, "-o", made.kit)[0] == 0
    with made.registry:
        yield made


def found_after(ground: Ground, act: Callable[[Ground], None]) -> list[str]:
    """Do ``act`` and return where a canary turned up."""
    ground.said.clear()
    with ArgvWatch() as watch:
        act(ground)
    said = [("what a command said", text) for text in ground.said]
    return traces(ground.all(), [*said, *watch.places(), *files_below(ground.work)])


def trust_init(ground: Ground) -> None:
    words: list[str | Path] = ["trust", "init", ground.trust, "--product", "terachat", "--production"]
    words += ["--root-key", ground.keys["root-1"].uri, "--root-threshold", "1", "--release-threshold", "2"]
    words += ["--release-key", ground.keys["release-1"].uri, "--release-key", ground.keys["release-2"].uri]
    assert ground.type(*words, "--desk-key", ground.keys["desk"].uri)[0] == 0


def sign_with_a_wrong_pin(ground: Ground) -> None:
    status, result = ground.type(*ground.sign("--key", ground.bare("release-1")), pin=ground.wrong)
    assert (status, result["reference"]) == (31, "pin-wrong")


def sign_with_a_wrong_pin_on_a_terminal(ground: Ground) -> None:
    assert ground.type_on_a_terminal(*ground.sign("--key", ground.bare("release-1")), typed=ground.wrong) == 31


def sign_with_a_pin_in_the_uri(ground: Ground) -> None:
    uri = f"{ground.bare('release-1')}&pin-value=1234"
    assert ground.type(*ground.sign("--key", uri))[1]["reference"] == "pin-in-uri"


def sign_with_a_wrong_passphrase(ground: Ground) -> None:
    status, result = ground.type(*ground.sign("--key", f"file:{ground.locked_key}"), pin=ground.wrong)
    assert (status, result["reference"]) == (31, "pin-wrong")


def sign_with_a_passphrase(ground: Ground) -> None:
    # The key opens; a production trust folder refuses it afterwards, which is as far as a file key gets here.
    status, result = ground.type(*ground.sign("--key", f"file:{ground.locked_key}"), pin=ground.passphrase)
    assert (status, result["reference"]) == (31, "key-not-production")


def sign_with_a_passphrase_on_a_terminal(ground: Ground) -> None:
    words = ground.sign("--key", f"file:{ground.locked_key}")
    assert ground.type_on_a_terminal(*words, typed=ground.passphrase) == 31


def request(ground: Ground) -> None:
    assert ground.type(*ground.sign("--request", ground.work / "release.request"))[0] == 0


def answer_with_a_pin_in_the_environment(ground: Ground) -> None:
    words = ("sign", "--answer", ground.work / "release.request", "--key", ground.bare("release-1"), "--yes")
    assert ground.type(*words, "-o", ground.work / "a.answer", pin=ground.canaries[1])[0] == 0


def answer_with_a_wrong_pin(ground: Ground) -> None:
    words = ("sign", "--answer", ground.work / "release.request", "--key", ground.bare("release-1"), "--yes")
    assert ground.type(*words, pin=ground.wrong)[1]["reference"] == "pin-wrong"


def attach(ground: Ground) -> None:
    assert ground.type(*ground.sign("--attach", ground.work / "a.answer"))[1]["missing"]["targets"]["have"] == 1


def sign_with_a_pin_on_a_terminal(ground: Ground) -> None:
    words = ground.sign("--key", ground.bare("release-2"))
    assert ground.type_on_a_terminal(*words, typed=ground.canaries[2]) == 0


def close_with_a_pin_in_a_file(ground: Ground) -> None:
    assert ground.type(*ground.sign("--desk-key", ground.keys["desk"].uri))[1]["missing"] == {}


def renew_with_a_pin_in_the_environment(ground: Ground) -> None:
    until = (datetime.now(UTC) + timedelta(days=700)).date().isoformat()
    words = ("renew", ground.kit, "--trust", ground.trust, "--until", until, "--desk-key", ground.bare("desk"))
    assert ground.type(*words, pin=ground.canaries[3])[0] == 0


def load_with_a_password(ground: Ground) -> None:
    ground.admin.write_site()
    root = ground.trust / "1.root.json"
    shown = ground.type("trust", "show", ground.trust)[1]["fingerprint"]
    for words in (
        ("trust", "pin", root, "--fingerprint", shown),
        ("load", ground.kit),
        ("journal", "show"),
        ("report", "-o", ground.work / "report.html"),
        ("doctor",),
    ):
        answer = ground.admin.type(*words)
        ground.said += [json.dumps(answer.events).encode(), answer.stderr.encode()]
        assert answer.status == 0 or words[0] == "doctor", answer.stderr


def load_with_a_wrong_password(ground: Ground) -> None:
    wrong = ground.secret / "wrong.password"
    wrong.write_text(ground.wrong.text + "\n")
    wrong.chmod(0o600)
    ground.admin.write_site()
    site = ground.admin.site.read_text().replace(str(ground.registry.password_file), str(wrong))
    ground.admin.site.write_text(site)
    answer = ground.admin.type("load", ground.kit)
    ground.said += [json.dumps(answer.events).encode(), answer.stderr.encode()]
    assert (answer.status, answer.result["reference"]) == (44, "registry-password")


def receipt_goes_home(ground: Ground) -> None:
    ground.admin.write_site()
    file = ground.work / "site.receipt"
    answer = ground.admin.type("receipt", "-o", file)
    ground.said += [json.dumps(answer.events).encode(), answer.stderr.encode()]
    assert answer.status == 0, answer.stderr
    for command in ("enroll", "show"):
        status, result = ground.type("receipt", command, file, "--sites", ground.work / "sites")
        assert (status, result["site"]) == (0, "loopback")


CASES = (
    trust_init,
    sign_with_a_wrong_pin,
    sign_with_a_wrong_pin_on_a_terminal,
    sign_with_a_pin_in_the_uri,
    sign_with_a_wrong_passphrase,
    sign_with_a_passphrase,
    sign_with_a_passphrase_on_a_terminal,
    request,
    answer_with_a_wrong_pin,
    answer_with_a_pin_in_the_environment,
    attach,
    sign_with_a_pin_on_a_terminal,
    close_with_a_pin_in_a_file,
    renew_with_a_pin_in_the_environment,
    load_with_a_password,
    load_with_a_wrong_password,
    receipt_goes_home,
)
"""In this order: the later ones work on what the earlier ones made."""


def test_no_secret_is_found_anywhere(ground: Ground) -> None:
    found = {act.__name__: traces_found for act in CASES if (traces_found := found_after(ground, act))}

    assert found == {}
    assert (ground.kit / "metadata" / "timestamp.json").is_file()


def test_the_sites_own_key_is_found_nowhere_but_in_its_file(ground: Ground) -> None:
    ground.said.clear()
    with ArgvWatch() as watch:
        receipt_goes_home(ground)
    key = load_site_key(ground.admin.state)
    assert key is not None
    path = ground.admin.state / SITE_KEY_NAME
    number = key.private.private_numbers().private_value.to_bytes(32, "big")
    planted = [Canary("line of the key", line) for line in path.read_text().splitlines()[1:3]]
    planted += [Canary("number of the key", number.hex()), Canary("number of the key", b64encode(number).decode())]
    said = [("what a command said", text) for text in ground.said]
    places = [*said, *watch.places(), *files_below(ground.work, but=[path])]

    assert traces(planted, places) == []
    assert traces(planted[:2], files_below(path.parent)) != []


@pytest.mark.parametrize("spelling", range(6))
def test_a_secret_in_a_file_would_be_found(tmp_path: Path, spelling: int) -> None:
    canary = Canary("here")
    (tmp_path / "log").write_bytes(b"before " + canary.spellings()[spelling] + b" after")

    assert traces([canary], files_below(tmp_path)) == [f"here in {tmp_path / 'log'}"]
    assert traces([Canary("elsewhere")], files_below(tmp_path)) == []


def test_a_secret_in_the_name_of_a_file_would_be_found(tmp_path: Path) -> None:
    canary = Canary("here")
    (tmp_path / canary.text).write_bytes(b"")

    assert traces([canary], files_below(tmp_path))


def test_a_secret_in_an_argv_would_be_seen() -> None:
    canary = Canary("here")

    with ArgvWatch() as watch:
        subprocess.run([shutil.which("sleep") or "sleep", "0.2", "--", "0"], check=False, capture_output=True)
        subprocess.run([sys.executable, "-c", "import time; time.sleep(0.2)", canary.text], check=True)

    assert traces([canary], watch.places()) == ["here in argv of a process"]
