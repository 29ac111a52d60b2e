"""The demo: a real release crosses a real gap, and everything that must be refused is refused.

Run it with ``./scripts/demo``. Each stage says what happens and why; any surprise ends it with
a status other than 0. Nothing is faked: SoftHSM tokens, the frozen installer, docker-registry,
and an erasure-coded SeaweedFS cluster going from one real version to the next while clients read
and write.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lab.clients import load_objects
from tests.lab.images import layer_tar, make_oci_layout, random_bytes
from tests.lab.secops import Answer, Secops
from tests.lab.site import STATE, LabSite
from tests.lab.watchers import Watchers
from tests.lab.weed import weed_binary

OLD_WEED, NEW_WEED = "4.47", "4.48"
INSTALLER = "teraferry-installer"
CHECKED = STATE / "first-visit"  # the page says /root/...; the site node's own folder is used
AT_SITE = STATE / INSTALLER  # where the first visit leaves the checked copy


class DemoFailed(Exception):
    """Something was not as promised; the message says what."""


class Demo:
    """The stages, in order; each uses what the ones before it made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secops = Secops(folder / "secops")
        self.kits = folder / "kits"
        self.site = LabSite(folder / "site", weed=weed_binary(OLD_WEED))
        self.began_seconds = time.monotonic()
        self.stage_number = 0
        self.refusals: list[str] = []

    # ---- how it talks

    def stage(self, title: str, why: str) -> None:
        self.stage_number += 1
        print(f"\n== {self.stage_number}. {title}  [{time.monotonic() - self.began_seconds:.0f} s]\n   {why}")

    def tell(self, text: str) -> None:
        print(f"   {text}", flush=True)

    def expect(self, condition: bool, promise: str) -> None:
        if not condition:
            raise DemoFailed(promise)

    def refused(self, what: str, status: int, do: Callable[[], Answer]) -> None:
        """Run something that must be refused, and show that nothing changed."""
        before = self.site.digests()
        answer = do()
        after = self.site.digests()
        reference = str(answer.result.get("reference"))
        self.tell(f"refused: {what}")
        self.tell(f"  status {answer.status}  reference {reference}")
        self.tell(f"  {answer.result.get('message')}")
        self.tell(f"  what to do: {answer.result.get('hint')}")
        self.expect(answer.status == status, f"{what}: status {answer.status}, expected {status}\n{answer.stderr}")
        self.expect(bool(answer.result.get("hint")), f"{what}: no hint")
        self.expect(before == after, f"{what}: something changed: {before} {after}")
        self.tell("  nothing changed: " + ", ".join(f"{name} {digest[:12]}" for name, digest in after.items()))
        self.refusals.append(f"{what} ({status} {reference})")

    # ---- the stages

    def found_trust(self) -> None:
        self.stage(
            "SecOps found the trust", "Six HSM tokens (SoftHSM). Two of three root keys, two of two release keys."
        )
        self.secops.open()
        self.tell(f"root fingerprint, printed on paper for the site: {self.secops.fingerprint}")

    def build_release(self, version: str, *, change: int) -> Path:
        layout = self.folder / f"images-{version}"
        images = {}
        for number, name in enumerate(("terachat/api", "terachat/web")):
            base = layer_tar({"opt/base": random_bytes(24 << 20, seed=number)})
            app = layer_tar({"opt/app": random_bytes(8 << 20, seed=1000 * change + number)})
            tag = name.rpartition("/")[2]
            make_oci_layout(layout, tag, [base, app])
            images[name] = f"oci:{layout}:{tag}"
        project = self.secops.project(version, images=images, files={"bin/weed": weed_binary(NEW_WEED)})
        kit = self.kits / f"terachat-{version}"
        built = self.secops.build(project, kit)
        size, seconds = int(built.result["size_bytes"]), float(built.result["seconds"])
        self.tell(f"built {kit.name}: {size / 1e6:.0f} MB in {seconds:.1f} s, sha256 {built.result['sha256'][:16]}...")
        return kit

    def build_first(self) -> None:
        self.stage(
            "The release engineer builds the kit", f"Two images and weed {NEW_WEED}, every tag locked to a digest."
        )
        self.kits.mkdir()
        self.kit = self.build_release("4.2.0", change=1)

    def sign_first(self) -> None:
        self.stage("SecOps sign it", "Each with their own token; the release desk signs last.")
        one = self.secops.sign(self.kit, "release-1")
        self.tell(f"after one person: missing {one.result['missing']}")
        self.one_signature = self.kits / "one-signature"
        shutil.copytree(self.kit, self.one_signature)
        self._finish_with_one_signature(self.one_signature)
        both = self.secops.sign(self.kit, "release-2", desk=True)
        self.tell(f"signed by {both.result['signed']}, missing {both.result['missing']}")
        for name in sorted(path.name for path in self.kit.iterdir()):
            self.tell(f"  {name}")

    def _finish_with_one_signature(self, kit: Path) -> None:
        """A bought desk: it signs snapshot and timestamp of a kit that only one release key signed."""
        donor = self.kits / "donor"
        shutil.copytree(kit, donor)
        self.secops.sign(donor, "release-2", desk=True)
        targets = json.loads((kit / "metadata/targets.json").read_bytes())
        signed = json.loads((donor / "metadata/targets.json").read_bytes())
        kept = {signature["keyid"] for signature in targets["signatures"]}
        signed["signatures"] = [signature for signature in signed["signatures"] if signature["keyid"] in kept]
        shutil.copytree(donor / "metadata", kit / "metadata", dirs_exist_ok=True)
        (kit / "metadata/targets.json").write_text(json.dumps(signed))
        shutil.rmtree(donor)

    def open_site(self) -> None:
        self.stage(
            "The isolated site",
            f"Six volume servers, a master and a filer on weed {OLD_WEED}, and a registry, with no route out.",
        )
        self.site.open()
        self.objects = self.folder / "objects.json"
        load_objects(self.site.cluster, self.objects)
        routes = self.site.node.sh("ip route").strip()
        self.tell(f"routes of the admin's machine: {routes} - and no default route")
        self.expect("default" not in routes, "the site has no route out")
        self.tell("data is loaded and erasure-coded 10+4")

    def first_visit(self) -> None:
        self.stage(
            "First visit: who verifies the verifier",
            "The installer is copied off the stick, and stock openssl checks the copy with keys that came on paper.",
        )
        there = self.site.carry(self.kit)
        keys = self.site.state / "keys-from-paper"
        keys.mkdir(parents=True, mode=0o700)
        for key in sorted((self.secops.trust / "keys").glob("*.pem")):
            shutil.copy(key, keys / key.name)
        blocks = self._lines_of_the_page(there)
        self.site.node.sh(blocks["copy"])
        for name, lines in blocks.items():
            if name.startswith("verify-"):
                said = self.site.node.sh(f"cd {CHECKED} && {lines}").strip()
                self.tell(f"$ {lines.splitlines()[-1]}")
                self.tell(f"    {said}")
                self.expect(said == "Verified OK", "stock openssl verifies SHA256SUMS")
        said = self.site.node.sh(f"cd {CHECKED} && {blocks['sums']}").strip()
        self.tell(f"$ {blocks['sums']}")
        self.tell(f"    {'; '.join(said.splitlines())}")
        self.expect(said.count(": OK") == 2, "sha256sum finds the copy as signed")
        self.site.node.sh(f"cp {CHECKED}/{INSTALLER} {AT_SITE}")
        self.type("trust", "show", expect=24)
        self.refused(
            "a root found only on the medium",
            24,
            lambda: self.site.type("sh", str(AT_SITE), "install", str(there), "--yes"),
        )
        pinned = self.type("trust", "pin", f"{there}/metadata/1.root.json", "--fingerprint", self.secops.fingerprint)
        self.tell(f"pinned root {pinned.result['fingerprint'][:16]}... after its fingerprint was typed from paper")

    def _lines_of_the_page(self, there: Path) -> dict[str, str]:
        """Return what START-HERE.html prints, block by block, with this site's folders put in."""
        page = (self.kit / "START-HERE.html").read_text()
        found = re.findall(r'<pre[^>]*\bid="([^"]+)"[^>]*>(.*?)</pre>', page, flags=re.DOTALL)
        blocks = {name: html.unescape(re.sub(r"<[^>]+>", "", text)).strip() for name, text in found}
        setting = f'KIT="{there}"\nKEYS={STATE}/keys-from-paper\n'
        for name, text in blocks.items():
            lines = [line for line in text.splitlines() if not line.startswith(("KIT=", "KEYS="))]
            body = "\n".join(lines).replace(f"/root/{self.kit.name}", str(CHECKED))
            blocks[name] = (setting if "$K" in body else "") + body
        return blocks

    def type(self, *arguments: str, expect: int = 0) -> Answer:
        answer = self.site.type("sh", str(AT_SITE), *arguments)
        self.expect(
            answer.status == expect, f"{' '.join(arguments)}: {answer.status}\n{answer.stderr}\n{answer.result}"
        )
        return answer

    def refuse_bad_kits(self) -> None:
        self.stage("What must be refused", "Each of these is a real attempt; registry, nodes and state are compared.")
        flipped = self.site.carry(self.kit, name="flipped")
        bundle = next(self.kit.glob("*.tar.gz"))
        middle = bundle.stat().st_size // 2
        self.site.node.sh(
            f"printf '\\{(bundle.read_bytes()[middle] ^ 1):03o}' |"
            f" dd of={flipped}/{bundle.name} bs=1 seek={middle} conv=notrunc 2>&1"
        )
        self.refused("one flipped byte in the bundle", 10, lambda: self._install(flipped))
        self.site.forget(flipped)
        one = self.site.carry(self.one_signature)
        self.refused("one signature of two", 20, lambda: self._install(one))
        self.site.forget(one)
        there = self.site.carry(self.kit)
        self.site.cluster.volumes["vol-4"].stop()
        self.refused("a degraded cluster (one volume server is down)", 40, lambda: self._install(there))
        self.site.cluster.volumes["vol-4"].start()
        self.refused("DEPLOYMENT_TIER=2 where site.toml says 1", 2, lambda: self._install(there, tier="2"))
        self.refused("DEPLOYMENT_TIER=3, an unknown word", 2, lambda: self._install(there, tier="3"))

    def _install(
        self, there: Path, *, tier: str = "1", on_event: Callable[[dict[str, Any]], None] | None = None
    ) -> Answer:
        return self.site.type("sh", str(AT_SITE), "install", str(there), "--yes", tier=tier, on_event=on_event)

    def _show(self, event: dict[str, Any]) -> None:
        if event.get("event") in ("trusted", "gate", "step", "restore"):
            self.tell(f"[{time.monotonic() - self.began_seconds:4.0f} s] {event['text']}")

    def install(self) -> None:
        self.stage("The rollout", "Node by node, only at exactly 100 % health, while clients read and write.")
        there = self.site.carry(self.kit)
        plan = self.type("plan", str(there)).result
        for line in (*plan["stays"], f"gates now: {plan['gates']}", f"on failure: {plan['on_failure']}"):
            self.tell(str(line))
        with Watchers(self.site, self.objects, self.folder / "watchers") as watchers:
            began = time.monotonic()
            self.report = self._install(there, on_event=self._show)
            seconds = time.monotonic() - began
        self.seen = watchers.reports()
        self.expect(self.report.status == 0, f"install: {self.report.status}\n{self.report.stderr}")
        self.install_seconds = seconds
        wanted = weed_digest(NEW_WEED)
        rolled = [*self.site.cluster.volumes.values(), self.site.cluster.filer]
        self.expect(
            all(service.running_digest() == wanted for service in rolled), "every rolled node runs the signed digest"
        )
        self.type("journal", "verify")

    def later_visit(self) -> None:
        self.stage(
            "A later visit",
            "The installer that is already at the site checks the new one, copies it, and hands over to it.",
        )
        newer = self.folder / "newer-installer"
        # The same program under another digest: what follows the installer's sections is not part of it.
        newer.write_bytes(self.secops.freeze().read_bytes() + b"\n")
        shutil.copy(newer, self.secops.freeze())
        kit = self.build_release("4.2.1", change=2)
        self.secops.sign_fully(kit)
        there = self.site.carry(kit)
        answer = self._install(there)
        self.expect(answer.status == 0, f"install 4.2.1: {answer.status}\n{answer.stderr}")
        handed = [path.name for path in (self.site.state / "installers").iterdir()]
        loaded, skipped = answer.result["loaded_bytes"], answer.result["skipped_bytes"]
        self.tell(f"handed over to {handed}; loaded {loaded} bytes, skipped {skipped}")
        self.expect(len(handed) == 1, "the command was handed over")
        older = self.site.carry(self.kit)
        self.refused("an older kit after a newer one", 22, lambda: self._install(older))

    def summary(self) -> None:
        self.stage("Summary", "Figures of this run.")
        reader, writer, sampler = (self.seen[name] for name in ("reader", "writer", "sampler"))
        per_second = reader["ok"] / reader["seconds"]
        missing = sampler.get("samples_with_missing", 0)
        bundle_bytes = next(self.kit.glob("*.tar.gz")).stat().st_size
        self.tell(f"bundle {bundle_bytes} bytes; loaded into the registry {self.report.result['loaded_bytes']} bytes")
        self.tell(f"nodes {self.report.result['nodes']}; the whole install took {self.install_seconds:.0f} s")
        self.tell(
            f"client reads, no retry: {reader['ok']} ok, {reader['failed']} failed, {per_second:.1f} a second, "
            f"over {len(reader['servers'])} volume servers, every body's digest compared"
        )
        self.tell(f"client writes, no retry: {writer['ok']} ok, {writer['failed']} failed")
        for error in (*reader["errors"], *writer["errors"]):
            self.tell(f"  {error['time_utc']} {error['reason']}")
        self.tell(f"samples of VolumeList: {sampler['samples']}, with a missing shard: {missing}")
        self.tell(f"refused: {len(self.refusals)}: " + "; ".join(self.refusals))
        self.expect(reader["failed"] == 0 and reader["ok"] > 0, "no client read failed")
        self.expect(per_second >= 5, "at least 5 reads a second")
        self.expect(len(reader["servers"]) == 6, "reads touched every volume server")
        self.expect(missing == 0 and sampler["samples"] > 0, "no shard was ever missing")
        print(f"\nAll of it held, in {time.monotonic() - self.began_seconds:.0f} s.")

    def run(self) -> None:
        self.found_trust()
        self.build_first()
        self.sign_first()
        self.open_site()
        self.first_visit()
        self.refuse_bad_kits()
        self.install()
        self.later_visit()
        self.summary()


def weed_digest(version: str) -> str:
    from teraferry.installer.program.handover import digest_of_file

    return digest_of_file(weed_binary(version))


@contextmanager
def demo_folder(*, keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="teraferry-demo-", dir="/var/tmp"))
    try:
        yield folder
    finally:
        if keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", action="store_true", help="Do not remove the demo's folder.")
    arguments = parser.parse_args()
    with demo_folder(keep=arguments.keep) as folder:
        demo = Demo(folder)
        try:
            demo.run()
        except DemoFailed as failed:
            print(f"\nNOT AS PROMISED: {failed}", file=sys.stderr)
            return 1
        finally:
            demo.site.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
