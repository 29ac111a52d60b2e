"""A traffic switch of a site's own: a program of thirty lines on the gateway, spoken to as ``docs/site.md`` says."""

from __future__ import annotations

import pytest

from teraferry.installer.adapters.traffic.command import CommandSwitch
from teraferry.installer.ports import NodeTransport
from tests.lab.gateway import BLUE, GREEN, VIRTUAL, GatewayLab, virtual_address

PROGRAM = "/srv/site-switch"

TEXT = f"""#!/bin/sh
set -eu
standing=$(cat /srv/site-standing)

turn() {{
  case $1 in blue) server={BLUE} ;; green) server={GREEN} ;; *) exit 2 ;; esac
  nft -f - <<EOF
add table ip site
add chain ip site pre {{ type nat hook prerouting priority dstnat; }}
flush chain ip site pre
add rule ip site pre ip daddr {VIRTUAL} tcp dport {{ 80, 443 }} dnat to $server:8000
EOF
}}

count() {{
  grep -c "ESTABLISHED src=.* dst={VIRTUAL} .* src=$1 " /proc/net/nf_conntrack || :
}}

case $1 in
  observe) ;;
  hold) turn "$2" ;;
  release | boot) turn "$standing" ;;
  commit)
    echo "$2" >/srv/site-standing.new
    sync /srv/site-standing.new
    mv /srv/site-standing.new /srv/site-standing
    sync /srv
    standing=$2
    turn "$2" ;;
  *) exit 2 ;;
esac

case $(nft list chain ip site pre) in
  *{BLUE}:8000*) active=blue ;;
  *{GREEN}:8000*) active=green ;;
  *) echo "no rule" >&2; exit 1 ;;
esac
echo "{{\\"active\\": \\"$active\\", \\"standing\\": \\"$standing\\","
echo "\\"established\\": {{\\"blue\\": $(count {BLUE}), \\"green\\": $(count {GREEN})}}}}"
"""


@pytest.fixture
def site_switch(gateway_lab: GatewayLab) -> SiteSwitchLab:
    """A gateway with the site's own program, at blue; ``tests/conftest.py`` hands it to every test."""
    gateway_lab.wipe()
    lab = SiteSwitchLab(gateway_lab)
    lab.open()
    return lab


class SiteSwitchLab:
    """The program on the gateway."""

    def __init__(self, lab: GatewayLab) -> None:
        self.lab = lab
        self.gateway = lab.gateway

    def switch(self, transport: NodeTransport | None = None) -> CommandSwitch:
        """Return the switch, as an installer that just started has it."""
        return CommandSwitch(transport or self.lab.transport(), virtual_address(), [PROGRAM])

    def open(self) -> None:
        """Put the program there, and have it turned to blue."""
        script = f"cat >{PROGRAM}; chmod 755 {PROGRAM}; echo blue >/srv/site-standing; {PROGRAM} boot"
        self.gateway.run("sh", "-ec", script, stdin=TEXT.encode())

    def reboot(self) -> None:
        """The kernel forgets every rule; then what the site runs at boot runs."""
        self.gateway.sh(f"nft flush ruleset; {PROGRAM} boot")
