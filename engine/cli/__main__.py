"""``python -m engine.cli`` is ``cowl``."""

import sys

from engine.cli.main import main

sys.exit(main())
