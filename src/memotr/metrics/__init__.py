"""Metrics of tables of boxes: TrackEval's metrics, TETA and the bootstrap, without any files."""
