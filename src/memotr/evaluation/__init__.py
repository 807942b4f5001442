"""Metrics over results, and the runs that make the results."""
