"""Settings that a run of a configuration does not read, each with the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from settings.data_sets import OWN_IMAGES
from settings.facet_lists import LADDER_DEPTHS, LADDER_DIMS, STEPS

if TYPE_CHECKING:
    from config import Config


class _Rule(NamedTuple):
    """When some settings are read, and why they are not otherwise."""

    names: tuple[str, ...]
    is_read: Callable[[Config], bool]
    reason: str
    """The reason, with settings in braces."""


def _draws_spread(config: Config) -> bool:
    """Whether Cholesky factors may be drawn at random."""
    return config.init_type_p_z_c == "glorot" and config.cov_type_p_z_c == "full"


_RULES = (
    _Rule(
        ("n_epochs",),
        lambda config: not config.do_progressive_training,
        "progressive training has the sum of n_epochs_per_progressive_step, {n_epochs} epochs",
    ),
    _Rule(
        (STEPS, "n_batches_fade_in", "gamma_kl_z_pretrain", "gamma_kl_c_pretrain"),
        lambda config: config.do_progressive_training,
        "do_progressive_training is false",
    ),
    _Rule(("facet_to_fix_pi_p_c",), lambda config: config.fix_pi_p_c, "fix_pi_p_c is false"),
    _Rule(
        ("fixed_var_init",),
        lambda config: not (_draws_spread(config) and config.init_off_diag_cov_p_z_c),
        "init_off_diag_cov_p_z_c draws them",
    ),
    _Rule(
        ("init_off_diag_cov_p_z_c",),
        _draws_spread,
        "it belongs to init_type_p_z_c glorot with cov_type_p_z_c full",
    ),
    _Rule((*LADDER_DIMS, *LADDER_DEPTHS), lambda config: config.model_type == "fc_vlae", "model_type is {model_type}"),
    _Rule(
        ("encode_layer_dims", "decode_layer_dims"),
        lambda config: config.model_type not in ("fc_vlae", "conv_vlae"),
        "model_type is {model_type}",
    ),
    _Rule(("conv_width",), lambda config: config.model_type == "conv_vlae", "model_type is {model_type}"),
    _Rule(
        ("guide_weight",), lambda config: config.init_type_p_z_c == "factorial", "init_type_p_z_c is {init_type_p_z_c}"
    ),
    _Rule(
        ("factors_variation_dict", "factors_label_list", "threedshapes_train_frac"),
        lambda config: config.dataset == "fast_3dshapes",
        "dataset is {dataset}",
    ),
    _Rule(
        ("image_size", "max_megapixels", "images_in", "cache_dir"),
        lambda config: config.dataset in OWN_IMAGES,
        "dataset is {dataset}",
    ),
    _Rule(("skip_broken",), lambda config: config.dataset == "folder", "dataset is {dataset}"),
)


def unread_settings(config: Config) -> dict[str, str]:
    """The settings of model, data and schedule that a run of this configuration does not read -> why not."""
    unread = [rule for rule in _RULES if not rule.is_read(config)]
    return {name: rule.reason.format_map(vars(config)) for rule in unread for name in rule.names}
