"""The installer file starts where a site is hard, and refuses in words where it cannot."""

from __future__ import annotations

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from teraferry.builder.freeze import STUB_BYTES
from tests.lab.installer_file import TINY_STATUS, Start, fake_tool, flip_byte, make_installer

SHELLS = [("dash",), ("bash", "--posix"), ("busybox", "sh")]


@pytest.fixture
def installer(tmp_path: Path) -> Path:
    return make_installer(tmp_path / "made")


@pytest.fixture
def start(installer: Path, tmp_path: Path) -> Start:
    return Start(installer, home=tmp_path / "home")


def reference_of(done: subprocess.CompletedProcess[str]) -> str:
    line = next(line for line in done.stderr.splitlines() if line.startswith("  reference:"))
    return line.split(":", 1)[1].split(",")[0].strip()


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_program_gets_the_arguments_as_they_were_typed(start: Start, shell: tuple[str, ...]) -> None:
    started = Start(start.file, home=start.home, shell=shell)

    done = started.run("verify", "a kit", "*", "--", "$HOME", "")

    assert done.returncode == TINY_STATUS, done.stderr
    arguments = [line.removeprefix("argument=") for line in done.stdout.splitlines() if line.startswith("argument=")]
    assert arguments == ["verify", "a kit", "*", "--", "$HOME", ""]


def test_program_learns_its_root_and_its_installer_file(start: Start, installer: Path) -> None:
    done = start.run()

    said = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert Path(said["root"]).read_bytes() == (installer.parent / "1.root.json").read_bytes()
    assert said["file"] == str(installer)


def test_libraries_of_the_program_that_started_us_are_not_passed_on(start: Start) -> None:
    started = Start(start.file, home=start.home, environment={"LD_LIBRARY_PATH": "/somewhere"})

    assert "libraries=none" in started.run().stdout


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_file_runs_from_a_noexec_medium_with_a_noexec_tmp(installer: Path, shell: tuple[str, ...]) -> None:
    done = in_mounts(
        f"mount -t tmpfs -o noexec tmpfs /mnt && cp {installer} /mnt/teraferry-installer",
        "mount -t tmpfs tmpfs /var/lib",
        "mount -t tmpfs -o noexec,mode=1777 tmpfs /tmp",
        f"{' '.join(shell)} /mnt/teraferry-installer first; {' '.join(shell)} /mnt/teraferry-installer second",
    )

    assert done.returncode == TINY_STATUS, done.stderr
    assert done.stdout.count("program=/var/lib/teraferry/installer/") == 2
    assert done.stderr.count("unpacking") == 1


def test_next_directory_is_taken_when_the_first_may_not_execute(installer: Path) -> None:
    done = in_mounts(
        "mount -t tmpfs -o noexec tmpfs /var/lib",
        "mount -t tmpfs tmpfs /opt",
        f"sh {installer}",
    )

    assert "program=/opt/teraferry/" in done.stdout


def test_start_is_refused_when_no_directory_may_execute(installer: Path) -> None:
    done = in_mounts(
        *(f"mount -t tmpfs -o noexec tmpfs {folder}" for folder in ("/var/lib", "/opt", "/usr/local/lib")),
        f"sh {installer}",
    )

    assert (done.returncode, reference_of(done)) == (2, "installer-no-directory")
    assert done.stderr.count("noexec") == 3


def test_full_disk_is_named_and_leaves_no_part(installer: Path) -> None:
    done = in_mounts(
        "mount -t tmpfs -o size=400k,mode=0755 tmpfs /opt",
        f"TERAFERRY_HOME=/opt/home sh {installer}; status=$?; ls -A /opt/home; exit $status",
    )

    assert (done.returncode, reference_of(done)) == (44, "installer-no-space")
    assert done.stdout.split() == [".lock"]


def test_second_start_unpacks_nothing(start: Start) -> None:
    start.run()
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in start.trees()]

    done = start.run()

    assert done.stderr == ""
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in start.trees()] == before


def test_unpacked_program_belongs_to_root_alone(start: Start) -> None:
    start.run()

    (tree,) = start.trees()
    assert (tree.stat().st_uid, tree.stat().st_mode & 0o777) == (0, 0o700)
    assert all(path.stat().st_mode & 0o077 == 0 for path in tree.rglob("*"))


def test_quiet_start_says_nothing_of_its_own(start: Start) -> None:
    assert start.run("verify", "--quiet").stderr == ""


# Machines that it cannot run on


@pytest.mark.parametrize(
    ("tool", "script", "reference"),
    [
        ("uname", "echo aarch64", "installer-wrong-processor"),
        ("getconf", "echo glibc 2.12", "installer-needs-glibc"),
        ("getconf", "echo glibc 1.99", "installer-needs-glibc"),
        ("getconf", "echo strange", "installer-needs-glibc"),
        ("id", "echo 1000", "installer-not-root"),
    ],
)
def test_unfit_machine_is_refused_before_anything_is_written(
    start: Start, tmp_path: Path, tool: str, script: str, reference: str
) -> None:
    started = Start(start.file, home=start.home, tools=fake_tool(tmp_path / "tools", tool, script))

    done = started.run("verify", "kit")

    assert (done.returncode, reference_of(done)) == (2, reference)
    assert done.stdout == ""
    assert started.trees() == []


