"""Metrics computed from tables of boxes: HOTA, CLEAR, Identity, TETA and the bootstrap. No module here reads files."""
