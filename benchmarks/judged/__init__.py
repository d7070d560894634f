"""Recorded upgrades that are judged: each answer's quality is what the recorded judge said of it."""
