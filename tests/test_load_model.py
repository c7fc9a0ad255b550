"""Saved models load bit-equal in either layout, and nothing but tensors and settings is ever unpickled."""

from __future__ import annotations

import argparse
import dataclasses
import pickle
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Payload, ReferenceCase, assert_flips_are_noticed, random_states

import load_model
from config import Config, build_config
from datasets import DATASETS, DatasetSpec, dataset_spec
from evaluation.predictions import predict_with_terms, responsibilities
from load_model import export_published, load_model_from_save_dict, save_model, to_published
from mfcvae import MFCVAE
from settings.comparing import portable_settings
from utils import PROJECT, UserError

WIDTHS = ("enc_backbone", "enc_rung", "dec_backbone", "dec_rung")


def with_data_set(case: ReferenceCase) -> tuple[MFCVAE, Config]:
    """The case's model, its settings naming a data set of that image shape."""
    data_set = "fast_3dshapes" if case.spec.image_shape[0] == 3 else "fast_mnist"
    return case.model(), dataclasses.replace(case.config, dataset=data_set)


def images(case: ReferenceCase) -> torch.Tensor:
    shape = (32, *case.spec.image_shape)
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def assert_same_predictions(a: MFCVAE, b: MFCVAE, x: torch.Tensor) -> None:
    (first, terms), (second, other_terms) = (predict_with_terms(model, x, batch_size=16) for model in (a, b))
    for one, other in zip(first.means, second.means, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(responsibilities(a, first.means), responsibilities(b, second.means), strict=True):
        np.testing.assert_array_equal(one, other)
    assert terms == other_terms


def test_both_layouts_give_bit_equal_predictions(case, tmp_path):
    model, config = with_data_set(case)
    save_model(model, config, tmp_path / "ours.pt")
    export_published(model, config, tmp_path / "published.pt")
    ours, config_1 = load_model_from_save_dict(tmp_path / "ours.pt")
    theirs, config_2 = load_model_from_save_dict(tmp_path / "published.pt")
    assert portable_settings(config_1) == portable_settings(config)
    assert not ours.training
    assert not theirs.training
    assert_same_predictions(ours, theirs, images(case))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, ours.state_dict()[name])
        assert torch.equal(tensor, theirs.state_dict()[name])
    of_the_machine = {name: getattr(Config(), name) for name in load_model.OF_THE_MACHINE}
    assert config_2 == dataclasses.replace(config_2, **of_the_machine)
    for field in dataclasses.fields(Config):
        is_unused = config.model_type.endswith("vlae") and field.name in ("encode_layer_dims", "decode_layer_dims")
        if not is_unused:
            assert getattr(config_2, field.name) == getattr(config, field.name)


@pytest.mark.parametrize("write", [save_model, pytest.param(export_published, marks=pytest.mark.slow)])
def test_a_flipped_bit_is_refused_or_without_effect(tmp_path, write):
    config = build_config({"dataset": "digits", "wandb_mode": "disabled", "data_dir": "x"})
    config = dataclasses.replace(config, **{f"{part}_dims": [3, 3] for part in WIDTHS})
    path = tmp_path / "model.pt"
    write(MFCVAE(config, dataset_spec(config)), config, path)
    assert_flips_are_noticed(path, lambda: loaded(path))


def loaded(path: Path) -> tuple[dict[str, torch.Tensor], DatasetSpec, Config]:
    model, config = load_model_from_save_dict(path)
    return dict(model.state_dict()), model.spec, config


def test_a_part_that_seems_to_be_a_folder_is_refused(tmp_path):
    """PyTorch would read nothing and take what the memory held."""
    path = tmp_path / "model.pt"
    torch.save({"state_dict": {"a": torch.ones(9)}, "config": {}}, path)
    with zipfile.ZipFile(path) as archive:
        data, at = bytearray(path.read_bytes()), archive.start_dir
    while data[at : at + 4] == b"PK\1\2":
        data[at + 38] |= 0x10
        at += 46 + sum(struct.unpack_from("<HHH", data, at + 28))
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged or not a checkpoint .*not as PyTorch writes it"):
        load_model_from_save_dict(path)


