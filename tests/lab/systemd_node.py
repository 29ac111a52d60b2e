"""A machine whose process 1 is a real systemd, in namespaces, over this machine's own root file system.

Its root is an overlay: all that it writes goes to a folder of its own, which a reboot finds again. It has a network of
its own with nothing in it, so what is in the kernel's rules after a boot was put there by that boot. Of this machine's
services none is started: its target asks for what every boot has, and for the message bus.

Needs root, systemd, overlayfs and version 2 of control groups, mounted or not. No image is downloaded.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.lab.nodes import LabError, wait_until

BOOT_SECONDS = 60.0
TARGET = "lab.target"

_TARGET = """[Unit]
Requires=sysinit.target dbus.socket
After=sysinit.target dbus.socket
AllowIsolate=yes
"""

_CONTROL_GROUP = """
set -eu
mkdir -p "$1/groups"
mount -t cgroup2 cgroup2 "$1/groups"
mkdir -p "$1/groups/$2"
echo $$ >"$1/groups/$2/cgroup.procs"
exec unshare --uts --ipc --net --pid --fork --kill-child --cgroup sh -c "$3" sh "$@"
"""

_BOOT = """
set -eu
folder=$1 name=$2
shift 3
mkdir -p "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
root=$folder/root
for own in run tmp dev; do mount -t tmpfs -o mode=755 "$own" "$root/$own"; done
chmod 1777 "$root/tmp"
for shared in "$@"; do
  mkdir -p "$root$shared"
  mount --bind "$shared" "$root$shared"
done
for node in null zero full random urandom tty; do
  : >"$root/dev/$node"
  mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 groups "$root/sys/fs/cgroup"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
hostname "$name"
cd "$root"
mkdir -p old
pivot_root . old
umount -l /old
exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=lab.target
"""

_FORGET_GROUP = """
mkdir -p "$1/groups" && mount -t cgroup2 cgroup2 "$1/groups" && find "$1/groups/$2" -depth -type d -exec rmdir {} +
"""


class SystemdNode:
    """One such machine. Use as a context.

    Args:
        folder: Holds what it writes; on a file system that overlayfs can write to.
        shared: Folders of this machine that it sees as they are, at the same place.
    """

    def __init__(self, folder: Path, *, shared: Sequence[Path]) -> None:
        self._folder = folder
        self._name = f"teraferry-lab-{os.getpid()}"
        self._shared = [str(path) for path in shared]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> SystemdNode:
        units = self._folder / "upper" / "etc" / "systemd" / "system"
        units.mkdir(parents=True)
        (units / TARGET).write_text(_TARGET)
        # It would empty what this machine has in /tmp and /var/tmp, as far as the overlay goes: minutes for nothing.
        (units / "systemd-tmpfiles-setup.service").symlink_to("/dev/null")
        self.boot()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut_power()
        forget = ["unshare", "--mount", "sh", "-c", _FORGET_GROUP, "sh", str(self._folder), self._name]
        subprocess.run(forget, check=False, capture_output=True, timeout=60)

    @property
    def prefix(self) -> list[str]:
        """Return the argv that runs what follows it there."""
        return ["nsenter", "--target", str(self._init()), "--all", "--"]

    def boot(self) -> None:
        """Start it and wait until it has booted."""
        script = ["sh", "-c", _CONTROL_GROUP, "sh", str(self._folder), self._name, _BOOT, *self._shared]
        argv = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", *script]
        with (self._folder / "boot.log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        asked = ("systemctl", "is-active", "--quiet", TARGET)
        wait_until("systemd to boot", lambda: self.run(*asked, check=False).returncode == 0, seconds=BOOT_SECONDS)

    def reboot(self) -> None:
        """Let it shut down in order, and boot again with an empty kernel."""
        self.run("systemctl", "reboot", "--no-block")
        if self._process is not None:
            self._process.wait(timeout=BOOT_SECONDS)
        self.boot()

    def cut_power(self) -> None:
        """End it, and all that runs there, in the middle of whatever it does."""
        if self._process is not None:
            with suppress(ProcessLookupError, LabError):
                os.kill(self._init(), signal.SIGKILL)
            self._process.kill()
            self._process.wait()
            self._process = None

    def run(self, *argv: str, check: bool = True, timeout_seconds: float = 60) -> subprocess.CompletedProcess[bytes]:
        """Run ``argv`` there to its end."""
        done = subprocess.run([*self.prefix, *argv], capture_output=True, timeout=timeout_seconds)
        if check and done.returncode:
            raise LabError(f"{self._name}: {argv}: {done.returncode}, {done.stderr.decode()[-2000:]}")
        return done

    def shows(self, unit: str, name: str) -> str:
        """Return one property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).stdout.decode().strip()

    def _init(self) -> int:
        if self._process is not None:
            with suppress(OSError, IndexError):
                pid = self._process.pid
                return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
        raise LabError(f"{self._name}: no process 1, expected systemd")
