"""``python -m engine.cli`` is ``cowl``."""

from engine.cli.main import main

main()
