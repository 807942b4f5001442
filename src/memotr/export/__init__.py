"""Export of the frame step for other runtimes, as one graph from image and tracks to the tracks of the next frame."""
