"""Benchmarks of spherex_butler, each against a floor measured in the same run."""
