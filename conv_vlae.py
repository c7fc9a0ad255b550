"""The convolutional ladder of the SVHN and 3DShapes experiments, as a loop over levels.

Level j halves the image j+1 times. On 32x32 images with J = 2 or 3 the layers are the published ones; other sizes and
numbers of facets follow the same rules, and conv_width makes all layers narrower or wider. Shapes: images (B, C, H, H),
B the batch size, J the number of facets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from models_fc import ACTIVATIONS, Encoder, mlp
from utils import UserError

if TYPE_CHECKING:
    from config import Config

MAX_CHANNELS = 512


def channels(published: int, config: Config) -> int:
    """The share conv_width of a published number of channels, at most MAX_CHANNELS of them; one or more."""
    return max(1, round(config.conv_width * min(published, MAX_CHANNELS)))


def backbone_channels(level: int, config: Config) -> int:
    """Channels that the encoder's backbone hands on: 64, 128, 256, 512, 512, ... at full width."""
    return channels(64 * 2**level, config)


def rung_channels(level: int, config: Config) -> int:
    """Channels that the decoder's rung hands to its backbone: 64, 256, 512, 512, ... at full width."""
    return channels(64 if level == 0 else 64 * 2 ** (level + 1), config)


def map_sizes(J: int, image_size: int) -> list[int]:
    """Side of the maps at each level, for example 16, 8, 4 for 32x32 images.

    Raises:
        UserError: the images are too small for J levels.
    """
    sizes = [image_size // 2 ** (level + 1) for level in range(J)]
    if sizes[-1] < 1:
        deepest = image_size.bit_length() - 1
        raise UserError(
            f"J_n_mixtures = {J}: conv_vlae halves the image once per facet, and {image_size}x{image_size} images "
            f"allow at most {deepest}; use fewer facets, larger images or an fc model_type"
        )
    return sizes


def conv_block(conv: nn.Conv2d | nn.ConvTranspose2d, config: Config) -> nn.Sequential:
    """(Transposed) convolution, activation, BatchNorm2d."""
    return nn.Sequential(conv, ACTIVATIONS[config.activation](), nn.BatchNorm2d(conv.out_channels))


def encoder_block(n_in: int, n_out: int, size: int, stride: int, config: Config) -> tuple[nn.Sequential, int]:
    """A weight-normalised convolution block and the side of its maps. Its kernel is 4, or 3 on maps of one pixel."""
    if size == 1:
        return conv_block(weight_norm(nn.Conv2d(n_in, n_out, 3, 1, 1)), config), 1
    block = conv_block(weight_norm(nn.Conv2d(n_in, n_out, 4, stride, 1)), config)
    return block, (size // 2 if stride == 2 else size - 1)


class ConvLadderEncoder(Encoder):
    """Backbone j halves the maps of the level below; rung j, two convolutions, branches off it to facet j."""

    def __init__(self, config: Config, n_channels: int, image_size: int):
        super().__init__()
        self.backbone, self.rung, self.out_dims = nn.ModuleList(), nn.ModuleList(), []
        n_in, size = n_channels, image_size
        map_sizes(config.J_n_mixtures, image_size)
        for j in range(config.J_n_mixtures):
            n_out = backbone_channels(j, config)
            backbone, size = encoder_block(n_in, n_out, size, 2, config)
            n_rung = n_out if j == 0 else backbone_channels(j + 1, config)
            first, rung_size = encoder_block(n_out, n_out, size, 2, config)
            second, rung_size = encoder_block(n_out, n_rung, rung_size, 1 if j == 0 else 2, config)
            self.backbone.append(nn.Sequential(backbone))
            self.rung.append(nn.Sequential(first, second))
            self.out_dims.append(n_rung * rung_size**2)
            n_in = n_out

    def forward(self, x: Tensor, alpha_enc: Sequence[Tensor]) -> list[Tensor]:
        """x: (B, C, H, H) -> list of J tensors (B, out_dims[j])."""
        hidden = []
        for j, (backbone, rung) in enumerate(zip(self.backbone, self.rung, strict=True)):
            x = backbone(x)
            hidden.append(alpha_enc[j] * rung(x).flatten(1))  # (B, channels, h, h) -> (B, channels * h * h)
        return hidden


class ConvLadderDecoder(nn.Module):
    """From the top down: rung j's maps are concatenated with those from above, and backbone j doubles their side."""

    def __init__(self, config: Config, n_channels: int, image_size: int):
        super().__init__()
        J = config.J_n_mixtures
        self.sizes = map_sizes(J, image_size)
        self.rung_channels = [rung_channels(j, config) for j in range(J)]
        self.backbone, self.rung = nn.ModuleList(), nn.ModuleList()
        for j, (z_dim, size) in enumerate(zip(config.z_j_dim_list, self.sizes, strict=True)):
            n_rung = self.rung_channels[j]
            self.rung.append(mlp([z_dim, n_rung * size**2], config))
            size_below = self.sizes[j - 1] if j > 0 else image_size
            n_from_above = n_rung if j < J - 1 else 0
            n_out = self.rung_channels[j - 1] if j > 0 else n_channels
            n_doubled = min(2 * n_out, channels(MAX_CHANNELS, config)) if j > 0 else n_channels
            # Odd sides (7 -> 3) lost a row on the way up; output_padding gives it back.
            doubling = nn.ConvTranspose2d(
                n_rung + n_from_above, n_doubled, 4, 2, 1, output_padding=size_below - 2 * size
            )
            blocks = [conv_block(doubling, config)]
            blocks += [conv_block(nn.ConvTranspose2d(n_doubled, n_out, 3, 1, 1), config)] if j > 0 else []
            self.backbone.append(nn.Sequential(*blocks))

    def forward(self, z: Sequence[Tensor], alpha_dec: Sequence[Tensor]) -> Tensor:
        """z: list of J tensors (B, D_j) -> (B, C, H, H)."""
        top = len(z) - 1
        h = self.backbone[top](self._maps(top, z[top], alpha_dec[top]))
        for j in reversed(range(top)):
            h = self.backbone[j](torch.cat([self._maps(j, z[j], alpha_dec[j]), _pixels_first(h)], dim=1))
        return h

    def _maps(self, j: int, z_j: Tensor, alpha: Tensor) -> Tensor:
        """What rung j makes of its latent, faded in. z_j: (B, D_j) -> (B, channels, h, h)."""
        maps = self.rung[j](z_j).view(-1, self.rung_channels[j], self.sizes[j], self.sizes[j])
        return _pixels_first(alpha * maps)


def _pixels_first(maps: Tensor) -> Tensor:
    """The same maps (B, C, h, h), laid out channels_last as convolutions want them; and so is their gradient.

    A slice of the gradient of cat would slow down the BatchNorm before it (docs/performance.md).
    """
    maps = maps.contiguous(memory_format=torch.channels_last)
    if maps.requires_grad:
        maps.register_hook(lambda gradient: gradient.contiguous(memory_format=torch.channels_last))
    return maps
