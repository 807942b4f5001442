"""Evaluation: tracking of benchmarks, scoring of results, and comparison of scored runs."""
