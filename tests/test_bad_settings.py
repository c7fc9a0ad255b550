"""Settings that cannot work, in flags and in YAML: one line names the setting, its value and what would be right."""

from __future__ import annotations

import re

import pytest
import torch
from test_bad_inputs import WIDTHS, assert_says, complaint, tiny

import train

# --- flags and combinations: flags, words that the message must have

FC_PER_FACET = ("--model_type", "fc_per_facet_enc_shared_dec")
SHAPES = ("--dataset", "fast_3dshapes")
FLAGS = {
    "unknown": (["--bacth_size", "7"], ["--bacth_size", "--batch_size"]),
    "unknown and nothing near": (["--xyzzy", "7"], ["--xyzzy", "--help"]),
    "text for a whole number": (["--batch_size", "many"], ["batch_size = 'many'", "integer"]),
    "fraction for a whole number": (["--batch_size", "7.5"], ["batch_size = '7.5'", "integer"]),
    "text for a number": (["--init_lr", "fast"], ["init_lr = 'fast'", "number"]),
    "not a number": (["--init_lr", "nan"], ["init_lr = 'nan'", "finite"]),
    "infinite": (["--temp_sample_generation", "inf"], ["temp_sample_generation = 'inf'", "finite"]),
    "text for true or false": (["--fix_pi_p_c", "maybe"], ["fix_pi_p_c = 'maybe'", "boolean"]),
    "text in a list": (["--z_j_dim_list", "5", "x"], ["z_j_dim_list", "'x'", "integer"]),
    "too small": (["--batch_size", "1"], ["batch_size = '1'", "greater than or equal to 2"]),
    "negative": (["--init_lr=-1e-3"], ["init_lr = '-1e-3'", "greater than 0"]),
    "negative seed": (["--seed", "-1"], ["seed = '-1'", "greater than or equal to 0"]),
    "fraction of one": (["--threedshapes_train_frac", "1"], ["threedshapes_train_frac = '1'", "less than 1"]),
    "zero clusters": (["--n_clusters_j_list", "0", "3"], ["n_clusters_j_list", "'0'", "greater than or equal to 1"]),
    "no test batches": (["--n_test_batches", "0"], ["n_test_batches = 0", "-1", "at least 1"]),
    "no value": (["--seed"], ["--seed", "needs a value", "INT"]),
    "two values": (["--seed", "3", "4"], ["--seed 3 4", "one value", "got 2"]),
    "not a choice": (["--model_type", "vae"], ["model_type = 'vae'", "'fc_vlae'", "'conv_vlae'"]),
    "not a dataset": (["--dataset", "mnist"], ["dataset = 'mnist'", "'fast_mnist'", "'digits'"]),
    "broken mapping": (["--factors_variation_dict", "{shape: [0"], ["--factors_variation_dict {shape: [0", "mapping"]),
    "a date": (["--factors_variation_dict", "{shape: [2020-13-45]}"], ["factors_variation_dict", "2020-13-45"]),
    "octal in a list": (["--z_j_dim_list", "[0144, 5]"], ["--z_j_dim_list [0144, 5]", "0144 is 100 in YAML"]),
    "minutes in a list": (["--z_j_dim_list", "[1:30, 5]"], ["--z_j_dim_list", "1:30 is 90 in YAML"]),
    "alias": (["--z_j_dim_list", "[&a 5, *a]"], ["--z_j_dim_list", "aliases are not read", "*a"]),
    "key twice": (["--factors_variation_dict", "{shape: [0, 1], shape: [2]}"], ["'shape' is there twice"]),
    "a list of 3,000 characters": (
        ["--z_j_dim_list", *["x" * 30] * 100],
        ["z_j_dim_list = ['xxx", " ...: ", "integer"],
    ),
    "broken YAML of 3,000 characters": (["--z_j_dim_list", "[" + "x" * 3000], ["--z_j_dim_list", " ...: not a YAML"]),
    "a list of 101 items": (["--decode_layer_dims", *["8"] * 101], ["decode_layer_dims", "at most 100 items"]),
    "path as a name": (["--run_name", "a/b"], ["run_name = 'a/b'"]),
    "parent as a name": (["--run_name", ".."], ["run_name = '..'"]),
    "dimensions against J": (
        ["--z_j_dim_list", "5", "5", "5"],
        ["z_j_dim_list = [5, 5, 5]", "J_n_mixtures = 2", "one entry per facet", "or one for all"],
    ),
    "clusters and more against J": (
        ["--J_n_mixtures", "3", "--z_j_dim_list", "2", "2", "2"],
        ["n_clusters_j_list = [3, 3], n_epochs_per_progressive_step = ", "J_n_mixtures = 3"],
    ),
    "steps against J": (
        ["--n_epochs_per_progressive_step", "1", "1", "1"],
        ["n_epochs_per_progressive_step = [1, 1, 1]", "J_n_mixtures = 2"],
    ),
    "ladder against J": (["--enc_backbone_dims", "8", "8", "8"], ["enc_backbone_dims = [8, 8, 8]", "J_n_mixtures = 2"]),
    "gated add": (["--dec_rung_dims", "9", "8"], ["dec_rung_dims = [9, 8]", "width 9", "width 8", "equal"]),
    "layer without width": (
        ["--enc_rung_n_hidden", "1", "-1"],
        ["enc_rung_dims[0] = -1", "at least 1", "enc_rung_n_hidden"],
    ),
    "no such facet": (
        ["--facet_to_fix_pi_p_c", "facet_2"],
        ["facet_to_fix_pi_p_c = 'facet_2'", "all, facet_0, facet_1"],
    ),
    "too many encoders": (
        [*FC_PER_FACET, "--encode_layer_dims", "[[8], [8], [8]]"],
        ["encode_layer_dims = [[8], [8], [8]]", "J_n_mixtures = 2", "one entry per facet"],
    ),
    "encoders to share": (
        ["--model_type", "fc_shared", "--encode_layer_dims", "[[8], [8]]"],
        ["encode_layer_dims = [[8], [8]]", "one flat list"],
    ),
    "label with one value": (
        [*SHAPES, "--factors_label_list", "floor_hue"],
        ["factors_label_list", "'floor_hue'", "one value"],
    ),
    "unknown label": ([*SHAPES, "--factors_label_list", "shapes"], ["factors_label_list", "'shapes'", "'shape'"]),
    "no label": ([*SHAPES, "--factors_label_list", "[]"], ["factors_label_list = []", "at least one"]),
    "unknown factor": ([*SHAPES, "--factors_variation_dict", "{size: [0]}"], ["factors_variation_dict", "'size'"]),
    "index out of range": (
        [*SHAPES, "--factors_variation_dict", "{shape: [0, 4]}"],
        ["factors_variation_dict['shape'] = [0, 4]", "0 to 3"],
    ),
    "index twice": (
        [*SHAPES, "--factors_variation_dict", "{shape: [1, 1]}"],
        ["factors_variation_dict['shape']", "different"],
    ),
    "ladder too deep": (
        [
            "--model_type",
            "conv_vlae",
            "--J_n_mixtures",
            "4",
            "--z_j_dim_list",
            "2",
            "2",
            "2",
            "2",
            "--n_clusters_j_list",
            "3",
            "3",
            "3",
            "3",
            "--n_epochs_per_progressive_step",
            "1",
            "1",
            "1",
            "1",
        ],
        ["J_n_mixtures = 4", "8x8", "at most 3"],
    ),
    "more clusters than images": (
        ["--n_clusters_j_list", "3", "1438"],
        ["n_clusters_j_list = [3, 1438]", "1437", "fewer"],
    ),
    "batch of one to normalise": (["--batch_size", "4", "--do_fc_batch_norm"], ["batch_size = 4", "1437", "use 5"]),
    "depth of ten million": (["--enc_backbone_n_hidden", "10000000", "1"], ["enc_backbone_n_hidden", "equal to 100"]),
    "width of a million": (["--enc_backbone_dims", "1000000", "8"], ["enc_backbone_dims", "equal to 100000"]),
    "encoder of a million": (["--model_type", "fc_shared", "--encode_layer_dims", "1000000"], ["encode_layer_dims"]),
    "a billion facets": (["--J_n_mixtures", "1000000000"], ["J_n_mixtures = '1000000000'", "equal to 100"]),
    "a million dimensions": (["--z_j_dim_list", "1000000"], ["z_j_dim_list", "equal to 10000"]),
    "a million clusters": (["--n_clusters_j_list", "1000000"], ["n_clusters_j_list", "equal to 100000"]),
    "batch of 10^20": (["--batch_size", "1" + "0" * 20], ["batch_size = '1000", "equal to 1000000"]),
    "evaluation batch of 10^20": (["--eval_batch_size", "1" + "0" * 20], ["eval_batch_size", "equal to 1000000"]),
    "epochs without end": (
        ["--n_epochs_per_progressive_step", "1" + "0" * 20],
        ["n_epochs_per_progressive_step", "equal to"],
    ),
    "fade-in of 10^400": (["--n_batches_fade_in", "1" + "0" * 400], ["n_batches_fade_in", "equal to 1000000000"]),
    "a number of 5,000 digits": (["--batch_size", "1" * 5000], ["batch_size = '111", " ...: "]),
    "sigma of 1e300": (["--sigma_multiplier_p_x_z", "1e300"], ["sigma_multiplier_p_x_z = '1e300'", "equal to 1000000"]),
    "sigma of 1e-300": (["--sigma_multiplier_p_x_z", "1e-300"], ["sigma_multiplier_p_x_z = '1e-300'", "0.000001"]),
    "variance of 1e300": (["--fixed_var_init", "1e300"], ["fixed_var_init = '1e300'", "equal to 1000000000000"]),
    "weight of 1e300": (["--gamma_kl_z_pretrain", "1e300"], ["gamma_kl_z_pretrain", "equal to 1000000000000"]),
    "learning rate of 1e400": (["--init_lr", "1e400"], ["init_lr = '1e400'", "finite"]),
    "100,000 samples": (
        ["--n_sample_generations_per_cluster", "100000"],
        ["n_sample_generations_per_cluster", "equal to 100"],
    ),
    "100,000 examples": (["--n_examples_per_cluster", "100000"], ["n_examples_per_cluster", "equal to 100"]),
    "100,000 reconstructions": (["--n_recons_per_cluster", "100000"], ["n_recons_per_cluster", "equal to 100"]),
    "images of 10^14 pixels": (
        ["--dataset", "folder", "--image_size", "10000000"],
        ["image_size = '10000000'", "equal to 1000000"],
    ),
    "a device of 3,000 characters": (["--device", "x" * 3000], ["device = 'xxx", " ...: not a device"]),
    "no such device": (["--device", "gpu"], ["device = 'gpu'", "auto, cpu, cuda, cuda:N or mps"]),
    "device without memory": (["--device", "meta"], ["device = 'meta'", "auto, cpu, cuda, cuda:N or mps"]),
    "GPU beyond the last": (["--device", "cuda:99"], ["device = 'cuda:99'", "this machine has", "auto or cpu"]),
}


