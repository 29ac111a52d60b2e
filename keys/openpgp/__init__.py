"""OpenPGP signatures over ``SHA256SUMS``: what gpgv says, and what we make of it."""
