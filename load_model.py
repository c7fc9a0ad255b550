"""A checkpoint -> the model in eval mode and its config. Published checkpoints load too, and ours can be exported.

    python load_model.py --model_path pretrained_models/mnist.pt                               # what is in it
    python load_model.py --model_path pretrained_models/mnist.pt --export_published mnist.pt   # for the original code

Files are read by torch's restricted unpickler: tensors, plain values and argparse.Namespace, nothing that runs code.
"""

from __future__ import annotations

from interrupts import run_script

from settings.scripts import load_parser

if __name__ == "__main__":
    load_parser(__doc__).answer_help()  # what comes next takes seconds to be imported

import argparse
import dataclasses
import hashlib
import itertools
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from config import OWN_IMAGES, Config, build_config
from datasets import DatasetSpec, dataset_spec
from mfcvae import MFCVAE
from settings.comparing import MAY_CHANGE_ON_RESUME, portable_settings
from utils import (
    PROJECT,
    UserError,
    check_replaceable,
    load_checked,
    make_folder,
    one_line,
    resolve_device,
    write_atomically,
)

log = logging.getLogger(__name__)

# Our parameter names -> the published ones, the first match holds. {n} is a layer's place in a flat published stack.
_BLOCK = r"(?P<block>\d+)\.(?P<part>\d+)"
PUBLISHED_NAMES = {
    "fc": [
        (rf"encoder\.net\.{_BLOCK}", "encoder.net.{n}"),
        (rf"encoder\.net_list\.(\d+)\.{_BLOCK}", r"encoder.net_list.\1.{n}"),
        (rf"decoder\.net\.{_BLOCK}", "decoder.net.{n}"),
        (rf"(encoder|decoder)\.(backbone|rung)\.(\d+)\.{_BLOCK}", r"\1.fc_\2.\3.{n}"),
        (r"decoder\.to_pixels", "layer_x_hat_z"),
    ],
    "conv": [
        (r"encoder\.(backbone|rung)\.(\d+)", r"encoder.conv_\1_\2"),
        (r"decoder\.backbone\.(\d+)", r"decoder.conv_backbone_\1"),
        (r"decoder\.rung\.(\d+)", r"decoder.mlp_rung_\1"),
    ],
    "all": [
        (r"mean_heads\.(\d+)", r"fc_mu_q_z_x_list.\1"),
        (r"log_var_heads\.(\d+)", r"fc_log_sigma_square_q_z_x_list.\1"),
        (r"prior\.(\d+)\.mean", r"mu_p_z_j_c_j_list.\1"),
        (r"prior\.(\d+)\.free_spread", r"{spread}.\1"),
        (r"prior\.(\d+)\.pi_logits", r"_pi_p_c_j_list.\1"),
    ],
}
_SPREAD = {"diag": "_sigma_square_p_z_j_c_j_list", "full": "_l_mat_p_z_j_c_j_list"}
# Settings of the machine that a model was trained on, and those that the published flags lack.
OF_THE_MACHINE = {"config_args_path", "device", "wandb_mode", "user"}
OUR_OWN = MAY_CHANGE_ON_RESUME - OF_THE_MACHINE
PUBLISHED_DATASETS = ("fast_mnist", "fast_svhn", "fast_3dshapes")
START_OF_MODEL = rb"PK\x03\x04.{26}[^/]*/data\.pkl"
"""How the files begin that PyTorch writes, as a regular expression."""
_WEIGHT_NORM = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}


def published_name(name: str, config: Config) -> str:
    """The published name of one of our parameters or buffers."""
    kind = "conv" if config.model_type == "conv_vlae" else "fc"
    top = config.J_n_mixtures - 1
    offset = 0
    if config.model_type == "fc_vlae":  # the published decoder keeps the deepest rung and backbone in one stack
        if name.startswith(f"decoder.rung.{top}."):
            name = name.replace("rung", "backbone", 1)
        elif name.startswith(f"decoder.backbone.{top}."):
            offset = max(config.dec_rung_n_hidden[top], 0)
    for pattern, template in PUBLISHED_NAMES[kind] + PUBLISHED_NAMES["all"]:
        if match := re.match(pattern, name):
            place = match.groupdict()
            modules_per_block = 4 if config.do_fc_batch_norm else 3  # linear, activation, [batch norm,] dropout
            n = (int(place["block"]) + offset) * modules_per_block + int(place["part"]) if place else None
            head = match.expand(template).format(n=n, spread=_SPREAD[config.cov_type_p_z_c])
            tail = name[match.end() :]
            for ours, theirs in _WEIGHT_NORM.items():
                tail = tail.replace(ours, theirs)
            return head + tail
    raise KeyError(name)


