"""Optuna studies in a data base that any number of workers share: one of numbers of clusters, one of short trainings.

A trial judges its choice by what is learned from one half of the images first. Where even perfect agreement with the
other half would not bring it among the best, it is pruned there.
"""

from __future__ import annotations

import base64
import logging
import math
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.samplers import RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from config import Config
from settings.comparing import different_settings, portable_settings
from sweeps.database import Database
from tuning.criterion import Judgement, average, first
from tuning.halves import Halves
from tuning.trained import Choice, train_half
from utils import UserError

log = logging.getLogger(__name__)

N_RANDOM = 12
"""Trials at random before the sampler learns from them."""
REFINE_EVERY, N_REPEATS = 2, 3
"""Every second trial after these starts from the best choice: one near to it, where there is such, or the same on other
halves, until that was tried three times."""
SHORTLIST = 3
"""The best numbers of clusters, which are trained. A trial that cannot come among them is pruned."""
Z_DIMS, SIGMA_FACTORS = (2, 5, 10), (1.0, 0.5, 2.0)
"""Latent dimensions of all facets, and factors on sigma, that trainings try beside those of the configuration."""
N_FAILED = 5
"""Failed trials, where none has come to its end, after which a search is given up: failing may take no time at all."""
AS_CONFIGURED = "as configured"
PATIENCE = 120
"""Seconds after which the data base gives up a worker that says nothing."""
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class Tried(NamedTuple):
    """A choice and what its finished trials say on average."""

    choice: Choice
    judged: Judgement
    value: float
    facts: dict[str, float]
    """elbo, held out in nats per image, and sigma; nothing where nothing was trained."""
    n_trials: int = 1


