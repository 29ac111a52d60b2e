"""A node fetches a file from the site's registry by itself, by digest, in place of having it sent from here.

With ``curl``, where the node has it: over https, with the site's CA and no other, no proxy, no redirect, no settings of
a user. The password is on curl's standard input, never in an argument. What arrives is digested on the node before
it gets its name, as an upload is, so a registry that lies can waste time only. Whatever goes wrong is said, and the
file is sent from here then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from teraferry.bundles.digest import Digest, hex_of
from teraferry.bundles.errors import RefusedError
from teraferry.bundles.progress import Progress
from teraferry.installer.adapters.node_shell import DIGEST_OF, FORGET_PARTS
from teraferry.installer.adapters.registry.settings import Credentials
from teraferry.installer.ports import NodeTransport

STALLED_SECONDS: Final = 120
"""No byte for so long ends a pull, as it ends an upload."""

CONNECT_SECONDS: Final = 15

SLOWEST_BYTES_PER_SECOND: Final = 100_000
"""Slower than this on the whole, the file is sent from here: a link that slow is not the one to wait for."""

STATUS_NO_CURL, STATUS_DAMAGED = 76, 75

_PULL = """
set -eu
path=$1 mode=$2 digest=$3 url=$4 ca=$5 length=$6 connect=$7 stalled=$8
command -v curl >/dev/null || exit 76
folder=$(dirname "$path")
part="$path.part.$$"
mkdir -p "$folder"
forget_parts "$path"
umask 077
trust=$(mktemp)
trap 'rm -f "$part" "$trust"' EXIT
printf '%s' "$ca" >"$trust"
curl -q --silent --show-error --fail --noproxy '*' --proto =https --cacert "$trust" --max-filesize "$length" \\
  --connect-timeout "$connect" --speed-limit 1 --speed-time "$stalled" --config - --output "$part" "$url" || exit 77
set -- $(digest_of <"$part")
[ "$1" = "$digest" ] || { echo "$1"; exit 75; }
chmod "$mode" "$part"
sync "$part"
mv -f "$part" "$path"
sync "$folder"
"""


@dataclass(frozen=True, slots=True)
class PullSource:
    """Where nodes fetch files, and what they need for it."""

    repository_url: str  # "https://registry.site.local:5000/v2/teraferry/files"
    ca_pem: Callable[[], str]
    credentials: Callable[[], Credentials | None]
    publish: Callable[[], None]  # brings every such file there first; raises RefusedError
    progress: Progress


class FilePull:
    """Lets one node fetch one file.

    Args:
        node: Its name in site.toml, for messages.
        transport: Reaches the node.
        source: Where it fetches the file.
        length_bytes: How long that file is.
    """

    def __init__(self, node: str, transport: NodeTransport, source: PullSource, length_bytes: int) -> None:
        self._node = node
        self._transport = transport
        self._source = source
        self._length_bytes = length_bytes

    def bring(self, path: str, digest: Digest, *, mode: int) -> bool:
        """Tell whether the node has ``digest`` at ``path`` now, durably; why not, was said."""
        try:
            self._source.publish()
            found = self._pull(path, digest, mode)
        except RefusedError as error:
            found = error.message
        if found:
            text = f"{self._node} did not pull {digest}: {found}; it is sent from here"
            self._source.progress.say("pull-failed", text, node=self._node, digest=digest, found=found)
        return not found

    def _pull(self, path: str, digest: Digest, mode: int) -> str:
        """Return what went wrong, in words."""
        url = f"{self._source.repository_url}/blobs/{digest}"
        words = (path, f"{mode:04o}", hex_of(digest), url, self._source.ca_pem(), self._length_bytes)
        argv = [*map(str, words), str(CONNECT_SECONDS), str(STALLED_SECONDS)]
        done = self._transport.run(
            ["sh", "-c", DIGEST_OF + FORGET_PARTS + _PULL, "sh", *argv],
            stdin=_curl_config(self._source.credentials()),
            timeout_seconds=STALLED_SECONDS + self._length_bytes / SLOWEST_BYTES_PER_SECOND,
        )
        if done.status == STATUS_NO_CURL:
            return "it has no curl"
        if done.status == STATUS_DAMAGED:
            return f"the registry served sha256:{done.text().strip()}"
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return "" if done.status == 0 else (said[0][:200] if said else f"status {done.status}")


def _curl_config(credentials: Credentials | None) -> bytes:
    if credentials is None:
        return b""
    login = f"{credentials.user}:{credentials.password}".replace("\\", "\\\\").replace('"', '\\"')
    return f'user = "{login}"\n'.encode()
