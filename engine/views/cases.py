"""Training cases of the built-in generator, made on the fly by worker processes."""

from __future__ import annotations

import logging
import os
import queue
import time
from dataclasses import dataclass, replace
from multiprocessing import get_context, shared_memory
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor

from engine import cameras
from engine.core.processes import end_with
from engine.data.ground import on_ground
from engine.data.photo import photograph
from engine.data.renderer import FramedObject, Light, Renderer, Shading, Solid, frame_object
from engine.meshes.mesh import facet_normals
from engine.views.manhattan import CANDIDATES, VOTES, edge_votes

if TYPE_CHECKING:
    from engine.data.models import ModelLibrary

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.intp]

ELEVATIONS, COMMON_ELEVATIONS = (-15.0, 75.0), (0.0, 45.0)
"""Range of input elevations in training, degrees, and the part of it that most are from."""
LENSES, COMMON_LENSES = (24.0, 100.0), (35.0, 50.0)
"""Range of input focal lengths in millimetres before a picture 36 mm wide, and the part of it that many are from."""
SHADED, ON_GROUND = 0.8, 0.15
"""Shares of objects with shadows, and of pictures whose mask has kept some ground."""
_CLOSEST = 0.5
"""Least distance of the input camera from an object's nearest point, in world units (`INPUT_RADIUS` to its middle)."""


