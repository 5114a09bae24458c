"""Figures of merit against the truth."""
