"""Shared pieces: small widgets by subject, and what the tabs of long work are made of."""
