"""SynthDance: a procedural benchmark of dancers that look alike and do not move as expected, in DanceTrack's layout."""