def test_glibc_is_read_from_ldd_where_getconf_cannot_tell(start: Start, tmp_path: Path) -> None:
    tools = fake_tool(tmp_path / "tools", "getconf", "exit 1")
    fake_tool(tools, "ldd", "echo 'ldd (Debian GLIBC 2.9-1) 2.9'")

    done = Start(start.file, home=start.home, tools=tools).run()

    assert reference_of(done) == "installer-needs-glibc"
    assert "glibc 2.9," in done.stderr


def test_refusal_is_a_result_line_under_json(start: Start, tmp_path: Path) -> None:
    tools = fake_tool(tmp_path / "tools", "uname", "printf 'a\"\\\\\\033[31mb'")

    done = Start(start.file, home=start.home, tools=tools).run("verify", "kit", "--json")

    line = json.loads(done.stdout)
    assert (line["event"], line["status"], line["reference"]) == ("result", 2, "installer-wrong-processor")
    assert 'a"\\?[31mb' in line["message"]


def test_program_that_does_not_start_here_is_not_kept(tmp_path: Path) -> None:
    installer = make_installer(tmp_path / "made", program="#!/bin/sh\necho symbol not found >&2\nexit 127\n")
    start = Start(installer, home=tmp_path / "home")

    done = start.run()

    assert (done.returncode, reference_of(done)) == (2, "installer-cannot-run")
    assert "symbol not found" in done.stderr
    assert start.trees() == []


# Directories that others could change


def test_directory_behind_a_link_is_refused(start: Start, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "elsewhere")

    assert reference_of(start.run()) == "installer-no-directory"
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(("owner", "mode"), [(0, 0o777), (0, 0o1777), (0, 0o770), (65534, 0o700)])
def test_directory_that_others_can_change_is_refused(start: Start, tmp_path: Path, owner: int, mode: int) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, owner, owner)
    home.chmod(mode)

    assert reference_of(start.run()) == "installer-no-directory"
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(("owner", "mode"), [(0, 0o777), (65534, 0o700)])
def test_directory_below_one_that_others_can_change_is_refused(
    installer: Path, tmp_path: Path, owner: int, mode: int
) -> None:
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(mode)
    os.chown(above, owner, owner)

    done = Start(installer, home=above / "home").run()

    assert reference_of(done) == "installer-no-directory"


def test_relative_directory_is_refused(installer: Path) -> None:
    assert reference_of(Start(installer, home=Path("home")).run()) == "installer-no-directory"


# Damage


@pytest.mark.parametrize("where", ["program", "list", "root"])
def test_one_flipped_byte_in_the_file_is_refused_and_nothing_is_kept(start: Start, where: str) -> None:
    root_bytes = len((start.file.parent / "1.root.json").read_bytes())
    offset = {"program": STUB_BYTES + 1000, "list": -root_bytes - 10, "root": -root_bytes + 10}[where]
    flip_byte(start.file, offset)

    done = start.run("verify", "kit")

    assert (done.returncode, reference_of(done)) == (10, "installer-damaged")
    assert start.trees() == []


def test_damaged_program_is_not_even_unpacked(start: Start, tmp_path: Path) -> None:
    flip_byte(start.file, STUB_BYTES + 1000)
    tools = fake_tool(tmp_path / "tools", "tar", f"touch {tmp_path}/unpacked\nexit 1")

    done = Start(start.file, home=start.home, tools=tools).run("verify", "kit")

    assert reference_of(done) == "installer-damaged"
    assert not (tmp_path / "unpacked").exists()


@pytest.mark.parametrize("kept_bytes", [0, 100, 8000, STUB_BYTES, STUB_BYTES + 50_000, -1])
def test_cut_off_file_runs_nothing(start: Start, kept_bytes: int) -> None:
    start.file.write_bytes(start.file.read_bytes()[:kept_bytes])

    done = start.run("verify", "kit")

    assert "program=" not in done.stdout
    assert start.trees() == []


def alter_file(tree: Path) -> None:
    flip_byte(tree / "_internal" / "lib.d" / "a.so", 5)


def alter_list(tree: Path) -> None:
    flip_byte(tree / "SHA256SUMS", 5)


def alter_root(tree: Path) -> None:
    flip_byte(tree / "root.json", 5)


def alter_list_with_file(tree: Path) -> None:
    program = tree / "teraferry-installer"
    program.write_text("#!/bin/sh\necho program=hostile\n")
    subprocess.run("sha256sum teraferry-installer > SHA256SUMS", shell=True, cwd=tree, check=True)


def add_file(tree: Path) -> None:
    (tree / "_internal" / "site.so").write_bytes(b"x")


def add_link(tree: Path) -> None:
    (tree / "_internal" / "site.so").symlink_to("/etc/hostname")


def add_pipe(tree: Path) -> None:
    os.mkfifo(tree / "_internal" / "site.so")


def remove_file(tree: Path) -> None:
    (tree / "_internal" / "lib-b.txt").unlink()


