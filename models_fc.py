"""Fully-connected encoders and decoders: shared, one per facet, and the ladder (VLAE) of the MNIST experiments.

Every encoder maps flat images to one hidden vector per facet (`out_dims` are their widths), every decoder maps one
latent per facet to flat pixels before the output activation. B is the batch size, J the number of facets, D_j the
dimension of facet j's latent. alpha_enc and alpha_dec are the fade-in weights of progressive.py, one per facet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from config import Config

ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU}


def fc_block(n_in: int, n_out: int, config: Config) -> nn.Sequential:
    """Linear, activation and, if asked, BatchNorm1d."""
    layers = [nn.Linear(n_in, n_out), ACTIVATIONS[config.activation]()]
    return nn.Sequential(*layers, *([nn.BatchNorm1d(n_out)] if config.do_fc_batch_norm else []))


def mlp(widths: Sequence[int], config: Config) -> nn.Sequential:
    """Fully-connected blocks: widths[0] in, widths[-1] out. A single width: the identity."""
    return nn.Sequential(*[fc_block(*pair, config) for pair in zip(widths[:-1], widths[1:], strict=True)])


class Encoder(nn.Module):
    """What the encoders of all architectures have in common."""

    out_dims: list[int]
    """Widths of the J hidden vectors."""


class SharedEncoder(Encoder):
    """One MLP whose output serves every facet."""

    def __init__(self, config: Config, in_dim: int):
        super().__init__()
        widths = [in_dim, *config.encode_layer_dims]
        self.net = mlp(widths, config)
        self.out_dims = [widths[-1]] * config.J_n_mixtures

    def forward(self, x: Tensor, alpha_enc: Sequence[Tensor]) -> list[Tensor]:
        """x: (B, in_dim) -> J times the same (B, out_dim). The published model does not fade this encoder in."""
        return [self.net(x)] * len(self.out_dims)


class PerFacetEncoder(Encoder):
    """One MLP per facet."""

    def __init__(self, config: Config, in_dim: int):
        super().__init__()
        per_facet = cast("list[list[int]]", config.encode_layer_dims)  # config.py has checked it
        widths = [[in_dim, *dims] for dims in per_facet]
        self.net_list = nn.ModuleList(mlp(facet_widths, config) for facet_widths in widths)
        self.out_dims = [facet_widths[-1] for facet_widths in widths]

    def forward(self, x: Tensor, alpha_enc: Sequence[Tensor]) -> list[Tensor]:
        """x: (B, in_dim) -> list of J tensors (B, out_dims[j])."""
        return [alpha_enc[j] * net(x) for j, net in enumerate(self.net_list)]


class ConcatDecoder(nn.Module):
    """One MLP of the concatenated latents, which are faded in only where every facet has its own encoder."""

    def __init__(self, config: Config, out_dim: int):
        super().__init__()
        widths = [sum(config.z_j_dim_list), *config.decode_layer_dims]
        self.net = mlp(widths, config)
        self.to_pixels = nn.Linear(widths[-1], out_dim)
        self.fades_in = config.model_type == "fc_per_facet_enc_shared_dec"

    def forward(self, z: Sequence[Tensor], alpha_dec: Sequence[Tensor]) -> Tensor:
        """z: list of J tensors (B, D_j) -> (B, out_dim)."""
        if self.fades_in:
            z = [alpha_dec[j] * z_j for j, z_j in enumerate(z)]
        return self.to_pixels(self.net(torch.cat(list(z), dim=1)))


def level_widths(first: int, dim: int, n_hidden: int) -> list[int]:
    """Widths of one part of one ladder level: `first` in, then `dim` n_hidden times; 0 or -1 means no layer."""
    return [first] + [dim] * max(n_hidden, 0)


class LadderEncoder(Encoder):
    """Backbone j maps the level below on (x for level 0); rung j branches off it to facet j."""

    def __init__(self, config: Config, in_dim: int):
        super().__init__()
        self.backbone, self.rung, self.out_dims = nn.ModuleList(), nn.ModuleList(), []
        width = in_dim
        for j in range(config.J_n_mixtures):
            backbone = level_widths(width, config.enc_backbone_dims[j], config.enc_backbone_n_hidden[j])
            width = backbone[-1]
            rung = level_widths(width, config.enc_rung_dims[j], config.enc_rung_n_hidden[j])
            self.backbone.append(mlp(backbone, config))
            self.rung.append(mlp(rung, config))
            self.out_dims.append(rung[-1])

    def forward(self, x: Tensor, alpha_enc: Sequence[Tensor]) -> list[Tensor]:
        """x: (B, in_dim) -> list of J tensors (B, out_dims[j])."""
        hidden = []
        for j, (backbone, rung) in enumerate(zip(self.backbone, self.rung, strict=True)):
            x = backbone(x)
            hidden.append(alpha_enc[j] * rung(x))
        return hidden


class LadderDecoder(nn.Module):
    """From the top down: rung j of z_j joins what comes from above by a gated add, then backbone j maps it on."""

    GATE = 0.1

    def __init__(self, config: Config, out_dim: int):
        super().__init__()
        self.backbone, self.rung = nn.ModuleList(), nn.ModuleList()
        for j, z_dim in enumerate(config.z_j_dim_list):
            rung = level_widths(z_dim, config.dec_rung_dims[j], config.dec_rung_n_hidden[j])
            backbone = level_widths(rung[-1], config.dec_backbone_dims[j], config.dec_backbone_n_hidden[j])
            self.rung.append(mlp(rung, config))
            self.backbone.append(mlp(backbone, config))
            if j == 0:
                self.to_pixels = nn.Linear(backbone[-1], out_dim)

    def forward(self, z: Sequence[Tensor], alpha_dec: Sequence[Tensor]) -> Tensor:
        """z: list of J tensors (B, D_j) -> (B, out_dim)."""
        top = len(z) - 1
        h = self.backbone[top](alpha_dec[top] * self.rung[top](z[top]))
        for j in reversed(range(top)):
            h = self.backbone[j](self.GATE * alpha_dec[j] * self.rung[j](z[j]) + h)
        return self.to_pixels(h)


# model_type -> encoder and decoder
FC_MODELS: dict[str, tuple[type[Encoder], type[nn.Module]]] = {
    "fc_shared": (SharedEncoder, ConcatDecoder),
    "fc_per_facet_enc_shared_dec": (PerFacetEncoder, ConcatDecoder),
    "fc_vlae": (LadderEncoder, LadderDecoder),
}
