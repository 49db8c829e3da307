"""The load benchmark: requests that arrive whether or not earlier ones are done, at several rates.

The method is in benchmarks/README.md; `amusd bench --load` runs it.
"""
