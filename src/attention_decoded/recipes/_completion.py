"""Completing English text: sentences cut in two, models of two kinds that write the rest, suggestions word by word.

`recipes/completer.py` trains the models, and says what a cut and the mark ▁ mean.
"""

import math
import random
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from tokenizers import Regex, Tokenizer, pre_tokenizers
from torch import Tensor

from attention_decoded.data.normalize import normalize_english
from attention_decoded.data.tokenization import BOS, ENGLISH_PIECE, EOS, PAD, SPACE_MARK, SPECIAL_TOKENS
from attention_decoded.decoding import FORBIDDEN, Writer, batched, greedy, pad
from attention_decoded.training import collate_pairs, pad_rows
from attention_decoded.transformer import DecoderOnly, Transformer

Kind = Literal["encoder-decoder", "decoder-only"]
LONGEST_WORD = 12
"""Tokens, after which a suggestion is given up."""

# ── text in pieces, and cut in two ──────────────────────────────────────────────────────────────


def mark(text: str) -> str:
    """Normalised English as the tokenizer sees it: a ▁ in front and in the place of every space."""
    return SPACE_MARK + text.replace(" ", SPACE_MARK)


def pieces_of(marked: str) -> list[str]:
    """A word with its ▁, a digit, or another character each; joined they are the marked text."""
    return re.findall(ENGLISH_PIECE, marked)


class Ids:
    """The ids of marked text that may begin in the middle of a word: nothing is put before it."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Metaspace(SPACE_MARK, prepend_scheme="never", split=False),
                pre_tokenizers.Split(Regex(ENGLISH_PIECE), "removed", invert=True),
            ]
        )
        self._known: dict[str, list[int]] = {}

    def __call__(self, marked: str) -> list[int]:
        """Merges stay inside pieces, so every piece needs to be encoded once only."""
        ids: list[int] = []
        for piece in pieces_of(marked):
            if piece not in self._known:
                if len(self._known) > 100_000:  # a stream of text that never ends must not fill the memory
                    self._known.clear()
                self._known[piece] = self._tokenizer.encode(piece, add_special_tokens=False).ids
            ids += self._known[piece]
        return ids


class Cut(NamedTuple):
    """A sentence in two: what is typed (whole pieces, then those tokens of a half-typed word), and the rest."""

    before: list[int]
    fragment: list[int]
    rest: list[int]


def cut_at(marked: str, place: int, ids: Ids) -> Cut:
    """The sentence cut before its character `place`."""
    typed = pieces_of(marked[:place])
    half = typed.pop() if typed and pieces_of(marked)[len(typed) - 1] != typed[-1] else ""
    return Cut(ids("".join(typed)), ids(half), ids(marked[place:]))


def places(marked: str) -> tuple[list[int], list[int]]:
    """Where a sentence may be cut: at the edges of its pieces (both ends included), and inside its words.

    Behind ▁ alone there is no cut: no letter of that word is typed yet.
    """
    edges, inside = [0], []
    for piece in pieces_of(marked):
        start = edges[-1]
        edges.append(start + len(piece))
        inside += range(start + (2 if piece.startswith(SPACE_MARK) else 1), edges[-1])
    return edges, inside


def draw_cuts(sentences: Sequence[str], ids: Ids, inside: float, seed: int) -> list[Cut]:
    """Every marked sentence, cut at a place that depends on the seed alone."""
    chance, cuts = random.Random(seed), []
    for marked in sentences:
        edges, inner = places(marked)
        place = chance.choice(inner if inner and chance.random() < inside else edges)
        cuts.append(cut_at(marked, place, ids))
    return cuts


# ── what the two kinds are fed ──────────────────────────────────────────────────────────────────


def collate_encoder_decoder(cuts: Sequence[Cut]) -> tuple[Tensor, Tensor, Tensor]:
    """(source, target_in, target_out): the beginning is the source, the rest is the target."""
    return collate_pairs([([*cut.before, *cut.fragment], cut.rest) for cut in cuts])


def collate_decoder_only(cuts: Sequence[Cut], *, learn_before: bool = True) -> tuple[Tensor, Tensor]:
    """(ids, next ids): the sentence in one row. Next ids that are not to be predicted are PAD: those of a half-typed
    word and, without `learn_before`, the whole beginning."""
    rows = [[BOS, *cut.before, *cut.fragment, *cut.rest] for cut in cuts]
    targets = [
        [*(cut.before if learn_before else [PAD] * len(cut.before)), *[PAD] * len(cut.fragment), *cut.rest, EOS]
        for cut in cuts
    ]
    return pad_rows(rows), pad_rows(targets)


def lengths(cut: Cut, kind: Kind) -> tuple[int, ...]:
    """What a cut sentence costs in tokens, for each tensor that is padded apart."""
    typed, rest = len(cut.before) + len(cut.fragment) + 1, len(cut.rest) + 1
    return (typed, rest) if kind == "encoder-decoder" else (typed + rest - 1,)


# ── completing ──────────────────────────────────────────────────────────────────────────────────


class NewWordFirst:
    """A writer whose first token begins a word: what must follow a beginning that ends with a space."""

    training = False

    def __init__(self, model: Transformer | DecoderOnly, tokenizer: Tokenizer):
        self.model = model
        tokens = (tokenizer.id_to_token(i) or "" for i in range(tokenizer.get_vocab_size()))
        self.allowed = torch.tensor([token.startswith(SPACE_MARK) for token in tokens])

    def start(self, source: Int[Tensor, "batch source"]) -> dict[str, Tensor]:
        """The model's own state, and whether a row is still to write its first token."""
        return {**self.model.start(source), "first": torch.ones(len(source), dtype=torch.bool, device=source.device)}

    def step(
        self, ids: Int[Tensor, " batch"], state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "batch vocab"], dict[str, Tensor]]:
        """The model's own step; at the first one, tokens without ▁ are impossible."""
        first = state["first"]
        logits, after = self.model.step(ids, {name: t for name, t in state.items() if name != "first"})
        if bool(first.any()):
            logits = logits.masked_fill(first[:, None] & ~self.allowed.to(logits.device), -math.inf)
            first = torch.zeros_like(first)
        return logits, {**after, "first": first}


