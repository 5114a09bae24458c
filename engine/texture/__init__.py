"""UV atlases, and texture baking from views."""
