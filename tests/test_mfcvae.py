"""The model against the published implementation's numbers, and at the edges of what it must survive."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from load_model import published_name
from progressive import Coefficients, progressive_coefficients

RTOL = 1e-4


def close(actual: torch.Tensor, expected: np.ndarray) -> None:
    """Equal to 1e-4 relative; entries far below the largest one are compared on its scale."""
    expected = torch.as_tensor(expected, dtype=torch.float32)
    atol = RTOL * 1e-2 * float(expected.abs().max())
    torch.testing.assert_close(actual.detach().float(), expected, rtol=RTOL, atol=atol)


def test_outputs_terms_and_gradients_match_the_published_implementation(case):
    model, x, arrays = case.model(), case.x(), case.arrays
    J = case.config.J_n_mixtures
    eps = [torch.from_numpy(arrays[f"eps_{j}"]) for j in range(J)]
    for epoch in case.epochs():
        weights = progressive_coefficients(case.config, epoch, 0, case.n_batches)
        model.zero_grad()
        q_z_x = model.encode(x, weights)
        z = [q.mean + q.stddev * e for q, e in zip(q_z_x, eps, strict=True)]
        p_x_z = model.likelihood(z, weights)
        terms = model.elbo(x, p_x_z, q_z_x, z, weights)
        for j in range(J):
            close(q_z_x[j].mean, arrays[f"epoch{epoch}/mu_{j}"])
            close(q_z_x[j].stddev, arrays[f"epoch{epoch}/sigma_{j}"])
            close(model.responsibilities(z)[j], arrays[f"epoch{epoch}/q_c_x_{j}"])
            close(terms.q_c_x[j], arrays[f"epoch{epoch}/q_c_x_{j}"])
        close(model.decode(z, weights).flatten(1), arrays[f"epoch{epoch}/x_hat"])
        scalars = [*terms[:6], terms.kl_z.sum(), terms.kl_c.sum()]
        for actual, expected in zip(scalars, arrays[f"epoch{epoch}/terms"], strict=True):
            close(actual, expected)
        terms.loss.backward()
        norms = {
            published_name(name, case.config): parameter.grad.norm()
            for name, parameter in model.named_parameters()
            if parameter.grad is not None
        }
        keys = [str(key) for key in arrays[f"epoch{epoch}/grad_keys"]]
        assert set(keys) == set(norms)
        for key, expected in zip(keys, arrays[f"epoch{epoch}/grad_norms"], strict=True):
            close(norms[key], expected)
