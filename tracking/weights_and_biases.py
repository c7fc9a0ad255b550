"""Weights & Biases: what a run logs there, and what becomes of that where there is no key, network or space.

Training never waits for Weights & Biases and never fails by it: the run's folder is whole without it.
"""

from __future__ import annotations

from interrupts import is_interruption

import dataclasses
import logging
import netrc
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict
from urllib.parse import urlparse
from urllib.request import getproxies, proxy_bypass

import numpy as np
from torch import nn

from config import Config
from settings.yaml_files import read_yaml
from utils import PROJECT, UserError, make_folder, needed, one_line, shown, write_atomically

if TYPE_CHECKING:
    import wandb

log = logging.getLogger(__name__)

N_BINS = 64
"""Of a gradient's histogram, as wandb.watch has it."""
MEANING_OF_WANDB_MODE = {
    "online": "online",
    "run": "online",
    "shared": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}
"""What the variable WANDB_MODE may say -> a setting wandb_mode."""


class WandbRun:
    """A run's log at Weights & Biases. Its first failure, of whatever kind, is one warning and the last thing said."""

    def __init__(self, run: wandb.Run | None = None):
        """run: what wandb.init returned; None where nothing is to be logged."""
        self._run = run
        self._model: nn.Module | None = None

    @classmethod
    def start(cls, config: Config, folder: Path) -> WandbRun:
        """Begin or resume the log of the run in that folder. It says nothing where it is disabled or fails to begin.

        Raises:
            UserError: configs/wandb.yml or the variable WANDB_MODE is not understood.
        """
        logged = cls()
        if requested_mode(config) == "disabled":
            return logged
        settings = wandb_settings()
        logging.raiseExceptions = False  # wandb's debug log on a full disk would show a traceback a line
        with logged._outlived():
            logged._run = _run_of_agent(config, folder) or _new_run(config, folder, settings)
        return logged

    def watch(self, model: nn.Module) -> None:
        """From now on each epoch logs the gradients of all parameters, as its last batch left them."""
        self._model = model

    def log(self, epoch: int, numbers: Mapping[str, float], images: Mapping[str, Path]) -> None:
        """One epoch: numbers and image files under their logged names."""
        with self._outlived():
            if self._run is not None:
                self._run.log({**numbers, **_images(images), **_gradients(self._model)}, step=epoch)

    def log_page(self, path: Path) -> None:
        """A page of HTML, which wandb shows as it is."""
        with self._outlived():
            if self._run is not None:
                import wandb

                self._run.log({"report": wandb.Html(path.read_text(encoding="utf-8"), inject=False)})

    def finish(self, exit_code: int) -> None:
        """End the log; any exit code but 0 marks the run as failed."""
        with self._outlived():
            if self._run is not None:
                self._run.finish(exit_code)

    @contextmanager
    def _outlived(self) -> Iterator[None]:
        """The run goes on whatever is raised inside, an interruption excepted."""
        try:
            yield
        except (Exception, SystemExit) as error:  # a missing package, a full disk, a dead process: errors of many kinds
            if is_interruption(error):
                raise
            log.warning("goes on without Weights & Biases, which failed: %s: %s", type(error).__name__, one_line(error))
            self._give_up()

    def _give_up(self) -> None:
        """End the log as failed, and wandb's process, which would otherwise fail once more when Python ends."""
        run, self._run = self._run, None
        module: Any = sys.modules.get("wandb")  # not imported again, lest it fail again
        for last_call in (run and run.finish, module and module.teardown):
            with suppress(Exception, SystemExit):
                last_call and last_call(1)
        if module is not None:
            module.run = None  # the process may train other runs


def _images(files: Mapping[str, Path]) -> dict[str, wandb.Image]:
    import wandb

    return {name: wandb.Image(str(path)) for name, path in files.items()}


