"""Train the autoencoders and VAEs of chapters 2 and 3 on 4,000 handwritten digits, each in a minute or two on one core.

    python -m attention_decoded.recipes.digits                                  all of them
    python -m attention_decoded.recipes.digits digits-vae-2d --out runs         one, into runs/digits-vae-2d

Every model is the package's own, three dense layers each way, so wide that a page can fetch all decoders in 1.5 MB.
(A small convolution of half that size bettered a dense model of its own size by 5 nats of 165, but not this one, and
took ten times as long to train; and dense layers are three matrix products on a page.) In every epoch each image is
seen once, moved by up to one pixel each way: 4,000 images are few, and seen unmoved they are soon learnt by heart.
Epochs, learning rate and widths were chosen on the validation images; the test images are looked at for the card alone.

Randomness depends on the seed alone, and the recipe computes on one thread: a second run on the same machine ends with
the same weights. A checkpoint is written when its model is trained and measured, never before; a run that was
interrupted is simply started again.
"""

import argparse
import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from attention_decoded.autoencoder import Autoencoder, reconstruction_loss
from attention_decoded.checkpoints import SHIPPED, load_checkpoint, load_model, save_checkpoint
from attention_decoded.data.digits import Digits, DigitSplits, load_digits
from attention_decoded.data.sources import DIGITS
from attention_decoded.recipes._runs import as_shipped, check_options
from attention_decoded.vae import VAE, MixturePrior

SIDE = 28
"""Rows, and columns, of an image."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a model and its training depend on."""

    kind: Literal["autoencoder", "vae"]
    d_latent: int
    beta: float = 1.0
    """Weight of the KL term; a VAE's alone."""
    n_components: int = 0
    """Gaussians in the VAE's prior; 0 means the standard normal."""
    hidden: tuple[int, ...] = (120, 64)
    epochs: int = 200
    batch_size: int = 100
    learning_rate: float = 4e-3
    """At the start; it falls to zero along half a cosine."""
    shift: int = 1
    """Pixels by which a training image may be moved each way."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("d_latent", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate={self.learning_rate} must be above 0")
        if self.beta < 0 or self.n_components < 0:
            raise ValueError(f"beta={self.beta} and n_components={self.n_components} must not be negative")
        if not 0 <= self.shift < SIDE:
            raise ValueError(f"shift={self.shift} must be 0 to {SIDE - 1} pixels")
        if self.kind == "autoencoder" and (self.beta != 1 or self.n_components):
            raise ValueError("an autoencoder has neither beta nor a prior: leave beta and n_components alone")


MODELS: dict[str, Settings] = {
    "digits-ae-2d": Settings(kind="autoencoder", d_latent=2),
    "digits-ae-16d": Settings(kind="autoencoder", d_latent=16),
    "digits-vae-2d": Settings(kind="vae", d_latent=2),
    "digits-vae-2d-beta-0.5": Settings(kind="vae", d_latent=2, beta=0.5),
    "digits-vae-2d-beta-4": Settings(kind="vae", d_latent=2, beta=4.0),
    "digits-vae-16d": Settings(kind="vae", d_latent=16),
    "digits-vae-mixture": Settings(kind="vae", d_latent=2, n_components=10),
}
"""The shipped checkpoints by name."""


def build_digits_model(config: Mapping[str, Any]) -> Autoencoder | VAE:
    """The untrained model of a checkpoint's config, as `checkpoints.load_model` asks for it."""
    sizes = {"n_pixels": config["n_pixels"], "d_latent": config["d_latent"], "hidden": config["hidden"]}
    if config["kind"] == "autoencoder":
        return Autoencoder(**sizes)
    n_components = config["n_components"]
    return VAE(**sizes, prior=MixturePrior(n_components, config["d_latent"]) if n_components else None)


def load(name: Path | str) -> tuple[Autoencoder | VAE, dict[str, Any]]:
    """The trained model in eval mode and its card; `name` is one of `MODELS`, or a folder."""
    return load_model(name, build_digits_model)


def decoder_file(name: Path | str) -> bytes:
    """A safetensors file of the decoder alone (and the prior, if it has parameters): half of the model, for a page."""
    checkpoint = load_checkpoint(name)
    half = {key: tensor.half() for key, tensor in checkpoint.state.items() if not key.startswith("encoder.")}
    return safetensors.torch.save(half, metadata={"config": json.dumps(checkpoint.config)})


