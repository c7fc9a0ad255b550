"""tune.py judges as its formula says, finds parts that images are made of, sees no labels, and goes on where it stopped."""

from __future__ import annotations

import time

import numpy as np
import optuna
import pytest
import yaml
from test_factorial import parts

import tune
from config import load_config
from datasets import DatasetSpec
from sweeps.database import Database
from train import evaluate
from tuning.criterion import AS_GOOD, Judgement, average, first
from tuning.halves import Halves, drawn, matched_ami
from tuning.options import TuneOptions
from tuning.report import reasons, table
from tuning.search import tune as search_for
from tuning.study import N_FAILED, ClusterSearch, TrainingSearch, Tried
from tuning.trained import Choice, with_choice
from utils import UserError

SPEC = DatasetSpec("parts", (1, 8, 8), "normal", "sigmoid", 240, 60, (), (), checksum=1)


@pytest.fixture(autouse=True)
def _few_starts(monkeypatch):
    """The parts here are found from almost any start."""
    monkeypatch.setattr("tuning.halves.N_STARTS", 2)
    monkeypatch.setattr("factorial.clustering.N_STARTS", 3)


LED = ["--config_args_path", "configs/folder.yml", "--seed", "0"]


def test_the_value_counts_facets_by_what_they_tell():
    """By hand: (0.6 + 0.3 + 0 + 0)^2 * 1 with roots of 0.36 and 0.09."""
    judged = Judgement([0.8, 1.0, 0.0, 1.0], [1.0, 0.5, 1.0, 0.0], [0.45, 0.18, 0.2, 0.17])
    assert judged.value == pytest.approx(0.81)
    assert judged.idle == [False, False, True, True]
    alone, alike = Judgement([0.7], [1.0], [0.8]), Judgement([0.7, 0.7], [1.0, 1.0], [0.4, 0.4])
    assert alike.value == pytest.approx(2 * alone.value)


def test_of_choices_as_good_as_the_best_the_one_of_fewest_clusters_is_taken():
    least = 1 - AS_GOOD
    assert first([1.0, least + 0.001, least + 0.002, least - 0.001], [30, 12, 12, 4]) == 2
    assert first([0.0, 0.0], [5, 3]) == 1


def test_matched_facets_have_one_partner_each_and_a_constant_one_agrees_with_nothing():
    a, b, constant = np.arange(60) % 3, np.arange(60) % 4, np.zeros(60, int)
    numbers, partners = matched_ami(np.stack([a, b], 1), np.stack([b, a], 1))
    assert numbers == pytest.approx([1, 1]) and partners.tolist() == [1, 0]
    numbers, _ = matched_ami(np.stack([a, a], 1), np.stack([a, b], 1))
    assert numbers.max() == pytest.approx(1) and numbers.min() == pytest.approx(0, abs=0.05)
    numbers, partners = matched_ami(np.stack([constant, a], 1), a[:, None])
    assert numbers.tolist() == [0, pytest.approx(1)] and partners.tolist() == [-1, 0]


def test_every_split_is_a_half_and_another_one():
    halves = Halves(parts(101, [2])[0], SPEC, seed=0)
    before = halves.rows(0)
    halves.split(1)
    assert halves.rows(0).sum() == before.sum() == 50 and (halves.rows(0) != before).any()
    assert (halves.rows(0) ^ halves.rows(1)).all()


def test_the_average_is_taken_facet_by_facet():
    mean = average([Judgement([1.0, 0.2], [1.0, 1.0], [0.5, 0.1]), Judgement([0.5, 0.4], [0.8, 0.6], [0.7, 0.3])])
    assert [*mean.agreement, *mean.independence, *mean.explained] == pytest.approx([0.75, 0.3, 0.9, 0.8, 0.6, 0.2])


@pytest.mark.slow
def test_true_numbers_are_worth_more_than_others(monkeypatch):
    monkeypatch.setattr("tuning.halves.N_STARTS", 10)
    images, _ = parts(600, [4, 3])
    halves = Halves(images, SPEC, seed=0)
    judged = {}
    for K in ((4, 3), (12,), (12, 3)):
        codes = [halves.factorial_codes(half, K, seed=1) for half in (0, 1)]
        judged[K] = halves.judge(codes, K)
    assert max(judged, key=lambda K: judged[K].value) == (4, 3)
    assert judged[4, 3].agreement == pytest.approx([1, 1]) and sum(judged[4, 3].explained) > 0.95
    assert judged[4, 3].independence == pytest.approx([1, 1], abs=0.02) and min(judged[4, 3].explained) > 0.3


