"""A YAML file of settings -> raw values; conversion and checks are config.py's."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pydantic.fields import FieldInfo

from flags import unknown
from settings.yaml_files import YamlError, read_yaml
from utils import UserError, expand_home, one_line, shown

log = logging.getLogger(__name__)

KEYS_WITHOUT_READER = {
    "dataset_on_gpu", "lr_decay", "min_lr", "do_vis_cluster_means", "do_vis_latent_code_traversal",
    "n_sample_generation_plots_per_facet",
}  # fmt: skip
"""Keys of the published YAML files that no code has ever read."""


def read_settings_file(path: str, fields: Mapping[str, FieldInfo]) -> dict[str, Any]:
    """Raw values of the settings in a file; keys that no code reads are named in one warning and left out.

    Args:
        path: where the file is.
        fields: what pydantic knows of every setting.

    Raises:
        UserError: the file cannot be read, is not YAML, or names an unknown setting.
    """
    name = f"config_args_path = {shown(path)}"
    try:
        settings = read_yaml(path)
    except FileNotFoundError:
        raise UserError(f"{name}: no such file; the published ones are in configs/") from None
    except YamlError as error:
        raise UserError(f"{name}: not valid YAML ({error})") from None
    except (OSError, ValueError) as error:  # ValueError: NUL in a path
        raise UserError(f"{name}: cannot be read ({one_line(error)})") from None
    if settings is None:
        return {}
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise UserError(f"{name}: must hold lines of the form 'setting: value'")
    unread = sorted(KEYS_WITHOUT_READER & settings.keys())
    if unread:
        log.warning("%s: ignored, no code reads these settings: %s", path, ", ".join(unread))
    for key in settings:
        if key not in fields and key not in KEYS_WITHOUT_READER:
            raise UserError(f"{path}: {unknown('setting', key, fields)}")
    # A file names itself, or holds '', in config_args_path: where settings come from is decided by the flag alone.
    known = {key: settings[key] for key in settings if key in fields and key != "config_args_path"}
    return {key: expand_home(value) if isinstance(value, str) else value for key, value in known.items()}
