"""What must hold between the fields of a site file. Pure."""

from __future__ import annotations

from functools import partial

from teraferry.installer.site.addresses import parse_address, parse_ssh, registry_endpoint
from teraferry.installer.site.asking_rules import require_sound_questions
from teraferry.installer.site.blue_green_rules import require_sound_blue_green
from teraferry.installer.site.cluster_rules import require_sound_cluster
from teraferry.installer.site.deploy_rules import require_sound_deploys
from teraferry.installer.site.key_rules import require_sound_keys
from teraferry.installer.site.model import Site, Transport, TrustTable
from teraferry.installer.site.paths import require_absolute, require_words
from teraferry.installer.site.registry_rules import require_sound_registry
from teraferry.installer.site.strategy import parse_tier
from teraferry.installer.site.text import SiteText, Where
from teraferry.keys.openpgp.judge import parse_fingerprint


def require_sound(site: Site, text: SiteText, *, tier: str | None = None) -> None:
    """Check everything the types cannot say, in the order of the file.

    Args:
        site: As decoded.
        text: Where it stands, for messages.
        tier: "1" or "2", as decided; None where nobody decided: then what the file itself says.

    Raises:
        UsageError: ``tier-unknown``, ``site-bad-value`` or ``site-missing-field``, 2.
    """
    require_sound_trust(site.trust, text)
    require_sound_registry(site, text)
    _require_nodes(site, text)
    tier = tier or (None if site.tier is None else parse_tier(site.tier, source=f"site file {text.name}"))
    require_sound_cluster(site, text, tier=tier)
    require_sound_deploys(site, text)
    require_sound_blue_green(site, text, tier=tier)
    require_sound_questions(site, text)
    require_sound_keys(site, text)


def require_sound_trust(trust: TrustTable, text: SiteText) -> None:
    """Check ``[trust]``; ``verify`` reads nothing else of a site file.

    Raises:
        UsageError: ``site-bad-value``, 2.
    """
    if trust.require_openpgp is not None:
        text.checked(("trust", "require_openpgp"), partial(parse_fingerprint, trust.require_openpgp))
    if trust.openpgp_key is not None:
        require_absolute(trust.openpgp_key, text, ("trust", "openpgp_key"))
        if trust.require_openpgp is None:
            # A key that nothing asks for looks like a demand, and is none.
            found = "without require_openpgp, expected the fingerprint of that key there"
            raise text.bad_value(("trust", "openpgp_key"), found)


def _require_nodes(site: Site, text: SiteText) -> None:
    seen_names: dict[str, int] = {}
    seen_addresses: dict[tuple[str, int], int] = {}
    for number, node in enumerate(site.nodes):
        endpoint = text.checked(("node", number, "address"), partial(parse_address, node.address))
        # Two entries for one server would be two votes of one node, and a second drain of the same disks.
        if seen_names.setdefault(node.name, number) != number:
            raise text.bad_value(("node", number, "name"), f"{node.name} twice, expected one node a name")
        if seen_addresses.setdefault(endpoint, number) != number:
            raise text.bad_value(("node", number, "address"), f"{node.address} twice, expected one node an address")
        _require_transport(node.transport, text, ("node", number, "transport"))
        if node.smoke_url is not None:
            text.checked(("node", number, "smoke_url"), partial(registry_endpoint, node.smoke_url))


def _require_transport(transport: Transport, text: SiteText, where: Where) -> None:
    ways = [transport.local, transport.command is not None, transport.ssh is not None]
    if sum(ways) != 1:
        found = "more than one way" if any(ways) else "no way"
        raise text.bad_value(where, f"{found} to the node, expected one of local = true, command = [...], ssh")
    if transport.ssh is None and (transport.identity is not None or transport.host_key is not None):
        raise text.bad_value(where, "identity or host_key without ssh, expected them only with it")
    if transport.command is not None:
        require_words(transport.command, text, where)
    if transport.ssh is not None:
        _require_ssh(transport, transport.ssh, text, where)


def _require_ssh(transport: Transport, ssh: str, text: SiteText, where: Where) -> None:
    text.checked((*where, "ssh"), partial(parse_ssh, ssh))
    # Without its key pinned, whoever answers at that address would be believed.
    for field, example in (("identity", "/etc/teraferry/id_ed25519"), ("host_key", "ssh-ed25519 AAAA...")):
        if getattr(transport, field) is None:
            raise text.bad_value(
                (*where, field),
                "absent, expected it with ssh",
                reference="site-missing-field",
                hint=f'Write {field} = "{example}" beside ssh.',
            )
    require_absolute(transport.identity or "", text, (*where, "identity"))
