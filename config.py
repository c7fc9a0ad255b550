"""Every setting of a run: one frozen dataclass, filled from defaults < YAML < flags < sweep.

`load_config(argv, sweep)` is the only way settings enter the program. Values are checked and converted by pydantic in
one place, so that '5e-4' means the same number in a YAML file, on the command line and in a sweep.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo

from flags import unknown
from settings.checks import check
from settings.command_line import read_words
from settings.data_sets import FACTOR_SIZES, MAX_MEGAPIXELS, OWN_IMAGES
from settings.facet_lists import expand_grouped_key, with_fitted_lists
from settings.kinds import (
    LIST,
    AutoBool,
    BatchSize,
    Clusters,
    Columns,
    Depth,
    Dimension,
    MaybeWidth,
    NonNegative,
    NonNegativeFloat,
    Place,
    Positive,
    PositiveFloat,
    Real,
    ShareOfWidth,
    Some,
    Whole,
    Width,
)
from settings.settings_file import read_settings_file
from settings.unread import unread_settings
from utils import UserError, shown

log = logging.getLogger(__name__)


@dataclass(frozen=True, config=ConfigDict(use_attribute_docstrings=True))
class Config:
    """All settings of a training run. Names and defaults are those of the published script."""

    # --- the run
    config_args_path: str | None = None
    """YAML file of settings; flags win over it."""
    run_name: Annotated[str, Field(pattern=r"^\w[\w.-]*$")] | None = None
    """Name of the run and of its folder. Default: <configuration, dataset or own images>_seed<seed>."""
    results_dir: Place = "results"
    """Folder that holds one folder per run."""
    overwrite: bool = False
    """Delete the run's folder and start again, instead of resuming or refusing."""
    dry_run: bool = False
    """Print the resolved settings, the model's size and the plan, then stop."""
    quiet: bool = False
    """Print nothing but warnings and errors."""
    continue_from: Place | None = None
    """Start from the weights of this model, with its settings where no others are given: for more epochs, other images
    of its shape, or other numbers of clusters, whose mixtures are fitted anew. All facets take part from the start."""
    device: str = "auto"
    """auto (the GPU where there is one), cpu, cuda, cuda:N or mps (Apple's GPUs, not measured)."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """What encoder and decoder compute in; auto is bf16 where the CPU or GPU has it in hardware, else fp32."""
    compile: AutoBool = "auto"
    """Compile training and evaluation; auto does where it pays: a CPU with AVX-512, 10,000 steps or more.
    On a GPU auto records the step as a CUDA graph, true compiles it too, false does neither."""
    seed: Annotated[Whole, Field(ge=0, lt=2**32)] = 6000
    """Seed of everything random in the run."""
    wandb_mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """Weights & Biases; auto is online where a key is found, else offline."""
    user: Literal["user1", "user2"] | None = None
    """Whose login key of configs/wandb.yml to use."""
    save_model: bool = True
    """Write save_dict.pt at the end."""
    copy_model: bool = True
    """Put a copy of save_dict.pt into new_trained_models/, where those of other runs stay as they are."""
    report: bool = True
    """Write report.html at the end: a page of facets, clusters and images to look at (docs/report.md)."""
    checkpoint_every_n_epochs: Positive = 10
    """How often the state for resuming is saved (and always when interrupted)."""

    # --- the data
    dataset: Literal[
        "fast_mnist", "fast_fashion_mnist", "fast_svhn", "fast_3dshapes", "digits", "coloured_digits", "rooms",
        "folder", "npz", "npy", "hdf5",
    ] = "fast_mnist"  # fmt: skip
    """Which data to cluster; digits come with scikit-learn, rooms are drawn, the last four are your own images."""
    data_dir: Place = "data"
    """Folder of the datasets; own images: a folder of pictures, or for npz, npy, hdf5 your file or its folder."""
    images_in: Literal["auto", "memory", "disk"] = "auto"
    """Own images: where they are while training; auto: in memory where they take at most half of what is free."""
    cache_dir: Place | None = None
    """Own images: folder where they are kept decoded, once for all runs. Default: only where they do not fit into
    memory, then in image_cache below results_dir."""
    image_size: Annotated[Whole, Field(ge=1, le=10**6)] | None = None
    """Own images: side in pixels to which they are cropped and resized; none keeps the size of arrays."""
    max_megapixels: Positive = MAX_MEGAPIXELS
    """Own images: larger ones are refused, as a damaged or malicious file may claim any size."""
    skip_broken: bool = False
    """folder: leave out pictures that cannot be read, instead of stopping; they are listed in any case."""
    factors_variation_dict: dict[str, Some[NonNegative]] = dataclasses.field(
        default_factory=lambda: {
            "floor_hue": [0],
            "wall_hue": list(range(FACTOR_SIZES["wall_hue"])),
            "object_hue": [6],
            "scale": list(range(FACTOR_SIZES["scale"])),
            "shape": list(range(FACTOR_SIZES["shape"])),
            "orientation": list(range(FACTOR_SIZES["orientation"])),
        }
    )
    """3DShapes: the value indices that each factor may take; a factor left out takes all."""
    factors_label_list: Some[str] = dataclasses.field(default_factory=lambda: ["shape", "wall_hue"])
    """3DShapes: the factors that serve as labels."""
    threedshapes_train_frac: Annotated[Real, Field(gt=0, lt=1)] = 0.8
    """3DShapes: share of the images that is trained on."""

    # --- the model
    model_type: Literal["fc_shared", "fc_per_facet_enc_shared_dec", "fc_vlae", "conv_vlae"] = "fc_vlae"
    """Architecture of encoder and decoder."""
    J_n_mixtures: Annotated[Whole, Field(ge=1, le=100)] = 2
    """Number of facets J. Lists with an entry per facet follow it; a single number in one stands for all facets."""
    z_j_dim_list: Some[Dimension] = dataclasses.field(default_factory=lambda: [5, 5])
    """Latent dimension D_j of each facet."""
    n_clusters_j_list: Some[Clusters] = dataclasses.field(default_factory=lambda: [25, 25])
    """Number of clusters K_j of each facet."""
    activation: Literal["relu", "leaky_relu", "elu"] = "relu"
    """Activation of the hidden layers."""
    do_fc_batch_norm: bool = False
    """Batch normalisation in fully-connected blocks."""
    encode_layer_dims: Annotated[list[Width] | list[Some[Width]], *LIST] = dataclasses.field(
        default_factory=lambda: [500, 2000]
    )
    """fc_shared: encoder widths; fc_per_facet_enc_shared_dec: one list of widths per facet."""
    decode_layer_dims: Some[Width] = dataclasses.field(default_factory=lambda: [2000, 500])
    """fc_shared and fc_per_facet_enc_shared_dec: decoder widths."""
    enc_backbone_dims: Some[MaybeWidth] = dataclasses.field(default_factory=lambda: [500, 2000])
    """fc_vlae: encoder backbone width of each level."""
    enc_backbone_n_hidden: Some[Depth] = dataclasses.field(default_factory=lambda: [1, 1])
    """fc_vlae: encoder backbone depth of each level; -1 or 0 means no layer."""
    enc_rung_dims: Some[MaybeWidth] = dataclasses.field(default_factory=lambda: [-1, -1])
    """fc_vlae: encoder rung width of each level."""
    enc_rung_n_hidden: Some[Depth] = dataclasses.field(default_factory=lambda: [-1, -1])
    """fc_vlae: encoder rung depth of each level."""
    dec_backbone_dims: Some[MaybeWidth] = dataclasses.field(default_factory=lambda: [500, 500])
    """fc_vlae: decoder backbone width of each level."""
    dec_backbone_n_hidden: Some[Depth] = dataclasses.field(default_factory=lambda: [1, 1])
    """fc_vlae: decoder backbone depth of each level."""
    dec_rung_dims: Some[MaybeWidth] = dataclasses.field(default_factory=lambda: [500, 2000])
    """fc_vlae: decoder rung width of each level."""
    dec_rung_n_hidden: Some[Depth] = dataclasses.field(default_factory=lambda: [1, 1])
    """fc_vlae: decoder rung depth of each level."""
    conv_width: ShareOfWidth = 1.0
    """conv_vlae: channels of every layer, as a share of the published ones (64, 128, 256, 512); 0.25: a quarter."""
    sigma_multiplier_p_x_z: Annotated[Real, Field(ge=1e-6, le=1e6)] | Literal["data"] = 0.6
    """Standard deviation of the Normal likelihood, in pixels of range [0, 1]; unused by Bernoulli data.
    data: the root mean square of what the factorial start leaves unexplained."""
    cov_type_p_z_c: Literal["diag", "full"] = "diag"
    """Covariance of the mixture components p(z|c)."""
    init_type_p_z_c: Literal["gmm", "glorot", "factorial"] = "gmm"
    """Initial means: a Gaussian mixture fitted to the encodings, Xavier-normal, or those of a factorial clustering of
    the pixels (docs/facets.md)."""
    guide_weight: NonNegativeFloat = 0.0
    """Factorial start: weight lambda, for each pixel value, of -log q(c_j = code_j | x) in the loss, with the codes of
    the start; it falls to 0 over the second half of the training."""
    bottleneck: Annotated[Real, Field(ge=0, le=1)] = 0.0
    """Share h of z_j that the decoder gets as E_q(c_j|x) mu_jc, the mean of its clusters; it falls to 0 from 30 to 60
    percent of the training."""
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
    n_epochs_per_progressive_step: Some[Positive] = dataclasses.field(default_factory=lambda: [201, 201])
    """Epochs of each progressive step."""
    n_batches_fade_in: NonNegative = 15000
    """Batches over which a new facet is faded in."""
    gamma_kl_z_pretrain: NonNegativeFloat = 0.0
    """Weight of kl_z of a facet that is not yet added."""
    gamma_kl_c_pretrain: NonNegativeFloat = 0.0
    """Weight of kl_c of a facet that is not yet added."""
    init_lr: Annotated[Real, Field(gt=0, le=1e30)] = 5e-4
    """Learning rate of Adam, constant."""
    batch_size: Annotated[Whole, Field(ge=2, le=10**6)] = 512
    """Images per training step."""
    eval_batch_size: BatchSize = 1000
    """Images per evaluation step."""
    n_test_batches: Annotated[Whole, Field(ge=-1, le=10**9)] = -1
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
    """Figures: clusters by classes, confusion matrix where classes are few, facet-to-label map of several labels."""
    do_vis_n_samples_per_cluster: bool = True
    """Figure: cluster sizes, as sorted bars and as a rug under their distribution function."""
    do_vis_pi: bool = True
    """Figure: mixture weights pi, of facets that learn them."""
    vis_every_n_epochs: Positive = 50
    """How often figures are drawn; also of the first and the last epoch, but not shortly before the last."""
    n_recons_per_cluster: Columns = 4
    """Input-reconstruction pairs in a row of the figure."""
    n_examples_per_cluster: Columns = 10
    """Examples in a row of the figure."""
    n_sample_generations_per_cluster: Columns = 10
    """Generated images in a row of the figure."""
    temp_sample_generation: NonNegativeFloat = 0.5
    """Temperature of generated images: scales the standard deviation of p(z|c)."""

    @property
    def name(self) -> str:
        """Name of the run: --run_name, else <configuration, dataset or own images>_seed<seed>[_continued]."""
        return self.run_name or f"{self.origin}_seed{self.seed}{'_continued' if self.continue_from else ''}"

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
        name = re.sub(r"\.(npz|npy|h5|hdf5)$", "", Path(self.data_dir).resolve().name)
        return re.sub(r"[^\w.-]+", "_", name).lstrip(".-") or self.dataset

    def is_pi_fixed(self, j: int) -> bool:
        """Whether facet j keeps uniform mixture weights."""
        return self.fix_pi_p_c and self.facet_to_fix_pi_p_c in ("all", f"facet_{j}")


FIELDS: Mapping[str, FieldInfo] = vars(Config)["__pydantic_fields__"]
"""What pydantic knows of every setting: type, default, description."""


def load_config(argv: Sequence[str] | None = None, sweep: Mapping[str, Any] | None = None) -> Config:
    """Resolve the settings of a run.

    Args:
        argv: command line without the program's name; None reads sys.argv.
        sweep: values chosen by a sweep; they win over flags. Grouped keys (z_dim, hidden_dim, ...) are allowed.

    Raises:
        UserError: an unknown setting, a value of the wrong type, or a combination that cannot work.
    """
    flags = parse_flags(argv)
    return resolve(file_settings(flags), flags, sweep or {})


def file_settings(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Raw values of the settings in the file that config_args_path among the flags names; none without it."""
    path = flags.get("config_args_path")
    return read_settings_file(path, FIELDS) if path else {}