def test_facets_of_the_other_half_are_judged_beside_their_partners():
    images, codes = parts(400, [3, 2])
    halves, codes = Halves(images, SPEC, seed=0), codes[drawn(400, 0)]
    same = halves.judge([codes, codes], (3, 2))
    turned = halves.judge([codes, codes[:, ::-1]], (3, 3))  # the same facets in another order
    assert turned.explained == pytest.approx(same.explained, abs=0.02) and abs(np.diff(same.explained)[0]) > 0.1
    twice = halves.judge([codes[:, [0, 0]], codes[:, [0, 0]]], (3, 3))
    assert twice.independence == [0, 0] and twice.value == 0


def search_in(folder, images, seed=0, **limits):
    config = load_config([*LED, "--dataset", "npz", "--data_dir", "parts.npz"])
    sizes = {"max_facets": 2, "max_clusters": 6} | limits
    return ClusterSearch(config, Halves(images, SPEC, seed), Database.of_file(folder / "tune.db"), **sizes)


@pytest.mark.slow
def test_a_search_prunes_and_does_not_mix_with_another(tmp_path, monkeypatch):
    monkeypatch.setattr(ClusterSearch, "n_first", 6)
    images, _ = parts(300, [3, 2])
    search = search_in(tmp_path, images)
    for seed in range(12):
        search.step(seed)
    states = [trial.state.name for trial in search.study.get_trials()]
    assert {"COMPLETE", "PRUNED"} == set(states) and len(states) == 12 and states[:3] == ["COMPLETE"] * 3
    best = search.tried()
    assert best[0].value >= (1 - AS_GOOD) * max(one.value for one in best)
    assert len(set(best[0].choice.n_clusters)) <= 2 and best[0].choice.n_clusters[0] >= best[0].choice.n_clusters[-1]
    again = search_in(tmp_path, images)
    assert again.tried() == best and again.seconds() == search.seconds() > 0
    halves = Halves(images, SPEC, 0)
    halves.spec = DatasetSpec("parts", (1, 8, 8), "normal", "sigmoid", 240, 60, (), (), checksum=2)
    with pytest.raises(UserError, match="holds a search with other images"):
        ClusterSearch(again.config, halves, again.database, 2, 6)


def test_the_best_choice_is_tried_with_one_facet_more_or_less(tmp_path, monkeypatch):
    monkeypatch.setattr(ClusterSearch, "n_first", 1)
    monkeypatch.setattr("tuning.study.REFINE_EVERY", 1)
    images, codes = parts(100, [4, 3])
    found = np.column_stack([codes[drawn(100, 0)], np.zeros(100, int)])
    tried = []

    def learn(choice, half, seed):
        tried.extend([choice.n_clusters] * (half == 0))
        return found[:, : len(choice.n_clusters)] % choice.n_clusters, {}

    for start, last in (((4, 3, 2), 5), ((6, 3), 2)):
        (tmp_path / str(start)).mkdir()
        search = search_in(tmp_path / str(start), images, max_facets=3, max_clusters=12)
        monkeypatch.setattr(search, "learn", learn)
        params = {"J": len(start)} | {f"K_{j}_of_{len(start)}": K for j, K in enumerate(start)}
        monkeypatch.setattr(search, "starts", lambda params=params: [params])
        for seed in range(last):
            search.step(seed)
    assert tried[:5] == [(4, 3, 2), (4, 3), (3, 2, 2), (12,), (4, 3)]  # the last is the best once more
    assert tried[5:] == [(6, 3), (3, 3, 2)]


def test_a_training_is_worth_half_of_what_its_clusters_were(tmp_path, monkeypatch):
    images, _ = parts(100, [2])
    before = [Tried(Choice(K, (5,)), Judgement([1], [1], [1]), value, {}) for K, value in (((3,), 2.0), ((2,), 1.0))]
    config = load_config([*LED, "--dataset", "npz", "--data_dir", "parts.npz"])
    search = TrainingSearch(config, Halves(images, SPEC, 0), Database.of_file(tmp_path / "tune.db"), before)
    facts = {"elbo": 0.0, "sigma": 1.0}
    found = [Tried(Choice(K, (5,)), before[0].judged, value, facts) for K, value in (((3,), 0.8), ((2,), 1.0))]
    monkeypatch.setattr(search, "found", lambda: found)
    assert [(one.choice.n_clusters, one.value) for one in search.tried()] == [((3,), 1.4), ((2,), 1.0)]