# ── training ────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Matrices so small gain nothing from a second thread, and sums then have one order on every machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pixels(digits: Digits) -> Float[Tensor, "image pixel"]:
    """The images as rows."""
    return torch.from_numpy(digits.images).flatten(1)


def shifted(x: Float[Tensor, "image pixel"], reach: int, generator: torch.Generator) -> Float[Tensor, "image pixel"]:
    """Each image moved by its own −reach … reach pixels down and across; paper comes in, what leaves is lost."""
    if not reach:
        return x
    padded = F.pad(x.view(-1, SIDE, SIDE), (reach,) * 4)
    starts = torch.randint(0, 2 * reach + 1, (2, len(x), 1), generator=generator)
    rows, columns = torch.arange(SIDE) + starts  # [image, SIDE] each
    image = torch.arange(len(x))[:, None, None]
    return padded[image, rows[:, :, None], columns[:, None, :]].flatten(1)


def train(
    x: Float[Tensor, "image pixel"], validation: Float[Tensor, "held pixel"], settings: Settings, report=print
) -> tuple[Autoencoder | VAE, dict[str, Any]]:
    """A model trained on the images `x`, in eval mode, and the facts of the run; `validation` is only reported on."""
    with torch.random.fork_rng(devices=[]):  # the caller's random state stays as it was
        torch.manual_seed(settings.seed)
        model = build_digits_model(config_of(settings, x.shape[1]))
    generator = torch.Generator().manual_seed(settings.seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    n_steps, step, start = settings.epochs * math.ceil(len(x) / settings.batch_size), 0, time.process_time()

    def loss_of(batch: Tensor, generator: torch.Generator) -> Tensor:
        if isinstance(model, VAE):
            return model.loss(batch, beta=settings.beta, generator=generator)[0]
        return reconstruction_loss(model(batch), batch)

    for epoch in range(1, settings.epochs + 1):
        total = 0.0
        for chosen in torch.randperm(len(x), generator=generator).split(settings.batch_size):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * (1 + math.cos(math.pi * step / n_steps)) / 2
            loss = loss_of(shifted(x[chosen], settings.shift, generator), generator)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, step = total + loss.item() * len(chosen), step + 1
        if epoch % 10 == 0 or epoch == settings.epochs:
            with torch.no_grad():
                held = loss_of(validation, torch.Generator().manual_seed(settings.seed)).item()
            report(f"{epoch / settings.epochs:4.0%}  epoch {epoch}  loss {total / len(x):.2f}  validation {held:.2f}")
    minutes = (time.process_time() - start) / 60
    return model.eval(), {"epochs": settings.epochs, "steps": n_steps, "minutes": round(minutes, 2)}


def config_of(settings: Settings, n_pixels: int) -> dict[str, Any]:
    """What `build_digits_model` needs to know."""
    return {
        "kind": settings.kind,
        "n_pixels": n_pixels,
        "d_latent": settings.d_latent,
        "hidden": list(settings.hidden),
        "n_components": settings.n_components,
    }


# ── measuring ───────────────────────────────────────────────────────────────────────────────────

N_SAMPLES = 100
"""Codes drawn from each image's cloud for the reconstruction term and, where it has no formula, the KL."""
N_IMPORTANCE = 500
"""Codes drawn for each image's importance-weighted likelihood."""

MEASURE = (
    "Sums over the 784 pixels of an image, means over the images. squared_error: (ink − decoded ink)², ink from 0 to 1,"
    " decoded from the code itself (a VAE's: from the cloud's mean). Everything else is in nats, grey values taken as"
    " Bernoulli probabilities: that is a cross-entropy and no normalised density, so compare it only with models"
    " measured in the same way; cross_entropy_floor is what it would be for a perfect copy. elbo ="
    f" −(reconstruction + kl), with beta = 1 whatever the training's was; reconstruction: mean over {N_SAMPLES} codes"
    f" drawn from the cloud. log_likelihood: importance-weighted estimate with K = {N_IMPORTANCE} draws for each"
    " image, a lower bound on average. …_se: standard error of the mean over the images. pca: as many principal axes of"
    " the training images as the code has numbers, decoded ink cut to 0–1. digits_found: each Gaussian of the prior"
    " (where the prior is one Gaussian, and for autoencoders: of a mixture of 10 fitted to the training codes"
    " afterwards) stands for the digit it has most of in training; share of images that lie in a Gaussian of their"
    " own digit. Chance is 0.1."
)


@torch.no_grad()
def measure(model: Autoencoder | VAE, x: Float[Tensor, "image pixel"]) -> dict[str, float]:
    """Reconstruction error and, for a VAE, the parts of its ELBO; see `MEASURE` for the units."""
    floor = F.binary_cross_entropy(x, x, reduction="sum") / len(x)
    if not isinstance(model, VAE):
        logits = model(x)
        return {
            "squared_error": squared_error(logits.sigmoid(), x),
            "cross_entropy": reconstruction_loss(logits, x).item(),
            "cross_entropy_floor": floor.item(),
        }
    mu, logvar = model.encode(x)
    generator = torch.Generator().manual_seed(0)
    reconstruction, kl = torch.zeros(len(x)), torch.zeros(len(x))
    for _ in range(N_SAMPLES):  # one at a time: memory stays small
        z = mu + (0.5 * logvar).exp() * torch.randn(mu.shape, generator=generator)
        logits = model.decode(z)
        reconstruction += F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1) / N_SAMPLES
        kl += model.kl(z[None], mu, logvar) / N_SAMPLES
    return {
        "squared_error": squared_error(model.decode(mu).sigmoid(), x),
        "reconstruction": reconstruction.mean().item(),
        "kl": kl.mean().item(),
        "elbo": -(reconstruction + kl).mean().item(),
        "elbo_se": standard_error(reconstruction + kl),
        "cross_entropy_floor": floor.item(),
    }


