"""Encoders and decoders: shapes for any number of facets and image size, and the published layers."""

from __future__ import annotations

import pytest
import torch
from conftest import ReferenceCase
from torch import nn

from config import build_config
from conv_vlae import ConvLadderEncoder
from datasets import DatasetSpec
from load_model import empty_model, load_model_from_save_dict, published_name, save_model
from mfcvae import MFCVAE
from progressive import full_coefficients, progressive_coefficients


def settings_for(model_type: str, J: int) -> dict:
    """Small settings of a model with J facets, each of another size."""
    settings = {
        "model_type": model_type,
        "J_n_mixtures": J,
        "z_j_dim_list": [3 + j for j in range(J)],
        "n_clusters_j_list": [5 + j for j in range(J)],
        "n_epochs_per_progressive_step": [2] * J,
    }
    for part in ("enc_backbone", "dec_backbone", "dec_rung"):
        settings |= {f"{part}_dims": [12] * J, f"{part}_n_hidden": [1] * J}
    settings |= {"enc_rung_dims": [-1] * J, "enc_rung_n_hidden": [-1] * J}
    if model_type == "fc_per_facet_enc_shared_dec":
        settings["encode_layer_dims"] = [[8, 6 + j] for j in range(J)]
    elif model_type == "fc_shared":
        settings["encode_layer_dims"] = [8]
    return settings


def check_one_pass(settings: dict, image_shape: tuple[int, int, int]) -> None:
    """A training pass gives the right shapes, a finite loss and a gradient for every parameter."""
    config = build_config(settings)
    model = MFCVAE(config, DatasetSpec("any", image_shape, "normal", "sigmoid", 0))
    x = torch.rand(3, *image_shape)
    weights = progressive_coefficients(config, config.n_epochs, 0, 1)
    output = model(x, weights)
    assert output.p_x_z.mean.shape == x.shape
    assert [tuple(z.shape) for z in output.z] == [(3, D) for D in config.z_j_dim_list]
    assert [tuple(q.shape) for q in output.terms.q_c_x] == [(3, K) for K in config.n_clusters_j_list]
    output.terms.loss.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []


@pytest.mark.parametrize("J", [1, 2, 3])
@pytest.mark.parametrize("model_type", ["fc_shared", "fc_per_facet_enc_shared_dec", "fc_vlae"])
def test_fully_connected_models_take_any_number_of_facets(model_type, J):
    check_one_pass(settings_for(model_type, J), (1, 4, 5))


@pytest.mark.parametrize(
    ("J", "image_shape"),
    [
        (1, (3, 32, 32)),
        (2, (1, 28, 28)),
        (3, (1, 28, 28)),
        (4, (3, 32, 32)),
        (4, (1, 28, 28)),
        (2, (3, 64, 64)),
        (3, (1, 8, 8)),
    ],
)
def test_the_convolutional_ladder_takes_any_number_of_facets_and_size(J, image_shape):
    check_one_pass(settings_for("conv_vlae", J), image_shape)


def test_the_convolutional_ladder_has_exactly_the_published_parameters():
    for name in ("conv_vlae_j2_full", "conv_vlae_j3_full"):
        case = ReferenceCase(name)
        model = MFCVAE(case.config, case.spec)
        assert {published_name(key, case.config) for key in model.state_dict()} == set(case.shapes)


def test_published_mnist_and_3dshapes_widths():
    mnist = MFCVAE(build_config({}), DatasetSpec("mnist", (1, 28, 28), "bernoulli", "sigmoid", 0))
    linear = [(m.in_features, m.out_features) for m in mnist.decoder.modules() if isinstance(m, nn.Linear)]
    assert sorted(linear) == sorted([(5, 2000), (2000, 500), (5, 500), (500, 500), (500, 784)])
    encoder = ConvLadderEncoder(build_config({"model_type": "conv_vlae"}), 3, 32)
    assert encoder.out_dims == [64 * 7 * 7, 256 * 2 * 2]


def test_channels_double_up_to_512():
    settings = settings_for("conv_vlae", 5)
    encoder = MFCVAE(build_config(settings), DatasetSpec("any", (3, 64, 64), "normal", None, 0)).encoder
    # Maps of 32, 16, 8, 4, 2; rungs halve them twice, the first one as by a convolution of stride 1: 15.
    channels = [backbone[0][0].out_channels for backbone in encoder.backbone]
    assert channels == [64, 128, 256, 512, 512]
    assert encoder.out_dims == [64 * 15**2, 256 * 4**2, 512 * 2**2, 512, 512]


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (0.25, [16, 32, 64, 128, 128]),
        (0.001, [1] * 5),
    ],
)
def test_conv_width_is_a_share_of_the_published_channels(width, expected, tmp_path):
    config = build_config(settings_for("conv_vlae", 5) | {"conv_width": width})
    model = MFCVAE(config, DatasetSpec("any", (3, 32, 32), "normal", None, 0))
    assert [backbone[0][0].out_channels for backbone in model.encoder.backbone] == expected
    save_model(model, config, tmp_path / "model.pt")
    loaded, found = load_model_from_save_dict(tmp_path / "model.pt")
    z = [torch.randn(2, D) for D in config.z_j_dim_list]
    assert found.conv_width == width
    torch.testing.assert_close(loaded.eval().decode(z), model.eval().decode(z))


def test_conv_width_may_be_more_than_the_published_channels():
    config = build_config(settings_for("conv_vlae", 5) | {"conv_width": 2})
    model = empty_model(config, DatasetSpec("any", (3, 32, 32), "normal", None, 0))
    assert [backbone[0][0].out_channels for backbone in model.encoder.backbone] == [128, 256, 512, 1024, 1024]


@pytest.mark.parametrize("model_type", ["fc_vlae", "conv_vlae", "fc_per_facet_enc_shared_dec"])
def test_a_facet_that_is_not_yet_added_does_not_reach_the_image(model_type):
    config = build_config(settings_for(model_type, 2))
    model = MFCVAE(config, DatasetSpec("any", (1, 8, 8), "normal", "sigmoid", 0)).eval()
    weights = progressive_coefficients(config, 0, 0, 1)
    z = [torch.randn(2, D) for D in config.z_j_dim_list]
    other = [torch.randn(2, config.z_j_dim_list[0]), z[1]]
    torch.testing.assert_close(model.decode(z, weights), model.decode(other, weights))
    full = full_coefficients(2)
    assert not torch.allclose(model.decode(z, full), model.decode(other, full))
