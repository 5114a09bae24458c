"""Benchmarks: speed, held-out quality and ratios against a named baseline, in one table."""