@dataclass(frozen=True)
class CaseSize:
    """How much each case holds."""

    picture: int = 128
    """Side of the input picture in pixels."""
    points: int = 2048
    """Points labelled inside or outside."""
    colors: int = 512
    """Surface points with their colour."""
    rays: int = 64
    """Rays of other cameras."""
    samples: int = 12
    """Points along each of them."""
    occupancy: int = 0
    """Cells along the side of the whole occupancy, a multiple of 8; 0 for none."""

    def fields(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and type of each array of a case.

        Its frame is that of a reconstruction, but with the input camera's focal length `lens` (the reference's being
        1) and as many times its distance; so the object fills the picture and is as it is. `azimuth` is that of the
        object's main direction, `aligned` whether it has one (see `main_direction`). `occupancy` has axes z, y, x of
        the frame turned there, its bits packed along x.
        `mask` is the object's true coverage, without the errors and the ground that the picture's alpha may have;
        `kind` is 0 for a procedural object, 1 for a model of a building and 2 for one of a thing.
        """
        n = self.occupancy
        return ({"occupancy": ((n, n, n // 8), np.uint8)} if n else {}) | {
            "picture": ((self.picture, self.picture, 4), np.uint8),
            "points": ((self.points, 3), np.float16),
            "inside": ((self.points,), np.uint8),
            "color_points": ((self.colors, 3), np.float16),
            "colors": ((self.colors, 3), np.uint8),
            "ray_points": ((self.rays, self.samples, 3), np.float16),
            "ray_inside": ((self.rays, self.samples), np.uint8),
            "ray_hit": ((self.rays,), np.uint8),
            "elevation": ((), np.float32),
            "lens": ((), np.float32),
            "azimuth": ((), np.float32),
            "aligned": ((), np.uint8),
            "votes": ((VOTES, len(CANDIDATES)), np.float16),
            "mask": ((self.picture, self.picture), np.uint8),
            "kind": ((), np.uint8),
        }


@dataclass(frozen=True)
class _Outline:
    """What framing needs of an object: the corners of its convex hull."""

    vertices: FloatArray
    """(V, 3)."""

    @classmethod
    def of(cls, vertices: FloatArray) -> _Outline:
        """The outline of points (N, 3)."""
        try:
            return cls(vertices[ConvexHull(vertices).vertices])
        except QhullError:  # flat
            return cls(vertices)


@dataclass(frozen=True)
class _Looks:
    """What other cameras see of an object, in its own frame."""

    color_points: FloatArray
    """(N, 3) surface points."""
    colors: npt.NDArray[np.uint8]
    """(N, 3) their lit colours."""
    ray_points: FloatArray
    """(R, samples, 3) points along rays."""
    ray_inside: npt.NDArray[np.bool_]
    """(R, samples) whether they lie inside."""
    hits: npt.NDArray[np.bool_]
    """(R,) whether the ray hits the object."""


class CaseMaker:
    """Makes cases of one object: `views` pictures of it under one light, with labels, and edge `votes` or not.

    The share `share` of objects are drawn from `models`, of these the share `buildings` buildings; the others are
    procedural.
    """

    def __init__(
        self,
        size: CaseSize,
        views: int = 3,
        votes: bool = True,
        models: ModelLibrary | None = None,
        share: float = 0.0,
        buildings: float = 0.5,
    ) -> None:
        self.size, self.views, self.votes = size, views, votes
        self.models, self.share, self.buildings = models, share, buildings
        self._inputs = Renderer(size.picture)
        self._others = Renderer(96, supersample=1)

    def make(self, seed: int) -> list[dict[str, npt.NDArray[Any]]]:
        """The cases of object `seed`; the same seed gives the same cases."""
        rng = np.random.default_rng([7, seed])
        return self.cases_of(self._draw(seed, rng), rng)

    def _draw(self, seed: int, rng: np.random.Generator) -> Solid:
        from engine.data import make_object

        if self.models is not None and rng.random() < self.share:
            for _ in range(8):
                try:
                    return self.models.draw(rng, "train", buildings=self.buildings)
                except Exception:  # a file can be broken in any way, and the worker has to go on
                    logging.getLogger(__name__).warning("A model could not be used; another is drawn.", exc_info=True)
        return make_object(seed)

    def cases_of(self, obj: Solid, rng: np.random.Generator) -> list[dict[str, npt.NDArray[Any]]]:
        """The cases of a given solid."""
        light = Light.random(rng)
        shading = Renderer.shade(obj, light, float(rng.uniform(0.3, 2.0))) if rng.random() < SHADED else None
        looks = self._look_around(obj, light, shading, rng)
        surface, _ = obj.sample_surface(self.size.points, rng)
        outline = _Outline.of(obj.vertices)
        main = main_direction(obj)
        cases = [self._case(obj, outline, light, shading, surface, looks, main, rng) for _ in range(self.views)]
        if not self.votes:
            return cases
        pictures = torch.from_numpy(np.stack([case["picture"] for case in cases])).permute(0, 3, 1, 2) / 255
        for case, votes in zip(cases, edge_votes(pictures).numpy(), strict=True):
            case["votes"] = votes.astype(np.float16)
        return cases

    def _look_around(self, obj: Solid, light: Light, shading: Shading | None, rng: np.random.Generator) -> _Looks:
        """What three other cameras see: lit surface points, and rays that hit the object or miss it."""
        n, side = 3, 96
        k = cameras.intrinsics(side)
        turn = rng.uniform(0, 360)
        c2ws = cameras.camera_to_world(rng.uniform(-10, 55, n), turn + np.arange(n) * 360 / n, 1.9)
        rgba, depth = self._others.render(obj, c2ws, k, light=light, shading=shading)
        parts = []
        for c2w, picture, z in zip(c2ws, rgba, depth, strict=True):
            seen = z > 0
            if not seen.any():
                continue
            rows, columns = self._pick(seen, self.size.colors, rng)
            origin, rays = cameras.pixel_rays(c2w, k, np.stack([columns + 0.5, rows + 0.5], -1))
            color_points = origin + rays * z[rows, columns, None]
            # half of the rays in the band about the silhouette's edge, half anywhere in and near it
            wide = cv2.dilate(seen.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
            band = wide & (cv2.erode(seen.astype(np.uint8), np.ones((9, 9), np.uint8)) == 0)
            half = self.size.rays // 2
            near, anywhere = self._pick(band, half, rng), self._pick(wide, self.size.rays - half, rng)
            at = tuple(np.concatenate(pair) for pair in zip(near, anywhere, strict=True))
            origin, rays = cameras.pixel_rays(c2w, k, np.stack([at[1] + 0.5, at[0] + 0.5], -1))
            points = origin + rays[:, None] * self._depths(obj, origin, rays, z[at], rng)[..., None]
            parts.append((color_points, picture[rows, columns, :3], points, seen[at]))
        color_points, colors, ray_points, hits = (np.concatenate(values) for values in zip(*parts, strict=True))
        inside = obj.contains(ray_points.reshape(-1, 3).astype(np.float32)).reshape(ray_points.shape[:2])
        return _Looks(color_points.astype(np.float32), colors, ray_points.astype(np.float32), inside, hits)

    @staticmethod
    def _pick(where: npt.NDArray[np.bool_], count: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Rows and columns of `count` random pixels of a mask."""
        rows, columns = np.nonzero(where)
        chosen = rng.integers(0, len(rows), count)
        return rows[chosen], columns[chosen]

    def _depths(
        self, obj: Solid, origin: FloatArray, rays: FloatArray, depth: FloatArray, rng: np.random.Generator
    ) -> FloatArray:
        """Depths (N, samples) along rays through the object's box, one of them just under the surface that is hit."""
        low, high = obj.vertices.min(0) - 0.05, obj.vertices.max(0) + 0.05
        with np.errstate(divide="ignore", invalid="ignore"):
            walls = np.sort(np.stack([(low - origin) / rays, (high - origin) / rays]), 0)
        first, last = np.nanmax(walls[0], 1), np.nanmin(walls[1], 1)
        passes = last > first
        first, last = np.where(passes, first, 1.5), np.where(passes, last, 2.3)
        steps = (np.arange(self.size.samples) + rng.random((len(rays), self.size.samples))) / self.size.samples
        out = first[:, None] + (last - first)[:, None] * steps
        out[:, 0] = np.where(depth > 0, depth + rng.uniform(0.005, 0.03, len(rays)), out[:, 0])
        return out.astype(np.float32)

    def _place(
        self, outline: _Outline, elevations: tuple[float, float], rng: np.random.Generator
    ) -> tuple[FramedObject, float, float]:
        """An object before an input camera: framed, with a focal length (in pixels of the reference's picture), seen
        from an azimuth (degrees, as it stands).

        Drawn again where the object would not fit into the volume or would come too near to the lens: a long house from
        its end, a tower from above. Nobody takes such a picture.
        """
        tries: list[tuple[float, int, FramedObject, float, float]] = []
        for _ in range(12):
            common = COMMON_ELEVATIONS if rng.random() < 0.65 else ELEVATIONS
            elevation = rng.uniform(max(common[0], elevations[0]), min(common[1], elevations[1]))
            azimuth = rng.uniform(0, 360)
            low, high = np.log(COMMON_LENSES if rng.random() < 0.4 else LENSES)
            focal = float(np.exp(rng.uniform(low, high))) / 36 * cameras.REFERENCE_SIZE
            fraction = rng.uniform(*((0.7, 0.8) if rng.random() < 0.7 else (0.6, 0.85)))
            framed = frame_object(outline, elevation, azimuth, focal=focal, fraction=fraction, step=0.5)
            reach = framed.depth_reach
            excess = max(
                reach * focal / cameras.REFERENCE_FOCAL - cameras.VOLUME_EXTENT,
                reach + _CLOSEST - cameras.INPUT_RADIUS,
            )
            tries.append((excess, len(tries), framed, focal, azimuth))
            if excess <= 0:
                break
        _, _, framed, focal, azimuth = min(tries)
        if rng.random() < 0.3:  # off the centre, as a mask's error or a forgotten corner would have it
            away = np.clip(rng.normal(0, 0.02, 2), -0.05, 0.05) * cameras.REFERENCE_SIZE
            away *= cameras.INPUT_RADIUS / focal
            axes = cameras.camera_to_world(framed.elevation, 0.0)[:3, :2]
            framed.model[:3, 3] += axes @ away.astype(np.float32)
        return framed, focal, azimuth

    def _case(
        self,
        obj: Solid,
        outline: _Outline,
        light: Light,
        shading: Shading | None,
        surface: FloatArray,
        looks: _Looks,
        main: tuple[float, bool],
        rng: np.random.Generator,
    ) -> dict[str, npt.NDArray[Any]]:
        size = self.size
        grounded = on_ground(obj, rng) if rng.random() < ON_GROUND else None
        if grounded is None:
            framed, focal, azimuth = self._place(outline, ELEVATIONS, rng)
        else:  # from below the ground would hide what stands on it
            whole = np.concatenate([outline.vertices, grounded.vertices[len(obj.vertices) :]])
            framed, focal, azimuth = self._place(_Outline(whole), (3.0, ELEVATIONS[1]), rng)
        framed = replace(framed, obj=obj)
        elevation, lens = framed.elevation, focal / cameras.REFERENCE_FOCAL
        c2w = cameras.camera_to_world(elevation, 0.0)
        k = cameras.intrinsics(size.picture, focal * size.picture / cameras.REFERENCE_SIZE)
        # the light turns with the object
        turn = np.radians(-azimuth)
        x, y, z = light.to_light
        turned = replace(light, to_light=(x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn), z))
        (drawn,), _ = self._inputs.render(
            grounded or obj, c2w, k, light=turned, model=framed.model, depth=False, shading=shading
        )
        mask = drawn[..., 3]
        if grounded is not None:
            (alone,), _ = self._inputs.render(obj, c2w, k, model=framed.model, depth=False)
            mask = alone[..., 3]
        chosen = rng.integers(0, len(looks.colors), size.colors)
        picture, colors = photograph(drawn, looks.colors[chosen], rng)
        near = size.points // 2
        spread = np.where(rng.random(near) < 0.4, 0.02, 0.08)[:, None]
        close = lens * framed.to_world(surface[:near]) + rng.normal(0, 1, (near, 3)) * spread
        reach = cameras.VOLUME_EXTENT
        wide = rng.uniform(-reach, reach, (size.points - near, 3))
        half = len(wide) // 2
        wide[:half] *= 0.75
        points = np.concatenate([close, wide]).astype(np.float32)
        points = points[rng.permutation(len(points))]
        inside = framed.contains((points / lens).astype(np.float32))
        rays = rng.permutation(len(looks.hits))[: size.rays]
        ray_points = lens * framed.to_world(looks.ray_points[rays].reshape(-1, 3))
        direction, aligned = main
        x, y = framed.model[:2, :2] @ (np.cos(direction), np.sin(direction))
        azimuth = (np.degrees(np.arctan2(y, x)) + 45) % 90 - 45
        return self._occupancy(framed, lens, azimuth) | {
            "picture": picture,
            "points": points.astype(np.float16),
            "inside": inside.astype(np.uint8),
            "color_points": (lens * framed.to_world(looks.color_points[chosen])).astype(np.float16),
            "colors": colors,
            "ray_points": ray_points.reshape(size.rays, size.samples, 3).astype(np.float16),
            "ray_inside": looks.ray_inside[rays].astype(np.uint8),
            "ray_hit": looks.hits[rays].astype(np.uint8),
            "elevation": np.asarray(elevation, np.float32),
            "lens": np.asarray(lens, np.float32),
            "azimuth": np.asarray(azimuth, np.float32),
            "aligned": np.asarray(aligned, np.uint8),
            "mask": mask,
            "kind": np.asarray(getattr(obj, "kind", 0), np.uint8),
        }

    def _occupancy(self, framed: FramedObject, lens: float, azimuth: float) -> dict[str, npt.NDArray[Any]]:
        n = self.size.occupancy
        if not n:
            return {}
        axis = (np.arange(n) + 0.5) / n * 2 * cameras.VOLUME_EXTENT - cameras.VOLUME_EXTENT
        z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
        a = np.radians(azimuth)
        turned = np.stack([x * np.cos(a) - y * np.sin(a), x * np.sin(a) + y * np.cos(a), z], -1) / lens
        inside = framed.contains(turned.reshape(-1, 3).astype(np.float32)).reshape(n, n, n)
        return {"occupancy": np.packbits(inside, axis=-1)}


