"""Combinations of settings that cannot work: each is refused in one line, before any image is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flags import unknown
from settings.data_sets import FACTOR_SIZES, OWN_IMAGES
from settings.facet_lists import LADDER_DEPTHS, LADDER_DIMS, facet_list_names
from utils import UserError, shown

if TYPE_CHECKING:
    from config import Config


def check(config: Config) -> None:
    """Refuse what cannot work together.

    Raises:
        UserError: the first thing that cannot.
    """
    if config.n_test_batches == 0:
        raise UserError("n_test_batches = 0: must be -1 (all) or at least 1")
    _check_encoder_widths(config)
    _check_facets(config)
    _check_start(config)
    if config.model_type == "fc_vlae":
        _check_layers(config)
        _check_gated_adds(config)
    if config.dataset == "fast_3dshapes":
        _check_factors(config)
        _check_labels(config)
    if config.dataset in OWN_IMAGES:
        _check_image_size(config)


def _check_encoder_widths(config: Config) -> None:
    """One encoder has a flat list of widths."""
    widths = config.encode_layer_dims
    if config.model_type == "fc_shared" and widths and isinstance(widths[0], list):
        raise UserError(f"encode_layer_dims = {shown(widths)}: fc_shared has one encoder; give one flat list")


def _check_facets(config: Config) -> None:
    """Lists per facet have J entries; a facet to freeze exists; variances start where they can learn."""
    J = config.J_n_mixtures
    if wrong := [name for name in facet_list_names(config) if len(getattr(config, name)) != J]:
        lists = ", ".join(f"{name} = {shown(getattr(config, name))}" for name in wrong)
        raise UserError(f"{lists}: give one entry per facet, J_n_mixtures = {J}, or one for all")
    facets = ["all"] + [f"facet_{j}" for j in range(J)]
    if config.facet_to_fix_pi_p_c not in facets:
        found = shown(config.facet_to_fix_pi_p_c)
        raise UserError(f"facet_to_fix_pi_p_c = {found}: must be one of {', '.join(facets)}")
    if config.cov_type_p_z_c == "diag" and config.fixed_var_init <= 1e-6:
        found = f"{config.fixed_var_init:g}"
        raise UserError(f"fixed_var_init = {found}: must be above 1e-6, below which no variance learns")


def _check_start(config: Config) -> None:
    """A factorial start is of all facets together, and alone knows sigma."""
    is_factorial = config.init_type_p_z_c == "factorial"
    if is_factorial and config.do_progressive_training:
        raise UserError(
            "init_type_p_z_c = factorial: starts all facets together; give --do_progressive_training false and n_epochs"
        )
    if config.continue_from and (config.do_progressive_training or config.guide_weight or config.bottleneck):
        raise UserError(
            "continue_from: all facets of a trained model take part from the start; give --do_progressive_training "
            "false, --guide_weight 0 and --bottleneck 0, or leave them out"
        )
    if config.sigma_multiplier_p_x_z == "data" and not is_factorial:
        raise UserError(
            "sigma_multiplier_p_x_z = data: it is what the factorial start leaves unexplained; give "
            "--init_type_p_z_c factorial, or a number"
        )


def _check_layers(config: Config) -> None:
    """Every layer of the ladder has a width."""
    for dims, depths in zip(LADDER_DIMS, LADDER_DEPTHS, strict=True):
        for j, (dim, depth) in enumerate(zip(getattr(config, dims), getattr(config, depths), strict=True)):
            if depth > 0 and dim < 1:
                raise UserError(f"{dims}[{j}] = {dim}: must be at least 1, because {depths}[{j}] = {depth}")


def _check_gated_adds(config: Config) -> None:
    """The rung of each facet is as wide as what comes from the facet above, to which it is added."""
    backbones, above = shown(config.dec_backbone_dims), None
    for j in reversed(range(config.J_n_mixtures)):
        rung = config.dec_rung_dims[j] if config.dec_rung_n_hidden[j] > 0 else config.z_j_dim_list[j]
        if above is not None and rung != above:
            raise UserError(
                f"dec_rung_dims = {shown(config.dec_rung_dims)}: facet {j} adds a rung of width {rung} to a backbone "
                f"of width {above} (dec_backbone_dims = {backbones}, facet {j + 1}); make them equal"
            )
        above = config.dec_backbone_dims[j] if config.dec_backbone_n_hidden[j] > 0 else rung


def _check_factors(config: Config) -> None:
    """The factors of 3DShapes exist, and each takes different values of its own."""
    for factor, indices in config.factors_variation_dict.items():
        if factor not in FACTOR_SIZES:
            raise UserError(f"factors_variation_dict: {unknown('factor', factor, FACTOR_SIZES)}")
        if not indices or max(indices) >= FACTOR_SIZES[factor] or len(set(indices)) < len(indices):
            raise UserError(
                f"factors_variation_dict[{factor!r}] = {shown(indices)}: must be different indices from 0 to "
                f"{FACTOR_SIZES[factor] - 1}, at least one"
            )


def _check_labels(config: Config) -> None:
    """The factors of 3DShapes that serve as labels exist, once each, and take at least two values."""
    labels = config.factors_label_list
    if not labels:
        raise UserError("factors_label_list = []: name at least one factor, for example shape")
    if len(set(labels)) < len(labels):
        raise UserError(f"factors_label_list = {shown(labels)}: name every factor once")
    for factor in labels:
        if factor not in FACTOR_SIZES:
            raise UserError(f"factors_label_list: {unknown('factor', factor, FACTOR_SIZES)}")
        if len(config.factors_variation_dict.get(factor, range(2))) < 2:
            raise UserError(
                f"factors_label_list: {factor!r} has one value only in factors_variation_dict "
                f"({config.factors_variation_dict[factor]}), so it cannot be a label; allow more values or drop it"
            )


def _check_image_size(config: Config) -> None:
    """The images of a folder have a size to be brought to, and own images are large enough for the ladder."""
    if config.dataset == "folder" and config.image_size is None:
        raise UserError("dataset = folder: give the side in pixels to resize images to, for example --image_size 32")
    smallest = 2**config.J_n_mixtures
    if config.model_type == "conv_vlae" and config.image_size and config.image_size < smallest:
        raise UserError(
            f"image_size = {config.image_size}: conv_vlae halves the image once per facet (J_n_mixtures = "
            f"{config.J_n_mixtures}), so it must be at least {smallest}; or use an fc model_type"
        )
