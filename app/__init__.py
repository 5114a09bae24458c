"""Composition root: command line, settings, the engine thread and the run history."""