def resolve(file: Mapping[str, Any], flags: Mapping[str, Any], sweep: Mapping[str, Any]) -> Config:
    """A checked Config from the raw values of a file, of flags and of a sweep; each wins over those before it."""
    plain = {key: value for key, value in sweep.items() if key in FIELDS}
    config = _merged(file, dict(flags) | plain)
    for key in sorted(sweep.keys() - plain.keys(), key=lambda key: (key != "z_dim", key)):  # z_0_dim wins over z_dim
        config = _converted(dataclasses.asdict(config) | expand_grouped_key(key, sweep[key], config))
    return _checked(config)


def build_config(settings: Mapping[str, Any]) -> Config:
    """A checked Config from raw values: strings are converted, unknown names and impossible combinations refused."""
    return _checked(_merged(settings))


def parse_flags(argv: Sequence[str] | None, others: Iterable[str] = ()) -> dict[str, Any]:
    """Command line -> the settings named on it, as text or lists of text. others: the script's other flags."""
    return read_words(argv, FIELDS, others)


def _merged(*sources: Mapping[str, Any]) -> Config:
    """The settings of sources of which each wins over those before it; lists follow the number of facets."""
    settings: dict[str, Any] = {}
    strength: dict[str, int] = {}
    for i, source in enumerate(sources):
        settings |= source
        strength |= dict.fromkeys(source, i)
    return with_fitted_lists(_converted(settings), strength)


