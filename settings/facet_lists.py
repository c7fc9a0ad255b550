"""Lists with an entry per facet: how they follow J_n_mixtures, and the keys of sweeps that set them as a whole.

Such a list is given from facet 0, which is next to the pixels, to facet J-1, the deepest. Where J_n_mixtures comes from
a stronger source than a list does (default < file < flag or sweep), the list is fitted to it: facets are added or left
out next to the pixels, so that the deepest ones stay as they are. An added facet is like facet 0. Its rung in the
decoder is as wide as the decoder's backbone there, since the two are added. Steps of progressive training begin with
the deepest facet, so further ones are like the last. A single entry stands for all facets.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flags import unknown
from utils import UserError, shown

if TYPE_CHECKING:
    from config import Config

LADDER_DIMS = ("enc_backbone_dims", "enc_rung_dims", "dec_backbone_dims", "dec_rung_dims")
LADDER_DEPTHS = ("enc_backbone_n_hidden", "enc_rung_n_hidden", "dec_backbone_n_hidden", "dec_rung_n_hidden")
PER_FACET_ENCODERS = "fc_per_facet_enc_shared_dec"
STEPS = "n_epochs_per_progressive_step"


def facet_list_names(config: Config) -> list[str]:
    """The lists with an entry per facet that a run of this configuration reads."""
    names = ["z_j_dim_list", "n_clusters_j_list"]
    names += [STEPS] if config.do_progressive_training else []
    names += [*LADDER_DIMS, *LADDER_DEPTHS] if config.model_type == "fc_vlae" else []
    return names + (["encode_layer_dims"] if config.model_type == PER_FACET_ENCODERS else [])


def with_fitted_lists(config: Config, strength: Mapping[str, int]) -> Config:
    """The same settings with lists that follow J_n_mixtures as far as they may.

    Args:
        config: settings of the right types; whether they go together is not known yet.
        strength: of each setting that was given: of its source; what was not given is weaker than all.
    """
    J = config.J_n_mixtures
    if config.model_type == PER_FACET_ENCODERS:
        config = dataclasses.replace(config, encode_layer_dims=_nested(config.encode_layer_dims))
    fitted: dict[str, Any] = {}
    for name in facet_list_names(config):
        entries = getattr(config, name)
        if strength.get(name, -1) < strength.get("J_n_mixtures", -1):
            fitted[name] = _fitted(name, entries, config)
        elif len(entries) == 1:
            fitted[name] = entries * J
    return dataclasses.replace(config, **fitted)


def _nested(widths: list[int] | list[list[int]]) -> list[Any]:
    """Encoder widths as a list for each facet, where one list stands for all."""
    return widths if widths and isinstance(widths[0], list) else [widths]


def _fitted(name: str, entries: list[Any], config: Config) -> list[Any]:
    """A list with facets added or left out next to the pixels, until there are J."""
    J = config.J_n_mixtures
    n_added = J - len(entries)
    if not entries or n_added == 0:
        return entries
    if name == STEPS:
        return [*entries, *entries[-1:] * n_added] if n_added > 0 else entries[:J]
    first = _width_of_added_rung(config) if name == "dec_rung_dims" else entries[0]
    return [*[first] * n_added, *entries] if n_added > 0 else entries[-J:]


def _width_of_added_rung(config: Config) -> int:
    """The width of what facet 0's part of the decoder hands on, to which the rung of an added facet is added."""
    has_backbone = max(config.dec_backbone_n_hidden[:1], default=0) > 0
    return (config.dec_backbone_dims if has_backbone else config.dec_rung_dims)[0]


def expand_grouped_key(key: str, value: Any, config: Config) -> dict[str, Any]:
    """One key of a sweep -> the lists that it stands for.

    z_dim sets every latent dimension, z_<j>_dim and n_clusters_<j> that of facet j, hidden_dim the four lists of ladder
    widths, n_hidden the four lists of ladder depths. Entries of -1 (no layer) stay.
    """
    if key == "z_dim":
        return {"z_j_dim_list": [value] * config.J_n_mixtures}
    if match := re.fullmatch(r"z_(\d{1,9})_dim|n_clusters_(\d{1,9})", key):
        name = "z_j_dim_list" if match[1] else "n_clusters_j_list"
        entries, j = list(getattr(config, name)), int(match[1] or match[2])
        if j >= len(entries):
            raise UserError(f"sweep key {key!r}: there is no facet {j}, {name} = {shown(entries)}")
        entries[j] = value
        return {name: entries}
    if key in ("hidden_dim", "n_hidden"):
        if config.model_type != "fc_vlae":
            raise UserError(f"sweep key {key!r}: sets the layers of fc_vlae, but model_type is {config.model_type}")
        names = LADDER_DIMS if key == "hidden_dim" else LADDER_DEPTHS
        return {name: [value if old > 0 else old for old in getattr(config, name)] for name in names}
    raise UserError(f"sweep: {unknown('setting', key, [field.name for field in dataclasses.fields(config)])}")
