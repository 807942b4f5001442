"""Readers of data sets as their users download them, one file a format, all yielding ``Sequence``.

Every reader takes a ``Problems`` and goes on after a bad line, so that one pass finds all that is wrong.
"""
