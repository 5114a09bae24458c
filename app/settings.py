"""What the program remembers between starts: one JSON file, written atomically.

`ORIEL_HOME` names the folder that holds the settings and the history; without it they lie where the
system keeps such things.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from engine.core.errors import OutputError
from engine.core.files import whole_file


def home() -> Path:
    """Folder for what the program keeps: the settings and the runs."""
    named = os.environ.get("ORIEL_HOME")
    return Path(named).expanduser() if named else Path(platformdirs.user_data_dir("oriel", appauthor=False))


@dataclass
class Settings:
    """The settings, with their defaults."""

    theme: str = "system"
    """`light`, `dark` or `system`."""
    models: dict[str, Any] = field(default_factory=dict)
    """What the user picked for `method`, `generator`, `sampler`, `matcher` and `surface`, where not the best here."""
    quality: str = "standard"
    weights_folder: str | None = None
    """Further folder with model weights."""
    model_paths: dict[str, str] = field(default_factory=dict)
    """Files and folders of published weights that the user pointed to, by the model's key in `engine.weights`."""
    memory_gb: float | None = None
    """Memory of the GPU to keep to, in GB; None takes what there is."""
    runs_folder: str | None = None
    """Folder of the history; by default `runs` beside the settings."""
    last_folder: str | None = None
    """Where the last picture was opened."""
    crawl: dict[str, Any] = field(default_factory=dict)
    """List, folder and options of the last crawl."""
    screen: dict[str, Any] = field(default_factory=dict)
    """List, folder and annotator of the last screening, the keys that were changed, and whether models turn."""
    render: dict[str, Any] = field(default_factory=dict)
    """Models, folder, settings and machines of the last rendering."""
    finetune: dict[str, Any] = field(default_factory=dict)
    """Data, folder and options of the last fine-tuning."""
    evaluate: dict[str, Any] = field(default_factory=dict)
    """Models, predictions, folder and options of the last evaluation."""
    window: dict[str, Any] = field(default_factory=dict)
    """Sizes and places of the window's parts, as the window likes them."""

    @staticmethod
    def path() -> Path:
        """Where the settings are kept."""
        return home() / "settings.json"

    @classmethod
    def load(cls) -> Settings:
        """The settings as last saved. A damaged file is put aside as `settings.damaged.json`, and defaults returned."""
        path = cls.path()
        try:
            values = json.loads(path.read_text())
            if not isinstance(values, dict):
                raise ValueError("not an object")
        except FileNotFoundError:
            return cls()
        except ValueError:
            path.replace(path.with_name("settings.damaged.json"))
            return cls()
        except OSError:
            return cls()
        settings = cls()
        for f in dataclasses.fields(cls):
            default, value = getattr(settings, f.name), values.get(f.name)
            if f.name in values and (value is None or default is None or isinstance(value, type(default))):
                setattr(settings, f.name, value)
        return settings

    def as_text(self) -> str:
        """The settings as the file holds them."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    def save(self) -> None:
        """Write the settings; OutputError if that is not possible."""
        path = self.path()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as partial:
                partial.write_text(self.as_text())
        except OSError as error:
            raise OutputError(
                f"The settings could not be saved to {path}: {(error.strerror or str(error)).lower()}. "
                "Set ORIEL_HOME to a folder that can be written."
            ) from error

    def save_if_possible(self) -> None:
        """Write the settings while the window goes on; what is in the way is said when it is closed, if it still is."""
        with contextlib.suppress(OutputError):
            self.save()

    def apply_weights(self) -> None:
        """Tell the engine where the user's weights are; called once at start."""
        from engine import weights

        if self.weights_folder:
            weights.add_folder(Path(self.weights_folder).expanduser())
        weights.set_paths(self.model_paths)

    def keep_weights(self) -> None:
        """Save the engine's paths of weights, after `weights.use` or `weights.remove`."""
        from engine import weights

        self.model_paths = weights.paths()
        self.save()

    @property
    def history_folder(self) -> Path:
        """Folder of the runs."""
        return Path(self.runs_folder).expanduser() if self.runs_folder else home() / "runs"
