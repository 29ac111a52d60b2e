"""What all tests share: no test fails because the machine was busy; labs that several modules use."""

from __future__ import annotations

from hypothesis import settings

from tests.lab.gateway import gateway, gateway_lab
from tests.lab.haproxy import haproxy
from tests.lab.site_switch import site_switch

__all__ = ["gateway", "gateway_lab", "haproxy", "site_switch"]

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
