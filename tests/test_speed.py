"""Precision, compiled and recorded steps change nothing beyond rounding."""

from __future__ import annotations

import os
from contextlib import contextmanager, nullcontext

import pytest
import torch
from test_train import NO_FIGURES, SMALL, run_small
from torch._dynamo.utils import counters
from torch._inductor.utils import fresh_cache

import train
from config import Config, load_config
from datasets import Dataset, dataset_spec, load_dataset
from initialisation import data_init
from progressive import full_coefficients
from speed import machine, steps
from tracking.checkpoint import restore
from tracking.run_folder import RunFolder

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def small_config(*flags: str) -> Config:
    return load_config([*SMALL, *NO_FIGURES, *flags])


def small_training(*flags: str, device: torch.device = CPU) -> tuple[train.Training, Dataset]:
    """The small configuration on digits, initialised."""
    config = small_config(*flags)
    dataset = load_dataset(config, device)
    training = train.Training(config, dataset_spec(config), device)
    training.initialise(dataset.train)
    return training, dataset


def assert_near(a: dict[str, float], b: dict[str, float], rtol: float) -> None:
    """Every term of the loss agrees."""
    names = [name for name in a if name.startswith("train_loss/")]
    assert len(names) == 8
    torch.testing.assert_close([a[n] for n in names], [b[n] for n in names], rtol=rtol, atol=rtol)


# --- it computes the same


def test_bf16_trains_to_nearly_the_same_loss(tmp_path):
    fp32, bf16 = (run_small(tmp_path, name, "--precision", name) for name in ("fp32", "bf16"))
    for one, other in zip(fp32, bf16, strict=True):
        assert one["test_metric/loss"] == pytest.approx(other["test_metric/loss"], rel=0.01)
    assert fp32[-1]["test_metric/loss"] != bf16[-1]["test_metric/loss"]
    assert bf16[-1]["test_metric/loss"] < bf16[0]["test_metric/loss"]


@pytest.mark.parametrize("flags", [(), ("--model_type", "conv_vlae", "--cov_type_p_z_c", "full", "--data_init")])
def test_bf16_stays_within_encoder_and_decoder(flags):
    config = small_config("--precision", "bf16", *flags)
    training = train.Training(config, dataset_spec(config), CPU)
    x = torch.rand(8, 1, 8, 8)
    if config.data_init:
        data_init(training.model, x)
    seen: set[torch.dtype] = set()
    layers = [m for part in (training.model.encoder, training.model.decoder) for m in part.modules()]
    for layer in layers:
        if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            layer.register_forward_hook(lambda _, __, out: seen.add(out.dtype))
    output = training.model(x, full_coefficients(2))
    assert seen == {torch.bfloat16}
    tensors = [*output.z, *output.terms.q_c_x, *output.terms[:-1], output.p_x_z.mean, *(q.stddev for q in output.q_z_x)]
    assert {t.dtype for t in tensors} == {torch.float32}
    output.terms.loss.backward()
    assert {p.grad.dtype for p in training.model.parameters()} == {torch.float32}


# The sizes are those of the digits: smaller latents get their noise in another order from the compiler of PyTorch 2.11, and
# then are not compiled.
DIGITS_SIZES = ["--z_j_dim_list", "5", "5", "--n_clusters_j_list", "25", "25", "--enc_backbone_dims", "128", "256"]
DIGITS_SIZES += ["--dec_backbone_dims", "128", "128", "--dec_rung_dims", "128", "256"]
CONVOLUTIONAL = ["--model_type", "conv_vlae", "--activation", "elu", "--cov_type_p_z_c", "full", "--data_init"]