def main_direction(obj: Solid) -> tuple[float, bool]:
    """The azimuth in radians that most of a solid's walls face, to a quarter turn, and whether there is one at all.

    The moment of fourfold symmetry of the walls' normals, weighed by their areas; where they face all ways alike, as
    about a cone, the solid's own axes will do.
    """
    normals = facet_normals(obj.vertices, obj.faces, np.float64)
    level = normals[:, 0] + 1j * normals[:, 1]
    walls = np.abs(level) > 2 * np.abs(normals[:, 2])
    weight, unit = np.abs(level[walls]), np.exp(4j * np.angle(level[walls]))
    moment = (weight * unit).sum() / max(weight.sum(), 1e-12)
    aligned = abs(moment) > 0.25
    return (float(np.angle(moment)) / 4 if aligned else 0.0), aligned


def _work(maker: CaseMaker, memory: str, slots: int, free: Any, ready: Any, seeds: Any, owner: int) -> None:
    end_with(owner)
    os.environ["LP_NUM_THREADS"] = "0"  # one core a worker: Mesa's software renderer would take them all
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    block = shared_memory.SharedMemory(memory)
    arrays = _views(block, maker.size, slots)
    try:
        while True:
            with seeds.get_lock():
                seed = seeds.value
                seeds.value += 1
            for case in maker.make(seed):
                slot = free.get()
                if slot is None:
                    return
                for name, value in case.items():
                    arrays[name][slot] = value
                ready.put(slot)
    except KeyboardInterrupt:
        pass
    finally:
        del arrays
        block.close()