def test_what_unpacks_to_more_than_it_is_is_refused(tmp_path):
    whole, path = tmp_path / "whole.pt", tmp_path / "model.pt"
    torch.save({"state_dict": {"a": torch.zeros(10**6)}, "config": {}}, whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in source.namelist():
            packed.writestr(name, source.read(name))
    with pytest.raises(UserError, match="damaged or not a checkpoint .*unpack to more than it is"):
        load_model_from_save_dict(path)


def test_a_shipped_model_is_the_published_one(tmp_path, monkeypatch):
    monkeypatch.setattr(load_model, "PROJECT", tmp_path)
    folder = tmp_path / "pretrained_models"
    shutil.copytree(PROJECT / "pretrained_models", folder)
    load_model_from_save_dict(folder / "mnist.pt")
    shutil.copy(folder / "3dshapes_1.pt", folder / "mnist.pt")
    with pytest.raises(UserError, match="mnist.pt: not the model whose sha256 README.md beside it names"):
        load_model_from_save_dict(folder / "mnist.pt")
    load_model_from_save_dict(
        shutil.copy(folder / "3dshapes_1.pt", folder / "mine.pt")
    )  # which the table does not name


def test_published_weights_come_back_unchanged(case, tmp_path):
    """Published names, shapes and values -> our model -> the same again."""
    _, config = with_data_set(case)
    weights = case.published_weights
    extras = {"device": "cuda:3", "in_dim": 784, "lr_decay": 0.9, "likelihood_model": "Gaussian", "user": None}
    settings = dataclasses.asdict(config) | extras | {"config_args_path": "", "wandb_mode": "something"}
    if config.model_type == "fc_vlae":
        settings["encode_layer_dims"] = [[32, "branch"], [48, "branch"]]
    torch.save({"state_dict": weights, "args": argparse.Namespace(**settings)}, tmp_path / "published.pt")
    model, loaded = load_model_from_save_dict(tmp_path / "published.pt")
    assert loaded.device == "auto"
    again = to_published(model.state_dict(), loaded)
    assert again.keys() == weights.keys() == case.shapes.keys()
    for name, tensor in weights.items():
        assert list(again[name].shape) == case.shapes[name]
        assert torch.equal(again[name], tensor)


def test_loading_leaves_the_random_state(tmp_path):
    model, config = with_data_set(ReferenceCase("fc_vlae_j2_diag"))
    save_model(model, config, tmp_path / "m.pt")
    before = random_states()
    load_model_from_save_dict(tmp_path / "m.pt")
    assert random_states() == before


def fc_content() -> dict:
    model, config = with_data_set(ReferenceCase("fc_shared_j2_static"))
    return {"state_dict": model.state_dict(), "config": dataclasses.asdict(config)}


def with_facts(**facts: Any) -> dict:
    """Our layout with facts about the data of which some are others."""
    content = fc_content()
    return content | {"spec": dataclasses.asdict(DATASETS[content["config"]["dataset"]]) | facts}


def with_settings(**settings: Any) -> dict:
    """Our layout with settings of which some are others."""
    content = fc_content()
    return content | {"config": content["config"] | settings}


def mean() -> torch.Tensor:
    """One of its parameters."""
    return fc_content()["state_dict"]["prior.0.mean"]


def changed(**changes: torch.Tensor | None) -> dict:
    """Our layout with one parameter replaced, or removed where None."""
    content = fc_content()
    state_dict = content["state_dict"] | {name.replace("__", "."): value for name, value in changes.items()}
    return content | {"state_dict": {name: value for name, value in state_dict.items() if value is not None}}


BAD_FILES = {
    "no dictionary": (lambda: [1, 2], "not a model"),
    "other keys": (lambda: {"weights": {}}, "not a model"),
    "a checkpoint of a run": (lambda: {"epoch": 3, "model": {}, "optimizer": {}}, "for resuming"),
    "settings of another kind": (lambda: fc_content() | {"config": [1]}, "not a dictionary"),
    "unknown setting": (lambda: fc_content() | {"config": {"bacth_size": 3}}, "did you mean 'batch_size'"),
    "args of another kind": (lambda: {"state_dict": {}, "args": {}}, "not an argparse.Namespace"),
    "facts of another kind": (lambda: fc_content() | {"spec": [1]}, "facts about the data are damaged"),
    "facts that lack one": (lambda: fc_content() | {"spec": {"name": "a"}}, "are damaged: image_shape: Field required"),
    "an unknown likelihood": (
        lambda: with_facts(likelihood="gauss"),
        "likelihood: Input should be 'bernoulli' or 'normal'",
    ),
    "an unknown activation": (
        lambda: with_facts(output_activation="relu"),
        "output_activation: Input should be 'sigmoid'",
    ),
    "no pixels": (
        lambda: with_facts(image_shape=(1, 0, 28)),
        "image_shape.1: Input should be greater than or equal to 1",
    ),
    "own images without facts": (
        lambda: fc_content() | {"config": {"dataset": "folder", "image_size": 8}},
        "lacks the facts about its images, which dataset = folder needs",
    ),
    "another model": (lambda: fc_content() | {"config": {}}, "parameter"),
    "a missing parameter": (lambda: changed(prior__0__mean=None), "prior.0.mean is missing"),
    "a parameter too many": (lambda: changed(extra=torch.ones(1)), "extra does not belong"),
    "another shape": (lambda: changed(prior__0__mean=torch.ones(2, 3)), r"prior.0.mean has shape \(2, 3\)"),
    "no tensor": (lambda: changed(prior__0__mean=3), "prior.0.mean has int"),
    "sparse": (lambda: changed(prior__0__mean=mean().to_sparse()), "prior.0.mean is stored as sparse_coo"),
    "sparse rows": (lambda: changed(prior__0__mean=mean().to_sparse_csr()), "prior.0.mean is stored as sparse_csr"),
    "nested": (
        lambda: changed(prior__0__mean=torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])),
        "prior.0.mean is stored as nested",
    ),
    "meta": (lambda: changed(prior__0__mean=mean().to("meta")), "prior.0.mean lacks its numbers"),
    "one number for all": (lambda: changed(prior__0__mean=torch.ones(()).expand(mean().shape)), "lacks its numbers"),
    "complex": (lambda: changed(prior__0__mean=mean().cfloat()), "prior.0.mean has numbers of torch.complex64"),
    "double": (lambda: changed(prior__0__mean=mean().double()), "has numbers of torch.float64, not torch.float32"),
    "whole numbers": (lambda: changed(prior__0__mean=mean().long()), "prior.0.mean has numbers of torch.int64"),
    "NaN": (lambda: changed(prior__0__mean=mean() * torch.nan), "prior.0.mean has numbers that are not finite"),
    "infinite": (lambda: changed(prior__0__mean=mean() / 0), "prior.0.mean has numbers that are not finite"),
    "a long name": (lambda: changed(**{"x" * 3000: mean()}), "parameter x{200} does not belong"),
    "gigantic images": (lambda: with_facts(image_shape=(1, 10**6, 10**6)), "but the settings describe shape"),
    "images beyond 64 bits": (lambda: with_facts(image_shape=(1, 10**9, 10**9)), "make a model too large"),
    "images beyond all": (lambda: with_facts(image_shape=(1, 10**12, 10**12)), "make a model too large"),
    "gigantic layers": (
        lambda: with_settings(encode_layer_dims=[100_000] * 100),
        "is missing|but the settings describe shape",
    ),
    "gigantic mixtures": (
        lambda: with_settings(z_j_dim_list=[10_000] * 2, n_clusters_j_list=[100_000] * 2, cov_type_p_z_c="full"),
        "but the settings describe shape",
    ),
    "a width of a million": (lambda: with_settings(encode_layer_dims=[10**6]), "encode_layer_dims = .*100000"),
    "a setting that is a tensor": (lambda: with_settings(batch_size=torch.ones(10**6)), "batch_size = tensor"),
    "a setting whose name is a number": (lambda: fc_content() | {"config": {3: 4}}, "unknown setting '3'"),
    "args of other types": (
        lambda: {"state_dict": {}, "args": argparse.Namespace(model_type=3, z_j_dim_list=torch.ones(2, 2))},
        "model_type = 3|z_j_dim_list = tensor",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_content_that_does_not_fit_is_one_clear_error(name, tmp_path):
    content, message = BAD_FILES[name]
    path = tmp_path / "bad.pt"
    torch.save(content(), path)
    with pytest.raises(UserError, match=message) as error:
        load_model_from_save_dict(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "cut", "folder"])
