"""Tracking: the frame step, the trackers that run it, and the pipeline from a source to result files."""
