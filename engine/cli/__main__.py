"""``python -m engine.cli`` is ``cowl``."""

from engine.cli.entry import main

main()
