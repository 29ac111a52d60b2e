"""The receipt as the site makes it: drawn up from the journal, signed, and noted there."""
