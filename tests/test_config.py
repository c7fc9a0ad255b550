"""Where settings come from, how they are written, and that each is documented and read."""

from __future__ import annotations

import ast
import dataclasses
import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from config import FIELDS, Config, build_config, load_config, warn_of_flags_without_effect
from datasets import DatasetSpec
from mfcvae import MFCVAE
from settings.facet_lists import LADDER_DEPTHS, LADDER_DIMS
from utils import UserError

ROOT = Path(__file__).resolve().parent.parent
NAMES = [field.name for field in dataclasses.fields(Config)]
RESOLVED = json.loads((ROOT / "tests/fixtures/resolved_settings.json").read_text())
CONFIGS = sorted(path for path in (ROOT / "configs").glob("*.yml") if not path.name.startswith("wandb"))


def write_yaml(folder: Path, text: str) -> str:
    path = folder / "settings.yml"
    path.write_text(text)
    return str(path)


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
    assert {path.stem for path in CONFIGS} == {"digits", "mnist", "svhn", "3dshapes_1", "3dshapes_2", "folder"}


@pytest.mark.parametrize("name", RESOLVED)
def test_published_configurations_resolve_to_what_they_always_did(name):
    """tests/fixtures/resolved_settings.json was written before lists followed the number of facets."""
    config = load_config(["--config_args_path", str(ROOT / "configs" / f"{name}.yml")] if name != "defaults" else [])
    now = dataclasses.asdict(config)
    assert {key: now[key] for key in RESOLVED[name]} == RESOLVED[name]


# --- lists with an entry per facet


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


# --- every setting is documented and read


def test_every_setting_is_in_the_help_with_its_docstring(capsys):
    with pytest.raises(SystemExit) as stopped:
        load_config(["--help"])
    assert stopped.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name, info in FIELDS.items():
        assert f"--{name} " in shown
        assert info.description, f"{name} has no docstring"
        assert " ".join(info.description.split()) in shown, name


def test_help_imports_nothing_that_takes_seconds():
    command = [sys.executable, "-X", "importtime", str(ROOT / "train.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "--J_n_mixtures" in done.stdout
    assert "pydantic" in imported
    assert not imported & {"torch", "numpy", "matplotlib", "sklearn", "wandb", "optuna"}


def is_config(node: ast.expr) -> bool:
    """Whether an expression is a Config: a name or an attribute `config`."""
    return (isinstance(node, ast.Name) and node.id == "config") or (
        isinstance(node, ast.Attribute) and node.attr == "config"
    )


def name_pattern(node: ast.expr) -> str:
    """The names that the second argument of getattr may be, as a regular expression; nothing where it is a variable."""
    if isinstance(node, ast.Constant):
        return re.escape(str(node.value))
    if isinstance(node, ast.JoinedStr):
        return "".join(re.escape(part.value) if isinstance(part, ast.Constant) else r"\w+" for part in node.values)
    return "(?!)"


def read_patterns(source: str) -> set[str]:
    """What a source reads of a Config: patterns of `config.<name>`, `self.config.<name>` and getattr(config, ...)."""
    tree = ast.parse(source)
    patterns = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and is_config(node.value):
            patterns.add(re.escape(node.attr))
        is_getattr = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr"
        if is_getattr and is_config(node.args[0]):
            patterns.add(name_pattern(node.args[1]))
    return patterns


def test_the_reader_of_sources_finds_reads_only():
    source = "config.a\nself.config.b\nconfig.c = 1\nother.d\ngetattr(config, f'{part}_dims')\ngetattr(config, 'e')\n"
    patterns = read_patterns(source)
    read = {name for name in ("a", "b", "c", "d", "e", "x_dims") if any(re.fullmatch(p, name) for p in patterns)}
    assert read == {"a", "b", "e", "x_dims"}


def test_every_setting_is_read_somewhere():
    """Checks of settings do not count as reading; properties of Config, which others read, do."""
    patterns = set()
    for path in [*ROOT.glob("*.py"), *(path for path in ROOT.glob("*/*.py") if path.parent.name != "settings")]:
        source = path.read_text()
        if path.name == "config.py":
            (body,) = [node for node in ast.parse(source).body if getattr(node, "name", "") == "Config"]
            source = re.sub(r"\bself\.", "config.", ast.unparse(body))
        patterns |= read_patterns(source)
    unread = [name for name in NAMES if not any(re.fullmatch(pattern, name) for pattern in patterns)]
    assert not unread
