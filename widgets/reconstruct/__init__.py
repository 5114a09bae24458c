"""The Reconstruct tab: one picture in, a textured mesh out."""
