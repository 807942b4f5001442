"""Data sets: formats, annotations, training clips and preprocessing."""
