"""The frame step for other runtimes: one graph from image and tracks to the tracks that the next frame starts from."""
