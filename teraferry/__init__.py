"""TeraFerry carries a signed release across an air gap.

The four packages live in top-level folders of the repository and are linked here, so that
they are imported as ``teraferry.bundles`` and so on: bare names would collide with others'.
"""

__version__ = "0.1.0"
