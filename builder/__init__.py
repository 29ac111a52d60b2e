"""The connected side: describe, lock, build and sign a release."""
