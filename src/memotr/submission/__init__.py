"""Archives that the servers of benchmarks take."""
