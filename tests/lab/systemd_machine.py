"""A machine whose first process is the real systemd: namespaces on this kernel, over the machine's own files.

Its root is an overlay, so that what is written there is gone with it; a reboot keeps it. Units of the machine itself
are not started. Nothing survives it: when its first process ends, the kernel ends every other, and its mounts go
with its namespace. Needs root, util-linux, iproute2 and systemd.
"""

from __future__ import annotations

import glob
import os
import shlex
import signal
import subprocess
from pathlib import Path

from tests.lab.nodes import LabError, wait_until
from tests.lab.opened import Opened

BOOT_SECONDS = 60.0

_BOOT = """
set -eu
state={state}
root=$state/root
mount -t overlay overlay -o lowerdir=/,upperdir=$state/upper,workdir=$state/work "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 run "$root/run"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount --make-rslave "$root/sys"
mount -t tmpfs -o mode=755 cgroup "$root/sys/fs/cgroup"
mkdir "$root/sys/fs/cgroup/systemd"
mount -t cgroup -o none,name=systemd systemd "$root/sys/fs/cgroup/systemd"
ip link set lo up
hostname {name}
cd "$root"
pivot_root . .
umount -l .
exec chroot . env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
    SYSTEMD_PROC_CMDLINE=systemd.unit=multi-user.target /lib/systemd/systemd --system --show-status=0
"""
# systemd of Debian 12 in a hierarchy of cgroup v1 that has its name: all it needs to follow its services. Not chroot
# alone: programs of services that have mounts of their own would not be where their links in /proc say.


class SystemdMachine(Opened):
    """One machine. Use as a context.

    Args:
        folder: Empty or missing; what the machine writes lies there, not in /tmp's own file system if it can be.
        name: Its host name.
    """

    def __init__(self, folder: Path, *, name: str = "systemd-lab") -> None:
        self._state = folder
        self._name = name
        self._boot: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """Boot it for the first time."""
        self._state.mkdir(parents=True, exist_ok=True)
        # An overlay may not lie on another one, which /tmp may be.
        _run(["mount", "-t", "tmpfs", "-o", "mode=755", self._name, str(self._state)])
        for name in ("upper", "work", "root"):
            (self._state / name).mkdir()
        self._start_nothing_else()
        self.boot()

    def _start_nothing_else(self) -> None:
        """Hide what the machine itself would start at boot: sysctl and udev would set up this kernel a second time."""
        upper = self._state / "upper"
        wanted = [Path(path) for path in glob.glob("/usr/lib/systemd/system/*.wants")]  # noqa: PTH207 - absolute
        for folder in [Path("/etc/systemd/system"), *wanted]:
            hidden = upper / folder.relative_to("/")
            hidden.mkdir(parents=True)
            os.setxattr(hidden, "trusted.overlay.opaque", b"y")
        sockets = upper / "usr/lib/systemd/system/sockets.target.wants"
        for name in ("systemd-journald.socket", "systemd-journald-dev-log.socket"):
            (sockets / name).symlink_to(f"../{name}")
        (upper / "etc" / "fstab").write_text("")
        (upper / "etc/systemd/system/systemd-remount-fs.service").symlink_to("/dev/null")

    def boot(self) -> None:
        """Start it, and wait until systemd has brought up what is enabled."""
        script = _BOOT.format(state=shlex.quote(str(self._state)), name=self._name)
        kinds = ["--mount", "--uts", "--ipc", "--net", "--pid", "--fork"]
        with (self._state / "console").open("ab") as console:
            self._boot = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", *kinds, "--kill-child", "--", "sh", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        wait_until("systemd of the lab", self._is_up, seconds=BOOT_SECONDS)

    def reboot(self) -> None:
        """Let it shut down in order, and start it again."""
        self.run("systemctl", "reboot", "--no-block")
        if self._boot is not None:
            self._boot.wait(timeout=BOOT_SECONDS)
        self.boot()

    def pull_the_plug(self) -> None:
        """End it as a power cut would; ``boot`` starts it again with what it wrote."""
        if self._boot is not None:
            os.kill(self._pid(), signal.SIGKILL)
            self._boot.wait(timeout=BOOT_SECONDS)
            self._boot = None

    def close(self) -> None:
        """End it, and forget what it wrote."""
        try:
            self.pull_the_plug()
        except (LabError, ProcessLookupError):
            if self._boot is not None:
                self._boot.kill()
                self._boot.wait()
        if self._state.is_mount():
            _run(["umount", "--lazy", str(self._state)])

    def run(self, *argv: str, check: bool = True, timeout_seconds: float = 60) -> subprocess.CompletedProcess[bytes]:
        """Run ``argv`` there to its end."""
        done = subprocess.run([*self.prefix, *argv], capture_output=True, timeout=timeout_seconds)
        if check and done.returncode:
            raise LabError(f"{self._name}: {shlex.join(argv)}: {done.returncode}, {done.stderr.decode()[-2000:]}")
        return done

    def text(self, *argv: str, check: bool = True) -> str:
        """Run ``argv`` there and return what it printed."""
        return self.run(*argv, check=check).stdout.decode().strip()

    def shows(self, unit: str, name: str) -> str:
        """Return one property of a unit there."""
        return self.text("systemctl", "show", "--value", f"--property={name}", unit)

    @property
    def root(self) -> Path:
        """Return its files as this machine sees them."""
        return Path(f"/proc/{self._pid()}/root")

    @property
    def prefix(self) -> list[str]:
        """Return the argv that runs what follows it there."""
        return ["nsenter", "--target", str(self._pid()), "--all", "--root", "--wd=/", "--"]

    def _pid(self) -> int:
        """Return the process that is systemd, as this machine counts."""
        if self._boot is None:
            raise LabError(f"{self._name}: not running")
        children = Path(f"/proc/{self._boot.pid}/task/{self._boot.pid}/children").read_text().split()
        if not children:
            raise LabError(f"{self._name}: not started, {(self._state / 'console').read_text()[-2000:]}")
        return int(children[0])

    def _is_up(self) -> bool:
        if self._boot is None or self._boot.poll() is not None:
            raise LabError(f"{self._name}: ended, {(self._state / 'console').read_text()[-2000:]}")
        if not Path(f"/proc/{self._pid()}/root/run/systemd/system").is_dir():
            return False
        found = self.run("systemctl", "is-system-running", check=False).stdout.decode().strip()
        return found in ("running", "degraded")


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True)
    if done.returncode:
        raise LabError(f"{shlex.join(argv)}: {done.returncode}, {done.stderr.decode().strip()}")