@torch.no_grad()
def likelihood(model: VAE, x: Float[Tensor, "image pixel"], n_importance: int = N_IMPORTANCE) -> dict[str, float]:
    """The importance-weighted estimate of log p(x), in nats an image, and its standard error over the images."""
    generator = torch.Generator().manual_seed(0)
    each = torch.cat([model.log_likelihood(part, n_importance, generator) for part in x.split(10)])
    return {"log_likelihood": each.mean().item(), "log_likelihood_se": standard_error(each)}


def squared_error(decoded: Float[Tensor, "image pixel"], x: Float[Tensor, "image pixel"]) -> float:
    """Summed over an image's pixels, averaged over the images."""
    return ((decoded - x) ** 2).sum(-1).mean().item()


def standard_error(each: Float[Tensor, " image"]) -> float:
    """Of the mean over the images."""
    return (each.std() / math.sqrt(len(each))).item()


def pca_squared_error(train: Float[Tensor, "image pixel"], x: Float[Tensor, "held pixel"], d_latent: int) -> float:
    """What as many principal axes, fitted to the training images, leave of the images `x`."""
    from sklearn.decomposition import PCA

    pca = PCA(d_latent, svd_solver="full").fit(train.numpy())
    decoded = pca.inverse_transform(pca.transform(x.numpy()))
    return squared_error(torch.from_numpy(decoded).float().clamp(0, 1), x)


@torch.no_grad()
def found_digits(
    model: Autoencoder | VAE, train: Digits, held: Digits, n_components: int = 10
) -> tuple[float, Int[np.ndarray, "component digit"]]:
    """How well the prior's Gaussians agree with the digits: the share of `MEASURE`, and held images by both.

    Labels are used here alone: the models never see one.
    """
    from sklearn.mixture import GaussianMixture

    def codes(digits: Digits) -> Tensor:
        encoded = model.encode(pixels(digits))
        return encoded[0] if isinstance(encoded, tuple) else encoded

    component: Callable[[Tensor], np.ndarray]
    prior = model.prior if isinstance(model, VAE) else None
    if prior is not None:
        n_components, component = len(prior.logits), lambda z: responsibilities(prior, z).argmax(-1).numpy()
    else:
        fitted = GaussianMixture(n_components, n_init=5, random_state=0).fit(codes(train).double().numpy())
        component = lambda z: fitted.predict(z.double().numpy())  # noqa: E731 (the other branch's twin)

    def table(digits: Digits) -> np.ndarray:
        counts = np.zeros((n_components, 10), dtype=int)
        np.add.at(counts, (component(codes(digits)), digits.labels), 1)
        return counts

    counts = table(held)
    stands_for = table(train).argmax(axis=1)
    return float(counts[np.arange(n_components), stands_for].sum() / counts.sum()), counts


