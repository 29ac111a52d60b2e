"""Keys on lab tokens with attributes of one's own choice, which pkcs11-tool does not offer.

The process must see the tokens (``SoftHsm.environment``), and no ``KeyRing`` may be open in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pkcs11
from pkcs11 import Attribute, KeyType
from pkcs11.util.ec import encode_named_curve_parameters

from tests.lab.softhsm import SoftHsm


@contextmanager
def open_token(hsm: SoftHsm, label: str) -> Iterator[Any]:
    """Give a session that may write; the module is let go of afterwards."""
    module = pkcs11.lib(hsm.module)
    try:
        with module.get_token(token_label=label).open(rw=True, user_pin=hsm.pin(label)) as session:
            yield session
    finally:
        module.finalize()


def generate(session: Any, name: str, **private: bool) -> Any:
    """Generate P-256 with these attributes on the private half, and return that half."""
    curve = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
    parameters = session.create_domain_parameters(KeyType.EC, curve, local=True)
    wanted = {Attribute[key.upper()]: value for key, value in private.items()}
    _, half = parameters.generate_keypair(store=True, label=name, id=name.encode(), private_template=wanted)
    return half
