"""The pure core: commit logs, speculation trees, both endpoints of the protocol and the ledger.

Nothing in here does I/O, reads a clock, starts a thread or draws a random number: a shell hands
messages in and takes messages out, so a simulator drives exactly the code that serves.
"""
