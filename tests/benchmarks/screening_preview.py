"""`python -m tests.benchmarks.screening_preview`: how fast and how small previews of large models are.

Makes textured procedural models of 5 to 100 MB (once, into a folder), loads each of them, and then goes through them
at one a second as an annotator does, with the next ones wanted ahead and without.
"""

from __future__ import annotations

import argparse
import io
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from engine.data.objects import make_object, split_seeds
from engine.screening import PreviewCache, PreviewLimits, load_preview
from tests.benchmarks.table import Table


def make_models(folder: Path, count: int, smallest_mb: float = 5.0, largest_mb: float = 100.0) -> list[Path]:
    """`count` GLB files between two sizes, evenly spread in their logarithm; files that are there are kept.

    Half of the bytes, more or less, are geometry, the others textures with noise, PNG and JPEG in turn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(count):
        share = index / max(count - 1, 1)
        size = smallest_mb * (largest_mb / smallest_mb) ** share
        path = folder / f"model_{index:03d}_{size:.0f}mb.glb"
        if not path.is_file():
            part = path.with_suffix(".part")
            part.write_bytes(_model(index, size * 1e6))
            part.rename(path)
        paths.append(path)
    # large and small ones mixed, the same way each time
    order = np.random.default_rng(0).permutation(len(paths))
    return [paths[i] for i in order]


def _model(index: int, size: float) -> bytes:
    rng = np.random.default_rng(index)
    scene: Any = make_object(int(split_seeds("heldout")[index % 200])).to_scene()
    meshes = list(scene.geometry.values())
    kind = ("PNG", "JPEG")[index % 2]
    left = size * rng.uniform(0.3, 0.7)
    for mesh in meshes:
        material = mesh.visual.material
        picture = _noisy(material.baseColorTexture, left, kind, rng)
        material.baseColorTexture = Image.open(io.BytesIO(picture))
        left = max(left - len(picture), 0)
    exported = scene.export(file_type="glb")
    while len(exported) < 0.95 * size:
        _subdivide(meshes, sum(len(mesh.faces) for mesh in meshes) + int((size - len(exported)) / 28))
        exported = scene.export(file_type="glb")
    assert isinstance(exported, bytes)
    return exported


def _noisy(small: Image.Image, most: float, kind: str, rng: np.random.Generator) -> bytes:
    """The texture enlarged, with noise, to the largest of some sides that leaves room; as it is where none does."""
    for side in (4096, 2048, 1024, 512):
        if most > side * side * (1.7 if kind == "PNG" else 0.45):
            pixels = np.asarray(small.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)).astype(np.int16)
            pixels += rng.integers(-5, 6, (side, side, 1), np.int16)
            small = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
            break
    raw = io.BytesIO()
    small.convert("RGB").save(raw, kind, **({"quality": 92} if kind == "JPEG" else {"compress_level": 4}))
    return raw.getvalue()


def _subdivide(meshes: Sequence[Any], triangles: int) -> None:
    """Divide the triangles of meshes, those with the largest first, until there are about so many."""
    import trimesh

    def split(mesh: Any, faces: np.ndarray | None) -> None:
        points, made, attributes = trimesh.remesh.subdivide(
            mesh.vertices, mesh.faces, face_index=faces, vertex_attributes={"uv": mesh.visual.uv}
        )
        mesh.visual.uv = None
        material = mesh.visual.material
        mesh.vertices, mesh.faces = points, made
        mesh.visual = trimesh.visual.TextureVisuals(uv=attributes["uv"], material=material)

    while (missing := triangles - sum(len(mesh.faces) for mesh in meshes)) > 0:
        for mesh in sorted(meshes, key=lambda mesh: -mesh.area / len(mesh.faces)):
            whole = len(mesh.faces) * 3 <= missing
            split(mesh, None if whole else np.arange(max(missing // 3, 1)))
            missing = triangles - sum(len(m.faces) for m in meshes)
            if missing <= 0:
                return


def measure_loading(paths: Sequence[Path], table: Table) -> None:
    """Each model once, in this process."""
    load_preview(paths[0])  # the first brings its libraries with it
    seconds, per_mb, kept = [], [], []
    for path in paths:
        start = time.process_time()
        preview = load_preview(path)
        assert preview.problem is None, preview.problem
        seconds.append(time.process_time() - start)
        per_mb.append(seconds[-1] / (path.stat().st_size / 1e6))
        kept.append(preview.nbytes / 1e6)
    group = f"load, {len(paths)} models"
    for name, values, unit in (
        ("processor time", seconds, "s"),
        ("processor time for 1 MB", [1000 * v for v in per_mb], "ms"),
        ("preview", kept, "MB"),
    ):
        table.add(group, f"{name}, median", float(np.median(values)), unit)
        table.add(group, f"{name}, 95th percentile", float(np.percentile(values, 95)), unit)


class _Watch:
    """The largest memory of the worker processes while it is open."""

    def __init__(self) -> None:
        self.each = self.together = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        own = psutil.Process()
        while not self._end.wait(0.2):
            sizes = []
            for child in own.children():
                try:
                    found = child.memory_info()
                    sizes.append((found.rss - found.shared) / 1e6)  # without the mapped model
                except psutil.Error:
                    continue
            self.each = max(self.each, max(sizes, default=0.0))
            self.together = max(self.together, sum(sizes))


def measure_waiting(
    paths: Sequence[Path], ahead: int, pace: float, workers: int, table: Table, name: str
) -> list[float]:
    """Seconds from the wish to see each model until it is ready, seen one after the other, `pace` seconds each."""
    cache = PreviewCache(PreviewLimits(), workers=workers)
    waits = []
    ready = threading.Event()
    cache.on_ready(lambda _: ready.set())
    with _Watch() as watch:
        cache.want(paths[: ahead + 1])
        cache.get(paths[0])
        time.sleep(5 * pace)  # the window opens
        for index, path in enumerate(paths):
            start = time.perf_counter()
            cache.want(paths[index : index + 1 + ahead])
            while cache.get(path) is None:
                ready.wait(0.25)
                ready.clear()
            waits.append(time.perf_counter() - start)
            time.sleep(pace)
        kept = cache.nbytes / 1e6
    cache.close()
    table.add(name, "ready after, median", 1000 * float(np.median(waits)), "ms")
    table.add(name, "ready after, 95th percentile", 1000 * float(np.percentile(waits, 95)), "ms")
    table.add(name, "ready at once", 100 * float(np.mean(np.array(waits) < 0.02)), "%")
    table.add(name, "memory of a worker, most", watch.each, "MB")
    table.add(name, "memory of all workers, most", watch.together, "MB")
    table.add(name, "previews kept at the end", kept, "MB")
    return waits


def measure_transfer(path: Path, table: Table) -> None:
    """A preview on its way to this process, while another thread is busy: through a file, as is done, and pickled."""
    import pickle
    from multiprocessing import Pipe, get_context

    from engine.core.processes import Channel

    found = load_preview(path)
    context = get_context("spawn")
    end = threading.Event()
    busy = threading.Thread(target=lambda: [math.sqrt(i) for i in iter(lambda: 0 if not end.is_set() else 1, 1)])
    times: dict[str, list[float]] = {"file": [], "pickled through the pipe": []}
    busy.start()
    for _ in range(5):
        near, far = (Channel(end_of_pipe) for end_of_pipe in Pipe())
        start = time.perf_counter()
        far.send(found)
        near.receive()
        times["file"].append(time.perf_counter() - start)
        ours, theirs = context.Pipe()
        process = context.Process(target=_send_pickled, args=(theirs, replace(found)))
        process.start()
        ours.recv()
        ours.send(None)
        start = time.perf_counter()
        pickle.loads(ours.recv_bytes())
        times["pickled through the pipe"].append(time.perf_counter() - start)
        process.join()
        ours.close()
    end.set()
    busy.join()
    for name, values in times.items():
        table.add(f"transfer of {found.nbytes / 1e6:.0f} MB", name, 1000 * float(np.median(values)), "ms")


def _send_pickled(pipe: Any, preview: Any) -> None:
    import pickle

    pipe.send(None)
    pipe.recv()
    pipe.send_bytes(pickle.dumps(preview, protocol=5))
    pipe.close()


def main() -> int:
    """Print one table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.screening_preview", description=__doc__)
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=Path("out/screening_models"), help="where they are made")
    parser.add_argument("--smallest", type=float, default=5.0, help="MB")
    parser.add_argument("--largest", type=float, default=100.0, help="MB")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ahead", type=int, default=10, help="models wanted ahead")
    parser.add_argument("--pace", type=float, default=1.0, help="seconds that each model is looked at")
    arguments = parser.parse_args()
    paths = make_models(arguments.folder, arguments.models, arguments.smallest, arguments.largest)
    table = Table()
    table.add("models", "all files", sum(path.stat().st_size for path in paths) / 1e6, "MB")
    measure_loading(paths, table)
    measure_transfer(paths[0], table)
    pace, workers = arguments.pace, arguments.workers
    with_it = measure_waiting(paths, arguments.ahead, pace, workers, table, f"{arguments.ahead} wanted ahead")
    without = measure_waiting(paths, 0, pace, workers, table, "none wanted ahead")
    table.add("gain", "waiting without over with", sum(without) / max(sum(with_it), 1e-6), "times")
    print(table.text())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
