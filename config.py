"""Every setting of a run: one frozen dataclass, filled from defaults < YAML < flags < sweep.

`load_config(argv, sweep)` is the only way settings enter the program. Values are checked and converted by pydantic in
one place, so that '5e-4' means the same number in a YAML file, on the command line and in a sweep.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from utils import UserError, one_line

log = logging.getLogger(__name__)


def _refuse_bool(value: Any) -> Any:
    """pydantic would take true for 1."""
    if isinstance(value, bool):
        raise ValueError("should be a number, not true or false")
    return value


Int = Annotated[int, BeforeValidator(_refuse_bool)]
Float = Annotated[float, BeforeValidator(_refuse_bool), Field(allow_inf_nan=False)]
Positive = Annotated[Int, Field(ge=1)]
NonNegative = Annotated[Int, Field(ge=0)]
PositiveFloat = Annotated[Float, Field(gt=0)]
NonNegativeFloat = Annotated[Float, Field(ge=0)]


def _bool_as_word(value: Any) -> Any:
    """YAML's true and false, and True as other settings take it, where auto is a choice too."""
    return str(value).lower() if isinstance(value, bool | str) else value


AutoBool = Annotated[Literal["auto", "true", "false"], BeforeValidator(_bool_as_word)]

# The factors of 3dshapes.h5 in the order of its label columns, with the number of values of each.
FACTOR_SIZES = {"floor_hue": 10, "wall_hue": 10, "object_hue": 10, "scale": 8, "shape": 4, "orientation": 15}

# Keys of the published YAML files that no code has ever read.
DEAD_KEYS = {
    "dataset_on_gpu", "lr_decay", "min_lr", "do_vis_cluster_means", "do_vis_latent_code_traversal",
    "n_sample_generation_plots_per_facet",
}  # fmt: skip

# Settings that say where and how a run goes on, not what it computes: they may change when it is resumed.
FREE_SETTINGS = {
    "config_args_path", "run_name", "results_dir", "overwrite", "dry_run", "device", "wandb_mode", "user", "data_dir",
    "checkpoint_every_n_epochs", "precision", "compile",
}  # fmt: skip

OWN_IMAGES = ("folder", "npz")  # data sets that only their files know

_LADDER_DIMS = ("enc_backbone_dims", "enc_rung_dims", "dec_backbone_dims", "dec_rung_dims")
_LADDER_DEPTHS = ("enc_backbone_n_hidden", "enc_rung_n_hidden", "dec_backbone_n_hidden", "dec_rung_n_hidden")