def _converted(settings: Mapping[str, Any]) -> Config:
    """A Config of known names and right types; whether the values go together is not looked at."""
    for key in settings:
        if key not in FIELDS:
            raise UserError(unknown("setting", str(key), FIELDS))
    try:
        return Config(**settings)
    except ValidationError as error:
        raise UserError(_describe(error, settings)) from None


def _describe(error: ValidationError, settings: Mapping[str, Any]) -> str:
    """The first of pydantic's complaints as one line: setting, value, what would be right."""
    complaint = error.errors(include_url=False)[0]
    name = str(complaint["loc"][0])
    message = complaint["msg"].removeprefix("Input ").removeprefix("Value error, ").split(", unable to parse")[0]
    return f"{name} = {shown(settings[name])}: {message}"


def _checked(config: Config) -> Config:
    """The same settings, the number of epochs resolved.

    Raises:
        UserError: a combination that cannot work.
    """
    check(config)
    if not config.do_progressive_training:
        return config
    return dataclasses.replace(config, n_epochs=sum(config.n_epochs_per_progressive_step))


# --- what else is asked of settings


def read_settings(config: Config) -> dict[str, Any]:
    """The settings that a run of this configuration reads: two runs that share them are the same."""
    unread = unread_settings(config)
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in unread}


def warn_of_flags_without_effect(argv: Sequence[str] | None, config: Config) -> None:
    """Name the flags that a run of this configuration does not read, each with the reason."""
    reasons = unread_settings(config)
    for name in parse_flags(argv):
        if reason := reasons.get(name):
            log.warning("--%s has no effect: %s", name, reason)
