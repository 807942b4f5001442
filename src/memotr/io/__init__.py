"""Frames in (files, folders, cameras, streams) and results out (video, text, JSON)."""
