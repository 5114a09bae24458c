"""The study of fine-tuning on buildings, in miniature, from procedural models to the report.

    OUT/
      study.json                    what the study is about
      models/                       the held-out buildings, their input pictures and cases.json
      training/generic/             models/ and renders/ of generic shapes, 40 views each
      training/buildings/           the same of buildings
      training/zero-shot/           a surface network trained on the generic shapes only
      training/fine-tuned/          the same, fine-tuned on the buildings with a loss on the mask
      training/control/             the same, trained on the generic shapes for as long as that
      training/with-depth/          the fine-tuning with a loss on the depth in the mask's place
      predictions/<network>/        the held-out buildings as each network reconstructs them, from the same views
      report/                       the evaluation of the four

The network is the published one, smaller (`COMPACT`): the built-in network corrects a visual hull, which leaves it
little to learn about buildings. All training has the same losses, but for the depth's, and rendered source views: a
network that trains on what the view generator draws, and is held to true masks, learns to inflate. Fine-tuned and
control differ in the objects that they were shown.

Everything is done in steps that go on where they were stopped, so the same command finishes a study that was killed.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import cameras
from engine.core.errors import InputError, OrielError
from engine.core.files import lock_folder, read_object, write_whole
from engine.core.progress import CancelToken, Progress, ProgressCallback

if TYPE_CHECKING:
    from engine.evaluation.report import Results

FORMAT = 3
"""Of a study's folder: raised with what its trainings depend on, so that no two recipes meet in one report."""
FIRST_TRAINING_SEED = 1_500_000_000
"""Of the models to train on: far from the seeds that the other networks' training begins with."""
ELEVATIONS = (5.0, 45.0)
"""Range in degrees of the input cameras' elevations."""
PICTURE_SIZE = 256
SHARPNESS = 300.0
"""NeuS's s at the end of a training: what is thinner than some 3 / s looks half transparent, and is swollen for it."""
ZERO_SHOT_RATE = 1e-3
"""Learning rate of the network that starts from nothing."""
ZERO_SHOT_SHARE = 1 / 2
"""Of a fine-tuning's epochs: how long the network that starts from nothing is trained."""
HALVE_AT = (1 / 3, 1 / 2, 2 / 3)
"""Shares of a training at which its rate is halved: SparseNeuS's 100,000, 150,000 and 200,000 of 300,000 steps."""
NETWORKS = ("zero-shot", "fine-tuned", "control", "with-depth")


@dataclass(frozen=True)
class StudyOptions:
    """How large the study is."""

    heldout: int = 98
    """Held-out buildings, as many as the study that this one follows had."""
    training: int = 80
    """Generic shapes, and as many buildings, to train on, less the tenth that a split of renders puts aside."""
    size: int = 128
    """Side of the training pictures in pixels."""
    samples: int = 16
    """Samples a pixel of all rendered pictures."""
    epochs: float = 3.0
    """How often each fine-tuning, and the control, looks at each view."""
    rays: int = 512
    """Rays of a batch."""
    sources: int = 8
    """Source views, of 32, that a step takes features from: the fewer, the faster."""
    seed: int = 0
    """Seed of all training."""


