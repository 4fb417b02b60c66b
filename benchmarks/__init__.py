"""What was measured, and the commands that measure it again; results lie in `benchmarks/results`."""