def _views(block: shared_memory.SharedMemory, size: CaseSize, slots: int) -> dict[str, npt.NDArray[Any]]:
    arrays, offset = {}, 0
    assert block.buf is not None
    for name, (shape, kind) in size.fields().items():
        count = int(np.prod(shape, dtype=np.int64)) * slots
        arrays[name] = np.frombuffer(block.buf, kind, count, offset).reshape(slots, *shape)
        offset += count * np.dtype(kind).itemsize
        offset += -offset % 64
    return arrays


class CasePool:
    """Cases made by worker processes into shared memory; each is served `reuse` times, then replaced.

    A slot is never written while it may be read: workers take free slots from one queue and hand them
    over through another. With `turns`, workers wait while the trainer works and the other way round: for training on
    the same cores, where threads that wait for each other at every operation lose more than they gain. Without `votes`
    those of edges are left to whoever takes the cases. `models`, `share` and `buildings` are `CaseMaker`'s.
    """

    def __init__(
        self,
        size: CaseSize,
        *,
        workers: int,
        slots: int,
        reuse: int,
        first_seed: int,
        seed: int,
        views: int = 3,
        turns: bool = False,
        votes: bool = True,
        models: ModelLibrary | None = None,
        share: float = 0.0,
        buildings: float = 0.5,
    ) -> None:
        self.size, self.slots, self.reuse, self.turns = size, slots, max(1, reuse), turns
        total = sum(
            (int(np.prod(s, dtype=np.int64)) * slots * np.dtype(t).itemsize + 63) // 64 * 64
            for s, t in size.fields().values()
        )
        self._block = shared_memory.SharedMemory(create=True, size=total)
        self._arrays = _views(self._block, size, slots)
        context = get_context("spawn")
        self._free, self._ready = context.Queue(), context.Queue()
        self._seeds = context.Value("q", first_seed)
        self._spent = list(range(slots))
        self._uses = np.full(slots, self.reuse, np.int64)
        self._stock: list[int] = []
        self._rng = np.random.default_rng(seed)
        self.made = 0
        self.waited = 0.0
        maker = CaseMaker(size, views, votes, models, share, buildings)
        args = (maker, self._block.name, slots, self._free, self._ready, self._seeds, os.getpid())
        self._workers = [context.Process(target=_work, args=args, daemon=True) for _ in range(workers)]
        for worker in self._workers:
            worker.start()

    @property
    def next_seed(self) -> int:
        """The first object seed that no worker has taken."""
        return int(self._seeds.value)

    def batch(self, count: int) -> dict[str, npt.NDArray[Any]]:
        """A random batch of `count` cases, copied; waits while too few are there."""
        start = time.perf_counter()
        if not self.turns or 4 * len(self._spent) >= self.slots:
            for slot in self._spent:
                self._free.put(slot)
            self._spent = []
        wanted = self.slots - len(self._spent) if self.turns else min(4 * count, self.slots)
        while True:
            try:
                slot = self._ready.get(block=len(self._stock) < wanted, timeout=1.0)
                self._stock.append(slot)
                self._uses[slot] = 0
                self.made += 1
            except queue.Empty:
                if len(self._stock) >= wanted:
                    break
                self._check()
        self.waited += time.perf_counter() - start
        chosen = self._rng.choice(len(self._stock), count, replace=False)
        slots = np.array([self._stock[i] for i in chosen])
        out = {name: values[slots].copy() for name, values in self._arrays.items()}
        self._uses[slots] += 1
        for i in sorted(chosen.tolist(), reverse=True):
            if self._uses[self._stock[i]] >= self.reuse:
                self._spent.append(self._stock[i])
                self._stock[i] = self._stock[-1]
                self._stock.pop()
        return out

    def take(self, least: int) -> dict[str, npt.NDArray[Any]]:
        """All cases (M, ...) made since the last call, copied, for others to keep; waits until there are `least`."""
        start = time.perf_counter()
        for slot in self._spent:
            self._free.put(slot)
        self._spent = []
        while True:
            try:
                self._spent.append(self._ready.get(block=len(self._spent) < least, timeout=1.0))
            except queue.Empty:
                if len(self._spent) >= least:
                    break
                self._check()
        self.made += len(self._spent)
        self.waited += time.perf_counter() - start
        return {name: values[self._spent] for name, values in self._arrays.items()}

    def _check(self) -> None:
        if not any(w.is_alive() for w in self._workers):
            raise RuntimeError("every data worker has ended; run again with fewer workers")

    def close(self) -> None:
        """End the workers and free the memory."""
        for _ in self._workers:
            self._free.put(None)
        for worker in self._workers:
            worker.join(0.5)
            if worker.is_alive():
                worker.terminate()
                worker.join(5)
        for channel in (self._free, self._ready):
            channel.cancel_join_thread()
            channel.close()
        self._arrays = {}
        self._block.close()
        self._block.unlink()