@dataclass(frozen=True, config=ConfigDict(use_attribute_docstrings=True))
class Config:
    """All settings of a training run. Names and defaults are those of the published script."""

    # --- the run
    config_args_path: str | None = None
    """YAML file of settings; flags win over it."""
    run_name: Annotated[str, Field(pattern=r"^\w[\w.-]*$")] | None = None
    """Name of the run and of its folder. Default: <configuration, dataset or own images>_seed<seed>."""
    results_dir: str = "results"
    """Folder that holds one folder per run."""
    overwrite: bool = False
    """Delete the run's folder and start again, instead of resuming or refusing."""
    dry_run: bool = False
    """Print the resolved settings, the model's size and the plan, then stop."""
    device: str = "auto"
    """auto (the GPU where there is one), cpu, cuda or cuda:N."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """What encoder and decoder compute in; auto is bf16 where the CPU or GPU has it in hardware, else fp32."""
    compile: AutoBool = "auto"
    """Compile training and evaluation; auto does where it pays: a CPU with AVX-512, 10,000 steps or more.
    On a GPU auto records the step as a CUDA graph, true compiles it too, false does neither."""
    seed: Annotated[Int, Field(ge=0, lt=2**32)] = 6000
    """Seed of everything random in the run."""
    wandb_mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """Weights & Biases; auto is online where a key is found, else offline."""
    user: Literal["user1", "user2"] | None = None
    """Whose login key of configs/wandb.yml to use."""
    save_model: bool = True
    """Write save_dict.pt at the end, and a copy to new_trained_models/."""
    checkpoint_every_n_epochs: Positive = 10
    """How often the state for resuming is saved (and always when interrupted)."""

    # --- the data
    dataset: Literal["fast_mnist", "fast_fashion_mnist", "fast_svhn", "fast_3dshapes", "digits", "folder", "npz"] = (
        "fast_mnist"
    )
    """Which data to cluster; digits come with scikit-learn, folder and npz are your own images."""
    data_dir: str = "data"
    """Folder of the datasets; folder: that of your images; npz: your file, or the folder that holds it."""
    image_size: Positive | None = None
    """folder and npz: side in pixels to which images are cropped and resized; npz: none keeps their size."""
    factors_variation_dict: dict[str, list[NonNegative]] = dataclasses.field(
        default_factory=lambda: {
            "floor_hue": [0],
            "wall_hue": list(range(10)),
            "object_hue": [6],
            "scale": list(range(8)),
            "shape": list(range(4)),
            "orientation": list(range(15)),
        }
    )
    """3DShapes: the value indices that each factor may take; a factor left out takes all."""
    factors_label_list: list[str] = dataclasses.field(default_factory=lambda: ["shape", "wall_hue"])
    """3DShapes: the factors that serve as labels."""
    threedshapes_train_frac: Annotated[Float, Field(gt=0, lt=1)] = 0.8
    """3DShapes: share of the images that is trained on."""

    # --- the model
    model_type: Literal["fc_shared", "fc_per_facet_enc_shared_dec", "fc_vlae", "conv_vlae"] = "fc_vlae"
    """Architecture of encoder and decoder."""
    J_n_mixtures: Positive = 2
    """Number of facets J."""
    z_j_dim_list: list[Positive] = dataclasses.field(default_factory=lambda: [5, 5])
    """Latent dimension D_j of each facet."""
    n_clusters_j_list: list[Positive] = dataclasses.field(default_factory=lambda: [25, 25])
    """Number of clusters K_j of each facet."""
    activation: Literal["relu", "leaky_relu", "elu"] = "relu"
    """Activation of the hidden layers."""
    do_fc_batch_norm: bool = False
    """Batch normalisation in fully-connected blocks."""
    encode_layer_dims: list[Positive] | list[list[Positive]] = dataclasses.field(default_factory=lambda: [500, 2000])
    """fc_shared: encoder widths; fc_per_facet_enc_shared_dec: one list of widths per facet."""
    decode_layer_dims: list[Positive] = dataclasses.field(default_factory=lambda: [2000, 500])
    """fc_shared and fc_per_facet_enc_shared_dec: decoder widths."""
    enc_backbone_dims: list[Int] = dataclasses.field(default_factory=lambda: [500, 2000])
    """fc_vlae: encoder backbone width of each level."""
    enc_backbone_n_hidden: list[Int] = dataclasses.field(default_factory=lambda: [1, 1])
    """fc_vlae: encoder backbone depth of each level; -1 or 0 means no layer."""
    enc_rung_dims: list[Int] = dataclasses.field(default_factory=lambda: [-1, -1])
    """fc_vlae: encoder rung width of each level."""
    enc_rung_n_hidden: list[Int] = dataclasses.field(default_factory=lambda: [-1, -1])
    """fc_vlae: encoder rung depth of each level."""
    dec_backbone_dims: list[Int] = dataclasses.field(default_factory=lambda: [500, 500])
    """fc_vlae: decoder backbone width of each level."""
    dec_backbone_n_hidden: list[Int] = dataclasses.field(default_factory=lambda: [1, 1])
    """fc_vlae: decoder backbone depth of each level."""
    dec_rung_dims: list[Int] = dataclasses.field(default_factory=lambda: [500, 2000])
    """fc_vlae: decoder rung width of each level."""
    dec_rung_n_hidden: list[Int] = dataclasses.field(default_factory=lambda: [1, 1])
    """fc_vlae: decoder rung depth of each level."""
    sigma_multiplier_p_x_z: PositiveFloat = 0.6
    """Standard deviation of the Normal likelihood, in pixels of range [0, 1]; unused by Bernoulli data."""
    cov_type_p_z_c: Literal["diag", "full"] = "diag"
    """Covariance of the mixture components p(z|c)."""
    init_type_p_z_c: Literal["gmm", "glorot"] = "gmm"
    """Initial means: a Gaussian mixture fitted to the encodings, or Xavier-normal."""
    fixed_var_init: PositiveFloat = 0.01
    """Initial variance of the mixture components."""
    init_off_diag_cov_p_z_c: bool = False
    """Draw the Cholesky factor of a full covariance at random (glorot only)."""
    fix_pi_p_c: bool = False
    """Freeze the mixture weights pi at uniform."""
    facet_to_fix_pi_p_c: str = "all"
    """Which facet fix_pi_p_c freezes: all, facet_0, facet_1, ..."""
    data_init: bool = False
    """Rescale weights on one batch, so that each layer's outputs have mean 0 and standard deviation 0.1."""

    # --- the training
    n_epochs: Positive = 301
    """Number of epochs; with progressive training it becomes the sum of the steps' epochs."""
    do_progressive_training: bool = True
    """Add the facets one after another, the deepest first."""
    n_epochs_per_progressive_step: list[Positive] = dataclasses.field(default_factory=lambda: [201, 201])
    """Epochs of each progressive step."""
    n_batches_fade_in: NonNegative = 15000
    """Batches over which a new facet is faded in."""
    gamma_kl_z_pretrain: NonNegativeFloat = 0.0
    """Weight of kl_z of a facet that is not yet added."""
    gamma_kl_c_pretrain: NonNegativeFloat = 0.0
    """Weight of kl_c of a facet that is not yet added."""
    init_lr: PositiveFloat = 5e-4
    """Learning rate of Adam, constant."""
    batch_size: Annotated[Int, Field(ge=2)] = 512
    """Images per training step."""
    eval_batch_size: Positive = 1000
    """Images per evaluation step."""
    n_test_batches: Annotated[Int, Field(ge=-1)] = -1
    """Test batches per evaluation; -1 means all."""
    do_test_during_training: bool = True
    """Evaluate the test split after every epoch; otherwise only at the start and the end."""

    # --- the figures
    do_vis_train: bool = True
    """Draw figures of the training split."""
    do_vis_test: bool = True
    """Draw figures of the test split."""
    do_vis_recon: bool = True
    """Figure: inputs beside reconstructions, per cluster."""
    do_vis_examples_per_cluster: bool = True
    """Figure: the most confident inputs of each cluster."""
    do_vis_sample_generations_per_cluster: bool = True
    """Figure: images generated from each cluster."""
    do_vis_conf_mat: bool = True
    """Figure: confusion matrix, and facet-to-label map where there are several labels."""
    do_vis_n_samples_per_cluster: bool = True
    """Figure: cluster sizes."""
    do_vis_pi: bool = True
    """Figure: mixture weights pi."""
    vis_every_n_epochs: Positive = 50
    """How often figures are drawn."""
    n_recons_per_cluster: Positive = 4
    """Input-reconstruction pairs in a row of the figure."""
    n_examples_per_cluster: Positive = 10
    """Examples in a row of the figure."""
    n_sample_generations_per_cluster: Positive = 10
    """Generated images in a row of the figure."""
    temp_sample_generation: NonNegativeFloat = 0.5
    """Temperature of generated images: scales the standard deviation of p(z|c)."""

    @property
    def name(self) -> str:
        """Name of the run: --run_name, else <configuration, dataset or own images>_seed<seed>."""
        return self.run_name or f"{self.origin}_seed{self.seed}"

    @property
    def origin(self) -> str:
        """What runs are named after: the configuration file; without one, or for own images, the data.

        A run's own config.yml names its run again: results/mnist_seed3/config.yml is mnist.
        """
        if not self.config_args_path or self.dataset in OWN_IMAGES:
            return self.data_name
        path = Path(self.config_args_path).absolute()
        of_run = re.fullmatch(r"(.+)_seed\d+/config.yml", f"{path.parent.name}/{path.name}")
        return of_run[1] if of_run else path.stem

    @property
    def data_name(self) -> str:
        """Name of the data: that of the folder or file of own images, as far as it may be part of a run's name."""
        if self.dataset not in OWN_IMAGES:
            return self.dataset
        name = Path(self.data_dir).resolve().name.removesuffix(".npz")
        return re.sub(r"[^\w.-]+", "_", name).lstrip(".-") or self.dataset

    def is_pi_fixed(self, j: int) -> bool:
        """Whether facet j keeps uniform mixture weights."""
        return self.fix_pi_p_c and self.facet_to_fix_pi_p_c in ("all", f"facet_{j}")


