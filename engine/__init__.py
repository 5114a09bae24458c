"""Everything of Oriel that runs headless. Nothing in here imports Qt, `app` or `widgets`."""

import sys

# Triton's compiler and that of software OpenGL (both LLVM) crash a process that loads it after drawing, as torchvision
# and timm do; nothing here compiles kernels. A library that asks is told that it is not installed.
sys.modules.setdefault("triton", None)  # type: ignore[arg-type]
