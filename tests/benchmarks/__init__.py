"""Benchmarks of speed, memory, the cost of retries and of the journal, and the rate: `python -m tests.benchmarks`, see docs/explanation/benchmarks.md."""
