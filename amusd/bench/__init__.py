"""The benchmark: contenders side by side on the same prompts, with bounds and pictures.

The method is in benchmarks/README.md; `amusd bench` runs it.
"""
