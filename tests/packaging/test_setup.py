"""The set-up script in a folder of its own, with a stand-in for Python that writes down what it is asked to do."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = """# Sits at PATH/python3.11, or at ENV/bin/python once `-m venv` has made an environment.
echo "$*" >>"$LOG"
case "$*" in
  "-m venv"*)
    folder=${*: -1}
    mkdir -p "$folder/bin"
    cp "$0" "$folder/bin/python"
    touch "$folder/has-pip"
    ;;
  "-m pip install"*) [ ! -e fail ] ;;
  "-m pip"*) [ -e "$(dirname "$0")/../has-pip" ] ;;
  --version) echo "Python 3.11.2" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    """A folder with the script, and nothing but it, the stand-in and a few plain tools to run."""
    (tmp_path / "packaging").mkdir()
    shutil.copy(ROOT / "packaging" / "setup.sh", tmp_path / "packaging")
    (tmp_path / "pyproject.toml").write_text("one")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "cat", "cp", "cut", "dirname", "mkdir", "mv", "rm", "sha256sum", "touch"):
        (tools / name).symlink_to(str(shutil.which(name)))
    tool(tmp_path, "python3.11", PYTHON)
    return tmp_path


def tool(checkout: Path, name: str, script: str) -> None:
    (checkout / "tools" / name).write_text(f"#!/bin/bash\n{script}")
    (checkout / "tools" / name).chmod(0o755)


def set_up(checkout: Path) -> list[str]:
    """Run the script; what it had Python make and install."""
    log = checkout / "log"
    log.write_text("")
    environment = {"PATH": str(checkout / "tools"), "LOG": str(log)}
    subprocess.run([shutil.which("bash"), "packaging/setup.sh"], cwd=checkout, env=environment, timeout=30)
    return [line for line in log.read_text().splitlines() if line.startswith(("-m venv", "-m pip install"))]


def test_a_second_set_up_does_nothing(checkout):
    done = set_up(checkout)
    assert [line for line in done if "venv" in line] == ["-m venv --clear .venv", "-m venv --clear .venv-blender"]
    assert "-m pip install --quiet -e .[dev]" in done
    assert set_up(checkout) == []


@pytest.mark.parametrize("name", [".venv", ".venv-blender"])
def test_an_environment_that_was_left_half_made_is_made_again(checkout, name):
    set_up(checkout)
    for left in ("has-pip", ".oriel-setup"):
        (checkout / name / left).unlink()
    assert [line for line in set_up(checkout) if "venv" in line] == [f"-m venv --clear {name}"]
    assert set_up(checkout) == []


@pytest.mark.parametrize("name", [".venv", ".venv-blender"])
def test_an_environment_whose_python_is_gone_is_made_again(checkout, name):
    set_up(checkout)
    (checkout / name / "bin" / "python").unlink()
    assert [line for line in set_up(checkout) if "venv" in line] == [f"-m venv --clear {name}"]


def test_a_change_taken_back_after_an_interrupted_installation_is_installed(checkout):
    set_up(checkout)
    (checkout / "pyproject.toml").write_text("two")
    (checkout / "fail").touch()
    set_up(checkout)
    (checkout / "fail").unlink()
    (checkout / "pyproject.toml").write_text("one")
    assert "-m pip install --quiet -e .[dev]" in set_up(checkout)


@pytest.mark.parametrize("there", [True, False])
def test_root_gets_python_from_debian_only_where_there_is_none(checkout, there):
    tool(checkout, "id", "echo 0")
    tool(checkout, "dpkg-query", "[[ $* == *python3* ]] || echo install ok installed")
    tool(checkout, "apt-get", 'echo "$*" >>installed; [ "$1" = update ] || mv aside tools/python3.11')
    if not there:
        (checkout / "tools" / "python3.11").rename(checkout / "aside")
    assert "-m pip install --quiet -e .[dev]" in set_up(checkout)
    installed = checkout / "installed"
    assert installed.exists() is not there
    assert there or installed.read_text().splitlines()[-1].endswith(" python3 python3-venv")
