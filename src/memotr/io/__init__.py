"""Sources of frames (files, folders, cameras, streams) and sinks of results (video, text, JSON)."""
