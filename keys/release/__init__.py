"""What a release is, as its signers signed it."""
