"""Demo without downloads: generate a clip, track and score it, and compare with a tracker without memory."""
