"""Where settings come from and how they are written; what is asked of them."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from pathlib import Path

import pytest
import yaml
from conftest import write_yaml

from config import build_config, load_config, warn_of_flags_without_effect
from utils import UserError

ROOT = Path(__file__).resolve().parent.parent
RESOLVED = json.loads((ROOT / "tests/fixtures/resolved_settings.json").read_text())
CONFIGS = sorted(path for path in (ROOT / "configs").glob("*.yml") if not path.name.startswith("wandb"))


# --- precedence


def test_defaults_are_those_of_the_published_script():
    config = load_config([])
    assert (config.model_type, config.dataset, config.batch_size, config.seed) == ("fc_vlae", "fast_mnist", 512, 6000)
    assert (config.init_lr, config.z_j_dim_list, config.n_clusters_j_list) == (5e-4, [5, 5], [25, 25])


def test_yaml_wins_over_defaults_and_leaves_the_rest(tmp_path):
    config = load_config(["--config_args_path", write_yaml(tmp_path, "batch_size: 7\n")])
    assert (config.batch_size, config.eval_batch_size) == (7, 1000)


@pytest.mark.parametrize("yaml_last", [False, True])
def test_flags_win_over_yaml_in_any_order(tmp_path, yaml_last):
    parts = [["--config_args_path", write_yaml(tmp_path, "batch_size: 7\nseed: 1\n")], ["--batch_size", "8"]]
    config = load_config(sum(reversed(parts) if yaml_last else parts, []))
    assert (config.batch_size, config.seed) == (8, 1)


def test_a_sweep_wins_over_flags_and_yaml(tmp_path):
    argv = ["--config_args_path", write_yaml(tmp_path, "batch_size: 7\nseed: 1\ninit_lr: 1\n"), "--batch_size", "8"]
    config = load_config([*argv, "--seed", "2"], {"seed": 3})
    assert (config.seed, config.batch_size, config.init_lr) == (3, 8, 1.0)


# --- how values are written


@pytest.mark.parametrize(
    ("argv", "name", "value"),
    [
        (["--z_j_dim_list", "5", "6"], "z_j_dim_list", [5, 6]),
        (["--z_j_dim_list", "[5, 6]"], "z_j_dim_list", [5, 6]),
        (["--enc_rung_dims", "-1", "-1"], "enc_rung_dims", [-1, -1]),
        (["--factors_label_list", "shape", "scale"], "factors_label_list", ["shape", "scale"]),
        (["--fix_pi_p_c"], "fix_pi_p_c", True),
        (["--fix_pi_p_c", "true"], "fix_pi_p_c", True),
        (["--fix_pi_p_c", "false"], "fix_pi_p_c", False),
        (["--do_vis_pi", "False"], "do_vis_pi", False),
        (["--init_lr", "5e-4"], "init_lr", 5e-4),
        (["--init_lr=5e-4"], "init_lr", 5e-4),
        (["--user", "none"], "user", None),
        (["--compile", "True"], "compile", "true"),
        (["--factors_variation_dict", "{shape: [0, 1], wall_hue: [3, 4]}"], "factors_variation_dict",
         {"shape": [0, 1], "wall_hue": [3, 4]}),
    ],
)  # fmt: skip
def test_flags(argv, name, value):
    found = getattr(load_config(argv), name)
    assert found == value
    assert type(found) is type(value)


def test_a_list_of_lists_on_the_command_line_and_in_yaml(tmp_path):
    model = "model_type: fc_per_facet_enc_shared_dec\n"
    path = write_yaml(tmp_path, model + "encode_layer_dims: [[20, 30], [40]]\n")
    assert load_config(["--config_args_path", path]).encode_layer_dims == [[20, 30], [40]]
    config = load_config(["--config_args_path", path, "--encode_layer_dims", "[[8],", "[9, 10]]"])
    assert config.encode_layer_dims == [[8], [9, 10]]


def test_scientific_notation_in_yaml_is_a_number(tmp_path):
    text = "init_lr: 5e-4\n"
    assert yaml.safe_load(text) == {"init_lr": "5e-4"}  # YAML 1.1 wants 5.0e-4 and takes this for text
    assert load_config(["--config_args_path", write_yaml(tmp_path, text)]).init_lr == 5e-4


def test_nested_values_in_yaml(tmp_path):
    text = "dataset: fast_3dshapes\nfactors_variation_dict:\n  wall_hue: [1, 2]\n  shape: [0, 3]\n"
    config = load_config(["--config_args_path", write_yaml(tmp_path, text)])
    assert config.factors_variation_dict == {"wall_hue": [1, 2], "shape": [0, 3]}


@pytest.mark.parametrize("setting", ["seed: true", "init_lr: yes", "z_j_dim_list: [true, 5]"])
def test_true_is_not_a_number(tmp_path, setting):
    with pytest.raises(UserError, match=setting.split(":")[0] + r" = .*should be a number, not true or false"):
        load_config(["--config_args_path", write_yaml(tmp_path, setting)])


# --- the published files


def test_published_dead_keys_are_named_in_one_warning(tmp_path, caplog):
    text = "config_args_path: ''\ndataset_on_gpu: true\nlr_decay: 0.9\nmin_lr: 1e-6\ndo_vis_cluster_means: true\n"
    text += "do_vis_latent_code_traversal: true\nn_sample_generation_plots_per_facet: 1\nbatch_size: 7\n"
    with caplog.at_level(logging.WARNING):
        path = write_yaml(tmp_path, text)
        config = load_config(["--config_args_path", path])
    assert config.batch_size == 7
    assert config.config_args_path == path
    (record,) = caplog.records
    for key in set(yaml.safe_load(text)) - {"config_args_path", "batch_size"}:
        assert key in record.getMessage()


DRAWN = ["--init_off_diag_cov_p_z_c", "--cov_type_p_z_c", "full", "--init_type_p_z_c", "glorot"]


@pytest.mark.parametrize(
    ("flags", "warned"),
    [
        (["--n_epochs", "3"], ["--n_epochs has no effect: progressive training has the sum of", "402 epochs"]),
        (["--n_epochs", "3", "--do_progressive_training", "false"], []),
        (["--gamma_kl_z_pretrain", "1", "--do_progressive_training", "false"], ["do_progressive_training is false"]),
        (["--facet_to_fix_pi_p_c", "facet_0"], ["--facet_to_fix_pi_p_c has no effect: fix_pi_p_c is false"]),
        (["--facet_to_fix_pi_p_c", "facet_0", "--fix_pi_p_c"], []),
        (
            ["--init_off_diag_cov_p_z_c", "--cov_type_p_z_c", "full"],
            ["init_type_p_z_c glorot with cov_type_p_z_c full"],
        ),
        (["--encode_layer_dims", "10"], ["--encode_layer_dims has no effect: model_type is fc_vlae"]),
        (["--encode_layer_dims", "10", "--model_type", "fc_shared"], []),
        (["--factors_label_list", "shape"], ["--factors_label_list has no effect: dataset is fast_mnist"]),
        (["--image_size", "32"], ["--image_size has no effect: dataset is fast_mnist"]),
        (["--fixed_var_init", "5", "--init_off_diag_cov_p_z_c"], ["--init_off_diag_cov_p_z_c has no effect"]),
        (
            ["--fixed_var_init", "5", *DRAWN],
            ["--fixed_var_init has no effect: init_off_diag_cov_p_z_c draws them"],
        ),
    ],
)
def test_a_flag_without_effect_is_named(flags, warned, caplog):
    with caplog.at_level(logging.WARNING):
        warn_of_flags_without_effect(flags, load_config(flags))
    message = " ".join(record.getMessage() for record in caplog.records)
    assert bool(message) == bool(warned)
    assert all(words in message for words in warned)


def test_a_file_without_dead_keys_warns_of_nothing(tmp_path, caplog):
    load_config(["--config_args_path", write_yaml(tmp_path, "config_args_path: ''\nseed: 1\n")])
    assert not caplog.records


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_our_configurations_load(path, caplog):
    config = load_config(["--config_args_path", str(path)])
    assert config.name == f"{config.data_name if path.stem == 'folder' else path.stem}_seed{config.seed}"
    assert not caplog.records


def test_there_are_configurations():
    assert {path.stem for path in CONFIGS} == {"digits", "mnist", "svhn", "3dshapes_1", "3dshapes_2", "folder", "demo"}


@pytest.mark.parametrize("name", RESOLVED)
def test_published_configurations_resolve_to_what_they_always_did(name):
    """tests/fixtures/resolved_settings.json was written before lists followed the number of facets."""
    config = load_config(["--config_args_path", str(ROOT / "configs" / f"{name}.yml")] if name != "defaults" else [])
    now = dataclasses.asdict(config)
    assert {key: now[key] for key in RESOLVED[name]} == RESOLVED[name]


# --- YAML


def test_every_yaml_file_is_read_by_one_reader():
    programs = [path for path in [*ROOT.glob("*.py"), *ROOT.glob("*/*.py")] if path.parent.name != "tests"]
    assert len(programs) > 20
    readers = [
        path.relative_to(ROOT).as_posix()
        for path in programs
        if re.search(r"\bload\(.*Loader|safe_load", path.read_text())
    ]
    assert readers == ["settings/yaml_files.py"]


# --- the dataclass


def test_an_unknown_setting_suggests_the_nearest(tmp_path):
    with pytest.raises(UserError, match="unknown setting '--bacth_size'; did you mean '--batch_size'"):
        load_config(["--bacth_size", "7"])
    with pytest.raises(UserError, match="settings.yml: unknown setting 'z_dim_list'; did you mean 'z_j_dim_list'"):
        load_config(["--config_args_path", write_yaml(tmp_path, "z_dim_list: [5]\n")])


def test_no_flag_is_abbreviated():
    with pytest.raises(UserError, match="unknown setting '--batch'"):
        load_config(["--batch", "7"])


def test_settings_cannot_be_changed():
    config = load_config([])
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1


def test_settings_survive_their_own_yaml():
    config = load_config(["--config_args_path", str(ROOT / "configs" / "3dshapes_1.yml")])
    assert build_config(yaml.safe_load(yaml.safe_dump(dataclasses.asdict(config)))) == config


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        ([], "fast_mnist_seed6000"),
        (["--dataset", "digits", "--seed", "1"], "digits_seed1"),
        (["--config_args_path", str(ROOT / "configs" / "mnist.yml")], "mnist_seed3"),
        (["--config_args_path", str(ROOT / "configs" / "mnist.yml"), "--run_name", "mine"], "mine"),
        (["--config_args_path", str(ROOT / "configs" / "folder.yml"), "--data_dir", "my/.Holiday pictures/"],
         "Holiday_pictures_seed0"),
        (["--dataset", "npz", "--data_dir", "cells.v2.npz", "--seed", "1"], "cells.v2_seed1"),
        (["--dataset", "npz", "--data_dir", "/", "--seed", "1"], "npz_seed1"),
        (["--config_args_path", "FOLDER/mnist_seed3/config.yml", "--seed", "4"], "mnist_seed4"),
    ],
)  # fmt: skip
def test_run_names(tmp_path, argv, name):
    (tmp_path / "mnist_seed3").mkdir()
    (tmp_path / "mnist_seed3" / "config.yml").write_text("run_name: null\n")
    assert load_config([word.replace("FOLDER", str(tmp_path)) for word in argv]).name == name


def test_n_epochs_is_the_sum_of_the_progressive_steps():
    steps = ["--n_epochs_per_progressive_step", "3", "4", "--n_epochs", "9"]
    assert load_config(steps).n_epochs == 7
    assert load_config([*steps, "--do_progressive_training", "false"]).n_epochs == 9


def test_which_facets_keep_uniform_weights():
    assert [load_config(["--fix_pi_p_c"]).is_pi_fixed(j) for j in range(2)] == [True, True]
    frozen = load_config(["--fix_pi_p_c", "--facet_to_fix_pi_p_c", "facet_1"])
    assert [frozen.is_pi_fixed(j) for j in range(2)] == [False, True]
    assert not load_config(["--facet_to_fix_pi_p_c", "facet_1"]).is_pi_fixed(1)
