"""``python -m freshline`` is ``freshline``."""

import sys

from freshline.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
