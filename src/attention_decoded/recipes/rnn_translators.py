"""Train the two RNNs of chapters 5 and 6 on the translator's own data, tokens and schedule.

Each takes two to three hours on one core.

    python -m attention_decoded.recipes.rnn_translators
    python -m attention_decoded.recipes.rnn_translators --model rnn-attention --minutes 30 --out mine

`rnn` carries a sentence through one fixed code; `rnn-attention` looks at the source again at each step. Sizes are
chosen so that each has about as many parameters as the Transformer (4.6 million). Everything else, and every
option, is that of recipes/translator.py.
"""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from attention_decoded.checkpoints import load_model
from attention_decoded.recipes.translator import Settings, load_tokenizers, main
from attention_decoded.rnn import RNNTranslator, build_rnn

VARIANTS = tuple(
    Settings(
        name=name,
        recipe="rnn_translators",
        summary=f"A GRU encoder–decoder that translates Chinese into English {how}; see chapter {chapter}.",
        model={"attention": attention, "dropout": 0.3},
        learning_rate=1e-3,
    )
    for name, attention, how, chapter in (
        ("rnn", False, "through one fixed vector", 5),
        ("rnn-attention", True, "with additive attention", 6),
    )
)


def load(folder: Path | str) -> tuple[RNNTranslator, Tokenizer, Tokenizer, dict[str, Any]]:
    """A trained RNN ("rnn" or "rnn-attention") in eval mode, its Chinese and its English tokenizer, and its card."""
    model, card = load_model(folder, build_rnn)
    return model, *load_tokenizers(folder), card


if __name__ == "__main__":
    main(VARIANTS, build_rnn)
