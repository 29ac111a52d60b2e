"""The signing room: a request that travels, and the answers that come back."""
