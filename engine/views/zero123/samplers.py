"""From noise to a latent picture in steps: the released sampler, and a faster solver.

Both work on a network that predicts the noise in `x = sqrt(kept) * picture + sqrt(1 - kept) * noise`, `kept` being the
share of the picture's variance that is left after a number of the 1000 steps of the schedule.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from engine.views.zero123.layouts import BETAS

STEPS = 1000
"""Steps of the noise schedule that the network was trained on."""


class Sampler(Protocol):
    """One way from noise to a picture; made anew for every batch."""

    times: list[int]
    """Steps of the schedule at which the network is asked, falling."""
    noisy: bool
    """Whether each step wants fresh noise."""

    def step(self, index: int, x: Tensor, predicted: Tensor, noise: Tensor | None) -> Tensor:
        """From `x` at `times[index]` to the next, by the predicted noise; both (N, C, h, w) float32."""


def kept_variance() -> Tensor:
    """(1000,) float64: share of the picture's variance that is left at each step (scaled-linear betas)."""
    betas = torch.linspace(BETAS[0] ** 0.5, BETAS[1] ** 0.5, STEPS, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0)


class DdimSampler:
    """DDIM (Song et al. 2021) with the steps that the released code takes.

    The released code (cvlab-columbia/zero123, `ldm/models/diffusion/ddim.py`) picks every (1000 // steps)-th step and
    adds one, which is 77 for 75 and 50 for 50, and then leaves the noisiest out (`timesteps[:t_start]`, `t_start=-1`):
    76 and 49 are taken. It ends at the first step of the schedule rather than at no noise at all.
    """

    def __init__(self, steps: int, eta: float = 1.0) -> None:
        """`steps` as asked for; `eta` 1 adds as much noise as the diffusion itself would, 0 none."""
        rising = [t + 1 for t in range(0, STEPS, STEPS // steps)][:-1]
        self.times = rising[::-1]
        self.noisy = eta > 0
        self._eta = eta
        kept = kept_variance()
        self._now = kept[self.times].tolist()
        self._next = kept[[*self.times[1:], 0]].tolist()

    def step(self, index: int, x: Tensor, predicted: Tensor, noise: Tensor | None) -> Tensor:
        """See `Sampler.step`."""
        now, after = self._now[index], self._next[index]
        picture = (x - (1 - now) ** 0.5 * predicted) / now**0.5
        fresh = self._eta * ((1 - after) / (1 - now) * (1 - now / after)) ** 0.5
        x = after**0.5 * picture + max(1 - after - fresh**2, 0.0) ** 0.5 * predicted
        return x if noise is None else x + fresh * noise


class FastSampler:
    """DPM-Solver++ of the second order (Lu et al. 2022) in a few steps, diffusers' implementation.

    Steps are spread evenly in the logarithm of the signal-to-noise ratio; the last one goes to no noise at all.
    """

    noisy = False

    def __init__(self, steps: int) -> None:
        from diffusers import DPMSolverMultistepScheduler

        solver: Any = DPMSolverMultistepScheduler(
            num_train_timesteps=STEPS,
            beta_start=BETAS[0],
            beta_end=BETAS[1],
            beta_schedule="scaled_linear",
            algorithm_type="dpmsolver++",
            solver_order=2,
            lower_order_final=True,
            use_lu_lambdas=True,
            final_sigmas_type="zero",
        )
        solver.set_timesteps(steps)
        self._solver, self._steps = solver, solver.timesteps
        self.times = [int(t) for t in self._steps]

    def step(self, index: int, x: Tensor, predicted: Tensor, noise: Tensor | None) -> Tensor:
        """See `Sampler.step`."""
        return self._solver.step(predicted, self._steps[index], x).prev_sample