@pytest.mark.slow
@pytest.mark.skipif("MFCVAE_SLOW" not in os.environ, reason="compiles for half a minute: MFCVAE_SLOW=1 runs it")
@pytest.mark.parametrize(
    ("flags", "rtol"),
    [
        (["--precision", "fp32", *DIGITS_SIZES], 1e-3),
        pytest.param(
            ["--precision", "bf16", *DIGITS_SIZES[:6], *CONVOLUTIONAL],
            2e-2,
            marks=pytest.mark.skipif(not machine.has_bf16(CPU), reason="needs bf16: PyTorch miscompiles it for AVX2"),
        ),
    ],
)
def test_a_compiled_step_gives_the_numbers_of_the_plain_one(caplog, flags, rtol):
    """The last batches, of 157 images in training and 60 in evaluation, take the plain way in both."""
    numbers, losses, n_shared = {}, {}, []
    with fresh_cache():  # or nothing is counted
        for word in ("false", "true"):
            counters.clear()
            training, dataset = small_training("--compile", word, "--eval_batch_size", "100", *flags)
            assert training.is_compiled == (word == "true")
            numbers[word] = [train.train_epoch(training, dataset, epoch) for epoch in (1, 2)]
            n_shared.append(counters["inductor"]["batch_linear_lhs"])
            losses[word] = train.evaluate(training, dataset, full_coefficients(2).on(CPU))["test_metric/loss"]
            n_shared.append(counters["inductor"]["batch_linear_lhs"])
    assert not [record for record in caplog.records if record.name == "speed.steps"]  # it did not fall back
    assert n_shared == [0, 0, 2, 4]  # compiled: one product for the two heads of each of the two facets
    for plain, compiled in zip(*numbers.values(), strict=True):
        assert_near(compiled, plain, rtol=rtol)
    assert losses["true"] == pytest.approx(losses["false"], rel=rtol)


def cannot_compile(function, **_):
    def call(images, coefficients):
        raise RuntimeError("no compiler\nfound")

    return call


def fails_late(function, **_):
    def call(images, coefficients):
        function(images, coefficients)  # as a compiled forward pass does before the backward pass fails to compile
        raise RuntimeError("no compiler found")

    return call


def compiles(training_loss, terms):
    """torch.compile with mistakes: in the loss of a training step, and in the terms of an evaluation."""

    def compile(function, **_):
        def call(images, coefficients):
            first, second = function(images, coefficients)
            if isinstance(second, steps.StepResult):
                return training_loss(first), second
            return first, terms(second)

        return call

    return compile


WRONG_LOSS = compiles(lambda loss: 1.5 * loss, lambda terms: terms._replace(loss=1.5 * terms.loss))
WRONG_VALUES = compiles(
    lambda loss: 2 * loss - loss.detach(), lambda terms: terms._replace(q_c_x=[1.5 * q for q in terms.q_c_x])
)
NOT_A_NUMBER = compiles(
    lambda loss: loss + (loss - loss.detach()).sqrt(),
    lambda terms: terms._replace(q_c_x=[q / 0 * 0 for q in terms.q_c_x]),
)


CONVOLUTIONS = (
    "--model_type",
    "conv_vlae",
    "--activation",
    "elu",
    "--conv_width",
    "0.25",
    "--eval_batch_size",
    "100",
)  # running statistics


@pytest.fixture(scope="module")
def plain_epoch() -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """The weights after an epoch that nothing compiled, and what it and its evaluation say."""
    plain, dataset = small_training("--compile", "false", *CONVOLUTIONS)
    said = [train.train_epoch(plain, dataset, 1), train.evaluate(plain, dataset, full_coefficients(2).on(CPU))]
    return plain.model.state_dict(), said


@pytest.mark.parametrize(
    ("compile", "reason"),
    [
        pytest.param(cannot_compile, "no compiler found", id="fails"),
        pytest.param(fails_late, "no compiler found", id="fails late", marks=pytest.mark.slow),
        pytest.param(WRONG_LOSS, "is off by", id="loss", marks=pytest.mark.slow),
        pytest.param(WRONG_VALUES, "is off by", id="gradient", marks=pytest.mark.slow),
        pytest.param(NOT_A_NUMBER, "is off by nan%", id="nan", marks=pytest.mark.slow),
    ],
)
def test_where_compiling_fails_the_plain_function_goes_on(plain_epoch, monkeypatch, caplog, compile, reason):
    expected_state, expected = plain_epoch
    monkeypatch.setattr(torch, "compile", compile)
    training, dataset = small_training("--compile", "true", *CONVOLUTIONS)
    coefficients = full_coefficients(2).on(CPU)
    assert [train.train_epoch(training, dataset, 1), train.evaluate(training, dataset, coefficients)] == expected
    messages = [record.getMessage() for record in caplog.records]
    assert ["training step" in message for message in messages] == [True, False]
    assert ["evaluation" in message for message in messages] == [False, True]
    assert all(reason in message and "\n" not in message for message in messages)
    state = training.model.state_dict()
    assert all(torch.equal(state[name], expected_state[name]) for name in expected_state)