@pytest.mark.parametrize(("flags", "words"), FLAGS.values(), ids=FLAGS)
def test_flags_and_combinations(tmp_path, flags, words):
    assert_says(complaint(tiny(tmp_path, *flags)), *words)
    assert not list(tmp_path.iterdir())  # nothing was begun


def test_a_value_without_a_name():
    assert_says(complaint(["configs/digits.yml"]), "'configs/digits.yml'", "settings are named, as in --seed 3")


def test_cuda_without_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert_says(complaint(tiny(tmp_path, "--device", "cuda")), "device = 'cuda'", "0 GPUs", "cpu")


# --- YAML: the file's content

YAML = {
    "unknown key": (b"bacth_size: 7\n", ["unknown setting 'bacth_size'", "'batch_size'"]),
    "ill-typed value": (b"seed: [1, 2]\n", ["seed = [1, 2]", "integer"]),
    "true for a number": (b"batch_size: true\n", ["batch_size = True", "number"]),
    "mapping for a list": (b"z_j_dim_list: {a: 1}\n", ["z_j_dim_list", "list"]),
    "list at the top": (b"- seed: 1\n", ["setting: value"]),
    "text at the top": (b"seed 1\n", ["setting: value"]),
    "not YAML": (b"seed: [1\nbatch_size: }\n", ["not valid YAML", "line 2"]),
    "a date": (b"seed: 2020-13-45\n", ["seed = '2020-13-45'", "integer"]),
    "octal": (b"\nseed: 0144\n", ["not valid YAML", "line 2: 0144 is 100 in YAML", "'0144' in quotes"]),
    "hexadecimal": (b"seed: 0x1F\n", ["line 1: 0x1F is 31 in YAML"]),
    "binary number": (b"seed: 0b11\n", ["line 1: 0b11 is 3 in YAML"]),
    "minutes": (b"n_epochs: 1:30\n", ["line 1: 1:30 is 90 in YAML"]),
    "minutes with a fraction": (b"init_lr: 1:30.5\n", ["line 1: 1:30.5 is 90.5 in YAML"]),
    "a number of 5,000 digits": (b"seed: " + b"9" * 5000, ["not valid YAML", "more than 100 digits"]),
    "key twice": (b"seed: 1\nbatch_size: 7\nseed: 2\n", ["not valid YAML", "line 3: 'seed' is there twice"]),
    "key twice further down": (
        b"factors_variation_dict: {shape: [0], shape: [1]}\n",
        ["line 1: 'shape' is there twice"],
    ),
    "alias": (b"z_j_dim_list: &a [5, 5]\nn_clusters_j_list: *a\n", ["line 2: aliases are not read", "*a"]),
    "alias bomb": (
        b"a: &a [9, 9, 9, 9]\n"
        + b"".join(b"%c: &%c [*%c, *%c, *%c, *%c]\n" % (c, c, *[c - 1] * 4) for c in b"bcdefghij"),
        ["not valid YAML", "line 2: aliases are not read"],
    ),
    "merged keys": (b"<<: &a {seed: 1}\nfoo: *a\n", ["not valid YAML", "line 2: aliases are not read"]),
    "nested too deeply": (b"seed: " + b"[" * 2000, ["not valid YAML", "nested too deeply"]),
    "NUL": (b"run_name: a\x00b\n", ["not valid YAML", "x0000"]),
    "an unhashable key": (b"? [1, 2]\n: 3\n", ["not valid YAML", "line 1", "unhashable"]),
    "a tag that does not fit": (b"save_model: !!bool maybe\n", ["not valid YAML"]),
    "two documents": (b"seed: 1\n---\nseed: 2\n", ["not valid YAML", "line 2", "another document"]),
    "a megabyte": (b"# " + b"x" * 1_000_000 + b"\n", ["not valid YAML", "more than 1,000,000 bytes"]),
    "a value of 3,000 characters": (b"seed: " + b"x" * 3000, ["seed = 'xxx", " ...: should be a valid integer"]),
    "a key of 3,000 characters": (b"x" * 3000 + b": 1\n", ["line 1"]),
    "a key of 1,000 characters": (b"? " + b"x" * 1000 + b"\n: 1\n", ["unknown setting 'xxx", " ...; --help"]),
    "infinite": (b"init_lr: .inf\n", ["init_lr = inf", "finite"]),
    "an object": (b"seed: !!python/object/apply:os.getpid []\n", ["not valid YAML"]),
    "binary": (bytes(range(128, 256)), ["not valid YAML", "UTF-8"]),
}


