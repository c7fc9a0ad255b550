"""Shared helpers of the tests: reference cases of the published implementation, and small configurations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from config import Config, build_config
from datasets import DatasetSpec
from load_model import from_published
from mfcvae import MFCVAE

FIXTURES = Path(__file__).parent / "fixtures"
CASES = [
    "fc_shared_j2_static", "fc_per_facet_j2_glorot", "fc_vlae_j2_diag", "fc_vlae_j3_full", "conv_vlae_j2_full",
    "conv_vlae_j3_full",
]  # fmt: skip


def ladder_settings(encoder: list[list], decoder: list[list], J: int) -> dict[str, list[int]]:
    """The published constructor's layer lists -> our width and depth settings.

    Encoder level: backbone widths, 'branch', rung widths. Decoder level: rung widths, 'merge', backbone widths; the
    deepest one has no 'merge': its last width is the backbone, the others the rung.
    """
    settings: dict[str, list[int]] = {}

    def add(part: str, widths: list[int]) -> None:
        settings.setdefault(f"{part}_dims", []).append(widths[0] if widths else -1)
        settings.setdefault(f"{part}_n_hidden", []).append(len(widths) or -1)

    for level in encoder:
        at = level.index("branch")
        add("enc_backbone", level[:at])
        add("enc_rung", level[at + 1 :])
    for j, level in enumerate(decoder):
        at = level.index("merge") if j < J - 1 else len(level) - 2
        add("dec_rung", level[:at] if j < J - 1 else level[:-1])
        add("dec_backbone", level[at + 1 :])
    return settings


class ReferenceCase:
    """One case of the published implementation: settings, weights, inputs and expected outputs."""

    def __init__(self, name: str):
        description = json.loads((FIXTURES / f"{name}.json").read_text())
        self.arrays = dict(np.load(FIXTURES / f"{name}.npz"))
        self.hyperparameters = description["hyperparameters"]
        self.shapes = description["state_dict_shapes"]
        self.seed = description["seed"]
        self.n_batches = self.hyperparameters["n_train_batches_per_epoch"]
        self.config = self._config()
        self.spec = self._spec()

    def _config(self) -> Config:
        settings = {k: v for k, v in self.hyperparameters.items() if k in Config.__pydantic_fields__}
        J = settings["J_n_mixtures"]
        settings.setdefault("n_epochs_per_progressive_step", [1] * J)
        if settings["model_type"] == "fc_vlae":
            settings |= ladder_settings(settings.pop("encode_layer_dims"), settings.pop("decode_layer_dims"), J)
        if settings["model_type"] == "conv_vlae":
            settings.pop("encode_layer_dims"), settings.pop("decode_layer_dims")
        return build_config(settings)

    def _spec(self) -> DatasetSpec:
        if self.hyperparameters["in_dim"] == 784:
            return DatasetSpec("reference", (1, 28, 28), "bernoulli", "sigmoid", 0)
        return DatasetSpec("reference", (3, 32, 32), "normal", self.hyperparameters["activation_x_hat_z"], 0)

    def published_weights(self) -> dict[str, torch.Tensor]:
        """Weights drawn by the rule of the reference numbers, under the published names."""
        rng = np.random.default_rng(self.seed)
        weights = {}
        for name in sorted(self.shapes):
            shape = self.shapes[name]
            if name.endswith("num_batches_tracked"):
                weights[name] = torch.tensor(0)
                continue
            a = rng.standard_normal(shape)
            if name.endswith("running_var"):
                a = 0.5 + np.abs(a)
            elif "_sigma_square_p" in name:
                a = 0.2 + 0.05 * a
            elif "mu_p_z" in name or "_pi_p" in name:
                a = 0.5 * a
            elif name.endswith("weight_g"):
                a = 0.5 + 0.1 * np.abs(a)
            elif "_l_mat" in name:
                a = 0.05 * a + 0.3 * np.eye(shape[0])[:, :, None]
            else:
                a = 1.5 * a / np.sqrt(np.prod(shape[1:])) if len(shape) >= 2 else 0.1 * a
            weights[name] = torch.from_numpy(np.asarray(a, dtype=np.float32))
        return weights

    def model(self) -> MFCVAE:
        """Our model with the reference weights, in eval mode."""
        model = MFCVAE(self.config, self.spec)
        model.load_state_dict(from_published(self.published_weights(), model, self.config))
        return model.eval()

    def x(self) -> torch.Tensor:
        return torch.from_numpy(self.arrays["x"]).view(-1, *self.spec.image_shape)

    def epochs(self) -> list[int]:
        return sorted({int(key.split("/")[0][5:]) for key in self.arrays if key.startswith("epoch")})


@pytest.fixture(params=CASES, scope="module")
def case(request: pytest.FixtureRequest) -> ReferenceCase:
    return ReferenceCase(request.param)
