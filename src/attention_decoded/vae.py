"""The variational autoencoder: a picture is coded as a cloud, not as a point (chapter 3).

    q(z|x) = N(mu, diag exp(logvar))      the encoder's cloud
    p(x|z) = product of Bernoullis        the decoder's picture, as logits
    ELBO   = E_q[log p(x|z)] − KL(q(z|x) ‖ p(z))  ≤  log p(x)
    loss   = reconstruction + beta · KL   both summed over a picture's dimensions, averaged over pictures

Axes: batch, pixel, latent, sample, component. All logarithms are natural, all losses in nats.

Sources: Kingma and Welling (2014), arXiv:1312.6114v11, appendix B (the closed form);
Higgins et al. (2017), openreview Sy2fzU9gl (beta); Burda et al. (2016), arXiv:1509.00519v4,
eq. 8 (the importance-weighted bound); Tomczak and Welling (2018), arXiv:1705.07120v5 (mixture priors).
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attention_decoded.autoencoder import mlp, reconstruction_loss

LOG_2_PI = math.log(2 * math.pi)


def log_normal(
    z: Float[Tensor, "*points latent"], mu: Float[Tensor, "*clouds latent"], logvar: Float[Tensor, "*clouds latent"]
) -> Float[Tensor, "*both"]:
    """Log density of diagonal Gaussians at z, summed over the latent axis; points and clouds broadcast."""
    return -0.5 * (LOG_2_PI + logvar + (z - mu) ** 2 / logvar.exp()).sum(-1)


def kl_to_standard_normal(
    mu: Float[Tensor, "*lead latent"], logvar: Float[Tensor, "*lead latent"]
) -> Float[Tensor, "*lead"]:
    """KL(N(mu, exp logvar) ‖ N(0, I)) in closed form, summed over the latent axis."""
    return 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(-1)


def reparameterise(
    mu: Float[Tensor, "batch latent"],
    logvar: Float[Tensor, "batch latent"],
    n_samples: int = 1,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "sample batch latent"]:
    """Draw z = mu + sigma · epsilon: the chance is in epsilon, so the gradient reaches mu and sigma."""
    epsilon = torch.randn(n_samples, *mu.shape, generator=generator, device=mu.device, dtype=mu.dtype)
    return mu + (0.5 * logvar).exp() * epsilon


class MixturePrior(nn.Module):
    """p(z) as a mixture of Gaussians with learned weights, centres and widths: many clouds, not one."""

    def __init__(self, n_components: int, d_latent: int, *, generator: torch.Generator | None = None):
        super().__init__()
        if min(n_components, d_latent) < 1:
            raise ValueError(f"n_components={n_components} and d_latent={d_latent} must be at least 1")
        self.logits = nn.Parameter(torch.zeros(n_components))
        self.mu = nn.Parameter(2 * torch.randn(n_components, d_latent, generator=generator))
        self.logvar = nn.Parameter(torch.zeros(n_components, d_latent))

    def log_prob(self, z: Float[Tensor, "*lead latent"]) -> Float[Tensor, "*lead"]:
        each = log_normal(z[..., None, :], self.mu, self.logvar)  # [*lead, component]
        return torch.logsumexp(each + self.logits.log_softmax(-1), dim=-1)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "batch latent"]:
        chosen = torch.multinomial(self.logits.softmax(-1), n, replacement=True, generator=generator)
        return reparameterise(self.mu[chosen], self.logvar[chosen], generator=generator)[0]


class VAE(nn.Module):
    """Encoder to a Gaussian, decoder to a picture; the prior is N(0, I) unless a `MixturePrior` is given."""

    def __init__(
        self,
        n_pixels: int = 784,
        d_latent: int = 2,
        hidden: Sequence[int] = (512, 128),
        prior: MixturePrior | None = None,
    ):
        super().__init__()
        if prior is not None and prior.mu.shape[1] != d_latent:
            raise ValueError(f"the prior's clouds have {prior.mu.shape[1]} numbers, but d_latent={d_latent}")
        self.encoder = mlp([n_pixels, *hidden, 2 * d_latent])
        self.decoder = mlp([d_latent, *reversed(hidden), n_pixels])
        self.prior = prior

    def encode(
        self, x: Float[Tensor, "batch pixel"]
    ) -> tuple[Float[Tensor, "batch latent"], Float[Tensor, "batch latent"]]:
        """`(mu, logvar)` of each picture's cloud."""
        mu, logvar = self.encoder(x).chunk(2, dim=-1)
        return mu, logvar

    def decode(self, z: Float[Tensor, "*lead latent"]) -> Float[Tensor, "*lead pixel"]:
        """The picture as logits."""
        return self.decoder(z)

    def log_prior(self, z: Float[Tensor, "*lead latent"]) -> Float[Tensor, "*lead"]:
        if self.prior is not None:
            return self.prior.log_prob(z)
        return log_normal(z, torch.zeros_like(z), torch.zeros_like(z))

    def kl(
        self,
        z: Float[Tensor, "sample batch latent"],
        mu: Float[Tensor, "batch latent"],
        logvar: Float[Tensor, "batch latent"],
    ) -> Float[Tensor, " batch"]:
        """KL of each cloud to the prior: exact for N(0, I); for a mixture, which has no formula, the mean over `z`."""
        if self.prior is None:
            return kl_to_standard_normal(mu, logvar)
        return (log_normal(z, mu[None], logvar[None]) - self.log_prior(z)).mean(0)

    def loss(
        self, x: Float[Tensor, "batch pixel"], *, beta: float = 1.0, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
        """`(loss, reconstruction, kl)` in nats per picture, one sample each. The loss at beta = 1 is −ELBO."""
        mu, logvar = self.encode(x)
        z = reparameterise(mu, logvar, generator=generator)
        reconstruction = reconstruction_loss(self.decode(z[0]), x)
        kl = self.kl(z, mu, logvar).mean()
        return reconstruction + beta * kl, reconstruction, kl

    @torch.no_grad()
    def log_likelihood(
        self, x: Float[Tensor, "batch pixel"], n_samples: int = 100, generator: torch.Generator | None = None
    ) -> Float[Tensor, " batch"]:
        """Importance-weighted estimate of log p(x): a lower bound in expectation that rises to it with `n_samples`."""
        mu, logvar = self.encode(x)
        z = reparameterise(mu, logvar, n_samples, generator)
        target = x.expand(n_samples, *x.shape)
        log_p_x = -F.binary_cross_entropy_with_logits(self.decode(z), target, reduction="none").sum(-1)
        log_weights = log_p_x + self.log_prior(z) - log_normal(z, mu[None], logvar[None])
        return torch.logsumexp(log_weights, dim=0) - math.log(n_samples)