_FIELDS = {field.name: field for field in dataclasses.fields(Config)}
_HINTS = {name: info.annotation for name, info in vars(Config)["__pydantic_fields__"].items()}


def load_config(argv: Sequence[str] | None = None, sweep: Mapping[str, Any] | None = None) -> Config:
    """Resolve the settings of a run.

    Args:
        argv: command line without the program's name; None reads sys.argv.
        sweep: values chosen by a sweep; they win over flags. Grouped keys (z_dim, hidden_dim, ...) are allowed.

    Raises:
        UserError: an unknown setting, a value of the wrong type, or a combination that cannot work.
    """
    flags = parse_flags(argv)
    path = flags.get("config_args_path")
    settings = (_read_yaml(path) if path else {}) | flags
    sweep = dict(sweep or {})
    settings |= {key: sweep.pop(key) for key in list(sweep) if key in _FIELDS}
    for key in sorted(sweep, key=lambda key: key != "z_dim"):  # z_0_dim and its like win over it
        settings |= _expand_grouped_key(key, sweep[key], settings)
    return build_config(settings)


def read_settings(config: Config) -> dict[str, Any]:
    """The settings that a run of this configuration reads: two runs that share them are the same."""
    reasons = _without_effect(config)
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in reasons}


def warn_of_flags_without_effect(argv: Sequence[str] | None, config: Config) -> None:
    """Name the flags that a run of this configuration does not read, each with the reason."""
    reasons = _without_effect(config)
    for name in parse_flags(argv):
        if reason := reasons.get(name):
            log.warning("--%s has no effect: %s", name, reason)


