"""Lists with an entry per facet follow J_n_mixtures; keys of sweeps set them as a whole."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from conftest import write_yaml

from config import build_config, load_config
from datasets import DatasetSpec
from mfcvae import MFCVAE
from settings.facet_lists import LADDER_DEPTHS, LADDER_DIMS
from utils import UserError

ROOT = Path(__file__).resolve().parent.parent


LADDER_OF = {
    "folder": {"enc_backbone_dims": [256, 256, 512], "dec_rung_dims": [256] * 3, "dec_backbone_dims": [256] * 3},
    "digits": {"enc_backbone_dims": [128, 128, 256], "dec_rung_dims": [128, 128, 256], "dec_backbone_dims": [128] * 3},
    "defaults": {
        "enc_backbone_dims": [500, 500, 2000],
        "dec_rung_dims": [500, 500, 2000],
        "dec_backbone_dims": [500] * 3,
    },
}
SPEC = DatasetSpec("any", (1, 32, 32), "normal", "sigmoid", 0)


def words_of(name: str) -> list[str]:
    """The command line that names a configuration file of ours."""
    return [] if name == "defaults" else ["--config_args_path", str(ROOT / "configs" / f"{name}.yml")]


@pytest.mark.parametrize("name", LADDER_OF)
@pytest.mark.parametrize("model_type", ["fc_shared", "fc_per_facet_enc_shared_dec", "fc_vlae", "conv_vlae"])
@pytest.mark.parametrize("J", [1, 2, 3, 4, 5])
def test_another_number_of_facets_in_one_word(name, model_type, J):
    config = load_config([*words_of(name), "--J_n_mixtures", str(J), "--model_type", model_type])
    assert len(config.z_j_dim_list) == len(config.n_clusters_j_list) == J
    assert len(config.n_epochs_per_progressive_step) == J or not config.do_progressive_training
    model = MFCVAE(config, SPEC)
    terms = model(torch.rand(4, *SPEC.image_shape)).terms
    assert terms.loss.isfinite()
    assert [q.shape for q in terms.q_c_x] == [(4, K) for K in config.n_clusters_j_list]


@pytest.mark.parametrize("name", LADDER_OF)
def test_facets_are_added_and_left_out_next_to_the_pixels(name):
    two, three, one = (load_config([*words_of(name), "--J_n_mixtures", str(J)]) for J in (2, 3, 1))
    for setting in ("z_j_dim_list", "n_clusters_j_list", *LADDER_DIMS, *LADDER_DEPTHS):
        first, deepest = getattr(two, setting)
        assert getattr(three, setting) == LADDER_OF[name].get(setting, [first, first, deepest])
        assert getattr(one, setting) == [deepest]
    if not two.do_progressive_training:
        return
    deepest, last = two.n_epochs_per_progressive_step
    assert three.n_epochs_per_progressive_step == [deepest, last, last]
    assert three.n_epochs == deepest + 2 * last
    assert one.n_epochs_per_progressive_step == [deepest]


def test_the_rung_of_an_added_facet_is_as_wide_as_the_backbone_that_it_is_added_to(tmp_path):
    text = "J_n_mixtures: 1\nz_j_dim_list: [5]\nn_clusters_j_list: [9]\nn_epochs_per_progressive_step: [3]\n"
    text += "".join(f"{name}: [1]\n" for name in LADDER_DEPTHS)
    text += "enc_backbone_dims: [7]\nenc_rung_dims: [6]\ndec_backbone_dims: [8]\ndec_rung_dims: [9]\n"
    config = load_config(["--config_args_path", write_yaml(tmp_path, text), "--J_n_mixtures", "3"])
    assert (config.dec_rung_dims, config.dec_backbone_dims) == ([8, 8, 9], [8, 8, 8])
    assert (config.enc_rung_dims, config.z_j_dim_list) == ([6, 6, 6], [5, 5, 5])
    without = write_yaml(tmp_path, text.replace("dec_backbone_n_hidden: [1]", "dec_backbone_n_hidden: [0]"))
    assert load_config(["--config_args_path", without, "--J_n_mixtures", "3"]).dec_rung_dims == [9, 9, 9]


@pytest.mark.parametrize(
    ("text", "argv", "sweep", "expected"),
    [
        ("", ["--n_clusters_j_list", "12"], {}, {"n_clusters_j_list": [12, 12]}),
        ("", ["--n_clusters_j_list", "12", "--J_n_mixtures", "3"], {}, {"n_clusters_j_list": [12] * 3}),
        ("", ["--z_j_dim_list", "1", "2", "3", "--J_n_mixtures", "3"], {}, {"z_j_dim_list": [1, 2, 3]}),
        ("", [], {"J_n_mixtures": 3, "n_clusters_j_list": 12}, {"n_clusters_j_list": [12] * 3}),
        ("", [], {"J_n_mixtures": 3, "z_dim": 9}, {"z_j_dim_list": [9] * 3}),
        ("", [], {"J_n_mixtures": 3, "z_2_dim": 9}, {"z_j_dim_list": [5, 5, 9]}),
        ("z_j_dim_list: 7\n", [], {}, {"z_j_dim_list": [7, 7]}),
        ("z_j_dim_list: [7]\n", [], {}, {"z_j_dim_list": [7, 7]}),
        ("J_n_mixtures: 3\n", [], {}, {"z_j_dim_list": [5] * 3, "enc_backbone_dims": [500, 500, 2000]}),
        ("J_n_mixtures: 3\nz_j_dim_list: [1, 2, 3]\n", ["--J_n_mixtures", "2"], {}, {"z_j_dim_list": [2, 3]}),
        ("J_n_mixtures: 3\nz_j_dim_list: [1, 2, 3]\n", ["--J_n_mixtures", "5"], {}, {"z_j_dim_list": [1, 1, 1, 2, 3]}),
        ("z_j_dim_list: [1, 2]\n", [], {"J_n_mixtures": 3}, {"z_j_dim_list": [1, 1, 2]}),
        ("model_type: fc_per_facet_enc_shared_dec\n", [], {}, {"encode_layer_dims": [[500, 2000], [500, 2000]]}),
        ("model_type: fc_per_facet_enc_shared_dec\nencode_layer_dims: [[8], [9, 9]]\n", ["--J_n_mixtures", "3"], {},
         {"encode_layer_dims": [[8], [8], [9, 9]]}),
        ("model_type: fc_per_facet_enc_shared_dec\n", ["--encode_layer_dims", "8", "9"], {},
         {"encode_layer_dims": [[8, 9], [8, 9]]}),
        ("model_type: conv_vlae\n", ["--J_n_mixtures", "3"], {}, {"enc_backbone_dims": [500, 2000]}),
        ("do_progressive_training: false\n", ["--J_n_mixtures", "3"], {},
         {"n_epochs_per_progressive_step": [201, 201], "n_epochs": 301}),
    ],
)  # fmt: skip
def test_lists_per_facet(tmp_path, text, argv, sweep, expected):
    config = load_config(["--config_args_path", write_yaml(tmp_path, text), *argv], sweep)
    assert {name: getattr(config, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "argv", "sweep"),
    [
        ("", ["--z_j_dim_list", "1", "2", "--J_n_mixtures", "3"], {}),  # two given beside three
        ("", ["--z_j_dim_list", "1", "2"], {"J_n_mixtures": 3}),  # what was typed is not changed
        ("J_n_mixtures: 3\nz_j_dim_list: [1, 2]\n", [], {}),
        ("z_j_dim_list: [1, 2, 3]\n", [], {}),
        ("", [], {"J_n_mixtures": 3, "z_j_dim_list": [1, 2]}),
        ("z_j_dim_list: []\n", ["--J_n_mixtures", "3"], {}),
    ],
)
def test_lists_that_were_given_for_another_number_of_facets(tmp_path, text, argv, sweep):
    with pytest.raises(UserError, match=r"z_j_dim_list = \[.*\]: give one entry per facet, J_n_mixtures = \d, or one"):
        load_config(["--config_args_path", write_yaml(tmp_path, text), *argv], sweep)


def test_a_model_keeps_the_lists_that_it_was_saved_with():
    saved = dataclasses.asdict(load_config(["--J_n_mixtures", "3"]))
    assert build_config(saved) == load_config(["--J_n_mixtures", "3"])
    assert build_config({"J_n_mixtures": 3}).z_j_dim_list == [5, 5, 5]


# --- grouped keys of a sweep


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        ({"z_dim": 9}, {"z_j_dim_list": [9, 9]}),
        ({"z_0_dim": 9}, {"z_j_dim_list": [9, 5]}),
        ({"z_1_dim": 9, "z_0_dim": 8}, {"z_j_dim_list": [8, 9]}),
        ({"n_clusters_1": 9}, {"n_clusters_j_list": [25, 9]}),
        ({"hidden_dim": 64}, {"enc_backbone_dims": [64, 64], "enc_rung_dims": [-1, -1], "dec_backbone_dims": [64, 64],
                              "dec_rung_dims": [64, 64]}),
        ({"n_hidden": 2}, {"enc_backbone_n_hidden": [2, 2], "enc_rung_n_hidden": [-1, -1],
                           "dec_backbone_n_hidden": [2, 2], "dec_rung_n_hidden": [2, 2]}),
        ({"z_j_dim_list": [3, 4], "z_1_dim": 9}, {"z_j_dim_list": [3, 9]}),
        ({"z_1_dim": 9, "z_dim": 7}, {"z_j_dim_list": [7, 9]}),
    ],
)  # fmt: skip
def test_grouped_sweep_keys(sweep, expected):
    before, after = dataclasses.asdict(load_config([])), dataclasses.asdict(load_config([], sweep))
    assert after == before | expected


def test_grouped_sweep_keys_build_on_flags():
    config = load_config(["--z_j_dim_list", "3", "4"], {"z_1_dim": 9})
    assert config.z_j_dim_list == [3, 9]


@pytest.mark.parametrize(
    ("argv", "sweep", "words"),
    [
        ([], {"z_4_dim": 9}, "z_4_dim.*no facet 4"),
        ([], {"z_dims": 9}, "sweep: unknown setting 'z_dims'"),
        ([], {"z_dim": "many"}, "z_j_dim_list = .*many.*integer"),
        (["--z_j_dim_list", "a", "b"], {"z_0_dim": 9}, "z_j_dim_list = .*'a'.*integer"),
        (["--enc_rung_dims", "a", "b"], {"hidden_dim": 9}, "enc_rung_dims = .*'a'.*integer"),
        (["--model_type", "conv_vlae"], {"n_hidden": 2}, "n_hidden.*sets the layers of fc_vlae.*conv_vlae"),
    ],
)
def test_bad_sweeps(argv, sweep, words):
    with pytest.raises(UserError, match=words):
        load_config(argv, sweep)