def _gradients(model: nn.Module | None) -> dict[str, wandb.Histogram]:
    """A histogram for each parameter that has a gradient; what is not finite is left out."""
    import wandb

    histograms = {}
    for name, parameter in model.named_parameters() if model is not None else ():
        if parameter.grad is not None:
            values = parameter.grad.detach().flatten().float().cpu().numpy()
            histogram = np.histogram(values[np.isfinite(values)], N_BINS)
            histograms[f"gradients/{name}"] = wandb.Histogram(np_histogram=histogram)
    return histograms


# --- the start of a run


def _run_of_agent(config: Config, folder: Path) -> wandb.Run | None:
    """The run that a sweep's agent has started in this process, told all settings; None where there is none."""
    import wandb

    if wandb.run is None:
        return None
    wandb.run.config.update(dataclasses.asdict(config), allow_val_change=True)
    _remember(folder, wandb.run.id)
    return wandb.run


def _new_run(config: Config, folder: Path, settings: Mapping[str, str]) -> wandb.Run:
    """A new or resumed run: online if it can be, else offline."""
    run = None
    if _is_logged_in(config, settings):
        try:
            run = _init("online", config, folder, settings)
        except Exception as error:  # a team that is not ours, a server that does not answer
            if is_interruption(error):
                raise
            _say_offline(config, f"the server refused the run ({one_line(error)})")
    run = run or _init("offline", config, folder, settings)
    _remember(folder, run.id)
    return run


def _is_logged_in(config: Config, settings: Mapping[str, str]) -> bool:
    """Whether the run can go online; if not, it is said why."""
    if resolve_wandb_mode(config, settings) != "online":
        return False
    try:
        log_in(config, settings)
    except UserError as error:
        _say_offline(config, str(error))
        return False
    return True


def _init(mode: Literal["online", "offline"], config: Config, folder: Path, settings: Mapping[str, str]) -> wandb.Run:
    """wandb.init; wandb's own environment variables win over configs/wandb.yml, and flags over both."""
    import wandb

    return wandb.init(
        mode=mode,
        resume="allow" if mode == "online" else None,
        dir=os.environ.get("WANDB_DIR") or str(folder),
        name=config.run_name or os.environ.get("WANDB_NAME") or config.name,
        id=_remembered(folder),
        config=dataclasses.asdict(config),
        settings=quiet_settings(),
        **team_and_project(settings),
    )


class Place(TypedDict):
    """Where runs go, as arguments of wandb.init, wandb.sweep and wandb.agent. entity: a team; None: the user's own."""

    entity: str | None
    project: str


def team_and_project(settings: Mapping[str, str]) -> Place:
    """Where runs go by wandb's environment variables, else by configs/wandb.yml."""
    return {
        "entity": os.environ.get("WANDB_ENTITY") or settings.get("team_name"),
        "project": os.environ.get("WANDB_PROJECT") or settings.get("project_name") or "mfcvae",
    }


def quiet_settings() -> wandb.Settings:
    """Nothing on the console and no long waiting, unless environment variables say otherwise."""
    import wandb

    ours = {"silent": True, "console": "off", "init_timeout": 30}
    return wandb.Settings(**{key: value for key, value in ours.items() if f"WANDB_{key.upper()}" not in os.environ})


def _remembered(folder: Path) -> str | None:
    """wandb's name of the run in a folder."""
    path = folder / "wandb" / "run_id"
    return path.read_text().strip() or None if path.exists() else None


def _remember(folder: Path, run_id: str) -> None:
    """Keep wandb's name of the run, so that it goes on when the run is resumed."""
    path = make_folder(folder / "wandb") / "run_id"
    write_atomically(path, lambda temporary: temporary.write_text(run_id))


# --- settings, key and mode


def wandb_settings() -> dict[str, str]:
    """configs/wandb.yml with the git-ignored configs/wandb.local.yml over it; empty values are left out."""
    settings: dict[str, str] = {}
    for name in ("wandb.yml", "wandb.local.yml"):
        path = PROJECT / "configs" / name
        if path.exists():
            try:
                content = read_yaml(path) or {}
                settings |= {key: str(value) for key, value in content.items() if value}
            except (ValueError, AttributeError):
                raise UserError(f"configs/{name} is not a YAML file of 'key: value' lines") from None
    return settings