def build_config(settings: Mapping[str, Any]) -> Config:
    """A checked Config from raw values: strings are converted, unknown names and impossible combinations refused."""
    config = _converted(settings)
    if config.n_test_batches == 0:
        raise UserError("n_test_batches = 0: must be -1 (all) or at least 1")
    if config.do_progressive_training:
        config = dataclasses.replace(config, n_epochs=sum(config.n_epochs_per_progressive_step))
    _check_facets(config)
    if config.model_type == "fc_vlae":
        _check_ladder(config)
    if config.model_type.startswith("fc_") and config.model_type != "fc_vlae":
        _check_encoder_widths(config)
    if config.dataset == "fast_3dshapes":
        _check_factors(config)
    if config.dataset in OWN_IMAGES:
        _check_image_size(config)
    return config


def _converted(settings: Mapping[str, Any]) -> Config:
    """A Config of known names and right types; whether the values go together is not looked at."""
    for key in settings:
        if key not in _FIELDS:
            raise UserError(_unknown(key))
    try:
        return Config(**settings)
    except ValidationError as error:
        raise UserError(_describe(error, settings)) from None


def portable_settings(config: Config) -> dict[str, Any]:
    """All settings, with those of this machine and this start at their defaults: what a file to be shared may hold."""
    defaults = {name: _FIELDS[name].default for name in FREE_SETTINGS}
    return dataclasses.asdict(config) | defaults | {"run_name": config.name}


def different_settings(before: Mapping[str, Any], config: Config) -> str:
    """The settings that a run was started with and that differ now, as text; empty where there are none."""
    now = dataclasses.asdict(config)
    names = [name for name in now if name not in FREE_SETTINGS and before.get(name) != now[name]]
    return ", ".join(f"{name} ({before.get(name)} there, {now[name]} now)" for name in names)


# --- where settings come from


