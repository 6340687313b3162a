"""Speed, memory, the price of retries and the rate, measured side by side: `python -m tests.benchmarks`, see docs/benchmarks.md."""
