"""Parts of a model as VTK draws them: `actor_of`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from engine.meshes.reducing import PreviewPart

_MASK = """//VTK::TCoord::Impl
  if (gl_FragData[0].a < {cutoff:.4f}) discard;
"""


def actor_of(part: PreviewPart, *, ambient: float, diffuse: float) -> Any:
    """A part as a `vtkActor` without gloss; its arrays are shared, only the texture is copied."""
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonCore import vtkPoints
    from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkImageData, vtkPolyData
    from vtkmodules.vtkRenderingCore import vtkActor, vtkPolyDataMapper, vtkTexture

    points, cells, data = vtkPoints(), vtkCellArray(), vtkPolyData()
    points.SetData(numpy_to_vtk(part.points))
    cells.SetData(3, numpy_to_vtk(part.triangles.reshape(-1)))
    data.SetPoints(points)
    data.SetPolys(cells)
    data.GetPointData().SetNormals(numpy_to_vtk(part.normals))
    mapper, actor = vtkPolyDataMapper(), vtkActor()
    mapper.SetInputData(data)
    mapper.StaticOn()
    if part.colors is not None:
        data.GetPointData().SetScalars(numpy_to_vtk(part.colors))
        mapper.SetColorModeToDirectScalars()
    else:
        mapper.ScalarVisibilityOff()
    look = actor.GetProperty()
    look.SetColor(1.0, 1.0, 1.0)
    look.SetAmbient(ambient)
    look.SetDiffuse(diffuse)
    look.SetSpecular(0.0)
    if part.texture is not None and part.uv is not None:
        data.GetPointData().SetTCoords(numpy_to_vtk(part.uv))
        height, width = part.texture.shape[:2]
        image = vtkImageData()
        image.SetDimensions(width, height, 1)
        pixels = np.ascontiguousarray(part.texture[::-1]).reshape(height * width, -1)
        image.GetPointData().SetScalars(numpy_to_vtk(pixels))
        texture = vtkTexture()
        texture.SetInputData(image)
        texture.InterpolateOn()
        texture.SetRepeat(part.repeat)
        actor.SetTexture(texture)
    if part.alpha == "mask":
        actor.GetShaderProperty().AddFragmentShaderReplacement(
            "//VTK::TCoord::Impl", True, _MASK.format(cutoff=part.cutoff), False
        )
    if part.alpha != "blend":
        actor.ForceOpaqueOn()
    actor.SetMapper(mapper)
    return actor
