"""Starting workers, finding them again after a restart, and leaving nothing behind.

`local` starts each worker as a subprocess, `ray` as an actor. Both run the same worker (`shell.py`).
"""