def log_in(config: Config, settings: Mapping[str, str]) -> None:
    """Log in to wandb's server, by the key of configs/wandb.yml if it has one.

    Raises:
        UserError: there is no key, the server refuses it, or the server does not answer.
    """
    with needed("wandb", "a sweep by Weights & Biases"):
        import wandb

    if not has_wandb_key(config, settings):
        raise UserError(
            "no wandb key found: set WANDB_API_KEY, run 'wandb login', or write login_key_1 into "
            "configs/wandb.local.yml"
        )
    url = _server()
    if not _is_reachable(url):
        raise UserError(f"wandb's server {url} is out of reach")
    try:
        wandb.login(key=_login_key(config, settings), verify=True, timeout=10)
    except Exception as error:  # a wrong key and a dead host raise errors of many kinds
        raise UserError(f"login to {url} failed ({one_line(error)})") from error


def has_wandb_key(config: Config, settings: Mapping[str, str]) -> bool:
    """Whether a key for wandb's server is in configs/wandb.yml, the environment or the user's netrc."""
    key = _login_key(config, settings) or os.environ.get("WANDB_API_KEY")
    return bool(key) or _netrc_has_key(_server())


def _server() -> str:
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")


def requested_mode(config: Config) -> str:
    """What --wandb_mode asks for; where that is auto, what wandb's own environment variables ask for, if anything."""
    if config.wandb_mode != "auto":
        return config.wandb_mode
    if os.environ.get("WANDB_DISABLED", "").lower() in ("1", "true", "yes", "on"):
        return "disabled"
    word = os.environ.get("WANDB_MODE", "")
    if word and word not in MEANING_OF_WANDB_MODE:
        raise UserError(f"WANDB_MODE = {shown(word)}: not known; use online, offline or disabled, or unset it")
    return MEANING_OF_WANDB_MODE.get(word, "auto")


def resolve_wandb_mode(config: Config, settings: Mapping[str, str]) -> Literal["online", "offline", "disabled"]:
    """online, offline or disabled. auto is online where a key is found; online needs the server to be within reach."""
    mode = requested_mode(config)
    if mode == "disabled":
        return "disabled"
    if mode == "offline":
        return "offline"
    url = _server()
    if not has_wandb_key(config, settings):
        _say_offline(config, "no key found (WANDB_API_KEY, netrc or configs/wandb.local.yml)")
        return "offline"
    if not _is_reachable(url):
        _say_offline(config, f"{url} is out of reach")
        return "offline"
    return "online"


def _say_offline(config: Config, reason: str) -> None:
    log.warning(
        "wandb_mode = %s: %s, so this run is logged offline; 'wandb sync' uploads it", config.wandb_mode, reason
    )


def _login_key(config: Config, settings: Mapping[str, str]) -> str | None:
    """The key of configs/wandb.yml that --user chooses; without --user the first one, unless WANDB_API_KEY is set."""
    if config.user is None and "WANDB_API_KEY" in os.environ:
        return None  # wandb reads it itself
    return settings.get("login_key_2" if config.user == "user2" else "login_key_1")


def _netrc_has_key(url: str) -> bool:
    """Whether the user's netrc knows the server."""
    path = Path(os.path.expanduser(os.environ.get("NETRC", "~/.netrc")))  # without a home there is no such file
    try:
        hosts = netrc.netrc(path).hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return bool({urlparse(url).hostname, "api.wandb.ai"} & hosts.keys())


def _is_reachable(url: str, timeout: float = 3.0) -> bool:
    """Whether the server, or the proxy on the way to it, answers a connection within `timeout` seconds."""
    address = urlparse(url)
    proxy = getproxies().get(address.scheme)
    try:
        if proxy and not proxy_bypass(address.hostname or ""):
            address = urlparse(proxy if "//" in proxy else f"http://{proxy}")
        port = address.port or (80 if address.scheme == "http" else 443)
        socket.create_connection((address.hostname, port), timeout).close()
    except (OSError, ValueError):  # the latter: no port
        return False
    return True