class Completer:
    """A model that continues English text, whichever of the two kinds it is."""

    def __init__(self, model: Transformer | DecoderOnly, tokenizer: Tokenizer):
        self.model, self.tokenizer = model, tokenizer
        self.kind: Kind = "encoder-decoder" if isinstance(model, Transformer) else "decoder-only"
        self.ids = Ids(tokenizer)
        self.device = next(model.parameters()).device
        self._new_word = NewWordFirst(model, tokenizer)

    def prompt(self, marked: str) -> list[int]:
        """What the model reads of typed text: without a last ▁, behind which no letter stands."""
        ids = self.ids(marked.removesuffix(SPACE_MARK))
        return [*ids, EOS] if self.kind == "encoder-decoder" else [BOS, *ids]

    def groups(self, prompts: Sequence[str]) -> list[tuple[list[int], Writer]]:
        """Which marked beginnings which writer continues: those that end with ▁ must get a new word."""
        spaced = [marked.endswith(SPACE_MARK) for marked in prompts]
        writers: list[tuple[bool, Writer]] = [(False, self.model), (True, self._new_word)]
        groups = [([i for i, ends in enumerate(spaced) if ends is end], writer) for end, writer in writers]
        return [(rows, writer) for rows, writer in groups if rows]

    def search(self, prompts: Sequence[str], search: Callable = greedy, **options: Any) -> list[Any]:
        """What `search` (greedy, beam_search or sample of decoding.py) finds behind each marked beginning, in order."""
        alone = self.kind == "decoder-only"
        options = {"bos": None if alone else BOS, **options}
        found: dict[int, Any] = {}
        for rows, writer in self.groups(prompts):
            ids = [self.prompt(prompts[i]) for i in rows]
            results = batched(
                partial(search, writer, **options), ids, batch_tokens=2048, left=alone, device=self.device
            )
            found |= dict(zip(rows, results, strict=True))
        return [found[i] for i in range(len(prompts))]

    def complete(self, beginnings: Sequence[str], search: Callable = greedy, **options: Any) -> list[list[str]]:
        """Whole texts that begin so, best first; `search` and its options as in decoding.py.

        A beginning is any typed English. It comes back normalised, with what was written behind it.
        """
        marks = [typed(beginning) for beginning in beginnings]
        texts = []
        for marked, found in zip(marks, self.search(marks, search, **options), strict=True):
            hypotheses = found if isinstance(found, list) else [found]
            texts.append([unmark(marked, self.rest(text.ids)) for text in hypotheses])
        return texts

    def rest(self, ids: Sequence[int]) -> str:
        """Marked text of what was written, special tokens left out: with ▁ in front if it begins with a new word."""
        return "".join(self.tokenizer.id_to_token(i) or "" for i in ids if i >= len(SPECIAL_TOKENS))


