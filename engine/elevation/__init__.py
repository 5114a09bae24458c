"""Elevation of the input camera: feature matching and reprojection error (One-2-3-45, appendix 6.4)."""

from engine.elevation.estimate import DEFAULT_ELEVATION, ElevationEstimate, estimate_elevation
from engine.elevation.matchers import (
    DenseFlowMatcher,
    LoFTRMatcher,
    Matcher,
    SiftMatcher,
    load_matcher,
)

__all__ = [
    "DEFAULT_ELEVATION",
    "DenseFlowMatcher",
    "ElevationEstimate",
    "LoFTRMatcher",
    "Matcher",
    "SiftMatcher",
    "estimate_elevation",
    "load_matcher",
]
