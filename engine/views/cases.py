"""Training cases of the built-in generator, made on the fly by worker processes."""

from __future__ import annotations

import os
import queue
import time
from dataclasses import dataclass
from multiprocessing import get_context, shared_memory
from typing import Any

import numpy as np
import numpy.typing as npt

from engine import cameras
from engine.data.renderer import Light, Renderer, frame_object

FloatArray = npt.NDArray[np.float32]

ELEVATIONS = (-10.0, 70.0)
"""Range of input elevations in training, degrees."""


@dataclass(frozen=True)
class CaseSize:
    """How much each case holds."""

    picture: int = 128
    """Side of the input picture in pixels."""
    points: int = 2048
    """Points labelled inside or outside."""
    colors: int = 512
    """Surface points with their colour."""

    def fields(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and type of each array of a case."""
        return {
            "picture": ((self.picture, self.picture, 4), np.uint8),
            "points": ((self.points, 3), np.float16),
            "inside": ((self.points,), np.uint8),
            "color_points": ((self.colors, 3), np.float16),
            "colors": ((self.colors, 3), np.uint8),
            "elevation": ((), np.float32),
        }


@dataclass
class _Lens:
    """A camera with another focal length, and the warp that makes its picture the reference camera's.

    Pixels are kept and depths are scaled about the object's middle, so that labels made through the warp
    agree with the picture to the pixel although the network always assumes the reference lens.
    """

    focal: float

    def to_reference(self, cam: FloatArray) -> FloatArray:
        """Camera-space points (N, 3), OpenGL axes, of the real lens to those of the reference lens."""
        return self._warp(cam, self.focal, cameras.REFERENCE_FOCAL)

    def from_reference(self, cam: FloatArray) -> FloatArray:
        """The inverse of `to_reference`."""
        return self._warp(cam, cameras.REFERENCE_FOCAL, self.focal)

    @staticmethod
    def _warp(cam: FloatArray, source: float, target: float) -> FloatArray:
        depth = -cam[:, 2]
        new = cameras.INPUT_RADIUS + (depth - cameras.INPUT_RADIUS) * (source / target)
        out = np.empty_like(cam)
        out[:, :2] = cam[:, :2] * (source / target * new / np.maximum(depth, 1e-3))[:, None]
        out[:, 2] = -new
        return out


class CaseMaker:
    """Makes cases of one object: `views` pictures of it under one light, with labels."""

    def __init__(self, size: CaseSize, views: int = 3) -> None:
        self.size, self.views = size, views
        self._inputs = Renderer(size.picture)
        self._others = Renderer(96, supersample=1)

    def make(self, seed: int) -> list[dict[str, npt.NDArray[Any]]]:
        """The cases of object `seed`; the same seed gives the same cases."""
        from engine.data import make_object

        rng = np.random.default_rng([7, seed])
        obj = make_object(seed)
        light = Light.random(rng)
        poses = [(rng.uniform(*ELEVATIONS), rng.uniform(0, 360)) for _ in range(self.views)]
        color_points, colors = self._colored_points(obj, light, rng)
        surface, _ = obj.sample_surface(self.size.points, rng)
        return [self._case(obj, light, *pose, surface, color_points, colors, rng) for pose in poses]

    def _colored_points(self, obj: Any, light: Light, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Points of the object seen from three sides, with their lit colours (0..255)."""
        n, k = 3, cameras.intrinsics(96)
        turn = rng.uniform(0, 360)
        c2ws = cameras.camera_to_world(rng.uniform(-10, 55, n), turn + np.arange(n) * 360 / n, 1.9)
        rgba, depth = self._others.render(obj, c2ws, k, light=light)
        points, colors = [], []
        for c2w, picture, z in zip(c2ws, rgba, depth, strict=True):
            rows, columns = np.nonzero(z > 0)
            if not len(rows):
                continue
            pick = rng.integers(0, len(rows), self.size.colors)
            rows, columns = rows[pick], columns[pick]
            origin, rays = cameras.pixel_rays(c2w, k, np.stack([columns + 0.5, rows + 0.5], -1))
            points.append(origin + rays * z[rows, columns, None])
            colors.append(picture[rows, columns, :3])
        return np.concatenate(points).astype(np.float32), np.concatenate(colors)

    def _case(
        self,
        obj: Any,
        light: Light,
        elevation: float,
        azimuth: float,
        surface: FloatArray,
        color_points: FloatArray,
        colors: FloatArray,
        rng: np.random.Generator,
    ) -> dict[str, npt.NDArray[Any]]:
        size = self.size
        lens = _Lens(cameras.REFERENCE_FOCAL * float(np.exp(rng.normal(0, 0.15))))
        fraction = rng.uniform(0.7, 0.8)
        framed = frame_object(obj, elevation, azimuth, focal=lens.focal, fraction=fraction)
        while framed.depth_reach > cameras.VOLUME_EXTENT and elevation > 5:
            # a tower from above reaches up to the lens: nobody takes such a picture
            elevation = max(elevation - 15, 5)
            framed = frame_object(obj, elevation, azimuth, focal=lens.focal, fraction=fraction)
        c2w = cameras.camera_to_world(elevation, 0.0)
        focal = lens.focal * size.picture / cameras.REFERENCE_SIZE
        # the light turns with the object
        turn = np.radians(-azimuth)
        x, y, z = light.to_light
        to_light = (x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn), z)
        picture, _ = self._inputs.render(
            obj,
            c2w,
            cameras.intrinsics(size.picture, focal),
            light=Light(to_light, light.diffuse, light.sky, light.ground, light.specular, light.shininess),
            model=framed.model,
            depth=False,
        )
        rotation = c2w[:3, :3]

        def reference(points: npt.NDArray[Any]) -> FloatArray:
            """Points of the framed object in the frame that the network works in."""
            cam = ((points - c2w[:3, 3]) @ rotation).astype(np.float32)
            return (lens.to_reference(cam) @ rotation.T + c2w[:3, 3]).astype(np.float32)

        near = size.points // 2
        spread = np.where(rng.random(near) < 0.4, 0.02, 0.08)[:, None]
        close = reference(framed.to_world(surface[:near])) + rng.normal(0, 1, (near, 3)) * spread
        reach = cameras.VOLUME_EXTENT
        wide = rng.uniform(-reach, reach, (size.points - near, 3))
        half = len(wide) // 2
        wide[:half] *= 0.75
        points = np.concatenate([close, wide]).astype(np.float32)
        points = points[rng.permutation(len(points))]
        cam = (points - c2w[:3, 3]) @ rotation
        real = lens.from_reference(cam.astype(np.float32)) @ rotation.T + c2w[:3, 3]
        inside = framed.contains(real.astype(np.float32))
        chosen = rng.integers(0, len(color_points), size.colors)
        return {
            "picture": _jitter(picture[0], rng),
            "points": points.astype(np.float16),
            "inside": inside.astype(np.uint8),
            "color_points": reference(framed.to_world(color_points[chosen])).astype(np.float16),
            "colors": colors[chosen].astype(np.uint8),
            "elevation": np.asarray(elevation, np.float32),
        }


