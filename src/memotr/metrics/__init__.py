"""Numbers from tables of boxes: TrackEval's metrics, TETA and the bootstrap. No paths, no files."""
