"""SynthDance: a procedural benchmark of look-alike dancers with deceptive motion, in DanceTrack's layout."""
