"""The schedule: how strongly each facet takes part at a given batch (paper, Section 3.2), and how long it is led.

Beyond the paper a facet can be led at the start of training, by a guide and by a bottleneck (docs/facets.md). Both fall
to zero before the end, so that what is trained last, and what is saved, is the published model.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from config import Config

log = logging.getLogger(__name__)

GUIDE_FALLS = (0.5, 1.0)
"""The shares of the training between which the guide falls to zero."""
BOTTLENECK_FALLS = (0.3, 0.6)
"""The same for the bottleneck."""

PerFacet = Sequence[float] | Tensor
"""A number of each facet, (J,)."""


class Coefficients(NamedTuple):
    """How strongly each facet takes part, facet 0 first. All but guide lie in [0, 1]."""

    alpha_enc: PerFacet
    """Factor on what the encoder's backbone hands to facet j."""
    alpha_dec: PerFacet
    """Factor on what facet j hands to the decoder: the fade-in."""
    gamma_kl_z: PerFacet
    """Weight of kl_z_j in the loss."""
    gamma_kl_c: PerFacet
    """Weight of kl_c_j in the loss."""
    bottleneck: PerFacet
    """h_j: the share of z_j that the decoder gets as the mean of its clusters, E_q(c_j|x) mu_jc."""
    guide: PerFacet
    """lambda_j: the weight for each pixel of -log q(c_j = code_j | x) in the loss, with the codes of the start."""

    def on(self, device: torch.device) -> Coefficients:
        """The same as six tensors (J,), moved in one copy."""
        return Coefficients(*torch.tensor(self, device=device).unbind())


def full_coefficients(J: int) -> Coefficients:
    """Every one of J facets takes part in full, as in a trained model."""
    ones, zeros = (1.0,) * J, (0.0,) * J
    return Coefficients(ones, ones, ones, ones, zeros, zeros)


def progressive_coefficients(config: Config, epoch: int, batch: int, n_batches: int) -> Coefficients:
    """Coefficients of every facet at one batch of training.

    Step s lasts n_epochs_per_progressive_step[s] epochs. The deepest facet, J-1, is active from the start; step s adds
    facet J-1-s, whose decoder weight and KL weights rise linearly over n_batches_fade_in batches.

    Args:
        config: settings of the run.
        epoch: from 0.
        batch: index of the batch within the epoch, from 0.
        n_batches: batches per epoch.
    """
    J = config.J_n_mixtures
    share = (batch + n_batches * (epoch - 1)) / max(n_batches * (config.n_epochs - 1), 1)  # epoch 0 does not train
    leading = {
        "bottleneck": (config.bottleneck * falling(share, *BOTTLENECK_FALLS),) * J,
        "guide": (config.guide_weight * falling(share, *GUIDE_FALLS),) * J,
    }
    if not config.do_progressive_training:
        return full_coefficients(J)._replace(**leading)
    step, first_epoch = progressive_step(config, epoch)
    n_since = batch + n_batches * (epoch - first_epoch)
    ramp = min(n_since / config.n_batches_fade_in, 1.0) if step > 0 and config.n_batches_fade_in > 0 else 1.0
    newest = J - 1 - step

    def weight(j: int, before: float) -> float:
        if j == newest:
            return before + ramp * (1.0 - before)
        return 1.0 if j > newest else before

    def of_facets(before: float) -> tuple[float, ...]:
        return tuple(weight(j, before) for j in range(J))

    return Coefficients(
        alpha_enc=(1.0,) * J,
        alpha_dec=of_facets(0.0),
        gamma_kl_z=of_facets(config.gamma_kl_z_pretrain),
        gamma_kl_c=of_facets(config.gamma_kl_c_pretrain),
        **leading,
    )


def falling(share: float, start: float, end: float) -> float:
    """1 until `start`, 0 from `end`, linear between them; all three are shares of the training, from 0 to 1."""
    return min(1.0, max(0.0, (end - share) / (end - start)))


def epoch_coefficients(config: Config, epoch: int, n_batches: int) -> torch.Tensor:
    """The coefficients of every batch of an epoch: (n_batches, 6, J), the six in the order of Coefficients."""
    return torch.tensor([progressive_coefficients(config, epoch, batch, n_batches) for batch in range(n_batches)])


def progressive_step(config: Config, epoch: int) -> tuple[int, int]:
    """The step that an epoch belongs to, and the first epoch of that step. Later epochs belong to the last step."""
    step, first_epoch = 0, 0
    for duration in config.n_epochs_per_progressive_step[:-1]:
        if epoch < first_epoch + duration:
            break
        step, first_epoch = step + 1, first_epoch + duration
    return step, first_epoch


def joining_facet(config: Config, epoch: int) -> int | None:
    """Name the facet that joins those before it with this epoch; None in all other epochs."""
    step, first_epoch = progressive_step(config, epoch)
    is_new = config.do_progressive_training and step > 0 and epoch == first_epoch
    return config.J_n_mixtures - 1 - step if is_new else None


def warn_of_unfinished_fade_in(config: Config, n_batches: int) -> None:
    """Name the facets whose step is over before they take part in full. n_batches: of an epoch."""
    if not config.do_progressive_training:
        return
    for step, n_epochs in enumerate(config.n_epochs_per_progressive_step):
        if step > 0 and n_epochs * n_batches < config.n_batches_fade_in:
            facet = config.J_n_mixtures - 1 - step
            end = "never takes part in full" if facet == 0 else f"jumps to its full part when facet {facet - 1} joins"
            log.warning(
                "n_batches_fade_in = %d: the step of facet %d has %d batches only (%d epochs of %d), so it %s; give a "
                "smaller number, or more epochs",
                *(config.n_batches_fade_in, facet, n_epochs * n_batches, n_epochs, n_batches, end),
            )
