"""The front door and the ledger: it opens requests on both sides and reads what was committed."""
