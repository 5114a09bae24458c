"""Files shipped with Oriel: built-in weights, sample pictures, icons and the style sheet."""