class Search:
    """A study of one kind of choices, as a worker sees it."""

    stage = ""
    n_first = 0
    """Trials before the first that repeats another."""

    def __init__(self, config: Config, halves: Halves, database: Database):
        """Open the study, or make it.

        Raises:
            UserError: the data base cannot be used, or holds a search with other settings or images.
        """
        self.config, self.halves, self.database = config, halves, database
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with database.asked():
            self.study = optuna.create_study(
                study_name=f"{config.data_name}_{self.stage}",
                storage=database.open(PATIENCE),
                sampler=RandomSampler(),
                direction="maximize",
                load_if_exists=True,
            )
            if "settings" not in self.study.user_attrs:
                self.study.set_user_attr("checksum", halves.spec.checksum)
                self.study.set_user_attr("criterion", Judgement._fields)
                self.study.set_user_attr("settings", portable_settings(config))
            before, directions = self.study.user_attrs, self.study.directions
        if directions != [StudyDirection.MAXIMIZE] or not isinstance(before["settings"], dict):
            raise UserError(f"{self.study.study_name!r} in {database.shown} is no search; name another --storage")
        different = different_settings(before["settings"], config)
        if not different and before.get("checksum") != halves.spec.checksum:
            different = "images"
        if not different and tuple(before.get("criterion", ())) != Judgement._fields:
            different = "criterion"
        if different:
            raise UserError(
                f"{database.shown} holds a search with other {different}; name another one by --storage, or delete it"
            )

    def define(self, trial: Trial) -> Choice:
        """Let a trial choose."""
        raise NotImplementedError

    def starts(self) -> list[dict[str, Any]]:
        """What to try first."""
        return []

    def learn(self, choice: Choice, half: int, seed: int) -> tuple[np.ndarray, dict[str, float]]:
        """What half 0 or 1 teaches: the codes (N, J) of all images, and facts to be shown."""
        raise NotImplementedError

    def _choices(self) -> dict[Choice, list[FrozenTrial]]:
        """Choice -> its trials that came to their end."""
        found: dict[Choice, list[FrozenTrial]] = {}
        for trial in self.trials(TrialState.COMPLETE):
            found.setdefault(_read(trial.user_attrs["choice"]), []).append(trial)
        return found

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """The trials in one of these states."""
        with self.database.asked():
            return self.study.get_trials(deepcopy=False, states=states)

    def errors(self) -> list[str]:
        """Why trials failed."""
        return [trial.user_attrs["error"] for trial in self.trials(TrialState.FAIL) if "error" in trial.user_attrs]

    def seconds(self) -> float:
        """The time that all workers together have spent on trials that are over."""
        return sum(trial.duration.total_seconds() for trial in self.trials(*FINISHED) if trial.duration)

    def found(self) -> list[Tried]:
        """Every choice that was tried to its end."""
        found = []
        for choice, trials in self._choices().items():
            judgements, facts = _judgements(trials), [trial.user_attrs["facts"] for trial in trials]
            worth = mean(judged.value for judged in judgements)
            means = {name: mean(one[name] for one in facts) for name in facts[0]}
            found.append(Tried(choice, average(judgements), worth, means, len(trials)))
        return found

    def tried(self) -> list[Tried]:
        """Every choice that was tried to its end, in the order in which they would be taken."""
        return _in_order(self.found())

    # --- one trial

    def step(self, seed: int) -> None:
        """Try one choice: at random, or where the sampler expects the best.

        Raises:
            KeyboardInterrupt: it was interrupted; the trial is noted as failed.
            UserError: every trial so far has failed.
        """
        self.halves.split(seed)
        params = self._next()
        with self.database.asked(), _unworried():
            self.study.sampler = TPESampler(n_startup_trials=N_RANDOM, seed=seed, multivariate=True, group=True)
            if params:
                self.study.enqueue_trial(params)
            trial = self.study.ask()  # what waits may be of a worker which asked at the same moment
        state, result = TrialState.FAIL, None
        try:
            result = self._try(trial, seed)
            state = TrialState.PRUNED if result is None else TrialState.COMPLETE
        except UserError as error:
            log.warning("%s: %s", trial.params, error)
            trial.set_user_attr("error", str(error))
        finally:
            with self.database.asked():
                self.study.tell(trial, result, state)
        errors = self.errors()
        if len(errors) >= N_FAILED and not self.trials(TrialState.COMPLETE, TrialState.PRUNED):
            raise UserError(f"all {len(errors)} trials of {self.stage} failed, the last by: {errors[-1]}")

    def _next(self) -> dict[str, Any]:
        """What to try next: the start of the search, or a doubtful choice again; nothing where the sampler decides."""
        n_before, starts = len(self.trials(*FINISHED)), self.starts()
        if n_before < len(starts):
            return starts[n_before]
        if n_before >= self.n_first and n_before % REFINE_EVERY == 0:
            for one in self.tried():
                if near := self.near(one):
                    return near
                if one.n_trials < N_REPEATS:
                    return self._choices()[one.choice][0].params
        return {}

    def near(self, one: Tried) -> dict[str, Any]:
        """The parameters of a promising choice that was not tried; nothing where there is none."""
        return {}

    def _try(self, trial: Trial, seed: int) -> float | None:
        """The value of a trial's choice; None where it is pruned."""
        choice, codes, found = self.define(trial), [], []
        is_new = choice not in self._choices()
        trial.set_user_attr("choice", choice._asdict())
        for half in (0, 1):
            one, facts = self.learn(choice, half, seed)
            codes.append(one)
            found.append(facts)
            judged = self.halves.judge(codes, choice.n_clusters)
            if half == 0:
                trial.report(judged.value, 0)
                if is_new and judged.value < self.least():
                    return None
        trial.set_user_attr("judged", judged._asdict())
        trial.set_user_attr("facts", {name: mean(facts[name] for facts in found) for name in found[0]})
        trial.set_user_attr("codes", [_packed(one) for one in codes])
        return judged.value

    def least(self) -> float:
        """The value below which no trial is of interest."""
        best = sorted((one.value for one in self.found()), reverse=True)
        return best[SHORTLIST - 1] if len(best) >= SHORTLIST else 0.0