def test_files_that_are_no_checkpoint(damage, tmp_path):
    path = tmp_path / "bad.pt"
    torch.save(fc_content(), path)
    whole = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes({"empty": b"", "text": b"hello", "cut": whole[: len(whole) // 2]}[damage])
    with pytest.raises(UserError, match="no such file|damaged") as error:
        load_model_from_save_dict(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("is_plain_pickle", [False, True])
def test_a_malicious_file_is_refused_and_runs_nothing(is_plain_pickle, tmp_path):
    path, trace = tmp_path / "bad.pt", tmp_path / "it_ran"
    content = fc_content() | {"extra": Payload(trace)}
    if is_plain_pickle:
        path.write_bytes(pickle.dumps({"extra": Payload(trace)}, protocol=2))
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match="could run code|damaged") as error:
        load_model_from_save_dict(path)
    assert str(path) in str(error.value)
    assert not trace.exists()
    if not is_plain_pickle:
        assert "refused" in str(error.value)


def test_unknown_device(tmp_path):
    model, config = with_data_set(ReferenceCase("fc_shared_j2_static"))
    save_model(model, config, tmp_path / "m.pt")
    with pytest.raises(UserError, match="device"):
        load_model_from_save_dict(tmp_path / "m.pt", "abacus")


def test_main_exports(tmp_path, capsys):
    model, config = with_data_set(ReferenceCase("fc_vlae_j3_full"))
    save_model(model, config, tmp_path / "m.pt")
    out = tmp_path / "new" / "published.pt"
    assert load_model.main(["--model_path", str(tmp_path / "m.pt"), "--export_published", str(out)]) == 0
    assert f"wrote {out}" in capsys.readouterr().out
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(out, weights_only=True)
    assert content["state_dict"].keys() == ReferenceCase("fc_vlae_j3_full").shapes.keys()
    assert "run_name" not in vars(content["args"])
    assert content["args"].device == "cpu"
