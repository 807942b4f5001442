"""Frames and sequences: how they become what the network takes."""
