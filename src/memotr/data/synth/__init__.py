"""SynthDance: a procedural benchmark of look-alike dancers with deceptive motion, in DanceTrack's layout."""

SETTINGS_FILE = "synthdance.yaml"
"""File of the generator's settings at the top of a data set."""
SEQUENCE = "synthdance_"
"""Beginning of the name of every sequence."""