@pytest.mark.slow
def test_a_process_compiles_run_after_run(monkeypatch, caplog):
    """torch.compile gives up after eight compilations of one function, of which a run takes two."""
    compile = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda function, **_: compile(function, backend=lambda graph, _: graph, fullgraph=True)
    )
    for _ in range(5):
        training, dataset = small_training("--compile", "true", "--eval_batch_size", "100")
        train.train_epoch(training, dataset, 1)
        train.evaluate(training, dataset, full_coefficients(2).on(CPU))
    assert not [record for record in caplog.records if record.name == "speed.steps"]


class FakeStream:
    def __init__(self, *_):
        pass

    def wait_stream(self, other):
        pass


@pytest.mark.parametrize("works", [True, False])
def test_the_order_in_which_steps_are_recorded(monkeypatch, caplog, works):
    """Three ordinary steps, one recorded, then replays; smaller batches, and all after a failure, are ordinary ones."""
    done: list[str] = []

    class FakeGraph:
        def replay(self):
            done.append(f"replay of {recorded.inputs[0][0]:g} and {recorded.inputs[1][0, 0]:g}")

    @contextmanager
    def recording(graph, stream):
        done.append("record")
        if not works:
            raise RuntimeError("operation not permitted when stream is capturing")
        yield

    for name, fake in {"Stream": FakeStream, "CUDAGraph": FakeGraph, "graph": recording}.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "current_stream", FakeStream)

    def step(images, coefficients):
        done.append(f"step {len(images)}")
        return steps.StepResult(images.sum(), images)

    recorded = steps.RecordedStep(step, 4, CPU)
    for call, n in enumerate((4, 4, 2, 4, 4, 2, 4)):
        recorded(torch.full((n,), call), torch.full((4, 2), 10 + call))
    before = ["step 4", "step 4", "step 2", "step 4", "record"]
    replays = [f"replay of {call} and {10 + call}" for call in (4, 6)]
    after = ["step 4", replays[0], "step 2", replays[1]] if works else ["step 4", "step 2", "step 4"]
    assert done == before + after
    assert len(caplog.records) == (not works)


# --- resuming


def test_a_run_resumed_in_another_precision_says_so(tmp_path, caplog):
    run_small(tmp_path, "run", "--precision", "bf16")
    folder = RunFolder(tmp_path / "run")
    state = folder.load_checkpoint()
    assert state["precision"] == "bf16"
    caplog.clear()
    same = train.Training(small_config("--precision", "bf16", "--run_name", "run"), dataset_spec(small_config()), CPU)
    caplog.clear()
    restore(same, state, folder.checkpoint_path)
    assert not caplog.records
    other = train.Training(small_config("--precision", "fp32", "--run_name", "run"), dataset_spec(small_config()), CPU)
    restore(other, state, folder.checkpoint_path)
    (record,) = caplog.records
    assert "trained in bf16 up to here, fp32 from now on; --precision bf16" in record.getMessage()


def test_a_checkpoint_from_before_there_was_a_choice_is_fp32(tmp_path, caplog):
    run_small(tmp_path, "run")
    folder = RunFolder(tmp_path / "run")
    state = folder.load_checkpoint()
    del state["precision"]
    config = small_config("--precision", "fp32", "--run_name", "run")
    assert restore(train.Training(config, dataset_spec(config), CPU), state, folder.checkpoint_path) == 4
    assert not caplog.records


# --- on a GPU


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("value", ["auto", "true"])
@pytest.mark.parametrize("flags", [(), ("--model_type", "conv_vlae", "--cov_type_p_z_c", "full")])
def test_a_recorded_step_gives_the_numbers_of_the_plain_one(caplog, value, flags):
    """Six steps an epoch: three to warm up, the recorded ones, and a smaller one."""
    numbers = {}
    for word in ("false", value):
        training, dataset = small_training("--compile", word, "--precision", "fp32", *flags, device=CUDA)
        assert training.is_recorded == (word != "false")
        numbers[word] = [train.train_epoch(training, dataset, epoch) for epoch in (1, 2)]
    assert not [record for record in caplog.records if record.name == "speed.steps"]
    for plain, recorded in zip(*numbers.values(), strict=True):
        assert_near(recorded, plain, rtol=1e-2)


@pytest.mark.gpu
@needs_gpu
def test_a_run_on_a_gpu_resumes_and_moves_to_the_cpu(tmp_path):
    flags = ("--checkpoint_every_n_epochs", "1", "--precision", "fp32")
    argv = [*SMALL, *NO_FIGURES, "--results_dir", str(tmp_path), "--run_name", "run", "--device"]
    rows = run_small(tmp_path, "run", "--device", "cuda", *flags)
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert train.main([*argv, "cpu", *flags]) == 0  # finished: read on the other device
