"""Completing English text: sentences cut in two, models of two kinds that write the rest, suggestions word by word.

`recipes/completer.py` trains the models, and says what a cut, the mark ▁ and retyping mean.
"""

import math
import random
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from tokenizers import Regex, Tokenizer, pre_tokenizers
from torch import Tensor

from attention_decoded.data.normalize import normalize_english
from attention_decoded.data.tokenization import BOS, ENGLISH_PIECE, EOS, PAD, SPACE_MARK, SPECIAL_TOKENS, UNK
from attention_decoded.decoding import Hypothesis, State, Writer, beam_search, greedy, pad
from attention_decoded.training import collate_pairs, pad_rows
from attention_decoded.transformer import DecoderOnly, Transformer

Kind = Literal["encoder-decoder", "decoder-only"]
LETTERS = "[A-Za-zÀ-ɏ']+"
"""What makes a piece grow beyond one character; as in ENGLISH_PIECE."""
LONGEST_HALF = 24
"""Characters of a half-typed word that are written again; a longer one is no word, and read as it stands."""
LONGEST_SUGGESTION = 16
"""Tokens, after which a suggestion is given up; those of the half-typed word count."""
BEAM = 4
"""Suggestions that are followed side by side."""
ROWS = 256
"""Beginnings that are continued together."""

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


class Texts:
    """What every token of a tokenizer says as text; special tokens say nothing, ""."""

    def __init__(self, tokenizer: Tokenizer):
        n_special, n_vocab = len(SPECIAL_TOKENS), tokenizer.get_vocab_size()
        self.of = [""] * n_special + [tokenizer.id_to_token(i) or "" for i in range(n_special, n_vocab)]
        self.lengths = torch.tensor([len(text) for text in self.of])
        word, letters = re.compile(f"{SPACE_MARK}?{LETTERS}"), re.compile(LETTERS)
        self.kinds = torch.tensor([2 if text == SPACE_MARK else int(bool(word.fullmatch(text))) for text in self.of])
        """How a piece ends so far, by its last token: 2 with ▁ alone, 1 with a letter, 0 otherwise."""
        any_text = torch.tensor([bool(text) or i == EOS for i, text in enumerate(self.of)])
        no_letters = torch.tensor([not letters.fullmatch(text) for text in self.of])
        marked = torch.tensor([text.startswith(SPACE_MARK) or i == EOS for i, text in enumerate(self.of)])
        self.ends = torch.stack([any_text, any_text & no_letters, marked])
        """For each kind, the tokens that do not belong to the piece any more."""
        self._sorted = sorted((text, i) for i, text in enumerate(self.of) if text)
        self._ids = dict(self._sorted)
        self._known: dict[str, Bool[Tensor, " vocab"]] = {}

    def joined(self, ids: Sequence[int]) -> str:
        """The text of several tokens."""
        return "".join(self.of[i] for i in ids)

    def fitting(self, letters: str) -> Bool[Tensor, " vocab"]:
        """The tokens that may stand where the text must go on with `letters`: some of them, or all and more."""
        if letters not in self._known:
            if len(self._known) > 10_000:  # a stream of text that never ends must not fill the memory
                self._known.clear()
            fits = torch.zeros(len(self.of), dtype=torch.bool)
            fits[[self._ids[letters[:n]] for n in range(1, len(letters)) if letters[:n] in self._ids]] = True
            for text, i in self._sorted[bisect_left(self._sorted, (letters, 0)) :]:
                if not text.startswith(letters):
                    break
                fits[i] = True
            self._known[letters] = fits
        return self._known[letters]


