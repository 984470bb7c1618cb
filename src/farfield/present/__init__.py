"""Artifacts on disk become pictures and one report; no model, no GPU."""
