"""Decisions without effects: which futures a drafter expands, what a target's pass takes and waits for."""
