"""Metrics of tables of boxes: HOTA, CLEAR, Identity, TETA and the bootstrap, without any files."""
