"""How torch.compile is told to compile the training step: two things that Inductor's code for CPUs does badly, avoided.

Imported only where a step is compiled: torch._inductor takes a second to load. Measured in benchmarks/README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch._functorch.partitioners import default_partition
from torch._inductor.custom_graph_pass import CustomGraphPass, CustomPartitionerFn, get_hash_for_files

aten = torch.ops.aten


class KeepActivations(CustomPartitionerFn):
    """Keep for the backward pass what the forward pass has computed anyway.

    By default a ReLU's mask is kept instead of its output: half the memory, but masks are stored and loaded one by one,
    over twenty times slower than the ReLU itself.
    """

    def __call__(
        self, gm: torch.fx.GraphModule, joint_inputs: Sequence[object], compiler: str = "", **kwargs: Any
    ) -> tuple[torch.fx.GraphModule, torch.fx.GraphModule]:
        """The forward and the backward graph of both in one."""
        return default_partition(gm, joint_inputs, **kwargs)

    def uuid(self) -> Any:
        """What caches of compiled code know this by."""
        return get_hash_for_files((__file__,))


class PlainLog(CustomGraphPass):
    """log(1 + x) for log1p(x), in a ninth of the time; off by at most the rounding of 1 + x, 6e-8 in fp32."""

    def __call__(self, graph: torch.fx.Graph) -> None:
        """Change the graph in place."""
        for node in graph.find_nodes(op="call_function", target=aten.log1p.default):
            with graph.inserting_before(node):
                one_more = graph.call_function(aten.add.Tensor, (node.args[0], 1.0))
                log = graph.call_function(aten.log.default, (one_more,))
            one_more.meta, log.meta = dict(node.meta), dict(node.meta)
            node.replace_all_uses_with(log)
            graph.erase_node(node)

    def uuid(self) -> Any:
        """What caches of compiled code know this by."""
        return get_hash_for_files((__file__,))


OPTIONS = {
    "fallback_random": True,  # the generator of eager mode: a compiled step draws the same numbers
    "custom_partitioner_fn": KeepActivations(),
    "joint_custom_pre_pass": PlainLog(),
}
"""For torch.compile(options=...)."""