def responsibilities(prior: MixturePrior, z: Float[Tensor, "point latent"]) -> Float[Tensor, "point component"]:
    """How probable it is that each Gaussian of the prior, rather than another, drew z."""
    distance = (z[:, None] - prior.mu) ** 2 / prior.logvar.exp() + prior.logvar
    return (prior.logits.log_softmax(-1) - 0.5 * distance.sum(-1)).softmax(-1)


# ── the whole run ───────────────────────────────────────────────────────────────────────────────


def evaluate(model: Autoencoder | VAE, splits: DigitSplits, held: Digits) -> dict[str, Any]:
    """All figures of one part of the data."""
    x = pixels(held)
    code = model.encode(x[:1])
    d_latent = (code[0] if isinstance(code, tuple) else code).shape[-1]
    share, counts = found_digits(model, splits.train, held)
    figures = measure(model, x) | (likelihood(model, x) if isinstance(model, VAE) else {})
    figures |= {"pca_squared_error": pca_squared_error(pixels(splits.train), x, d_latent), "digits_found": share}
    rounded: dict[str, Any] = {name: round(value, 3) for name, value in figures.items()}
    if isinstance(model, VAE) and model.prior is not None:
        rounded["images_by_component_and_digit"] = counts.tolist()
    return rounded


def summary(settings: Settings) -> str:
    """What the model is, in a sentence."""
    size = f"{settings.d_latent} numbers"
    if settings.kind == "autoencoder":
        return f"An autoencoder of handwritten digits with a code of {size}; see chapter 2."
    prior = f"a mixture of {settings.n_components} Gaussians" if settings.n_components else "the standard normal"
    return f"A VAE of handwritten digits, latent of {size}, beta {settings.beta:g}, prior {prior}; see chapter 3."


def run(name: str, settings: Settings, *, out: Path, splits: DigitSplits | None = None, report=print) -> dict:
    """One model: train, measure, write to `out`. Returns the card. `splits` are the shipped digits unless given."""
    source = {"title": DIGITS.title, "attribution": DIGITS.attribution(), "sha256": DIGITS.sha256}
    if splits is None:
        splits = load_digits()
    else:
        source = {"title": "images of the caller"}
    x = pixels(splits.train)
    with one_thread():
        model, facts = train(x, pixels(splits.validation), settings, report)
        as_shipped(model)
        results = {
            "validation": evaluate(model, splits, splits.validation),
            "test": evaluate(model, splits, splits.test),
        }
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    card = {
        "name": name,
        "summary": summary(settings),
        "licence": "MIT; the training images keep their own licence (see data)",
        "recipe": f"python -m attention_decoded.recipes.digits {name}",
        "data": {**source, "images": {part: len(digits.labels) for part, digits in parts.items()}},
        "settings": asdict(settings),
        "training": {
            **facts,
            "clock": "processor time of one core",
            "cores": 1,
            "torch": torch.__version__.split("+")[0],
        },
        "measure": MEASURE,
        "results": results,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "limits": "Digits of one size, upright and centred, white on black; nothing else it is shown means anything.",
    }
    save_checkpoint(out, model.state_dict(), config_of(settings, x.shape[1]), card)
    shown = {key: value for key, value in results["test"].items() if not isinstance(value, list)}
    report(f"written to {out}; test: " + "  ".join(f"{key} {value:g}" for key, value in shown.items()))
    return card


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m attention_decoded.recipes.digits", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which to train (all): {', '.join(MODELS)}")
    parser.add_argument("--epochs", type=int, help=f"passes over the images ({Settings.epochs})")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder of the checkpoints' folders (%(default)s)")
    given = parser.parse_args(arguments)
    check_options(parser, given, "epochs", "seed")
    if unknown := [name for name in given.names if name not in MODELS]:
        parser.error(f"there is no model {', '.join(unknown)}; there are: {', '.join(MODELS)}")
    changes = {"seed": given.seed} | ({} if given.epochs is None else {"epochs": given.epochs})
    try:
        chosen = {name: dataclasses.replace(MODELS[name], **changes) for name in given.names or MODELS}
    except ValueError as error:
        parser.error(str(error))
    for name, settings in chosen.items():
        print(f"{name}: {summary(settings)}", flush=True)
        run(name, settings, out=given.out / name)


if __name__ == "__main__":
    main()
