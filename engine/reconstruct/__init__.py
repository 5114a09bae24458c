"""One picture in, one textured mesh out."""