def _jitter(picture: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Sensor noise and a soft focus now and then: pictures are not always crisp."""
    kind = rng.random()
    if kind < 0.6:
        return picture
    import cv2

    out = picture.astype(np.float32)
    if kind < 0.85:
        blurred = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.4, 1.2)))
        out = np.asarray(blurred, np.float32)
    noise = rng.normal(0, rng.uniform(1, 7), out.shape[:2])[..., None]
    out[..., :3] += noise * (out[..., 3:] > 0)
    return np.clip(out, 0, 255).astype(np.uint8)


def _work(size: CaseSize, views: int, memory: str, slots: int, free: Any, ready: Any, seeds: Any) -> None:
    os.environ["LP_NUM_THREADS"] = "0"  # one core a worker: Mesa's software renderer would take them all
    block = shared_memory.SharedMemory(memory)
    arrays = _views(block, size, slots)
    maker = CaseMaker(size, views)
    parent = os.getppid()
    try:
        while os.getppid() == parent:
            with seeds.get_lock():
                seed = seeds.value
                seeds.value += 1
            for case in maker.make(seed):
                while True:
                    try:
                        slot = free.get(timeout=1.0)
                        break
                    except queue.Empty:
                        if os.getppid() != parent:
                            return
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
    over through another.
    """

    def __init__(
        self, size: CaseSize, *, workers: int, slots: int, reuse: int, first_seed: int, seed: int, views: int = 3
    ) -> None:
        self.size, self.slots, self.reuse = size, slots, max(1, reuse)
        total = sum(
            (int(np.prod(s, dtype=np.int64)) * slots * np.dtype(t).itemsize + 63) // 64 * 64
            for s, t in size.fields().values()
        )
        self._block = shared_memory.SharedMemory(create=True, size=total)
        self._arrays = _views(self._block, size, slots)
        context = get_context("spawn")
        self._free, self._ready = context.Queue(), context.Queue()
        self._seeds = context.Value("q", first_seed)
        for slot in range(slots):
            self._free.put(slot)
        self._uses = np.full(slots, self.reuse, np.int64)
        self._stock: list[int] = []
        self._rng = np.random.default_rng(seed)
        self.made = 0
        self.waited = 0.0
        args = (size, views, self._block.name, slots, self._free, self._ready, self._seeds)
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
        wanted = min(4 * count, self.slots)
        while True:
            try:
                slot = self._ready.get(block=len(self._stock) < wanted, timeout=1.0)
                self._stock.append(slot)
                self._uses[slot] = 0
                self.made += 1
            except queue.Empty:
                if len(self._stock) >= wanted:
                    break
                if not any(w.is_alive() for w in self._workers):
                    raise RuntimeError("every data worker has ended; run again with fewer workers") from None
        self.waited += time.perf_counter() - start
        chosen = self._rng.choice(len(self._stock), count, replace=False)
        slots = np.array([self._stock[i] for i in chosen])
        out = {name: values[slots].copy() for name, values in self._arrays.items()}
        self._uses[slots] += 1
        for i in sorted(chosen.tolist(), reverse=True):
            if self._uses[self._stock[i]] >= self.reuse:
                self._free.put(self._stock[i])
                self._stock[i] = self._stock[-1]
                self._stock.pop()
        return out

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
