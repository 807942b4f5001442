"""Entry point of ``python -m memotr``."""

from memotr.cli import main

main()