def _axes_to_published(name: str, tensor: Tensor) -> Tensor:
    """The published code keeps clusters on the last axis: (K, D) -> (D, K), (K, D, D) -> (D, D, K)."""
    return tensor.movedim(0, -1) if re.fullmatch(r"prior\.\d+\.(mean|free_spread)", name) else tensor


def to_published(state_dict: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """Our state_dict in the published names and shapes."""
    return {
        published_name(name, config): _axes_to_published(name, tensor).contiguous()
        for name, tensor in state_dict.items()
    }


def from_published(published: Mapping[str, Tensor], model: MFCVAE, config: Config) -> dict[str, Tensor]:
    """A published state_dict in the names and shapes of `model`.

    Raises:
        UserError: a parameter is missing, left over, or of another shape.
    """
    wanted = to_published(model.state_dict(), config)
    check_fits(published, wanted)
    state_dict = {}
    for ours in model.state_dict():
        value = published[published_name(ours, config)]
        is_moved = re.fullmatch(r"prior\.\d+\.(mean|free_spread)", ours)  # see _axes_to_published
        state_dict[ours] = (value.movedim(-1, 0) if is_moved else value).contiguous()
    return state_dict


def check_fits(state_dict: Mapping[str, Any], wanted: Mapping[str, Tensor]) -> None:
    """See that weights are those of a model: the same parameters, shapes and types, and numbers that are finite.

    Raises:
        UserError: it names the first parameter that differs.
    """
    for name in [*wanted, *state_dict]:
        if name not in state_dict:
            raise UserError(f"parameter {name} is missing: the weights do not fit the model that the settings describe")
        if name not in wanted:
            raise UserError(f"parameter {one_line(str(name))} does not belong to the model that the settings describe")
        if problem := _problem(state_dict[name], wanted[name]):
            raise UserError(f"parameter {name} {problem}")


def _problem(found: Any, wanted: Tensor) -> str | None:
    """What is wrong with one parameter that was read; nothing where it is as it should be."""
    expected = f"but the settings describe shape {tuple(wanted.shape)}"
    if not isinstance(found, Tensor):
        return f"has {type(found).__name__}, {expected}"
    if found.layout != torch.strided or found.is_nested:
        return f"is stored as {'nested' if found.is_nested else str(found.layout).removeprefix('torch.')}, {expected}"
    if found.shape != wanted.shape:
        return f"has shape {tuple(found.shape)}, {expected}"
    if found.dtype != wanted.dtype:
        return f"has numbers of {found.dtype}, not {wanted.dtype}"
    if found.is_meta or found.untyped_storage().nbytes() < found.nbytes:
        return "lacks its numbers: the file is damaged"
    if found.is_floating_point() and not found.isfinite().all():
        return "has numbers that are not finite: the file is damaged, or the training of its model failed"
    return None


def empty_model(config: Config, spec: DatasetSpec) -> MFCVAE:
    """A model that has the shapes of its parameters but no numbers, and so takes no memory (PyTorch's device meta).

    Raises:
        UserError: its parameters are too many to be counted, or settings and images do not go together.
    """
    try:
        with torch.device("meta"):
            return MFCVAE(config, spec)
    except (RuntimeError, TypeError) as error:  # PyTorch's words for sizes beyond 64 bits
        reason = one_line(error)
        raise UserError(f"images of {spec.image_shape} and these settings make a model too large ({reason})") from None


def save_model(model: MFCVAE, config: Config, path: Path) -> None:
    """Write a model as plain tensors, settings and facts about its data: reading it unpickles nothing else.

    Where sigma came from the data, the settings say what it was.
    """
    content = _content(model, config)
    write_atomically(path, lambda temporary: torch.save(content, temporary), is_durable=True)


def _content(model: MFCVAE, config: Config) -> dict[str, Any]:
    """What a file of ours holds."""
    config = dataclasses.replace(config, sigma_multiplier_p_x_z=model.sigma_x, continue_from=None)
    settings, facts = portable_settings(config), dataclasses.asdict(model.spec)
    return {"state_dict": model.state_dict(), "config": settings, "spec": facts}


def save_copy(model: MFCVAE, config: Config, run: Path) -> Path | None:
    """Write a model to new_trained_models/<run name>.pt, or to <run name>_2.pt, _3.pt, ... where that is another run's.

    run: the folder that tells runs apart. Where nothing can be written that is one warning, and there is no copy.
    """
    folder = PROJECT / "new_trained_models"
    content = _content(model, config) | {"run": hashlib.sha256(str(run.resolve()).encode()).hexdigest()}
    try:
        with FileLock(make_folder(folder) / ".lock"):
            path = next(path for path in _free_names(folder / config.name) if _run_of(path) in (None, content["run"]))
            write_atomically(path, lambda temporary: torch.save(content, temporary), is_durable=True)
            return path
    except (UserError, OSError, NotImplementedError) as error:  # the code may lie where nothing can be written
        log.warning("no copy of the model in new_trained_models: %s", one_line(error))
        return None


def _free_names(path: Path) -> Iterator[Path]:
    """Yield the names under which a copy may be kept, one after another."""
    yield Path(f"{path}.pt")
    yield from (Path(f"{path}_{n}.pt") for n in itertools.count(2))


def _run_of(path: Path) -> str | None:
    """Which run a copy is of; None where there is no file."""
    if not path.exists():
        return None
    try:
        return str(_read_safely(path).get("run", "one that is not known"))
    except UserError:
        return "one that is not known"


def export_published(model: MFCVAE, config: Config, path: Path) -> None:
    """Write a model in the published layout, which the original code loads.

    Raises:
        UserError: it cannot be written, or something else is there.
    """
    check_replaceable(path, "a model", START_OF_MODEL)
    settings = {name: value for name, value in dataclasses.asdict(config).items() if name not in OUR_OWN}
    arguments = argparse.Namespace(**settings | {"device": "cpu"})  # "auto" is ours
    content = {"state_dict": to_published(model.state_dict(), config), "args": arguments}
    content["spec"] = dataclasses.asdict(model.spec)  # the original does not look at it
    write_atomically(path, lambda temporary: torch.save(content, temporary), is_durable=True)


# --- reading


def load_model_from_save_dict(path: str | Path, map_location: str | torch.device = "cpu") -> tuple[MFCVAE, Config]:
    """Our save_dict.pt or a published checkpoint -> the model in eval mode on the device, and its settings.

    No data is read, and the random state stays as it is.

    Raises:
        UserError: the file is missing, damaged or unsafe, holds something else, or its weights do not fit its settings.
    """
    device = resolve_device(str(map_location))
    content = _read_safely(Path(path))
    try:
        config = _config_of(content)
        model = empty_model(config, _spec_of(content, config))  # what a file claims costs nothing before it is checked
        state_dict = content["state_dict"]
        if "args" in content:
            state_dict = from_published(state_dict, model, config)
        check_fits(state_dict, model.state_dict())
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    model.to_empty(device="cpu").load_state_dict(state_dict)
    if model.is_conv:  # as in training
        model.to(memory_format=torch.channels_last)
    return model.to(device).eval(), config


def is_model_of(path: Path, n_epochs: int) -> bool:
    """Whether a file is a model that was trained for so many epochs."""
    try:
        return bool(_read_safely(path)["config"]["n_epochs"] == n_epochs)
    except (UserError, KeyError, TypeError):
        return False


def settings_of_start(path: str, file: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run that continues from a model: the model's, and over them those of its file.

    A trained model is not led and has no facets to fade in.

    Raises:
        UserError: there is no such model.
    """
    config = _config_of(_read_safely(Path(path)))
    known = {name: value for name, value in dataclasses.asdict(config).items() if name not in MAY_CHANGE_ON_RESUME}
    in_full = {"do_progressive_training": False, "guide_weight": 0, "bottleneck": 0}
    return known | dict(file) | in_full | {"continue_from": path}


def _read_safely(path: Path) -> dict[str, Any]:
    """The dictionary in a checkpoint, of a layout we know."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the save_dict.pt of a finished run or a published checkpoint")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings(action="ignore"):
            content = load_checked(path)
    except Exception as error:  # zip, pickle and torch raise errors of many kinds
        message = one_line(error, 2000)
        wanted = re.search(r"GLOBAL ([\w.]+)|Unsupported (?:global|class|operand)", message)
        if wanted:
            what = f" ({wanted[1]})" if wanted[1] else ""
            raise UserError(f"{path}: refused, holds more than tensors and settings{what}; it could run code") from None
        raise UserError(f"{path}: damaged or not a checkpoint ({type(error).__name__}: {message[:80]})") from None
    _check_shipped(path)
    keys = content.keys() if isinstance(content, dict) else set()
    is_known = {"state_dict", "config"} <= keys or {"state_dict", "args"} <= keys
    if is_known and isinstance(content["state_dict"], dict):
        return content
    if {"epoch", "optimizer"} <= keys:
        raise UserError(f"{path}: the state for resuming a run, not a model; give the save_dict.pt of the finished run")
    raise UserError(f"{path}: not a model; give the save_dict.pt of a finished run or a published checkpoint")


def _check_shipped(path: Path) -> None:
    """A model that comes with the code is the one whose checksum the table beside it names."""
    table = PROJECT / "pretrained_models" / "README.md"
    if path.resolve().parent != table.parent or not table.exists():
        return
    row = re.search(
        rf"^\| `{re.escape(path.name)}` \|.* `([0-9a-f]{{64}})` \|$", table.read_text(encoding="utf-8"), re.MULTILINE
    )
    if row and hashlib.sha256(path.read_bytes()).hexdigest() != row[1]:
        raise UserError(f"{path}: not the model whose sha256 {table.name} beside it names; git checkout restores it")


def _config_of(content: Mapping[str, Any]) -> Config:
    """The settings in a checkpoint of either layout."""
    if "args" not in content:
        if not isinstance(content["config"], dict):
            raise UserError("its settings are not a dictionary")
        return build_config(content["config"])
    if not isinstance(content["args"], argparse.Namespace):
        raise UserError("its args are not an argparse.Namespace")
    names = {field.name for field in dataclasses.fields(Config)} - MAY_CHANGE_ON_RESUME
    settings = {name: value for name, value in vars(content["args"]).items() if name in names and value is not None}
    if str(settings.get("model_type", "fc_vlae")).endswith("vlae"):
        # The ladders are built from other settings; here the original keeps lists of its own that would not pass.
        settings.pop("encode_layer_dims", None)
        settings.pop("decode_layer_dims", None)
    return build_config(settings)


def _spec_of(content: Mapping[str, Any], config: Config) -> DatasetSpec:
    """The facts about the data in a checkpoint; published ones and our first ones leave them to the table."""
    if "spec" not in content and config.dataset in OWN_IMAGES:
        raise UserError(f"lacks the facts about its images, which dataset = {config.dataset} needs")
    try:
        return TypeAdapter(DatasetSpec).validate_python(content["spec"]) if "spec" in content else dataset_spec(config)
    except ValidationError as error:
        wrong = error.errors()[0]
        raise UserError(
            f"its facts about the data are damaged: {'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"
        ) from None


def main(argv: Sequence[str] | None = None) -> int:
    """Say what a checkpoint holds; export it if asked."""
    arguments = load_parser(__doc__).parse_args(argv)
    model, config = load_model_from_save_dict(arguments.model_path)
    size = sum(parameter.numel() for parameter in model.parameters())
    sizes = zip(config.n_clusters_j_list, config.z_j_dim_list, strict=True)
    facets = ", ".join(f"{K} clusters in {D} dimensions" for K, D in sizes)
    print(f"{arguments.model_path}: {config.model_type} for {model.spec.name}, {size:,} parameters; facets: {facets}")
    if arguments.export_published is not None:
        path = Path(arguments.export_published)
        if os.path.exists(path) and path.samefile(arguments.model_path):
            raise UserError(
                f"--export_published {path}: the model itself, which would be replaced; choose another name"
            )
        make_folder(path.absolute().parent)
        export_published(model, config, path)
        print(f"wrote {path}")
        if config.dataset not in PUBLISHED_DATASETS:
            print(f"note: the original code has no data set '{config.dataset}', only {', '.join(PUBLISHED_DATASETS)}")
    return 0


if __name__ == "__main__":
    run_script(main)
