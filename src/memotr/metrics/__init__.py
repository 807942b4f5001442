"""Numbers from tables of boxes: HOTA, CLEAR, Identity, TETA and the bootstrap. No paths, no files."""
