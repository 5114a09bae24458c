import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def validate_glb() -> Callable[..., subprocess.CompletedProcess]:
    """Run the Khronos validator on GLB files; skips where node or the package is missing."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    command = [node, str(ROOT / "packaging/validate_glb.mjs")]
    if subprocess.run([*command, os.devnull], capture_output=True).returncode == 3:
        pytest.skip("gltf-validator is not installed: npm install --prefix .node gltf-validator")
    return lambda *files: subprocess.run([*command, *map(str, files)], capture_output=True, text=True)