def parse_flags(argv: Sequence[str] | None) -> dict[str, Any]:
    """Command line -> the settings named on it, as text or lists of text; conversion is pydantic's."""
    parser = argparse.ArgumentParser(
        description="Train a Multi-Facet Clustering VAE.", allow_abbrev=False, argument_default=argparse.SUPPRESS
    )
    for name, info in vars(Config)["__pydantic_fields__"].items():
        default = getattr(Config, name, None) if info.default_factory is None else info.default_factory()
        help_text = f"{info.description} [{default}]".replace("%", "%%")
        parser.add_argument(f"--{name}", nargs="*", metavar=_metavar(name), help=help_text)
    known, unknown = parser.parse_known_args(argv)
    if unknown:
        stray = next((word for word in unknown if word.startswith("--")), unknown[0])
        if not stray.startswith("--"):
            raise UserError(
                f"unexpected {stray!r}: settings are named, as in --seed 3; a negative number as in --name=-1e-3"
            )
        raise UserError(_unknown(stray.lstrip("-").split("=")[0], prefix="--"))
    return {name: _from_words(name, words) for name, words in vars(known).items()}


def _from_words(name: str, words: list[str]) -> Any:
    """The words after a flag -> a raw value: --fix_pi_p_c is true, --z_j_dim_list 5 5 a list, {...} and [...] YAML."""
    if not words and _HINTS[name] is bool:
        return True
    if not words:
        raise UserError(f"--{name} needs a value: {_metavar(name)}")
    text = " ".join(words)
    if text.startswith(("[", "{")):
        try:
            return yaml.safe_load(text)
        except (yaml.YAMLError, ValueError):
            raise UserError(f"--{name} {text}: not a YAML list or mapping") from None
    if _is_list(name):
        return words
    if len(words) > 1:
        raise UserError(f"--{name} {text}: takes one value, got {len(words)}")
    return None if words[0].lower() in ("none", "null") else words[0]


def _read_yaml(path: str) -> dict[str, Any]:
    """Settings of a YAML file; the published files' dead keys are named in one warning and left out."""
    try:
        settings = yaml.safe_load(Path(path).read_text())
    except FileNotFoundError:
        raise UserError(f"config_args_path = {path!r}: no such file; the published ones are in configs/") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"config_args_path = {path!r}: cannot be read ({error})") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: text that looks like a date and is none
        raise UserError(f"config_args_path = {path!r}: not valid YAML ({one_line(error)})") from None
    if settings is None:
        return {}
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise UserError(f"config_args_path = {path!r}: must hold lines of the form 'setting: value'")
    dead = sorted(DEAD_KEYS & settings.keys())
    if dead:
        log.warning("%s: ignored, no code reads these settings: %s", path, ", ".join(dead))
    unknown = [key for key in settings if key not in DEAD_KEYS and key not in _FIELDS]
    if unknown:
        raise UserError(f"{path}: {_unknown(unknown[0])}")
    # A file names itself, or holds '', in config_args_path: where settings come from is decided by the flag alone.
    return {key: value for key, value in settings.items() if key not in DEAD_KEYS and key != "config_args_path"}


