"""Roots: founded, changed, followed and shown."""
