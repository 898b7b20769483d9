"""Autoencoders: squeeze a picture through a narrow code and rebuild it (chapter 2).

Axes: batch, pixel (an image laid out as one row), latent (the entries of the code).
Pixels lie in 0–1. A decoder returns *logits*; `sigmoid` turns them into grey values.

Sources: Hinton and Salakhutdinov (2006), doi:10.1126/science.1127647 (the bottleneck);
Baldi and Hornik (1989), doi:10.1016/0893-6080(89)90014-2 (the linear case is PCA).
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers of these sizes with a ReLU between any two: `mlp([784, 256, 2])` is one hidden layer."""
    if len(sizes) < 2:
        raise ValueError(f"sizes={list(sizes)}: an MLP needs at least an input and an output size")
    if min(sizes) < 1:
        raise ValueError(f"sizes={list(sizes)}: a layer has at least one number")
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Autoencoder(nn.Module):
    """An encoder to `d_latent` numbers and a decoder back, mirror images of each other."""

    def __init__(self, n_pixels: int = 784, d_latent: int = 2, hidden: Sequence[int] = (512, 128)):
        super().__init__()
        self.encoder = mlp([n_pixels, *hidden, d_latent])
        self.decoder = mlp([d_latent, *reversed(hidden), n_pixels])

    def encode(self, x: Float[Tensor, "batch pixel"]) -> Float[Tensor, "batch latent"]:
        return self.encoder(x)

    def decode(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch pixel"]:
        """The picture as logits."""
        return self.decoder(z)

    def forward(self, x: Float[Tensor, "batch pixel"]) -> Float[Tensor, "batch pixel"]:
        return self.decode(self.encode(x))


class LinearAutoencoder(nn.Module):
    """One matrix down, one matrix up, no nonlinearity: the best it can learn is the span of the first PCA axes."""

    def __init__(self, n_pixels: int, d_latent: int):
        super().__init__()
        self.encoder = nn.Linear(n_pixels, d_latent, bias=False)
        self.decoder = nn.Linear(d_latent, n_pixels, bias=False)

    def forward(self, x: Float[Tensor, "batch pixel"]) -> Float[Tensor, "batch pixel"]:
        """The reconstruction itself, not logits; `x` is expected to be centred."""
        return self.decoder(self.encoder(x))


def reconstruction_loss(logits: Float[Tensor, "batch pixel"], x: Float[Tensor, "batch pixel"]) -> Float[Tensor, ""]:
    """Cross-entropy of the grey values in nats, *summed* over the pixels of a picture, *averaged* over the pictures.

    Sum and mean matter: a VAE adds a term per picture, and a mean over pixels would make that term
    784 times too heavy without anybody having decided so.
    """
    return F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
