"""Zero123 and Zero123-XL, the published diffusion models of novel views (Liu et al. 2023)."""

from engine.views.zero123.generator import Zero123Generator

__all__ = ["Zero123Generator"]
