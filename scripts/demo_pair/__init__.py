"""How the model pair that ships with amusd is made; `scripts/train_demo_pair.py` runs it."""
