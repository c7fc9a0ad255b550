"""How torch.compile is told to compile training and evaluation.

Inductor's code for CPUs does two things badly, which are avoided, and one well that it does only where asked.

Imported only where a step is compiled: torch._inductor takes a second to load. Measured in docs/performance.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch._functorch.partitioners import default_partition
from torch._inductor.custom_graph_pass import CustomGraphPass, CustomPartitionerFn, get_hash_for_files

aten = torch.ops.aten


class KeepActivations(CustomPartitionerFn):
    """Keep for the backward pass what the forward pass has computed anyway.

    By default a ReLU's mask is kept instead of its output: half the memory in bf16, but masks are stored and loaded one
    by one, over twenty times slower than the ReLU itself.
    """

    def __call__(
        self, gm: torch.fx.GraphModule, joint_inputs: Sequence[object], compiler: str = "", **kwargs: Any
    ) -> tuple[torch.fx.GraphModule, torch.fx.GraphModule]:
        """Split the joint graph into that of the forward and that of the backward pass."""
        return default_partition(gm, joint_inputs, **kwargs)

    def uuid(self) -> Any:
        """What caches of compiled code know this by."""
        return get_hash_for_files((__file__,))


class PlainFunctions(CustomGraphPass):
    """log(1 + x) for log1p(x) and exp(x) - 1 for expm1(x), in a ninth of the time where vectors are those of AVX-512.

    Of images and activations only, where an absolute error of 6e-8 (fp32, small x) is nothing. The prior's softplus,
    whose relative error counts, is small and stays.
    """

    MIN_SIZE = 10_000
    STEPS = {
        aten.log1p.default: ((aten.add.Tensor, 1.0), (aten.log.default,)),
        aten.expm1.default: ((aten.exp.default,), (aten.sub.Tensor, 1.0)),
    }

    def __call__(self, graph: torch.fx.Graph) -> None:
        """Change the graph in place."""
        for function, steps in self.STEPS.items():
            for node in graph.find_nodes(op="call_function", target=function):
                if node.meta["val"].numel() >= self.MIN_SIZE:
                    _replace(graph, node, steps)

    def uuid(self) -> Any:
        """What caches of compiled code know this by."""
        return get_hash_for_files((__file__,))


def _replace(graph: torch.fx.Graph, node: torch.fx.Node, steps: Sequence[tuple[Any, ...]]) -> None:
    """Replace a function of one tensor by a chain of functions, each given with what it takes beside the tensor."""
    value = cast("torch.fx.Node", node.args[0])
    with graph.inserting_before(node):
        for function, *constants in steps:
            value = graph.call_function(function, (value, *constants))
            value.meta = dict(node.meta)
    node.replace_all_uses_with(value)
    graph.erase_node(node)


def compile_options(device: torch.device) -> dict[str, Any]:
    """For torch.compile(options=...) of a training step on this device."""
    options: dict[str, Any] = {"fallback_random": True}  # the generator of eager mode: the same noise is drawn
    if device.type == "cpu":
        options |= {"custom_partitioner_fn": KeepActivations(), "joint_custom_pre_pass": PlainFunctions()}
        # One product for the two heads of a facet, which share their input.
        options |= {"pre_grad_fusion_options": {"batch_linear_lhs": {"min_fuse_set_size": 2}}}
    return options
