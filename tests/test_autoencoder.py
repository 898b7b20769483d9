"""`autoencoder.py`: shapes, the loss's sum and mean, and PCA as the reference of the linear case."""

import math

import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn
from torch.testing import assert_close

from attention_decoded.autoencoder import Autoencoder, LinearAutoencoder, mlp, reconstruction_loss
from attention_decoded.vae import VAE


def test_the_code_is_as_narrow_as_asked():
    model, x = Autoencoder(35, d_latent=3, hidden=(17, 11)), torch.rand(5, 35)
    assert model.encode(x).shape == (5, 3)
    assert model(x).shape == (5, 35)
    assert_close(model(x), model.decode(model.encode(x)))


def test_the_layers_bend_between_and_the_decoder_mirrors_the_encoder():
    model = Autoencoder(35, d_latent=3, hidden=(17, 11))
    for part, sizes in ((model.encoder, [35, 17, 11, 3]), (model.decoder, [3, 11, 17, 35])):
        linear = [layer for layer in part if isinstance(layer, nn.Linear)]
        assert [linear[0].in_features, *(layer.out_features for layer in linear)] == sizes
        x = by_hand = torch.randn(5, sizes[0])
        for i, layer in enumerate(linear):
            by_hand = by_hand @ layer.weight.T + layer.bias
            by_hand = by_hand.clamp(min=0) if i < len(linear) - 1 else by_hand
        assert_close(part(x), by_hand)


def test_loss_is_summed_over_pixels_and_averaged_over_pictures():
    logits, x = torch.zeros(3, 7), torch.rand(3, 7)
    assert reconstruction_loss(logits, x).item() == pytest.approx(7 * math.log(2))  # ln 2 for each pixel, whatever x
    assert_close(reconstruction_loss(logits.repeat(2, 1), x.repeat(2, 1)), reconstruction_loss(logits, x))


def test_training_lets_the_reconstruction_follow_the_input():
    x = (torch.rand(40, 13, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    model = Autoencoder(13, d_latent=5, hidden=(32,))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    first = reconstruction_loss(model(x), x).item()
    for _ in range(300):
        loss = reconstruction_loss(model(x), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3 * first


def test_linear_autoencoder_finds_the_subspace_of_pca():
    """The reference is scikit-learn's PCA: the projections onto both spans must agree, whatever the basis."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([5.0, 3.0, 1.0, 0.7, 0.5, 0.3, 0.2])
    turn = torch.linalg.qr(torch.randn(7, 7, generator=generator))[0]
    x = (torch.randn(500, 7, generator=generator) * scale @ turn).double()
    x = x - x.mean(0)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = LinearAutoencoder(7, 2).double()
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-15, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        error = ((model(x) - x) ** 2).sum(-1).mean()
        error.backward()
        return error

    optimizer.step(loss)
    axes = torch.tensor(PCA(2).fit(x.numpy()).components_)
    learned = torch.linalg.qr(model.decoder.weight.detach())[0]
    assert_close(learned @ learned.T, axes.T @ axes, atol=1e-5, rtol=0)


def test_an_mlp_of_one_size_is_refused():
    with pytest.raises(ValueError, match=r"sizes=\[7\]"):
        mlp([7])


@pytest.mark.parametrize("build", [Autoencoder, VAE])
@pytest.mark.parametrize("n", [0, -1])
def test_a_code_of_no_numbers_is_refused(build, n):
    with pytest.raises(ValueError, match="a layer has at least one number"):
        build(d_latent=n)
