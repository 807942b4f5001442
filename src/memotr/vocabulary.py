"""Words that settings, commands and code share, each defined once. Imports nothing: commands start with it."""

from typing import Literal

Protocol = Literal["auto", "mot", "mot15", "mot16", "mot17", "mot20", "bdd100k"]
"""Whose rules decide what is scored; ``auto``: as names of sequences say, else ``mot``, those of own data."""