def typed(beginning: str) -> str:
    """Typed text, normalised and marked; a space at its end, which says that the word is complete, stays as ▁."""
    text = normalize_english(beginning)
    return mark(text) + (SPACE_MARK if text and beginning[-1:].isspace() else "")


def last_pieces(marked: str, ids: Ids, n_tokens: int) -> str:
    """As many of the last pieces as are `n_tokens` together: what a model reads of a very long beginning."""
    pieces = pieces_of(marked)
    while len(pieces) > 1 and sum(len(ids(piece)) for piece in pieces) > n_tokens:
        pieces = pieces[max(1, len(pieces) - n_tokens) :]
    return "".join(pieces)


def unmark(marked: str, rest: str) -> str:
    """Plain text of typed text and what was written behind it; the ▁ between both is there once."""
    return (marked.removesuffix(SPACE_MARK) + rest).replace(SPACE_MARK, " ").removeprefix(" ")


@torch.no_grad()
def suggest(completer: Completer, prompts: Sequence[str]) -> list[str]:
    """The likeliest end of the word that is being typed, or the next word: one marked text for every marked beginning.

    Written greedily as far as the first piece ends behind the beginning; "" where the sentence ends there.
    """
    found: dict[int, str] = {}
    for rows, writer in completer.groups(prompts):
        rows.sort(key=lambda i: len(prompts[i]))
        for start in range(0, len(rows), 256):
            found |= _first_pieces(completer, writer, {i: prompts[i] for i in rows[start : start + 256]})
    # A new word's ▁ is typed already where the beginning ends with it.
    return [found[i].removeprefix(SPACE_MARK) if m.endswith(SPACE_MARK) else found[i] for i, m in enumerate(prompts)]


def _first_pieces(completer: Completer, writer: Writer, prompts: dict[int, str]) -> dict[int, str]:
    """`suggest` for one batch; rows leave it as soon as their piece is whole."""
    rows, written, found = list(prompts), dict.fromkeys(prompts, ""), {}
    alone = completer.kind == "decoder-only"
    ids = pad([completer.prompt(marked) for marked in prompts.values()], left=alone).to(completer.device)
    state = writer.start(ids[:, :-1] if alone else ids)
    feed = ids[:, -1] if alone else ids.new_full((len(ids),), BOS)
    for _ in range(LONGEST_WORD):
        logits, state = writer.step(feed, state)
        logits[:, list(FORBIDDEN)] = -math.inf
        feed, stay = logits.argmax(-1), []
        for k, (i, token) in enumerate(zip(rows, feed.tolist(), strict=True)):
            written[i] += completer.rest([token])
            end = first_end(prompts[i].removesuffix(SPACE_MARK), written[i])
            if token == EOS or end < len(written[i]):
                found[i] = written[i][:end]
            else:
                stay.append(k)
        if not stay:
            break
        index = torch.tensor(stay, device=feed.device)
        rows, feed = [rows[k] for k in stay], feed[index]
        state = {name: tensor.index_select(0, index) for name, tensor in state.items()}
    return written | found


def first_end(before: str, written: str) -> int:
    """Where, in the text written behind `before`, its first piece ends: the one that went on, or the first new one."""
    # The last piece of `before` is all that can grow; looking no further back keeps this fast.
    last = pieces_of(before)[-1] if before else ""
    end = 0
    for piece in pieces_of(last + written):
        end += len(piece)
        if end > len(last):
            return end - len(last)
    return 0