class DevicePool:
    """The newest cases of a `CasePool` in a device's memory, for a trainer faster than the workers are.

    `slots` must be no fewer than the pool's.
    Each batch is drawn from all that are there; a new case takes the place of the oldest.
    """

    def __init__(self, pool: CasePool, slots: int, device: torch.device) -> None:
        self.pool, self.slots = pool, slots
        self._kept: dict[str, Tensor] = {}
        self._device = device
        self._count = 0

    def batch(self, count: int) -> dict[str, Tensor]:
        """A random batch of `count` cases on the device; waits only at first, for a few batches' worth of them."""
        self._store(self.pool.take(0))
        while self._count < min(32 * count, self.slots):
            self._store(self.pool.take(1))
        chosen = torch.randint(0, min(self._count, self.slots), (count,), device=self._device)
        return {name: values[chosen] for name, values in self._kept.items()}

    def _store(self, arrays: dict[str, npt.NDArray[Any]]) -> None:
        new = {name: torch.from_numpy(values) for name, values in arrays.items()}
        if self._device.type == "cuda":  # pageable memory would be waited for
            new = {name: values.pin_memory().to(self._device, non_blocking=True) for name, values in new.items()}
        made = len(new["picture"])
        if not made:
            return
        if not self._kept:
            self._kept = {name: values.new_empty(self.slots, *values.shape[1:]) for name, values in new.items()}
        new["votes"] = edge_votes(new["picture"].permute(0, 3, 1, 2) / 255).to(new["votes"].dtype)
        at = torch.arange(self._count, self._count + made, device=self._device) % self.slots
        for name, values in new.items():
            self._kept[name][at] = values
        self._count += made