def test_an_interrupted_trial_is_noted_and_a_failing_one_is_told(tmp_path, monkeypatch):
    search = search_in(tmp_path, parts(100, [2])[0])
    errors = iter([KeyboardInterrupt(), UserError("nothing")])

    def fail(*_):
        raise next(errors)

    monkeypatch.setattr(search, "learn", fail)
    with pytest.raises(KeyboardInterrupt):
        search.step(0)
    search.step(1)
    trials = search.study.get_trials()
    assert [trial.state.name for trial in trials] == ["FAIL", "FAIL"] and trials[1].user_attrs["error"] == "nothing"
    assert search.tried() == []


def test_a_search_of_which_everything_fails_is_given_up(tmp_path, monkeypatch):
    search = search_in(tmp_path, parts(100, [2])[0])

    def fail(*_):
        raise UserError("no luck")

    monkeypatch.setattr(search, "learn", fail)
    for seed in range(N_FAILED - 1):
        search.step(seed)
    with pytest.raises(UserError, match=f"all {N_FAILED} trials of clusters failed, the last by: no luck"):
        search.step(N_FAILED)


def test_a_choice_becomes_settings_whose_lists_follow_it():
    config = with_choice(load_config([*LED, "--dataset", "digits"]), Choice((6, 4, 3), (5, 5, 2)))
    assert config.J_n_mixtures == 3 and config.n_clusters_j_list == [6, 4, 3] and config.z_j_dim_list == [5, 5, 2]
    assert len(config.dec_rung_dims) == len(config.enc_rung_n_hidden) == 3


@pytest.fixture
def npz(tmp_path):
    images, codes = parts(240, [3, 2])
    path = tmp_path / "parts.npz"
    names = np.array(["first", "second"])
    np.savez(path, images=images.transpose(0, 2, 3, 1), labels=codes, label_names=names)
    return path


def shortened(monkeypatch):
    """Trainings of two epochs, and stages that end after a few trials."""
    monkeypatch.setattr("tuning.trained.N_EPOCHS", 3)
    monkeypatch.setattr(ClusterSearch, "seconds", lambda self: 1e9 if len(self.study.get_trials()) >= 6 else 0)
    monkeypatch.setattr(TrainingSearch, "seconds", lambda self: 1e9 if len(self.study.get_trials()) >= 2 else 0)


@pytest.mark.slow
def test_the_file_is_what_train_takes_and_says_why(npz, tmp_path, monkeypatch, capsys):
    shortened(monkeypatch)
    monkeypatch.setattr("tuning.trained.evaluate", without_labels)
    words = [*LED, "--dataset", "npz", "--image_size", "none", "--data_dir", str(npz), "--results_dir", str(tmp_path)]
    output = tmp_path / "found.yml"
    assert tune.main([*words, "--output", str(output), "--max_clusters", "5", "--max_facets", "2"]) == 0
    said = capsys.readouterr().out
    assert "held-out ELBO" in said and "trained on one half" in said and str(output) in said
    chosen = load_config(["--config_args_path", str(output)])
    assert chosen.J_n_mixtures == len(chosen.n_clusters_j_list) <= 2 and max(chosen.n_clusters_j_list) <= 5
    assert chosen.init_type_p_z_c == "factorial" and chosen.data_dir == str(npz)
    numbers = yaml.safe_load(output.read_text())
    assert "results_dir" not in numbers and "run_name" not in numbers

    database = f"sqlite:///{tmp_path / 'parts_tune' / 'tune.db'}"
    names = optuna.get_all_study_names(database)
    before = {name: len(optuna.load_study(study_name=name, storage=database).get_trials()) for name in names}
    assert before == {"parts_clusters": 6, "parts_trainings": 2}
    assert tune.main([*words, "--output", str(output), "--max_clusters", "5", "--max_facets", "2"]) == 0
    assert before == {name: len(optuna.load_study(study_name=name, storage=database).get_trials()) for name in names}
    assert yaml.safe_load(output.read_text()) == numbers


