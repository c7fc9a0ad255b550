"""What tune.py is asked for, beside the settings of train.py."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TuneOptions:
    """What is searched, for how long, and where the result goes."""

    minutes: float = 10
    workers: int = 1
    """Processes on this machine."""
    max_facets: int = 3
    """The largest J that is tried."""
    max_clusters: int = 25
    """The largest K_j that is tried."""
    storage: str | None = field(default=None, repr=False)
    """Address of Optuna's data base, which may hold a password; None for a file beside the result."""
    output: str | None = None
    """The YAML file with the chosen settings; None for <results_dir>/<images>_tune/tuned.yml."""
