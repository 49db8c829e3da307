"""What every test runs under."""

import os

from hypothesis import settings

# Set before torch or Ray is imported: one thread a process, no hub, no cluster but the tests' own.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.pop("RAY_ADDRESS", None)
os.environ["AMUSD_COST_FILES"] = "off"  # no test learns from another, and none writes to the user's folder

# Times vary on a shared machine, so they are no reason to fail; a failure prints how to replay it.
settings.register_profile("amusd", deadline=None, print_blob=True)
settings.load_profile("amusd")
