"""Data sets: their formats, annotations, training clips and preprocessing."""
