"""Weights & Biases: how a run is logged there, and how it is not where there is no key or no network."""

from __future__ import annotations

import dataclasses
import logging
import netrc
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import getproxies, proxy_bypass

from config import Config
from settings.yaml_files import read_yaml
from utils import PROJECT, UserError, make_folder, one_line, write_atomically

log = logging.getLogger(__name__)


def start_wandb(config: Config, folder: Path) -> Any:
    """Start a wandb run that keeps its files in the run's folder, or None where disabled. Never fails or waits."""
    if config.wandb_mode == "disabled":
        return None
    try:
        import wandb
    except ImportError as error:
        log.warning("wandb_mode = %s: goes on without Weights & Biases (%s)", config.wandb_mode, one_line(error))
        return None

    id_path = folder / "wandb" / "run_id"
    if wandb.run is not None:  # started by a sweep's agent
        wandb.run.config.update(dataclasses.asdict(config), allow_val_change=True)
        _remember(id_path, wandb.run.id)
        return wandb.run
    settings = wandb_settings()
    mode = resolve_wandb_mode(config, settings)
    if mode == "online":
        try:
            log_in(config, settings)
        except UserError as error:
            _say_offline(config, str(error))
            mode = "offline"
    run_id = id_path.read_text().strip() or None if id_path.exists() else None
    common = {"dir": str(folder), "name": config.name, "id": run_id, "config": dataclasses.asdict(config)}
    common["project"] = settings.get("project_name") or "mfcvae"
    common["settings"] = wandb.Settings(silent=True, console="off", init_timeout=30)
    run = None
    if mode == "online":
        try:
            run = wandb.init(mode="online", resume="allow", entity=settings.get("team_name"), **common)
        except Exception as error:  # a stale key, a team that is not ours, a server that does not answer
            _say_offline(config, f"the server refused the run ({one_line(error)})")
    if run is None:
        run = wandb.init(mode="offline", **common)
    _remember(id_path, run.id)
    return run


def _remember(path: Path, run_id: str) -> None:
    """Keep wandb's name of the run, so that it goes on when the run is resumed."""
    make_folder(path.parent)
    write_atomically(path, lambda temporary: temporary.write_text(run_id))


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
        UserError: no key, a key that the server refuses, or a server that does not answer.
    """
    import wandb

    if not has_wandb_key(config, settings):
        raise UserError(
            "no wandb key found: set WANDB_API_KEY, run 'wandb login', or write login_key_1 into configs/wandb.local.yml"
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


def resolve_wandb_mode(config: Config, settings: Mapping[str, str]) -> str:
    """online or offline: auto is online where a key is found; online needs the server to be within reach."""
    if config.wandb_mode == "offline":
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
    """The key of configs/wandb.yml that --user chooses; the first one by default."""
    return settings.get("login_key_2" if config.user == "user2" else "login_key_1")


def _netrc_has_key(url: str) -> bool:
    """Whether the user's netrc knows the server."""
    path = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
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
