"""One file per question; each prints a table.  Run from the repository's root: python -m benchmarks.NAME"""
