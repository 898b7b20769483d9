"""`vae.py`: every closed form against Monte Carlo, every bound against what it bounds."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence
from torch.testing import assert_close

from attention_decoded.vae import VAE, MixturePrior, kl_to_standard_normal, log_normal, reparameterise


def _cloud(seed: int = 0, n: int = 3, d_latent: int = 5):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d_latent, generator=g), torch.randn(n, d_latent, generator=g)


def test_pitfall_24_kl_in_closed_form_equals_monte_carlo():
    mu, logvar = _cloud()
    z = reparameterise(mu, logvar, 200_000, torch.Generator().manual_seed(1))
    standard = log_normal(z, torch.zeros_like(z), torch.zeros_like(z))
    sampled = (log_normal(z, mu[None], logvar[None]) - standard).mean(0)
    assert_close(kl_to_standard_normal(mu, logvar), sampled, rtol=0.01, atol=0.01)


def test_kl_and_density_equal_torch_distributions():
    mu, logvar = _cloud()
    normal = Independent(Normal(mu, (0.5 * logvar).exp()), 1)
    standard = Independent(Normal(torch.zeros_like(mu), torch.ones_like(mu)), 1)
    assert_close(kl_to_standard_normal(mu, logvar), kl_divergence(normal, standard))
    z = torch.randn_like(mu)
    assert_close(log_normal(z, mu, logvar), normal.log_prob(z))


def test_pitfall_24_loss_sums_over_dimensions_and_averages_over_pictures():
    """With a decoder that says ½ everywhere and a cloud at mu = 2, both terms are known by hand."""
    model = VAE(7, d_latent=3, hidden=(11,))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.encoder[-1].bias[:3] = 2.0
    loss, reconstruction, kl = model.loss(torch.rand(13, 7), beta=0.5)
    assert reconstruction.item() == pytest.approx(7 * math.log(2), rel=1e-5)
    assert kl.item() == pytest.approx(3 * 0.5 * 2.0**2, rel=1e-5)
    assert loss.item() == pytest.approx(reconstruction.item() + 0.5 * kl.item(), rel=1e-6)


def test_reparameterisation_lets_the_gradient_through():
    mu, logvar = (t.requires_grad_() for t in _cloud())
    reparameterise(mu, logvar, 7, torch.Generator().manual_seed(0)).pow(2).mean().backward()
    assert mu.grad.abs().min() > 0
    assert logvar.grad.abs().min() > 0


def test_samples_have_the_mean_and_spread_that_were_asked():
    mu, logvar = _cloud()
    z = reparameterise(mu, logvar, 100_000, torch.Generator().manual_seed(2))
    assert_close(z.mean(0), mu, atol=0.03, rtol=0)
    assert_close(z.var(0), logvar.exp(), rtol=0.05, atol=0.01)


def _mixture() -> tuple[MixturePrior, MixtureSameFamily]:
    prior = MixturePrior(3, 2, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        prior.logits.copy_(torch.tensor([0.0, 1.0, -1.0]))
        prior.logvar.normal_(generator=torch.Generator().manual_seed(4))
    components = Independent(Normal(prior.mu, (0.5 * prior.logvar).exp()), 1)
    return prior, MixtureSameFamily(Categorical(logits=prior.logits), components)


def test_mixture_prior_equals_torch_distributions():
    prior, reference = _mixture()
    z = torch.randn(5, 7, 2)
    assert_close(prior.log_prob(z), reference.log_prob(z))
    drawn = prior.sample(100_000, torch.Generator().manual_seed(5))
    assert_close(drawn.mean(0), reference.mean, atol=0.05, rtol=0)


def test_samples_of_the_mixture_have_its_weights_centres_and_widths():
    prior = MixturePrior(2, 3)
    with torch.no_grad():
        prior.logits.copy_(torch.tensor([0.25, 0.75]).log())
        prior.mu.copy_(torch.tensor([[-50.0, 0, 7], [50, 3, 7]]))
        prior.logvar.copy_(torch.tensor([[4.0, 1, 0.25], [1, 9, 0.01]]).log())
    z = prior.sample(40_000, torch.Generator().manual_seed(3)).detach()
    right = z[:, 0] > 0
    assert right.float().mean().item() == pytest.approx(0.75, abs=0.02)
    for cloud, part in enumerate((z[~right], z[right])):
        assert_close(part.mean(0), prior.mu[cloud].detach(), atol=0.1, rtol=0)
        assert_close(part.var(0), prior.logvar[cloud].detach().exp(), rtol=0.06, atol=0)


def test_a_mixture_of_one_standard_gaussian_is_the_standard_prior():
    prior = MixturePrior(1, 3)
    with torch.no_grad():
        prior.mu.zero_()
    plain, mixed = VAE(7, 3, (11,)), VAE(7, 3, (11,), prior)
    z, (mu, logvar) = torch.randn(50_000, 3, 3), _cloud(d_latent=3)
    assert_close(plain.log_prior(z), mixed.log_prior(z))
    z = reparameterise(mu, logvar, 50_000, torch.Generator().manual_seed(6))
    assert_close(plain.kl(z, mu, logvar), mixed.kl(z, mu, logvar), rtol=0.02, atol=0.02)


def test_elbo_is_below_the_importance_weighted_bound_and_both_below_the_truth():
    """A linear model of one pixel and one latent number, whose log p(x) we can integrate on a grid."""
    model = VAE(1, 1, hidden=())
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.zero_()  # the cloud is N(0, 1) for every picture, so the estimate's variance is bounded
    x = torch.tensor([[1.0], [0.0]])
    grid = torch.linspace(-8, 8, 4001)[:, None]
    with torch.no_grad():
        p_one = torch.sigmoid(model.decode(grid))[:, 0]
        density = model.log_prior(grid).exp()
        truth = torch.stack([(p_one * density).sum(), ((1 - p_one) * density).sum()]).log() + math.log(16 / 4000)
        elbo = -torch.stack([model.loss(x, generator=torch.Generator().manual_seed(s))[0] for s in range(2000)]).mean()
    estimate = model.log_likelihood(x, 50_000, torch.Generator().manual_seed(7))
    assert_close(estimate, truth, atol=0.02, rtol=0)
    assert elbo < truth.mean() + 0.01
    few = torch.stack([model.log_likelihood(x, 2, torch.Generator().manual_seed(s)) for s in range(2000)]).mean()
    assert elbo - 0.01 <= few <= truth.mean() + 0.01


def test_a_prior_of_another_width_is_refused():
    for width in (1, 2):
        with pytest.raises(ValueError, match=f"the prior's clouds have {width} numbers, but d_latent=4"):
            VAE(35, 4, (7,), MixturePrior(3, width))
    with pytest.raises(ValueError, match="n_components=0 and d_latent=2 must be at least 1"):
        MixturePrior(0, 2)
