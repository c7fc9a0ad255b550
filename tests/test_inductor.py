"""What the compiler is told: the gradients stay, masks are not kept, logarithms are as good."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch._functorch.aot_autograd import aot_function, make_boxed_func
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch._inductor.decomposition import select_decomp_table
from torch.fx.experimental.proxy_tensor import make_fx

from speed.inductor import KeepActivations, PlainFunctions, compile_options


def scaled_relu(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """As in the ladders: a ReLU between two products, its output scaled, so that the second product does not keep it."""
    return (0.5 * torch.relu(x @ w)) @ w


def kept_for_backward(partition) -> tuple[list[torch.dtype], torch.Tensor]:
    """What the forward graph of scaled_relu keeps, and the gradient at -2 .. 2."""
    kept: list[torch.dtype] = []

    def forward_graph(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Callable:
        (outputs,) = next(iter(graph.graph.find_nodes(op="output"))).args
        kept.extend(node.meta["val"].dtype for node in outputs[1:])
        return make_boxed_func(graph)

    x = torch.linspace(-2, 2, 5).unsqueeze(1).requires_grad_()
    compiled = aot_function(
        scaled_relu,
        fw_compiler=forward_graph,
        bw_compiler=lambda graph, _: make_boxed_func(graph),
        partition_fn=partition,
        decompositions=select_decomp_table(),
    )
    compiled(x, torch.ones(1, 1)).sum().backward()
    return kept, x.grad.squeeze(1)


@pytest.mark.slow
def test_activations_are_kept_and_no_masks():
    by_default, gradient = kept_for_backward(min_cut_rematerialization_partition)
    kept, same_gradient = kept_for_backward(KeepActivations())
    assert torch.bool in by_default and torch.bool not in kept
    assert gradient.tolist() == same_gradient.tolist() == [0, 0, 0, 0.5, 0.5]


def after_the_pass(function: Callable, x: torch.Tensor) -> torch.fx.GraphModule:
    """The graph of a function of x, with the plain functions in it."""
    module = make_fx(function, tracing_mode="fake")(x)
    PlainFunctions()(module.graph)
    module.recompile()
    return module


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["log1p", "expm1"])
def test_plain_functions_replace_slow_ones_and_are_as_good(name, dtype):
    slow = getattr(torch, name)
    x = torch.cat([torch.logspace(-30, 1, 5_000), -torch.logspace(-30, -0.001, 5_000)]).to(dtype)
    module = after_the_pass(lambda x: (slow(x), 2 * slow(x)), x)
    assert name not in module.code
    calls = module.graph.find_nodes(op="call_function", target=torch.ops.aten.mul.Tensor)
    values = [value for node in calls for value in node.all_input_nodes]
    assert {(node.meta["val"].shape, node.meta["val"].dtype) for node in values} == {(x.shape, dtype)}
    one, twice = module(x)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(one, slow(x.double()).to(dtype), rtol=10 * eps, atol=eps / 2)
    torch.testing.assert_close(twice, 2 * one)


@pytest.mark.parametrize("name", ["log1p", "expm1"])
def test_small_tensors_keep_what_is_exact_for_small_numbers(name):
    x = torch.logspace(-30, -3, 125)
    module = after_the_pass(getattr(torch, name), x)
    assert name in module.code
    torch.testing.assert_close(module(x), getattr(torch, name)(x), rtol=1e-6, atol=0)


def test_only_what_is_compiled_for_a_cpu_is_told():
    on_cpu, on_gpu = (compile_options(torch.device(name)) for name in ("cpu", "cuda"))
    assert on_cpu.pop("pre_grad_fusion_options").keys() == {"batch_linear_lhs"}
    passes = {name: on_cpu[name] for name in on_cpu.keys() - on_gpu.keys()}
    assert on_gpu == {"fallback_random": True}
    assert on_cpu["fallback_random"]
    assert passes.keys() == {"custom_partitioner_fn", "joint_custom_pre_pass"}
    assert all(each.uuid() for each in passes.values())  # by which caches of compiled code know them
