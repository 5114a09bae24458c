"""The Qt side of Oriel: windows, tabs and small shared widgets. No maths, no torch at import."""
