"""Benchmarks of all parts of the package next to a plain baseline, with a description of the machine."""