def replace_by_link(tree: Path) -> None:
    library = tree / "_internal" / "lib-b.txt"
    library.rename(tree.parent / "moved")
    library.symlink_to(tree.parent / "moved")


def open_to_others(tree: Path) -> None:
    tree.chmod(0o755)


def replace_tree_by_file(tree: Path) -> None:
    tree.rename(tree.parent / "moved")
    tree.write_text("not a directory")


def replace_tree_by_link(tree: Path) -> None:
    tree.rename(tree.parent / "moved")
    tree.symlink_to(tree.parent / "moved")


ALTERATIONS = [
    *(alter_file, alter_list, alter_root, alter_list_with_file, add_file, add_link, add_pipe),
    *(remove_file, replace_by_link, open_to_others, replace_tree_by_file, replace_tree_by_link),
]


@pytest.mark.parametrize("alter", ALTERATIONS, ids=lambda alter: alter.__name__)
@pytest.mark.parametrize("site", ["stock", "without-openssl", "busybox"])
def test_altered_program_is_replaced_and_said(start: Start, tmp_path: Path, site: str, alter: object) -> None:
    started = site_of(site, start, tmp_path / "tools")
    good = started.run("verify").stdout
    (tree,) = started.trees()
    alter(tree)  # type: ignore[operator]

    done = started.run("verify")

    assert done.stdout == good
    assert "was changed" in done.stderr
    assert started.run("verify").stderr == ""


def site_of(kind: str, start: Start, tools: Path) -> Start:
    """Return ``start`` on a site with every stock tool, without openssl, or with busybox for everything."""
    if kind == "stock":
        return start
    fake_tool(tools, "openssl", "exit 127")
    if kind == "busybox":
        subprocess.run(["busybox", "--install", "-s", str(tools)], check=True)
        return Start(start.file, home=start.home, shell=("busybox", "sh"), tools=tools)
    return Start(start.file, home=start.home, tools=tools)


def test_altered_program_is_not_started_when_the_file_cannot_replace_it(start: Start) -> None:
    start.run()
    (tree,) = start.trees()
    alter_file(tree)
    flip_byte(start.file, STUB_BYTES + 1000)

    done = start.run()

    assert (done.returncode, reference_of(done)) == (10, "installer-damaged")
    assert done.stdout == ""
    assert start.trees() == []


# Power cuts and races


@pytest.mark.parametrize("tool", ["flock", "mkdir", "head", "gzip", "tar", "find", "sort", "mv", "rm"])
def test_start_killed_at_any_tool_is_made_good_by_the_next(start: Start, tmp_path: Path, tool: str) -> None:
    real = subprocess.run(["which", tool], capture_output=True, text=True, check=True).stdout.strip()
    # 0 is the process group of this start: the shell and all it started, as a power cut would.
    tools = fake_tool(tmp_path / "tools", tool, f'{real} "$@"\nkill -KILL 0')
    killed = Start(start.file, home=start.home, tools=tools).run()
    assert (killed.returncode, killed.stdout) == (-9, "")

    done = start.run()

    assert done.returncode == TINY_STATUS, done.stderr
    assert len(start.trees()) == 1


@pytest.mark.parametrize("tool", ["find", "sort", "sha256sum", "openssl", "sed", "cat", "ls"])
def test_check_that_was_killed_half_way_does_not_pass(start: Start, tmp_path: Path, tool: str) -> None:
    start.run()
    (tree,) = start.trees()
    alter_file(tree)
    add_file(tree)
    real = subprocess.run(["which", tool], capture_output=True, text=True, check=True).stdout.strip()
    script = f'[ "$PWD" != {tree} ] || kill -KILL $PPID\nexec {real} "$@"'

    done = Start(start.file, home=start.home, tools=fake_tool(tmp_path / "tools", tool, script)).run()

    assert "was changed" in done.stderr
    assert not (tree / "_internal" / "site.so").exists()


def test_six_starts_at_once_unpack_once_and_all_run(start: Start) -> None:
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda number: start.run(str(number)), range(6)))

    assert [one.returncode for one in done] == [TINY_STATUS] * 6
    assert sum(one.stderr.count("unpacking") for one in done) == 1
    assert len(start.trees()) == 1


def test_running_program_does_not_hold_the_lock(tmp_path: Path) -> None:
    installer = make_installer(tmp_path / "made", program='#!/bin/sh\n[ "$*" = --help ] || cat\n')
    start = Start(installer, home=tmp_path / "home")
    with subprocess.Popen(start.argv(), env=start.variables(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdin is not None and first.stdout is not None
        first.stdin.write(b"x\n")
        first.stdin.flush()
        assert first.stdout.readline() == b"x\n"

        second = subprocess.run(
            start.argv(), env=start.variables(), stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
        )

        assert second.returncode == 0
        assert b"waiting" not in second.stderr
        first.stdin.close()


def in_mounts(*lines: str) -> subprocess.CompletedProcess[str]:
    """Run shell lines, one after the other succeeded, in a mount namespace of their own."""
    script = "set -e\n" + "\n".join(lines[:-1]) + "\nset +e\n" + lines[-1]
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