class Retyping:
    """A writer whose text begins with given letters, divided into tokens as it likes ("token healing").

    Log-probabilities stay the model's own: what it gives to tokens that do not fit goes to <pad>, which no search
    writes.
    """

    def __init__(self, model: Writer, texts: Texts, halves: Sequence[str]):
        """`halves` are the letters, for each row of the sources; sources that are repeated row by row share them."""
        self.model, self.texts, self.halves = model, texts, halves
        self.training = getattr(model, "training", False)
        self._lengths = torch.tensor([len(half) for half in halves])

    def start(self, source: Int[Tensor, "batch source"]) -> State:
        """The model's own state, which letters each row writes, and how many are written: −1 before the first step."""
        half = torch.arange(len(self.halves), device=source.device)
        half = half.repeat_interleave(len(source) // len(self.halves))
        return {**self.model.start(source), "half": half, "n_written": torch.full_like(half, -1)}

    def step(self, ids: Int[Tensor, " batch"], state: State) -> tuple[Float[Tensor, "batch vocab"], State]:
        """The model's own step; while letters are left, tokens that do not fit them are impossible."""
        own = {name: tensor for name, tensor in state.items() if name not in ("half", "n_written")}
        logits, after = self.model.step(ids, own)
        half, n_written = state["half"], state["n_written"]
        # What is fed first, BOS or the last token of the prompt, is read and not written.
        n_written = torch.where(n_written < 0, 0, n_written + self.texts.lengths.to(ids.device)[ids])
        bound = (n_written < self._lengths.to(ids.device)[half]).nonzero()[:, 0]
        if len(bound):
            places: list[tuple[int, int]] = list(zip(half[bound].tolist(), n_written[bound].tolist(), strict=True))
            fits = torch.stack([self.texts.fitting(self.halves[i][n:]) for i, n in places]).to(ids.device)
            tied = logits[bound].masked_fill(~fits, -math.inf)
            tied[:, PAD] = logits[bound].masked_fill(fits, -math.inf).logsumexp(-1)
            logits = logits.index_copy(0, bound, tied)
        return logits, {**after, "half": half, "n_written": n_written}

    def is_beyond(self, state: State) -> Bool[Tensor, " batch"]:
        """Whether a row has written more than the letters that it had to."""
        return state["n_written"] > self._lengths.to(state["half"].device)[state["half"]]


class OnePiece:
    """A writer that stops where the first piece behind the given letters ends: EOS there means "this piece is whole".

    It gets the probability of all that can follow a whole piece: of EOS itself and of every token that begins another.
    """

    def __init__(self, writer: Retyping):
        self.writer, self.training = writer, writer.training
        self.start = writer.start

    def step(self, ids: Int[Tensor, " batch"], state: State) -> tuple[Float[Tensor, "batch vocab"], State]:
        """The writer's own step; behind the given letters, all that would end the piece is EOS."""
        logits, after = self.writer.step(ids, state)
        beyond = self.writer.is_beyond(after)
        ends = beyond[:, None] & self.writer.texts.ends.to(ids.device)[self.writer.texts.kinds.to(ids.device)[ids]]
        end = torch.where(beyond, logits.masked_fill(~ends, -math.inf).logsumexp(-1), logits[:, EOS])
        logits = logits.masked_fill(ends, -math.inf)
        logits[:, EOS] = end
        return logits, after


class Beginning(NamedTuple):
    """Typed text in two, both marked: whole pieces, which are read, and a half-typed word, which is written again."""

    before: str
    half: str


class Continuation(NamedTuple):
    """What was written behind typed text, marked, and the score of the whole."""

    rest: str
    score: float


class Completer:
    """A model that continues English text, whichever of the two kinds it is."""

    def __init__(self, model: Transformer | DecoderOnly, tokenizer: Tokenizer):
        self.model, self.tokenizer = model, tokenizer
        self.kind: Kind = "encoder-decoder" if isinstance(model, Transformer) else "decoder-only"
        self.ids, self.texts = Ids(tokenizer), Texts(tokenizer)
        self.device = next(model.parameters()).device

    def beginning(self, marked: str) -> Beginning:
        """Where typed text is cut. The half is its last piece if that may grow: letters, or ▁ alone, which promises a
        new word. What no tokens spell, and what is longer than any word, is read."""
        last = (pieces_of(marked) or [""])[-1]
        may_grow = re.fullmatch(f"{SPACE_MARK}|{SPACE_MARK}?{LETTERS}", last)
        half = last if may_grow and len(last) <= LONGEST_HALF and UNK not in self.ids(last) else ""
        return Beginning(marked.removesuffix(half), half)

    def prompt(self, before: str) -> list[int]:
        """What the model reads of marked text."""
        ids = self.ids(before)
        return [*ids, EOS] if self.kind == "encoder-decoder" else [BOS, *ids]

    def written(
        self, beginnings: Sequence[Beginning], search: Callable, **options: Any
    ) -> Iterator[tuple[int, list[Hypothesis]]]:
        """What `search(writer, source, …)` finds for every beginning, whose number comes with it; in any order."""
        prompts = [self.prompt(before) for before, _ in beginnings]
        order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
        alone = self.kind == "decoder-only"
        for start in range(0, len(order), ROWS):
            rows = order[start : start + ROWS]
            writer = Retyping(self.model, self.texts, [beginnings[i].half for i in rows])
            source = pad([prompts[i] for i in rows], left=alone).to(self.device)
            found = search(writer, source, **{"bos": None if alone else BOS, **options})
            for i, texts in zip(rows, found, strict=True):
                yield i, texts if isinstance(texts, list) else [texts]

    def search(self, prompts: Sequence[str], search: Callable = greedy, **options: Any) -> list[list[Continuation]]:
        """What `search` (greedy, beam_search or sample of decoding.py) finds behind each marked text, best first.

        Its `max_len` counts the tokens that write the half-typed word again, too.
        """
        beginnings = [self.beginning(marked) for marked in prompts]
        found = dict(self.written(beginnings, search, **options))
        return [
            [Continuation(self.rest(begun, text), text.score) for text in found[i]]
            for i, begun in enumerate(beginnings)
        ]

    def rest(self, begun: Beginning, text: Hypothesis) -> str:
        """What was written behind the letters that were typed already."""
        return self.texts.joined(text.ids)[len(begun.half) :]

    def complete(self, beginnings: Sequence[str], search: Callable = greedy, **options: Any) -> list[list[str]]:
        """Whole texts that begin so, best first; `search` and its options as in decoding.py.

        A beginning is any typed English. It comes back normalised, with what was written behind it.
        """
        marks = [typed(beginning) for beginning in beginnings]
        found = self.search(marks, search, **options)
        return [[unmark(marked + text.rest) for text in texts] for marked, texts in zip(marks, found, strict=True)]


def typed(beginning: str) -> str:
    """Typed text, normalised and marked; a space at its end, which says that the word is complete, stays as ▁."""
    text = normalize_english(beginning)
    return mark(text) + (SPACE_MARK if text and beginning[-1:].isspace() else "")


def unmark(marked: str) -> str:
    """Plain text again."""
    return marked.replace(SPACE_MARK, " ").removeprefix(" ")


def last_pieces(marked: str, ids: Ids, n_tokens: int) -> str:
    """As many of the last pieces as are `n_tokens` together: what a model reads of a very long beginning."""
    pieces = pieces_of(marked)
    while len(pieces) > 1 and sum(len(ids(piece)) for piece in pieces) > n_tokens:
        pieces = pieces[max(1, len(pieces) - n_tokens) :]
    return "".join(pieces)


@torch.no_grad()
def suggest(completer: Completer, prompts: Sequence[str], beam: int = BEAM) -> list[str]:
    """The likeliest next piece of text: one marked suggestion for every marked beginning.

    It is the rest of the half-typed word or, if the word may as well be whole, what follows it; "" where the
    sentence ends.
    """
    begun = [completer.beginning(marked) for marked in prompts]
    different = list(dict.fromkeys(begun))

    def likeliest_piece(writer: Retyping, source: Tensor, **options: Any) -> list[list[Hypothesis]]:
        # alpha = 0: not the mean of the tokens counts, but how probable the piece is.
        return beam_search(OnePiece(writer), source, beam=beam, alpha=0.0, stop="proved", **options)

    found = {
        different[i]: completer.rest(different[i], texts[0])
        for i, texts in completer.written(different, likeliest_piece, max_len=LONGEST_SUGGESTION)
    }
    return [found[beginning] for beginning in begun]