@pytest.mark.parametrize(("content", "words"), YAML.values(), ids=YAML)
def test_yaml(tmp_path, content, words):
    path = tmp_path / "settings.yml"
    path.write_bytes(content)
    message = complaint(["--config_args_path", str(path)])
    is_a_value = re.match(r"\w+ = ", message) and "config_args_path" not in message
    assert_says(message, *words, *([] if is_a_value else [str(path)]))


def test_yaml_that_is_not_there(tmp_path):
    path = str(tmp_path / "none.yml")
    assert_says(complaint(["--config_args_path", path]), f"config_args_path = {path!r}", "no such file", "configs/")


def test_yaml_that_is_a_folder(tmp_path):
    assert_says(complaint(["--config_args_path", str(tmp_path)]), f"config_args_path = {str(tmp_path)!r}", "directory")


# --- models that do not fit into memory

LARGE = [word for name in WIDTHS for word in (name, "100000")]
GIGANTIC = {
    "layers of 100,000": [*LARGE, "--enc_backbone_n_hidden", "100"],
    "covariances of 10,000 x 10,000": [
        "--cov_type_p_z_c",
        "full",
        "--z_j_dim_list",
        "10000",
        "--n_clusters_j_list",
        "100",
    ],
}


@pytest.mark.parametrize("flags", GIGANTIC.values(), ids=GIGANTIC)
def test_models_that_do_not_fit_into_memory(tmp_path, flags):
    assert_says(complaint(tiny(tmp_path, *flags)), "parameters takes", "GiB to train, and cpu has", "smaller widths")
    assert not list(tmp_path.iterdir())


def test_the_plan_of_a_gigantic_model_takes_no_memory(tmp_path, capsys):
    assert train.main(tiny(tmp_path, *GIGANTIC["layers of 100,000"], "--dry_run")) == 0
    assert "model     2,010,034,400,102 parameters" in capsys.readouterr().out
