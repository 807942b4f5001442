"""Archives of results for benchmark servers: check of result files, and packing."""
