"""Meshes and their files: reading, reducing, drawing and writing them."""
