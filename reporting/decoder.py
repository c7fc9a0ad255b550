"""The decoder for the browser: its layers in the order in which they are applied, weights in eight bits.

reporting/page/decoder.js computes what evaluation.decoding.decode does. Each output of a layer has a scale of its own,
so that rounding moves a pixel by about a hundredth of its range.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from conv_vlae import ConvLadderDecoder
from mfcvae import MFCVAE
from models_fc import ConcatDecoder, LadderDecoder
from reporting.arrays import Packed

MAX_WEIGHTS = 6_000_000
"""A decoder of more weights would make the page too large, and slow."""
Layer = dict[str, Any]


class ExportedDecoder(NamedTuple):
    """What the page computes images with."""

    plan: dict[str, Any]
    """Layers of every facet, and how facets are joined."""
    arrays: list[Packed]
    """decoder_weights (int8) and decoder_numbers (float32), which the layers point into."""


class _Numbers:
    """The numbers of all layers, one after another."""

    def __init__(self) -> None:
        self.weights: list[np.ndarray] = []
        self.floats: list[np.ndarray] = []

    def add_weights(self, weight: Tensor, out_axis: int) -> dict[str, int]:
        """Add a weight in eight bits with a scale for each output; where both begin."""
        values = weight.detach().float().cpu().numpy()
        other_axes = tuple(axis for axis in range(values.ndim) if axis != out_axis)
        scale = np.abs(values).max(axis=other_axes, keepdims=True) / 127
        quantised = np.rint(values / np.where(scale == 0, 1, scale)).astype(np.int8)
        place = sum(map(np.size, self.weights))
        self.weights.append(quantised.ravel())
        return {"weights": place, "scale": self.add_floats(scale)}

    def add_floats(self, values: Tensor | np.ndarray) -> int:
        """Add numbers as they are; where they begin."""
        place = sum(map(np.size, self.floats))
        array = values.detach().float().cpu().numpy() if isinstance(values, Tensor) else values
        self.floats.append(array.astype(np.float32).ravel())
        return place

    def packed(self) -> list[Packed]:
        """Both arrays."""
        weights = np.concatenate([np.zeros(0, np.int8), *self.weights])
        floats = np.concatenate([np.zeros(0, np.float32), *self.floats])
        return [Packed("decoder_weights", weights), Packed("decoder_numbers", floats)]


def export_decoder(model: MFCVAE) -> ExportedDecoder | None:
    """The decoder of a model of any architecture; None where it is too large for a page."""
    if sum(parameter.numel() for parameter in model.decoder.parameters()) > MAX_WEIGHTS:
        return None
    numbers, spec, decoder = _Numbers(), model.spec, model.decoder
    is_squashed = spec.likelihood == "bernoulli" or spec.output_activation == "sigmoid"
    plan: dict[str, Any] = {"shape": list(spec.image_shape), "squash": is_squashed}
    if isinstance(decoder, ConcatDecoder):
        plan |= {"join": "concatenate", "pixels": _layers([decoder.net, decoder.to_pixels], numbers)}
        return ExportedDecoder(plan, numbers.packed())
    assert isinstance(decoder, LadderDecoder | ConvLadderDecoder)  # there is no other architecture
    parts = zip(decoder.rung, decoder.backbone, strict=True)
    plan["facets"] = [
        {"rung": _layers([rung], numbers), "backbone": _layers([backbone], numbers)} for rung, backbone in parts
    ]
    if isinstance(decoder, LadderDecoder):
        plan |= {"join": "add", "gate": decoder.GATE, "pixels": _layers([decoder.to_pixels], numbers)}
    else:
        plan |= {"join": "stack", "sides": decoder.sizes, "pixels": []}
    return ExportedDecoder(plan, numbers.packed())


def _layers(modules: Iterable[nn.Module], numbers: _Numbers) -> list[Layer]:
    """The layers within modules, in order."""
    leaves = [leaf for module in modules for leaf in module.modules() if not list(leaf.children())]
    return [_layer(leaf, numbers) for leaf in leaves if not isinstance(leaf, nn.Sequential)]


def _layer(module: nn.Module, numbers: _Numbers) -> Layer:
    if isinstance(module, nn.Linear):
        place = numbers.add_weights(module.weight, 0)
        sizes = {"in": module.in_features, "out": module.out_features}
        return {"kind": "linear", **sizes, **place, "bias": numbers.add_floats(module.bias)}
    if isinstance(module, nn.ConvTranspose2d):
        place = numbers.add_weights(module.weight, 1)
        sizes = {"in": module.in_channels, "out": module.out_channels, "kernel": module.kernel_size[0]}
        steps = {"stride": module.stride[0], "padding": int(module.padding[0]), "extra": module.output_padding[0]}
        assert module.bias is not None
        return {"kind": "transposed", **sizes, **steps, **place, "bias": numbers.add_floats(module.bias)}
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        assert module.running_var is not None and module.running_mean is not None
        scale = module.weight / (module.running_var + module.eps).sqrt()
        shift = module.bias - module.running_mean * scale
        place = {"scale": numbers.add_floats(scale), "bias": numbers.add_floats(shift)}
        return {"kind": "affine", "channels": module.num_features, **place}
    if isinstance(module, nn.ReLU | nn.LeakyReLU | nn.ELU):
        slope = module.negative_slope if isinstance(module, nn.LeakyReLU) else 0.0
        return {"kind": "elu"} if isinstance(module, nn.ELU) else {"kind": "relu", "slope": slope}
    raise TypeError(f"the page cannot compute {type(module).__name__}")