def _expand_grouped_key(key: str, value: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """One sweep key -> the settings it stands for.

    z_dim sets every latent dimension, z_<j>_dim and n_clusters_<j> that of facet j, hidden_dim the four lists of ladder
    widths, n_hidden the four lists of ladder depths. Entries of -1 (no layer) stay.
    """
    current = dataclasses.asdict(_converted(settings))
    if key == "z_dim":
        return {"z_j_dim_list": [value] * len(current["z_j_dim_list"])}
    if match := re.fullmatch(r"z_(\d+)_dim|n_clusters_(\d+)", key):
        name = "z_j_dim_list" if match[1] else "n_clusters_j_list"
        values, facet = list(current[name]), int(match[1] or match[2])
        if facet >= len(values):
            raise UserError(f"sweep key {key!r}: there is no facet {facet}, {name} = {values}")
        values[facet] = value
        return {name: values}
    if key in ("hidden_dim", "n_hidden"):
        if current["model_type"] != "fc_vlae":
            raise UserError(f"sweep key {key!r}: sets the layers of fc_vlae, but model_type is {current['model_type']}")
        names = _LADDER_DIMS if key == "hidden_dim" else _LADDER_DEPTHS
        return {name: [value if old > 0 else old for old in current[name]] for name in names}
    raise UserError("sweep: " + _unknown(key))


# --- combinations that cannot work


def _check_facets(config: Config) -> None:
    """Lists per facet have J entries; a facet to freeze exists; variances start where they can learn."""
    names = ["z_j_dim_list", "n_clusters_j_list"]
    names += ["n_epochs_per_progressive_step"] if config.do_progressive_training else []
    names += [*_LADDER_DIMS, *_LADDER_DEPTHS] if config.model_type == "fc_vlae" else []
    if wrong := [name for name in names if len(getattr(config, name)) != config.J_n_mixtures]:
        lists = ", ".join(f"{name} = {getattr(config, name)}" for name in wrong)
        raise UserError(f"{lists}: give one entry per facet, J_n_mixtures = {config.J_n_mixtures}")
    facets = ["all"] + [f"facet_{j}" for j in range(config.J_n_mixtures)]
    if config.facet_to_fix_pi_p_c not in facets:
        raise UserError(f"facet_to_fix_pi_p_c = {config.facet_to_fix_pi_p_c!r}: must be one of {', '.join(facets)}")
    if config.cov_type_p_z_c == "diag" and config.fixed_var_init <= 1e-6:
        raise UserError(
            f"fixed_var_init = {config.fixed_var_init:g}: must be above 1e-6, below which no variance learns"
        )


def _check_ladder(config: Config) -> None:
    """Every layer has a width; the two sides of each gated add have the same width."""
    for dims, depths in zip(_LADDER_DIMS, _LADDER_DEPTHS, strict=True):
        for level, (dim, depth) in enumerate(zip(getattr(config, dims), getattr(config, depths), strict=True)):
            if depth > 0 and dim < 1:
                raise UserError(f"{dims}[{level}] = {dim}: must be at least 1, because {depths}[{level}] = {depth}")

    def width(part: str, level: int, before: int) -> int:
        depth = getattr(config, f"dec_{part}_n_hidden")[level]
        return getattr(config, f"dec_{part}_dims")[level] if depth > 0 else before

    above = None
    for level in reversed(range(config.J_n_mixtures)):
        rung = width("rung", level, before=config.z_j_dim_list[level])
        if above is not None and rung != above:
            raise UserError(
                f"dec_rung_dims = {config.dec_rung_dims}: level {level} adds a rung of width {rung} to a backbone "
                f"of width {above} (dec_backbone_dims = {config.dec_backbone_dims}, level {level + 1}); make them equal"
            )
        above = width("backbone", level, before=rung)


def _check_encoder_widths(config: Config) -> None:
    """encode_layer_dims is flat for one encoder, and a list per facet for one encoder per facet."""
    nested = bool(config.encode_layer_dims) and isinstance(config.encode_layer_dims[0], list)
    if config.model_type == "fc_shared" and nested:
        raise UserError(
            f"encode_layer_dims = {config.encode_layer_dims}: fc_shared has one encoder; give one flat list"
        )
    if config.model_type != "fc_shared" and (not nested or len(config.encode_layer_dims) != config.J_n_mixtures):
        raise UserError(
            f"encode_layer_dims = {config.encode_layer_dims}: {config.model_type} needs one list of widths per facet "
            f"(J_n_mixtures = {config.J_n_mixtures}), for example {[[500, 2000]] * config.J_n_mixtures}"
        )


def _check_factors(config: Config) -> None:
    """3DShapes: factors exist, indices are in range, and every label factor takes at least two values."""
    for factor, indices in config.factors_variation_dict.items():
        if factor not in FACTOR_SIZES:
            raise UserError(f"factors_variation_dict: {_unknown(factor, FACTOR_SIZES, 'factor')}")
        if not indices or max(indices) >= FACTOR_SIZES[factor] or len(set(indices)) < len(indices):
            raise UserError(
                f"factors_variation_dict[{factor!r}] = {indices}: must be different indices from 0 to "
                f"{FACTOR_SIZES[factor] - 1}, at least one"
            )
    if not config.factors_label_list:
        raise UserError("factors_label_list = []: name at least one factor, for example shape")
    if len(set(config.factors_label_list)) < len(config.factors_label_list):
        raise UserError(f"factors_label_list = {config.factors_label_list}: name every factor once")
    for factor in config.factors_label_list:
        if factor not in FACTOR_SIZES:
            raise UserError(f"factors_label_list: {_unknown(factor, FACTOR_SIZES, 'factor')}")
        if len(config.factors_variation_dict.get(factor, range(2))) < 2:
            raise UserError(
                f"factors_label_list: {factor!r} has one value only in factors_variation_dict "
                f"({config.factors_variation_dict[factor]}), so it cannot be a label; allow more values or drop it"
            )


def _check_image_size(config: Config) -> None:
    """Own images: a folder's have a size to be brought to, and it suffices for the ladder; before they are read."""
    if config.dataset == "folder" and config.image_size is None:
        raise UserError("dataset = folder: give the side in pixels to resize images to, for example --image_size 32")
    smallest = 2**config.J_n_mixtures
    if config.model_type == "conv_vlae" and config.image_size and config.image_size < smallest:
        raise UserError(
            f"image_size = {config.image_size}: conv_vlae halves the image once per facet (J_n_mixtures = "
            f"{config.J_n_mixtures}), so it must be at least {smallest}; or use an fc model_type"
        )


def _without_effect(config: Config) -> dict[str, str]:
    """Settings of the model, the data and the schedule that a run of this configuration does not read -> why not."""
    reasons: dict[str, str] = {}

    def unread(names: Sequence[str], reason: str, is_read: bool) -> None:
        reasons.update({} if is_read else dict.fromkeys(names, reason))

    progress = ["n_epochs_per_progressive_step", "n_batches_fade_in", "gamma_kl_z_pretrain", "gamma_kl_c_pretrain"]
    is_drawn = config.init_type_p_z_c == "glorot" and config.cov_type_p_z_c == "full"
    model_type, dataset = f"model_type is {config.model_type}", f"dataset is {config.dataset}"
    factors = ["factors_variation_dict", "factors_label_list", "threedshapes_train_frac"]
    total = f"progressive training has the sum of n_epochs_per_progressive_step, {config.n_epochs} epochs"
    unread(["n_epochs"], total, not config.do_progressive_training)
    unread(progress, "do_progressive_training is false", config.do_progressive_training)
    unread(["facet_to_fix_pi_p_c"], "fix_pi_p_c is false", config.fix_pi_p_c)
    unread(["fixed_var_init"], "init_off_diag_cov_p_z_c draws them", not (is_drawn and config.init_off_diag_cov_p_z_c))
    unread(["init_off_diag_cov_p_z_c"], "it belongs to init_type_p_z_c glorot with cov_type_p_z_c full", is_drawn)
    unread([*_LADDER_DIMS, *_LADDER_DEPTHS], model_type, config.model_type == "fc_vlae")
    unread(["encode_layer_dims", "decode_layer_dims"], model_type, config.model_type not in ("fc_vlae", "conv_vlae"))
    unread(factors, dataset, config.dataset == "fast_3dshapes")
    unread(["image_size"], dataset, config.dataset in OWN_IMAGES)
    return reasons


# --- wording of help and errors


def _is_list(name: str) -> bool:
    """Whether a setting takes a list."""
    return any(get_origin(kind) is list for kind in (_HINTS[name], *get_args(_HINTS[name])))


def _metavar(name: str) -> str:
    """How --help shows a setting's value."""
    hint = _HINTS[name]
    options = [option for kind in (hint, *get_args(hint)) if get_origin(kind) is Literal for option in get_args(kind)]
    if options:
        return "|".join(options)
    if _is_list(name):
        return "VALUE ..."
    return "{FACTOR: [INDEX, ...]}" if get_origin(hint) is dict else getattr(hint, "__name__", "VALUE").upper()


def _unknown(name: str, known: Any = _FIELDS, kind: str = "setting", prefix: str = "") -> str:
    """A line about a name that nothing has: 'unknown setting ...; did you mean ...?'."""
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{prefix}{close[0]}'?" if close else "--help lists them all"
    return f"unknown {kind} '{prefix}{name}'; {hint}"


def _describe(error: ValidationError, settings: Mapping[str, Any]) -> str:
    """The first of pydantic's complaints as one line: setting, value, what would be right."""
    complaint = error.errors(include_url=False)[0]
    name = str(complaint["loc"][0])
    message = complaint["msg"].removeprefix("Input ").removeprefix("Value error, ").split(", unable to parse")[0]
    return f"{name} = {settings[name]!r}: {message}"
