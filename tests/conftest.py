"""What all tests share: no test fails because the machine was busy; labs that several modules use."""

from __future__ import annotations

from hypothesis import settings

from tests.lab.gateway import gateway, gateway_lab

__all__ = ["gateway", "gateway_lab"]

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
