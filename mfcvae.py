"""Multi-Facet Clustering Variational Autoencoder (Falck et al., NeurIPS 2021, arXiv 2106.05241).

Notation, for facet j of J:

    symbol        here             shape          meaning
    x             x                (B, C, H, W)   images, pixels in [0, 1]
    z_j           z[j]             (B, D_j)       latent
    c_j           --               1 of K_j       cluster
    pi_j          prior[j].pi      (K_j,)         p(c_j): mixture weights
    mu_jk         prior[j].mean    (K_j, D_j)     means of p(z_j | c_j = k)
    Sigma_jk      prior[j]         --             variances (diag) or Cholesky factors (full)
    q(z_j | x)    q_z_x[j]         (B,), (D_j,)   Normal(m_j(x), diag s_j(x)^2)
    q(c_j | x)    q_c_x[j]         (B, K_j)       responsibilities p(c_j | z_j)
    p(x | z)      p_x_z            (B,), (C,H,W)  Bernoulli or Normal, one factor per pixel; x_hat is its mean

Generative model: c_j ~ Categorical(pi_j), z_j | c_j ~ Normal(mu_j, Sigma_j), x | z ~ p(x | z_1, ..., z_J).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent, MultivariateNormal, Normal
from torch.distributions.utils import clamp_probs
from torch.nn import functional as F

from conv_vlae import ConvLadderDecoder, ConvLadderEncoder
from models_fc import FC_MODELS, Encoder
from progressive import Coefficients, full_coefficients
from utils import UserError

if TYPE_CHECKING:
    from config import Config
    from datasets import DatasetSpec

SOFTPLUS_BETA = 10.0
MIN_SPREAD = 1e-6  # floor of variances and of Cholesky diagonals: a collapsing cluster stays finite


class ElboTerms(NamedTuple):
    """The loss and its parts. Scalars are means over the batch, summed over facets; kl_z and kl_c are per facet."""

    loss: Tensor
    """(): the negative ELBO with weighted KL terms, to be minimised."""
    log_prob_p_x_z: Tensor
    """(): term 1, log p(x | z)."""
    log_prob_E_p_z_c: Tensor
    """(): term 2, E_q(c|x) log p(z | c)."""
    log_prob_E_p_c: Tensor
    """(): term 3, E_q(c|x) log p(c)."""
    log_prob_E_q_z_x: Tensor
    """(): term 4, log q(z | x)."""
    log_prob_E_q_c_x: Tensor
    """(): term 5, E_q(c|x) log q(c | x)."""
    kl_z: Tensor
    """(J,): term 4 - term 2 of each facet, unweighted."""
    kl_c: Tensor
    """(J,): term 5 - term 3 of each facet, unweighted."""
    q_c_x: list[Tensor]
    """J tensors (B, K_j): the responsibilities that the terms were computed with."""


PixelDistribution = Independent[Bernoulli] | Independent[Normal]
"""p(x | z): batch (B,), event (C, H, W)."""


class ModelOutput(NamedTuple):
    """Everything one pass over a batch gives."""

    q_z_x: list[Independent[Normal]]
    z: list[Tensor]
    p_x_z: PixelDistribution
    terms: ElboTerms


class MixturePrior(nn.Module):
    """The Gaussian mixture p(z_j, c_j) of one facet: K clusters in D dimensions."""

    def __init__(self, config: Config, j: int):
        super().__init__()
        K, D = config.n_clusters_j_list[j], config.z_j_dim_list[j]
        self.is_full = config.cov_type_p_z_c == "full"
        self.is_softplus = config.init_type_p_z_c != "glorot"
        self.mean = nn.Parameter(torch.empty(K, D))
        self.pi_logits = nn.Parameter(torch.zeros(K), requires_grad=not config.is_pi_fixed(j))
        # diag: the variances before the positive map; full: the Cholesky factors, of which only the diagonal is mapped
        self.free_spread = nn.Parameter(torch.zeros(K, D, D) if self.is_full else torch.empty(K, D))
        self.reset_parameters(config)

    @torch.no_grad()
    def reset_parameters(self, config: Config) -> None:
        """Xavier-normal means; variances at fixed_var_init; Cholesky factors diagonal, or drawn if asked (glorot)."""
        if self.mean.is_meta:  # has no numbers, and PyTorch would import its compiler to draw none: two seconds
            return
        nn.init.xavier_normal_(self.mean)
        variance = torch.tensor(config.fixed_var_init)
        if not self.is_full:
            self.free_spread.fill_(self.inverse_positive(variance))
            return
        if config.init_off_diag_cov_p_z_c and not self.is_softplus:
            drawn = nn.init.xavier_normal_(self.free_spread.new_empty(self.free_spread.shape[1:] + self.mean.shape[:1]))
            self.free_spread.copy_(drawn.movedim(-1, 0))  # (D, D, K), as published: the spread depends on the order
        else:
            self.free_spread.diagonal(dim1=1, dim2=2).fill_(self.inverse_positive(variance.sqrt()))

    def positive(self, free: Tensor) -> Tensor:
        """Map free parameters to positive numbers: softplus with beta 10 (gmm) or exp (glorot)."""
        mapped = F.softplus(free, beta=SOFTPLUS_BETA) if self.is_softplus else free.exp()
        return mapped.clamp_min(MIN_SPREAD)

    def inverse_positive(self, value: Tensor) -> Tensor:
        """The free parameters that `positive` maps to `value`."""
        if not self.is_softplus:
            return value.log()
        return value + (-torch.expm1(-SOFTPLUS_BETA * value)).log() / SOFTPLUS_BETA  # log(expm1) without overflow

    @property
    def log_pi(self) -> Tensor:
        """(K,): log p(c = k)."""
        return F.log_softmax(self.pi_logits, dim=0)

    @property
    def pi(self) -> Tensor:
        """(K,): p(c = k)."""
        return self.log_pi.exp()

    def components(self) -> MultivariateNormal | Independent[Normal]:
        """p(z | c = k) for all k: batch (K,), event (D,)."""
        if self.is_full:
            diagonal = self.positive(self.free_spread.diagonal(dim1=1, dim2=2))
            scale_tril = self.free_spread.tril(-1) + torch.diag_embed(diagonal)  # (K, D, D)
            return MultivariateNormal(self.mean, scale_tril=scale_tril, validate_args=False)
        sigma = self.positive(self.free_spread).sqrt()  # (K, D)
        return Independent(Normal(self.mean, sigma, validate_args=False), 1, validate_args=False)

    def log_prob(self, z: Tensor) -> Tensor:
        """z: (B, D) -> (B, K): log p(z | c = k).

        D lies before K in memory, so that the innermost loops run over the clusters: loops over the few dimensions
        would compile to slow ones (docs/performance.md).
        """
        components = self.components()
        if isinstance(components, MultivariateNormal):
            return components.log_prob(z.unsqueeze(1))  # (B, 1, D) against (K, D) -> (B, K)
        mean, sigma = components.base_dist.loc.T.contiguous(), components.base_dist.scale.T.contiguous()  # (D, K)
        p_z_c = Normal(mean, sigma, validate_args=False)
        return p_z_c.log_prob(z.unsqueeze(2)).sum(1)  # (B, D, 1) against (D, K) -> (B, D, K) -> (B, K)

    def sample(self, c: Tensor, eps: Tensor, temperature: float = 1.0) -> Tensor:
        """z ~ p(z | c), its standard deviation scaled by the temperature. c: (B,), eps: (B, D) normal -> z: (B, D)."""
        components = self.components()
        if isinstance(components, MultivariateNormal):
            deviation = (components.scale_tril[c] @ eps.unsqueeze(-1)).squeeze(-1)  # (B, D, D) (B, D, 1) -> (B, D)
        else:
            deviation = components.stddev[c] * eps
        return self.mean[c] + temperature * deviation

    @torch.no_grad()
    def start_at(self, means: np.ndarray) -> None:
        """Take these means (K, D); variances and weights keep their start."""
        self.mean.copy_(torch.from_numpy(means))

    @torch.no_grad()
    def spread_as(self, other: MixturePrior) -> None:
        """Give every cluster the mean spread of the clusters of another mixture, which may be of another number."""
        self.free_spread.copy_(other.free_spread.mean(dim=0))


class MFCVAE(nn.Module):
    """Encoder, decoder, and one mixture prior per facet.

    Methods that take coefficients (progressive.py) let every facet take part in full where none are given.
    """

    def __init__(self, config: Config, spec: DatasetSpec, compute_dtype: torch.dtype = torch.float32):
        """A new model with random weights.

        Args:
            config: settings of the run.
            spec: the data set's image shape, likelihood and output activation.
            compute_dtype: what encoder and decoder compute in, float32 or bfloat16. Weights, prior and loss are always
                float32.
        """
        super().__init__()
        self.spec = spec
        self.compute_dtype = compute_dtype
        self.in_full = full_coefficients(config.J_n_mixtures)
        self.is_conv = config.model_type == "conv_vlae"
        sigma = config.sigma_multiplier_p_x_z
        self.sigma_x = 1.0 if sigma == "data" else sigma  # from the data: initialisation.py
        self.has_bottleneck = config.bottleneck > 0
        channels, height, width = spec.image_shape
        if self.is_conv:
            if height != width:
                raise UserError(
                    f"conv_vlae needs square images, those of {spec.name} have {width} x {height} pixels; give "
                    "--image_size, or use an fc model_type"
                )
            self.encoder: Encoder = ConvLadderEncoder(config, channels, height)
            self.decoder: nn.Module = ConvLadderDecoder(config, channels, height)
        else:
            encoder, decoder = FC_MODELS[config.model_type]
            self.encoder = encoder(config, channels * height * width)
            self.decoder = decoder(config, channels * height * width)
        heads = list(zip(self.encoder.out_dims, config.z_j_dim_list, strict=True))
        self.mean_heads = nn.ModuleList(nn.Linear(width, D) for width, D in heads)
        self.log_var_heads = nn.ModuleList(nn.Linear(width, D) for width, D in heads)
        priors = nn.ModuleList(MixturePrior(config, j) for j in range(config.J_n_mixtures))
        self.prior = cast("Sequence[MixturePrior]", priors)

    def _autocast(self, x: Tensor) -> torch.autocast:
        """Where products and convolutions are computed in compute_dtype."""
        return torch.autocast(
            x.device.type, torch.bfloat16, enabled=self.compute_dtype == torch.bfloat16, cache_enabled=False
        )

    def encode(self, x: Tensor, coefficients: Coefficients | None = None) -> list[Independent[Normal]]:
        """q(z_j | x) = Normal(m_j(x), diag s_j(x)^2). x: (B, C, H, W) -> J distributions, batch (B,), event (D_j,)."""
        with self._autocast(x):
            hidden = self.encoder(x if self.is_conv else x.flatten(1), (coefficients or self.in_full).alpha_enc)
        hidden = [h.float() for h in hidden]  # the latents do not suffer from bfloat16's eight bits
        means = [head(h) for head, h in zip(self.mean_heads, hidden, strict=True)]  # (B, D_j): m_j(x)
        log_vars = [head(h) for head, h in zip(self.log_var_heads, hidden, strict=True)]  # (B, D_j)
        return [
            Independent(Normal(m, (0.5 * log_var).exp(), validate_args=False), 1, validate_args=False)
            for m, log_var in zip(means, log_vars, strict=True)
        ]

    def likelihood(self, z: Sequence[Tensor], coefficients: Coefficients | None = None) -> PixelDistribution:
        """p(x | z). z: list of J tensors (B, D_j) -> distribution, batch (B,), event (C, H, W).

        Bernoulli probabilities become logits that are bounded where probabilities round to 0 or 1, as in
        Bernoulli(probs). The log-likelihood and its gradient are the published ones and always finite. With
        logits=pixels the probabilities of bright pixels would not round to 1, as they do there.
        """
        with self._autocast(z[0]):
            pixels = self.decoder(z, (coefficients or self.in_full).alpha_dec)
        pixels = pixels.float().view(-1, *self.spec.image_shape)  # (B, C, H, W)
        if self.spec.likelihood == "bernoulli":
            # Pixels in [0, 1] are meant, not only 0 and 1; validation would refuse them.
            bernoulli = Bernoulli(logits=clamp_probs(pixels.sigmoid()).logit(), validate_args=False)
            return Independent(bernoulli, 3, validate_args=False)
        mean = pixels.sigmoid() if self.spec.output_activation == "sigmoid" else pixels
        normal = Normal(mean, mean.new_full((), self.sigma_x), validate_args=False)
        return Independent(normal, 3, validate_args=False)

    def decode(self, z: Sequence[Tensor], coefficients: Coefficients | None = None) -> Tensor:
        """x_hat, the mean of p(x | z). z: list of J tensors (B, D_j) -> (B, C, H, W)."""
        return self.likelihood(z, coefficients).mean

    def responsibilities(self, z: Sequence[Tensor]) -> list[Tensor]:
        """q(c_j | x) = p(c_j | z_j), Eq. (7). z: list of J tensors (B, D_j) -> list of J tensors (B, K_j)."""
        return [torch.softmax(p.log_prob(z_j) + p.log_pi, dim=1) for p, z_j in zip(self.prior, z, strict=True)]

    def through_bottleneck(self, z: Sequence[Tensor], coefficients: Coefficients | None) -> Sequence[Tensor]:
        """What the decoder gets while training is led (docs/facets.md): (1 - h_j) z_j + h_j E_q(c_j|x)[mu_jc].

        A facet then hands on little more than which cluster it is, so that the others have to explain the rest.
        z: list of J tensors (B, D_j) -> the same.
        """
        if coefficients is None or not self.has_bottleneck:
            return z
        centres = [q_c @ prior.mean for q_c, prior in zip(self.responsibilities(z), self.prior, strict=True)]
        return [torch.lerp(z_j, m, h) for z_j, m, h in zip(z, centres, coefficients.bottleneck, strict=True)]

    def guidance(self, z: Sequence[Tensor], codes: Tensor, coefficients: Coefficients) -> Tensor:
        """P sum_j lambda_j E[-log q(c_j = code_j | x)], a term of the loss while training is led (docs/facets.md).

        P is the number of pixel values, over which log p(x | z) is summed, too: the guide keeps its part of the loss.
        z: list of J tensors (B, D_j); codes: (B, J) int64, the cluster of each image that training started from -> ().
        """
        log_joints = [prior.log_prob(z_j) + prior.log_pi for prior, z_j in zip(self.prior, z, strict=True)]
        errors = [F.cross_entropy(log_p, code) for log_p, code in zip(log_joints, codes.unbind(1), strict=True)]
        weighted = [weight * error for weight, error in zip(coefficients.guide, errors, strict=True)]
        return math.prod(self.spec.image_shape) * torch.stack(weighted).sum()

    def elbo(
        self,
        x: Tensor,
        p_x_z: PixelDistribution,
        q_z_x: Sequence[Independent[Normal]],
        z: Sequence[Tensor],
        coefficients: Coefficients | None = None,
    ) -> ElboTerms:
        """The ELBO at one Monte Carlo sample z, term by term. x: (B, C, H, W), z: list of J tensors (B, D_j)."""
        q_c_x = []
        E_p_z_c, E_p_c, E_q_z_x, E_q_c_x = [], [], [], []
        for prior, q, z_j in zip(self.prior, q_z_x, z, strict=True):
            log_p_z_c = prior.log_prob(z_j)  # (B, K_j): log p(z_j | c_j)
            q_c = torch.softmax(log_p_z_c + prior.log_pi, dim=1)  # (B, K_j): q(c_j | x) = p(c_j | z_j)
            q_c_x.append(q_c)
            E_p_z_c.append((q_c * log_p_z_c).sum(1).mean())
            E_p_c.append((q_c * prior.log_pi).sum(1).mean())
            E_q_z_x.append(q.log_prob(z_j).mean())
            E_q_c_x.append((q_c * q_c.clamp_min(1e-6).log()).sum(1).mean())
        term_1 = p_x_z.log_prob(x).mean()
        term_2, term_3, term_4, term_5 = (torch.stack(term) for term in (E_p_z_c, E_p_c, E_q_z_x, E_q_c_x))  # (J,)
        kl_z = term_4 - term_2  # (J,)
        kl_c = term_5 - term_3  # (J,)
        gamma = coefficients or self.in_full
        loss = -term_1 + sum(weight * kl for weight, kl in zip(gamma.gamma_kl_z, kl_z, strict=True))
        loss = loss + sum(weight * kl for weight, kl in zip(gamma.gamma_kl_c, kl_c, strict=True))
        return ElboTerms(loss, term_1, term_2.sum(), term_3.sum(), term_4.sum(), term_5.sum(), kl_z, kl_c, q_c_x)

    def draw(self, q: Independent[Normal]) -> Tensor:
        """z_j ~ q(z_j | x), reparameterised: (B, D_j)."""
        return q.rsample()

    def forward(self, x: Tensor, coefficients: Coefficients | None = None, sample: bool = True) -> ModelOutput:
        """One pass: encode, sample (or, for evaluation, take the mean of q(z|x)), decode, ELBO. x: (B, C, H, W)."""
        q_z_x = self.encode(x, coefficients)
        z = [self.draw(q) if sample else q.mean for q in q_z_x]  # J tensors (B, D_j)
        p_x_z = self.likelihood(self.through_bottleneck(z, coefficients), coefficients)
        return ModelOutput(q_z_x, z, p_x_z, self.elbo(x, p_x_z, q_z_x, z, coefficients))