class Study:
    """A study in its folder. `open` it, `run` it as often as needed, `close` it."""

    def __init__(self, out: Path, options: StudyOptions) -> None:
        self.out = out
        self.options = options
        self._lock: Any = None

    @classmethod
    def open(cls, out: Path, given: dict[str, Any]) -> Study:
        """Begin a study, or go on with the one in `out`; raises `InputError` where `given` says otherwise than it."""
        lock = lock_folder(out, ".study.lock", f"Another study is at work in {out}. Wait for it, or choose another.")
        try:
            record = read_object(out / "study.json") or {"format": FORMAT}
            if record.get("format") != FORMAT:
                raise InputError(f"{out} holds a study of another version of Oriel. Choose another folder.")
            known = record.get("options", {})
            changed = [f"{name} was {known[name]} and is {given[name]}" for name in given if name in known
                       and known[name] != given[name]]  # fmt: skip
            if changed:
                raise InputError(f"{out} holds a study already: {'; '.join(changed)}. Choose another folder.")
            names = {field.name for field in dataclasses.fields(StudyOptions)}
            options = StudyOptions(**{name: value for name, value in (known | given).items() if name in names})
            if not 1 <= options.heldout <= len(_heldout_seeds()) or options.training < 1:
                raise InputError(
                    f"A study has 1 to {len(_heldout_seeds())} held-out buildings and at least 1 to train on, but "
                    f"{options.heldout} and {options.training} were asked for."
                )
            content = {"format": FORMAT, "options": dataclasses.asdict(options)}
            write_whole(out / "study.json", json.dumps(content, indent=1).encode())
        except BaseException:
            lock.release()
            raise
        study = cls(out, options)
        study._lock = lock
        return study

    def close(self) -> None:
        """Let go of the folder."""
        self._lock.release()

    def run(self, progress: ProgressCallback, cancel: CancelToken) -> Results | None:
        """Do what is left; None where it was cancelled."""
        steps: list[Callable[[ProgressCallback, CancelToken], None]] = [
            self.make_models,
            self.draw_pictures,
            self.render,
            self.train_zero_shot,
            self.fine_tune,
            self.reconstruct,
        ]
        for step in steps:
            step(progress, cancel)
            if cancel.cancelled:
                return None
        return self.evaluate(progress, cancel)

    # -- the steps -----------------------------------------------------------------------------------------

    def make_models(self, progress: ProgressCallback, cancel: CancelToken) -> None:
        """The buildings as GLB files."""
        from engine.data import FAMILIES

        families = [family for family in FAMILIES if family != "generic"]
        jobs: list[tuple[int, str | None, Path]] = [
            (seed, None, self.out / "models") for seed in _heldout_seeds()[: self.options.heldout]
        ]
        for i in range(self.options.training):
            for kind, shape in (("generic", "generic"), ("buildings", families[i % len(families)])):
                jobs.append((FIRST_TRAINING_SEED + i, shape, self.out / "training" / kind / "models"))
        for done, (seed, family, folder) in enumerate(jobs):
            cancel.check()
            progress(Progress("models", done, len(jobs)))
            _write_model(seed, family, folder)

    def draw_pictures(self, progress: ProgressCallback, cancel: CancelToken) -> None:
        """The input picture of each held-out building, by Blender, and what is true of it."""
        from engine.rendering.blender import BlenderProcess, find_blender
        from engine.rendering.jobs import Frame

        folder = self.out / "models"
        settings = self._settings(PICTURE_SIZE)
        models = sorted(folder.glob("*.glb"))
        cases: dict[str, dict[str, Any]] = {}
        with BlenderProcess(find_blender()) as blender:
            for done, path in enumerate(models):
                progress(Progress("pictures", done, len(models), path.stem))
                rng = np.random.default_rng([47, int(path.stem.rsplit("_", 1)[1])])
                pose = cameras.Pose(float(rng.uniform(*ELEVATIONS)), float(rng.uniform(0, 360)))
                picture = folder / f"{path.stem}.png"
                if not picture.exists():
                    work = folder / ".work"
                    work.mkdir(exist_ok=True)
                    blender.render(path, work, settings, [Frame(path.stem, pose, False)], cancel=cancel)
                    (work / picture.name).replace(picture)
                cases[path.stem] = {
                    "elevation": round(pose.elevation, 4),
                    "azimuth": round(pose.azimuth, 4),
                    "picture": picture.name,
                }
        write_whole(folder / "cases.json", json.dumps(cases, indent=1).encode())

    def render(self, progress: ProgressCallback, cancel: CancelToken) -> None:
        """All views of the models to train on."""
        from engine.rendering.farm import RenderRun
        from engine.rendering.layout import find_models

        for kind in ("generic", "buildings"):
            source, out = (self.out / "training" / kind / name for name in ("models", "renders"))
            models = find_models(source)
            settings = self._settings(self.options.size)
            totals = RenderRun(models, out, settings, source=source, retry_failed=True).run(progress, cancel)
            if cancel.cancelled:
                return
            if totals.failed:
                raise OrielError(
                    f"{totals.failed} of {len(models)} models could not be rendered. See `oriel render status {out}`, "
                    "then give the same command again."
                )

    def train_zero_shot(self, progress: ProgressCallback, cancel: CancelToken) -> None:
        """The network that has never seen a building."""
        from engine.surface.published import COMPACT

        epochs = ZERO_SHOT_SHARE * self.options.epochs
        self._train("zero-shot", "generic", epochs, progress, cancel, config=COMPACT.name, rate=ZERO_SHOT_RATE)

    def fine_tune(self, progress: ProgressCallback, cancel: CancelToken) -> None:
        """The three that go on from it; a collapse is not undone, as it is what one of them is about."""
        weights = str(self._weights("zero-shot"))
        depth = {"depth": 1.0, "mask": 0.0, "watch": False}
        jobs: tuple[tuple[str, str, dict[str, Any]], ...] = (
            ("fine-tuned", "buildings", {}),
            ("control", "generic", {}),
            ("with-depth", "buildings", depth),
        )
        for network, kind, changed in jobs:
            self._train(network, kind, self.options.epochs, progress, cancel, weights=weights, **changed)
            if cancel.cancelled:
                return

    def _train(
        self, network: str, kind: str, epochs: float, progress: ProgressCallback, cancel: CancelToken, **options: Any
    ) -> None:
        from engine.training import FineTuneOptions
        from engine.training.data import PRINCIPAL, Renders
        from engine.training.finetune import FineTune
        from engine.training.records import RUN

        out = self.out / "training" / network
        if (out / ".done").exists():
            return
        renders = self.out / "training" / kind / "renders"
        steps = epochs * len(PRINCIPAL) * len(Renders.open(renders).train)
        shared = FineTuneOptions(
            epochs=epochs,
            halve_at=tuple(round(share * steps) for share in HALVE_AT),
            rays=self.options.rays,
            sources=self.options.sources,
            predicted_share=0.0,
            sharpness=SHARPNESS,
            validate_models=0,  # the last weights count: those of a few models would be chosen by chance
            seed=self.options.seed,
        )
        resume = (out / RUN).exists()
        FineTune(renders, out, dataclasses.replace(shared, **options), resume=resume).run(
            _staged(network, progress), cancel
        )
        if not cancel.cancelled:
            (out / ".done").touch()

    def reconstruct(self, progress: ProgressCallback, cancel: CancelToken) -> None:
        """Every held-out building with every network: the views are drawn once, the surfaces differ."""
        models = sorted((self.out / "models").glob("*.glb"))
        jobs = [(model, network) for network in NETWORKS for model in models]
        for done, (model, network) in enumerate(jobs):
            cancel.check()
            progress(Progress("reconstruct", done, len(jobs), f"{network}, {model.stem}"))
            self._reconstruct(model, network, cancel)

    def _reconstruct(self, model: Path, network: str, cancel: CancelToken) -> None:
        from engine.reconstruct.options import Options
        from engine.reconstruct.run import Run

        place, first = (self.out / "predictions" / name / model.stem for name in (network, NETWORKS[0]))
        surface = str(self._weights(network).absolute())
        if not (place / "run.json").exists():
            if place == first:
                Run.create(model.with_suffix(".png"), place, Options(quality="draft", surface=surface))
            else:
                partial = place.with_name(f".{place.name}.partial")
                shutil.rmtree(partial, ignore_errors=True)
                shutil.copytree(first, partial)
                partial.replace(place)
        found = Run.open(place)
        found.change(surface=surface)
        if found.status != "done":
            found.execute(None, cancel)

    def evaluate(self, progress: ProgressCallback, cancel: CancelToken) -> Results:
        """The report."""
        from engine.evaluation.options import Options
        from engine.evaluation.study import Evaluation

        folders = [self.out / "predictions" / name for name in NETWORKS]
        names = ("f_score", "clip", "chamfer", "volume_iou", "psnr", "ssim", "mask_iou", "elevation_error")
        return Evaluation(self.out / "models", folders, self.out / "report", Options(metrics=names)).run(
            progress, cancel
        )

    # -- helpers -------------------------------------------------------------------------------------------

    def _settings(self, size: int) -> Any:
        from engine.rendering.jobs import RenderSettings

        return RenderSettings(size=size, samples=self.options.samples)

    def _weights(self, network: str) -> Path:
        return self.out / "training" / network / "surface.safetensors"


def _heldout_seeds() -> list[int]:
    """Held-out seeds of buildings, the families in turn."""
    from engine.data import family_of, split_seeds

    return [int(seed) for seed in split_seeds("heldout") if family_of(seed) != "generic"]


def _write_model(seed: int, family: str | None, folder: Path) -> None:
    from engine.data import family_of, make_object

    path = folder / f"{family or family_of(seed)}_{seed}.glb"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, bytes(make_object(seed, family).to_scene().export(file_type="glb")))


def _staged(stage: str, progress: ProgressCallback) -> ProgressCallback:
    """Report what a step's own stages say as one stage of the study."""

    def report(event: Progress) -> None:
        progress(Progress(stage, event.done, event.total, f"{event.stage}: {event.message}"))

    return report