@contextmanager
def _unworried() -> Iterator[None]:
    """Nothing is said of what Optuna calls experimental, nor of signs of life, which nobody waits for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage")
        yield


def _in_order(found: list[Tried]) -> list[Tried]:
    """The one to be taken first, then the one to be taken without it, and so on."""
    left, in_order = list(found), []
    while left:
        i = first([one.value for one in left], [sum(one.choice.n_clusters) for one in left])
        in_order.append(left.pop(i))
    return in_order


def _judgements(trials: Sequence[FrozenTrial]) -> list[Judgement]:
    """What each of the trials says of its choice."""
    return [Judgement(**trial.user_attrs["judged"]) for trial in trials]


def _read(choice: dict[str, Any]) -> Choice:
    """A choice as a data base gives it back."""
    return Choice(tuple(choice["n_clusters"]), tuple(choice["z_dims"]), choice["sigma_factor"])


def _packed(codes: np.ndarray) -> str:
    """Codes (N, J) as a text of a few kilobytes."""
    return base64.b64encode(zlib.compress(codes.astype("<u2").tobytes())).decode()


def codes_found(trial: FrozenTrial) -> list[np.ndarray]:
    """What a trial that came to its end learned from each half: two arrays (N, J) int64."""
    J = len(trial.user_attrs["choice"]["n_clusters"])
    packed = (zlib.decompress(base64.b64decode(text)) for text in trial.user_attrs["codes"])
    return [np.frombuffer(codes, "<u2").reshape(-1, J).astype(np.int64) for codes in packed]


class ClusterSearch(Search):
    """How many facets of how many clusters; learned by factorial clusterings, which take seconds."""

    stage = "clusters"
    n_first = N_RANDOM

    def __init__(self, config: Config, halves: Halves, database: Database, max_facets: int, max_clusters: int):
        """Open the study, or make it. Each facet has from 2 to max_clusters clusters."""
        super().__init__(config, halves, database)
        self.max_facets, self.max_clusters = max_facets, min(max_clusters, len(halves.images) // 2)

    def define(self, trial: Trial) -> Choice:
        """J and K_j; D_j are those of the configuration."""
        J = trial.suggest_int("J", 1, self.max_facets)
        n_clusters = [trial.suggest_int(f"K_{j}_of_{J}", 2, self.max_clusters, log=True) for j in range(J)]
        dims = self.config.z_j_dim_list
        return Choice(tuple(sorted(n_clusters, reverse=True)), tuple([*dims[:1] * (J - len(dims)), *dims][-J:]))

    def near(self, one: Tried) -> dict[str, Any]:
        """J and K_j without facets that add nothing, with the largest facet as two, or with the two smallest as one.

        Two facets for one tell its clusters together: K_j is at most the product of theirs.
        """
        K = one.choice.n_clusters  # the largest first
        found = [[K_j for K_j, is_idle in zip(K, one.judged.idle, strict=True) if not is_idle]]
        if len(K) < self.max_facets:
            found += [[-(-K[0] // second), second, *K[1:]] for second in range(2, math.isqrt(K[0]) + 1)]
        if len(K) > 1 and K[-2] * K[-1] <= self.max_clusters:
            found.append([*K[:-2], K[-2] * K[-1]])
        trials = self.trials(*FINISHED, TrialState.RUNNING)
        known = {tuple(trial.user_attrs["choice"]["n_clusters"]) for trial in trials if "choice" in trial.user_attrs}
        for numbers in found:
            if numbers and tuple(sorted(numbers, reverse=True)) not in known:
                return {"J": len(numbers)} | {f"K_{j}_of_{len(numbers)}": K_j for j, K_j in enumerate(numbers)}
        return {}

    def learn(self, choice: Choice, half: int, seed: int) -> tuple[np.ndarray, dict[str, float]]:
        """A factorial clustering of one half."""
        return self.halves.factorial_codes(half, choice.n_clusters, seed), {}


class TrainingSearch(Search):
    """Which of the best numbers of clusters, how many latent dimensions, which sigma; learned by short trainings."""

    stage = "trainings"
    n_first = SHORTLIST

    def __init__(self, config: Config, halves: Halves, database: Database, before: Sequence[Tried]):
        """Open the study, or make it. before: the choices of the first stage, the best first."""
        super().__init__(config, halves, database)
        self.shortlist = {" ".join(map(str, tried.choice.n_clusters)): tried.choice for tried in before[:SHORTLIST]}
        self.before = {tried.choice.n_clusters: tried.value for tried in before}
        self.name = " or ".join(self.shortlist)  # Optuna wants another name for another list, after a longer search

    def tried(self) -> list[Tried]:
        """As any search; but a value is the mean of the trainings' and that of the same numbers of clusters before.

        Trainings are few, and what they find depends on chance more than what they start from.
        """
        found = [one._replace(value=(one.value + self.before[one.choice.n_clusters]) / 2) for one in self.found()]
        return _in_order(found)

    def starts(self) -> list[dict[str, Any]]:
        """The best numbers of clusters with everything else as it is configured."""
        return [{self.name: K, "z_dim": AS_CONFIGURED, "sigma_factor": 1.0} for K in self.shortlist]

    def define(self, trial: Trial) -> Choice:
        """K_j of the shortlist, D_j of the configuration or the same for all facets, and a factor on sigma."""
        choice = self.shortlist[trial.suggest_categorical(self.name, list(self.shortlist))]
        dim = trial.suggest_categorical("z_dim", [AS_CONFIGURED, *Z_DIMS])
        factor = trial.suggest_categorical("sigma_factor", SIGMA_FACTORS)
        dims = (int(dim),) * len(choice.z_dims) if isinstance(dim, int) else choice.z_dims
        return Choice(choice.n_clusters, dims, float(factor or 1))

    def learn(self, choice: Choice, half: int, seed: int) -> tuple[np.ndarray, dict[str, float]]:
        """A short training on one half."""
        trained = train_half(self.config, choice, self.halves, half)
        return trained.codes, {"elbo": trained.elbo, "sigma": trained.sigma}