def without_labels(training, dataset, coefficients):
    """train.evaluate, where no label has come as far as the model's facts."""
    assert training.model.spec.label_names == () and training.model.spec.n_classes == ()
    return evaluate(training, dataset, coefficients)


@pytest.mark.slow
def test_two_workers_share_a_search(npz, tmp_path, monkeypatch):
    learn, started = ClusterSearch.learn, time.monotonic()

    def learn_beside_another(self, *args):  # in this process alone
        while len(self.study.get_trials()) < 2 and time.monotonic() < started + 120:
            time.sleep(0.1)
        return learn(self, *args)

    monkeypatch.setattr(ClusterSearch, "learn", learn_beside_another)
    words = [*LED, "--dataset", "npz", "--image_size", "none", "--data_dir", str(npz), "--results_dir", str(tmp_path)]
    options = TuneOptions(minutes=0.2, workers=2, max_facets=2, max_clusters=4)
    assert search_for(load_config(words), options) == 0
    study = optuna.load_study(study_name="parts_clusters", storage=f"sqlite:///{tmp_path / 'parts_tune' / 'tune.db'}")
    trials = [trial for trial in study.get_trials() if trial.state.name != "RUNNING"]
    spans = sorted((trial.datetime_start, trial.datetime_complete) for trial in trials if trial.datetime_complete)
    assert any(later[0] < earlier[1] for earlier, later in zip(spans, spans[1:], strict=False))  # at the same time


BAD = {
    "start": (["--dataset", "digits"], "give --config_args_path configs/folder.yml"),
    "flag": ([*LED, "--minutes", "soon"], "--minutes: 'soon' must be a whole number"),
    "storage": ([*LED, "--dataset", "digits", "--storage", "nowhere"], "not the address of a data base"),
    "clusters": ([*LED, "--max_clusters", "1"], "--max_clusters: '1' must be a whole number of at least 2"),
    "searched": ([*LED, "--n_clusters_j_list", "4", "4"], "tune.py looks for it; .* --max_clusters"),
    "setting": ([*LED, "--max_facetts", "3"], "did you mean '--max_facets'"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_searched_is_refused_in_a_line(name, tmp_path):
    words, message = BAD[name]
    with pytest.raises(UserError, match=message):
        tune.main([*words, "--results_dir", str(tmp_path)])


def test_too_few_images_are_refused_in_a_line(tmp_path):
    np.savez(tmp_path / "few.npz", images=parts(12, [2])[0].transpose(0, 2, 3, 1))
    words = [*LED, "--dataset", "npz", "--image_size", "none", "--data_dir", str(tmp_path / "few.npz")]
    with pytest.raises(UserError, match="few: .* images to train on are too few .* at least 20"):
        tune.main([*words, "--results_dir", str(tmp_path)])


def test_dry_run_says_what_would_be_searched_and_leaves_nothing(tmp_path, capsys):
    words = [*LED, "--dataset", "digits", "--results_dir", str(tmp_path / "r"), "--dry_run", "--max_facets", "2"]
    assert tune.main(words) == 0
    assert "digits_tune: J from 1 to 2, K_j from 2 to 25; minutes: 10, workers: 1" in capsys.readouterr().out
    assert not (tmp_path / "r").exists()


def test_the_reasons_name_numbers_that_were_measured():
    facts = {"elbo": 120.5, "sigma": 0.05}
    best = Tried(Choice((4, 3), (10, 5)), Judgement([0.98, 0.75], [1, 1], [0.5, 0.41]), 1.6, facts)
    second = Tried(Choice((6,), (5,)), Judgement([0.9], [1], [0.7]), 0.8, facts)
    said = reasons([best, second])
    assert "2 facets of 4 and 3 clusters" in said and "0.98, 0.75" in said and "91 percent" in said
    assert "numbers of clusters, 6, come to 0.50" in said
    assert len(table([best, second]).splitlines()) == 3 and "adds nothing" not in said
    idle = Tried(Choice((4, 3), (10, 5)), Judgement([0.98, 0.0], [1, 1], [0.5, 0.41]), 1.6, facts)
    assert "Without facet 1, which adds nothing, it would be as good" in reasons([idle])
