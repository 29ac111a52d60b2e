"""Who is let in by ssh, who is believed, and what a broken connection does; against a real sshd."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from teraferry.bundles.digest import digest_of
from teraferry.bundles.errors import RefusedError
from teraferry.installer.adapters.transport.ssh import SshTransport
from tests.lab.sshd import LabSshd, make_key


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LabSshd]:
    with LabSshd(tmp_path / "sshd") as server:
        yield server


def test_node_that_shows_another_host_key_is_refused_before_anything_is_said(server: LabSshd, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text()
    expected = replace(server.address, host_key=" ".join(other.split()[:2]))

    with pytest.raises(RefusedError) as refused:
        SshTransport("vol-1", expected).run(["true"])

    assert (refused.value.exit_status, refused.value.reference) == (40, "node-host-key-differs")
    assert refused.value.facts["node"] == "vol-1"


def test_node_that_does_not_know_our_key_refuses_the_login(server: LabSshd, tmp_path: Path) -> None:
    stranger = replace(server.address, identity=make_key(tmp_path / "stranger"))

    with pytest.raises(RefusedError) as refused:
        SshTransport("vol-1", stranger).run(["true"])

    assert refused.value.reference == "node-login-refused"


def test_identity_that_cannot_be_read_is_told(server: LabSshd, tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as refused:
        SshTransport("vol-1", replace(server.address, identity=tmp_path / "gone")).run(["true"])

    assert refused.value.reference == "node-unreachable"
    assert "gone" in refused.value.message


def test_settings_of_the_user_have_no_say(server: LabSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host *\n  ProxyCommand false\n  Port 1\n  User nobody\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "no-agent"))

    assert SshTransport("vol-1", server.address).run(["echo", "here"]).stdout == b"here\n"


def test_command_that_takes_too_long_ends_with_124_and_the_next_one_runs(server: LabSshd) -> None:
    transport = SshTransport("vol-1", server.address)

    assert transport.run(["sleep", "60"], timeout_seconds=1).status == 124
    assert transport.run(["echo", "here"]).stdout == b"here\n"


def test_connection_that_broke_is_made_anew_by_the_next_command(server: LabSshd) -> None:
    transport = SshTransport("vol-1", server.address)
    transport.run(["true"])
    server.stop()
    with pytest.raises(RefusedError):
        transport.run(["true"])
    server.start()

    assert transport.run(["echo", "back"]).stdout == b"back\n"


def test_upload_over_a_connection_that_breaks_leaves_the_old_file(server: LabSshd, tmp_path: Path) -> None:
    transport = SshTransport("vol-1", server.address)
    path = tmp_path / "opt" / "program"
    transport.upload([b"old"], str(path), mode=0o755, digest=digest_of(b"old"))

    def breaking() -> Iterator[bytes]:
        yield os.urandom(1024 * 1024)
        server.stop()
        yield os.urandom(1024 * 1024)

    with pytest.raises(RefusedError) as refused:
        transport.upload(breaking(), str(path), mode=0o755, digest=digest_of(b"new"))

    assert refused.value.reference == "node-unreachable"
    assert path.read_bytes() == b"old"
