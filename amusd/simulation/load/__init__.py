"""Many requests at a time, in virtual time: batches that stay full, and requests that arrive by themselves.

`amusd simulate --load` runs it; see docs/simulation.md.
"""
