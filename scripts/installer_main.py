"""What the frozen installer starts with; ``scripts/build-payload`` packs it."""

import sys

from teraferry.installer.cli import main

sys.exit(main())
