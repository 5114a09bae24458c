"""Procedural objects with exact truth: training data, benchmark, test input and demo.

Real models are in `engine.data.models`, solids of any mesh in `engine.data.carving`; the package loads neither.
"""

from engine.data.objects import FAMILIES, ProceduralObject, family_of, make_object, split_seeds
from engine.data.textures import LAYERS, texture_library

__all__ = ["FAMILIES", "LAYERS", "ProceduralObject", "family_of", "make_object", "split_seeds", "texture_library"]
