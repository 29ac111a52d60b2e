"""The format: what a bundle is, and how it is written and read. A leaf, with no network."""
