"""The schedule against the published coefficients, exactly."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import FIXTURES, ReferenceCase

from config import build_config
from progressive import (
    epoch_coefficients,
    joining_facet,
    progressive_coefficients,
    progressive_step,
    warn_of_unfinished_fade_in,
)

SCHEDULES = json.loads((FIXTURES / "schedules.json").read_text())


@pytest.mark.parametrize("name", SCHEDULES)
def test_coefficients_equal_the_published_ones(name):
    schedule = SCHEDULES[name]
    config = build_config({key: schedule[key] for key in ("n_epochs_per_progressive_step", "n_batches_fade_in")})
    assert len(schedule["rows"]) > 10
    for row in schedule["rows"]:
        n_batches = schedule["n_train_batches_per_epoch"]
        actual = progressive_coefficients(config, row["epoch"], row["batch"], n_batches)
        for field, values in actual._asdict().items():
            assert list(values) == row.get(field, [0.0] * len(values)), (row["epoch"], row["batch"], field)


def test_pretraining_weights_and_three_facets_equal_the_published_ones(case: ReferenceCase):
    for epoch in case.epochs():
        if f"epoch{epoch}/batch7_alpha_dec" not in case.arrays:
            assert not case.config.do_progressive_training
            continue
        actual = progressive_coefficients(case.config, epoch, 7, case.n_batches)
        for field, key in (("alpha_dec", "alpha_dec"), ("gamma_kl_z", "gamma_z"), ("gamma_kl_c", "gamma_c")):
            expected = case.arrays[f"epoch{epoch}/batch7_{key}"]
            np.testing.assert_allclose(getattr(actual, field), expected, rtol=1e-7)


def test_without_progressive_training_every_weight_is_one():
    config = build_config({"do_progressive_training": False})
    assert progressive_coefficients(config, 0, 0, 10) == (*((1.0, 1.0),) * 4, (0.0, 0.0), (0.0, 0.0))


def test_guide_and_bottleneck_fall_to_zero_as_the_training_goes_on():
    """Ten epochs train, in 20 batches each: the bottleneck falls from 30 to 60 percent of them, the guide from 50 on."""
    settings = {"do_progressive_training": False, "n_epochs": 11, "guide_weight": 10.0, "bottleneck": 0.9}
    config = build_config(settings | {"init_type_p_z_c": "factorial"})
    at = {
        (epoch, batch): progressive_coefficients(config, epoch, batch, 20) for epoch in range(11) for batch in (0, 10)
    }
    guides = {when: coefficients.guide for when, coefficients in at.items()}
    bottlenecks = {when: coefficients.bottleneck for when, coefficients in at.items()}
    assert guides[0, 0] == guides[6, 0] == (10.0, 10.0)
    assert guides[8, 10] == pytest.approx((5.0, 5.0))
    assert guides[10, 10] == pytest.approx((1.0, 1.0))
    assert bottlenecks[0, 0] == bottlenecks[4, 0] == (0.9, 0.9)
    assert bottlenecks[5, 10] == pytest.approx((0.45, 0.45))
    assert bottlenecks[7, 0] == pytest.approx((0.0, 0.0), abs=1e-9)
    assert bottlenecks[10, 10] == (0.0, 0.0)


def test_no_fade_in_adds_a_facet_at_once():
    config = build_config({"n_epochs_per_progressive_step": [2, 2], "n_batches_fade_in": 0})
    assert progressive_coefficients(config, 1, 9, 10).alpha_dec == (0.0, 1.0)
    assert progressive_coefficients(config, 2, 0, 10).alpha_dec == (1.0, 1.0)


def test_fade_ins_that_do_not_end_are_named(caplog):
    settings = {"J_n_mixtures": 3, "z_j_dim_list": [2] * 3, "n_clusters_j_list": [3] * 3, "model_type": "fc_shared"}
    settings |= {"n_batches_fade_in": 100, "n_epochs_per_progressive_step": [2, 2, 3]}
    warn_of_unfinished_fade_in(build_config(settings), 50)
    assert not caplog.records
    warn_of_unfinished_fade_in(build_config(settings), 30)
    warn_of_unfinished_fade_in(build_config(settings | {"n_epochs_per_progressive_step": [2, 9, 3]}), 30)
    both, last = caplog.messages[:2], caplog.messages[2:]
    assert "facet 1 has 60 batches only (2 epochs of 30), so it jumps to its full part when facet 0 joins" in both[0]
    assert "facet 0 has 90 batches only (3 epochs of 30), so it never takes part in full" in both[1]
    assert last == both[1:]


def test_each_epoch_belongs_to_its_step():
    settings = {"J_n_mixtures": 3, "z_j_dim_list": [2] * 3, "n_clusters_j_list": [3] * 3, "model_type": "fc_shared"}
    config = build_config(settings | {"n_epochs_per_progressive_step": [2, 3, 1]})
    steps = [progressive_step(config, epoch) for epoch in range(7)]
    assert steps == [(0, 0), (0, 0), (1, 2), (1, 2), (1, 2), (2, 5), (2, 5)]


def test_the_coefficients_of_an_epoch_are_those_of_its_batches():
    config = build_config({"n_epochs_per_progressive_step": [1, 2], "n_batches_fade_in": 8, "gamma_kl_z_pretrain": 0.5})
    whole = epoch_coefficients(config, 1, 5)
    assert whole.shape == (5, 6, 2)
    for batch, coefficients in enumerate(whole):
        expected = progressive_coefficients(config, 1, batch, 5)
        np.testing.assert_array_equal(coefficients, np.array(expected, dtype=np.float32))


def test_every_facet_but_the_deepest_joins_once():
    settings = {"J_n_mixtures": 3, "z_j_dim_list": [2] * 3, "n_clusters_j_list": [4] * 3}
    config = build_config(settings | {"n_epochs_per_progressive_step": [2, 3, 4]})
    assert {epoch: j for epoch in range(20) if (j := joining_facet(config, epoch)) is not None} == {2: 1, 5: 0}
    together = build_config(settings | {"do_progressive_training": False})
    assert [joining_facet(together, epoch) for epoch in range(20)] == [None] * 20
