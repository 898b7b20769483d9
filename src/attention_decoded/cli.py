"""The command line: `attention-decoded translate | complete | train | score | export`.

    echo 你好。 | attention-decoded translate
    attention-decoded translate --attention maps.html 我喜欢喝茶。
    attention-decoded complete "I would like to g"
    attention-decoded train completer --minutes 5 --out mine
    attention-decoded score translator
    attention-decoded export translator translator.zip

Exit status: 0 all went well, 1 it did not (one line on stderr says what and what to do), 2 wrong usage, 130 stopped
by Ctrl-C. Text goes in and out as UTF-8. What is needed is imported when it is needed, so that --help is quick.
"""

import argparse
import contextlib
import os
import re
import runpy
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any, cast

PROGRAM = "attention-decoded"
RECIPES = Path(__file__).parent / "recipes"
AT_ONCE = 32
"""Lines that are translated together; their results are written before the next are looked at."""
LONGEST_LINE = 10_000
"""Characters; a longer line is refused, it is no sentence."""
SENTENCE_END = "(?<=[。！？；…])(?![。！？；…”’）])|(?<=[。！？；…][”’）])(?![”’）])"
MAX_MAPS = 100
"""Sentences whose attention one page shows: each takes about 100 kB of it."""


class CommandError(Exception):
    """What went wrong and what to do about it, for people: one line on stderr, exit status 1."""


# ── what comes in ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Line:
    """One line of input: its text, or why it cannot be worked on."""

    number: int
    text: str
    complaint: str = ""


def given_lines(texts: Sequence[str]) -> Iterator[list[Line]]:
    """The arguments as lines. A line end inside one would break "one line out for each line in": it is a space."""
    lines = []
    for number, text in enumerate(texts, start=1):
        try:
            text.encode()
        except UnicodeEncodeError:  # the shell handed over bytes that are no text
            raise CommandError(f"argument {number} is not UTF-8. Type it again, or save it as UTF-8") from None
        lines.append(_line(number, text.replace("\n", " ")))
    yield lines


def read_lines(stream: BufferedIOBase, name: str = "stdin") -> Iterator[list[Line]]:
    """Lines of UTF-8 as they come in: whatever is there, without waiting for more. Memory stays flat.

    A line beyond `LONGEST_LINE` is never held as a whole. Raises CommandError at the first line that is not UTF-8,
    after the lines before it have been given out.
    """
    number, rest, skipping = 0, b"", False
    too_long = f"more than {LONGEST_LINE:,} characters"
    while True:
        chunk = stream.read1(1 << 16)
        *whole, rest = (rest + chunk).split(b"\n")
        if not chunk and (rest or skipping):
            whole, rest = [*whole, rest], b""
        lines: list[Line] = []
        for raw in whole:
            number += 1
            if skipping:
                lines.append(Line(number, "", too_long))
                skipping = False
                continue
            try:
                lines.append(_line(number, raw.removesuffix(b"\r").decode("utf-8")))
            except UnicodeDecodeError as error:
                yield lines
                byte = raw[error.start]
                raise CommandError(
                    f"{name}, line {number}: byte {error.start + 1} (0x{byte:02x}) is not UTF-8. Convert the text to"
                    " UTF-8 first, for example with iconv"
                ) from None
        if len(rest) > 4 * LONGEST_LINE:  # at most four bytes a character
            rest, skipping = b"", True
        if lines:
            yield lines
        if not chunk:
            return


def _line(number: int, text: str) -> Line:
    if len(text) > LONGEST_LINE:
        return Line(number, "", f"{len(text):,} characters, more than {LONGEST_LINE:,}")
    return Line(number, text)


def lines_of(given: argparse.Namespace) -> Iterator[list[Line]]:
    """The arguments, or stdin where there are none, in groups of at most `AT_ONCE`."""
    if not given.text and sys.stdin.isatty():
        say("reading what you type: one sentence a line; Ctrl-D ends it")
    empty = True
    for lines in given_lines(given.text) if given.text else read_lines(cast(BufferedIOBase, sys.stdin.buffer)):
        for start in range(0, len(lines), AT_ONCE):
            empty = False
            yield lines[start : start + AT_ONCE]
    if empty:
        raise CommandError(
            f"the input is empty: give text as arguments or on stdin, for example:  echo 你好。 | {PROGRAM} translate"
        )


# ── what goes out ───────────────────────────────────────────────────────────────────────────────


def say(text: str) -> None:
    """One line to the person at the terminal: on stderr, the program's name in front."""
    print(f"{PROGRAM}: {' '.join(text.split())}", file=sys.stderr, flush=True)


def write(line: Line, texts: Sequence[tuple[str, float]], n_best: int) -> None:
    """The answer to a line on stdout: the best text, or a row of number, rank, score and text for each of `n_best`."""
    if n_best == 1:
        print(texts[0][0] if texts else "")
    else:
        for rank, (text, score) in enumerate(texts or [("", 0.0)], start=1):
            print(line.number, rank, f"{score:.4f}", text, sep="\t")


def checked_output(path: Path) -> Path:
    """The path of a file that can be written later. Raises CommandError now, not after the work."""
    if path.is_dir():
        raise CommandError(f"{path} is a folder: name a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from None
    if not os.access(path.parent, os.W_OK):
        raise CommandError(f"{path} cannot be written: no permission in {path.parent}")
    return path


# ── how a text is searched for ──────────────────────────────────────────────────────────────────


def search_of(given: argparse.Namespace, alpha: float) -> Callable[..., list[list[Any]]]:
    """Beam search or sampling, as the options say: for each source a list of texts, best first."""
    from functools import partial

    import torch

    from attention_decoded.data.tokenization import PAD
    from attention_decoded.decoding import beam_search, sample
    from attention_decoded.training import seed_of

    if not given.sample:
        return partial(beam_search, beam=given.beam, n_best=given.n_best, alpha=alpha)
    options = {"temperature": given.temperature, "top_k": given.top_k, "top_p": given.top_p}

    def draw(model, source, **more) -> list[list[Any]]:
        groups = []
        for row in source:  # each alone, by seed and text: what else waits in the pipe decides nothing
            ids = row[row != PAD]
            generator = torch.Generator().manual_seed(seed_of(given.seed, *ids.tolist()))
            found = sample(model, ids.expand(given.n_best, -1), generator=generator, **options, **more)
            groups.append(sorted(found, key=lambda text: -text.score))
        return groups

    return draw


def joined(parts: Sequence[Sequence[tuple[str, float]]]) -> list[tuple[str, float]]:
    """The texts of a line that was cut: each part's best joined, each part's second best, …; the mean of the scores."""
    n = max(map(len, parts), default=0)
    ranks = [[texts[min(rank, len(texts) - 1)] for texts in parts] for rank in range(n)]
    return [(" ".join(text for text, _ in each), sum(score for _, score in each) / len(each)) for each in ranks]


# ── translate ───────────────────────────────────────────────────────────────────────────────────


class Translator:
    """A translator's checkpoint, ready to work. Raises CommandError or CheckpointError."""

    def __init__(self, name: str):
        from attention_decoded.checkpoints import load_checkpoint
        from attention_decoded.recipes._remeasure import load_translator
        from attention_decoded.recipes.translator import SOURCE_TOKENIZER, TARGET_TOKENIZER

        card = load_checkpoint(name).card
        if not {SOURCE_TOKENIZER, TARGET_TOKENIZER} <= set(card["sha256"]):
            raise CommandError(f"{name} is no translator. Its card says: {card.get('summary', 'nothing')}")
        self.name = name
        self.model, self.source, self.target, self.card = load_translator(name)
        self.alpha = float(card.get("results", {}).get("alpha", 1.0))
        """The length penalty that suits it."""
        self.longest = int(card.get("settings", {}).get("max_len", 64)) - 1
        """Tokens of the longest sentences that it has learned from."""

    def parts(self, text: str) -> list[str]:
        """A normalised line as one sentence; if that is too long for the model, cut where people pause."""
        encoding = self.source.encode(text, add_special_tokens=False)
        if len(encoding.ids) <= self.longest:
            return [text] if encoding.ids else []
        for pause in (SENTENCE_END, "(?<=[，、：])"):
            pieces = re.split(pause, text)
            if len(pieces) > 1 and all(len(piece) < len(text) for piece in pieces):
                return [part for piece in pieces for part in self.parts(piece)]
        end = encoding.offsets[self.longest - 1][1]
        return [text[:end], *self.parts(text[end:])]

    def search(self, sentences: Sequence[str], search: Callable) -> list[list[Any]]:
        """The texts that `search` finds for each sentence, best first."""
        from functools import partial

        from attention_decoded.decoding import batched

        return batched(partial(search, self.model), [self.ids(text) for text in sentences], batch_tokens=2048)

    def ids(self, sentence: str) -> list[int]:
        """What the encoder reads."""
        from attention_decoded.data.tokenization import EOS

        return [*self.source.encode(sentence, add_special_tokens=False).ids, EOS]

    @property
    def has_attention(self) -> bool:
        """Whether there is anything to look at: an RNN with a fixed code has none."""
        return getattr(self.model, "attention", self.model) is not None

    def cross_attention(self, sentence: str, written: Sequence[int]) -> list[Any]:
        """For every layer an array [head, query, key]: where the model looked as it wrote each token."""
        import torch

        from attention_decoded.capture import capture
        from attention_decoded.data.tokenization import BOS

        source, fed = torch.tensor([self.ids(sentence)]), torch.tensor([[BOS, *written[:-1]]])
        with torch.no_grad():
            if hasattr(self.model, "decoder"):
                with capture(self.model) as records:
                    self.model(source, fed)
                return [record.weights[0].numpy() for record in records if ".cross." in record.name]
            state, rows = self.model.start(source), []
            for ids in fed.unbind(1):
                _, state = self.model.step(ids, state)
                rows.append(state["weights"])  # [1, key]
            return [torch.stack(rows, dim=1).numpy()]

    def section(self, number: int, sentence: str, written: Sequence[int]) -> str:
        """This sentence on the page of attention maps."""
        from attention_decoded.data.tokenization import EOS, decode, tokens
        from attention_decoded.plots.attention_page import sentence as section

        text = decode(self.target, written)
        queries = [
            "end" if i == EOS else row_label(self.target.id_to_token(i), first=not k) for k, i in enumerate(written)
        ]
        keys = [*tokens(self.source, sentence), "end"]
        return section(number, sentence, text, queries, keys, self.cross_attention(sentence, written))


def row_label(token: str, *, first: bool) -> str:
    """An English token for people: "+ing" goes on with the word before it; the end mark, given as "", is "end"."""
    if not token:
        return "end"
    if token.startswith("▁") or first or not token[:1].isalpha():
        return token.removeprefix("▁") or "space"
    return f"+{token}"


def translate(given: argparse.Namespace) -> int:
    """Translate line by line; 1 if a line was too long to be translated at all."""
    from attention_decoded.data.normalize import HAN, normalize_chinese
    from attention_decoded.data.tokenization import decode

    page = checked_output(given.attention) if given.attention else None
    translator = Translator(given.model)
    if page and not translator.has_attention:
        raise CommandError(
            f"--attention: {given.model} has no attention to show; all it keeps of a sentence is one code"
        )
    search, sections, n_sentences, status = search_of(given, translator.alpha), [], 0, 0
    try:
        for lines in lines_of(given):
            parts = [translator.parts(normalize_chinese(line.text)) for line in lines]
            for line, sentences in zip(lines, parts, strict=True):
                status |= complain(line)
                if sentences and not re.search(f"[{HAN}]", line.text):
                    say(f"line {line.number} has no Chinese in it: what it becomes means little")
                if len(sentences) > 1:
                    say(
                        f"line {line.number} is longer than the {translator.longest} tokens that {given.model} has"
                        f" learned from: translated in {len(sentences)} parts. One sentence a line is better"
                    )
            results = iter(translator.search([part for sentences in parts for part in sentences], search))
            for line, sentences in zip(lines, parts, strict=True):
                found = [next(results) for _ in sentences]
                texts = [[(decode(translator.target, x.ids), x.score) for x in each] for each in found]
                write(line, joined(texts), given.n_best)
                for sentence, each in zip(sentences, found, strict=True):
                    n_sentences += 1
                    if page and n_sentences <= MAX_MAPS:
                        sections.append(translator.section(n_sentences, sentence, each[0].ids))
            sys.stdout.flush()
    finally:  # what was translated before an interruption is shown too
        if page and sections:
            write_page(page, sections, translator, n_sentences)
    return status


def write_page(path: Path, sections: Sequence[str], translator: Translator, n_sentences: int) -> None:
    """The page of attention maps, whole or not at all."""
    from attention_decoded.files import write_atomically
    from attention_decoded.plots.attention_page import page

    note = ""
    if n_sentences > len(sections):
        note = f"Only the first {len(sections)} of {n_sentences:,} sentences are shown: a page has room for no more."
        say(f"{path}: {note}")
    model = f"{translator.name}, {translator.card.get('summary', '')}"
    write_atomically(path, page(sections, model=model.removesuffix("."), note=note).encode())


def complain(line: Line) -> int:
    """Say why a line is left empty, if it is; the exit status."""
    if not line.complaint:
        return 0
    say(f"line {line.number} has {line.complaint}: left empty. Break it into sentences, one a line")
    return 1


# ── complete ────────────────────────────────────────────────────────────────────────────────────


def complete(given: argparse.Namespace) -> int:
    """Continue line by line; 1 if a line was too long."""
    from attention_decoded.checkpoints import load_checkpoint
    from attention_decoded.recipes import completer
    from attention_decoded.recipes._completion import Completer, last_pieces, typed, unmark
    from attention_decoded.recipes._remeasure import recipe_of

    card = load_checkpoint(given.model).card
    if recipe_of(card) != "completer":
        raise CommandError(f"{given.model} is no completer. Its card says: {card.get('summary', 'nothing')}")
    model, tokenizer, _ = completer.load(given.model)
    machine, search, status = Completer(model, tokenizer), search_of(given, alpha=1.0), 0
    longest = int(card["settings"]["max_len"]) // 2  # the rest must fit into what it has learned from, too
    for lines in lines_of(given):
        marks = [typed(line.text) for line in lines]
        reads = [last_pieces(marked, machine.ids, longest) for marked in marks]
        for line, marked, read in zip(lines, marks, reads, strict=True):
            status |= complain(line)
            if read != marked:
                say(f"line {line.number} is long: {given.model} reads no more than its last {longest} tokens")
        real = [i for i, marked in enumerate(marks) if marked.strip("▁")]
        found = dict(zip(real, machine.search([reads[i] for i in real], search, max_len=longest), strict=True))
        for i, line in enumerate(lines):
            write(line, [(unmark(marks[i] + text.rest), text.score) for text in found.get(i, [])], given.n_best)
        sys.stdout.flush()
    return status


# ── train, score, export ────────────────────────────────────────────────────────────────────────


def recipes() -> list[str]:
    """The names of the recipes, as they are typed."""
    return sorted(path.stem.replace("_", "-") for path in RECIPES.glob("[!_]*.py"))


def train(given: argparse.Namespace) -> int:
    """Run a recipe as `python -m attention_decoded.recipes.NAME` would, with the options behind its name."""
    name = given.recipe.replace("_", "-")
    if name not in recipes():
        given.parser.error(f"there is no recipe {given.recipe!r}; there are: {', '.join(recipes())}")
    own, sys.argv = sys.argv, [f"{PROGRAM} train {name}", *given.options]
    try:
        with warnings.catch_warnings():  # that it may be imported already, in a process that lives longer, is no matter
            warnings.filterwarnings("ignore", ".*found in sys.modules", RuntimeWarning)
            runpy.run_module(f"attention_decoded.recipes.{name.replace('-', '_')}", run_name="__main__")
    finally:
        sys.argv = own
    return 0


def score(given: argparse.Namespace) -> int:
    """Measure checkpoints again; 1 if a figure is neither the card's nor near it."""
    from attention_decoded.checkpoints import SHIPPED, load_checkpoint
    from attention_decoded.recipes._remeasure import recipe_of, remeasure

    names = [given.checkpoint]
    if not Path(given.checkpoint).is_dir() and given.checkpoint.replace("_", "-") in recipes():
        cards = {path.parent.name: load_checkpoint(path.parent).card for path in sorted(SHIPPED.glob("*/card.json"))}
        recipe = given.checkpoint.replace("-", "_")
        names = [name for name, card in cards.items() if recipe_of(card) == recipe]
        if not names:
            raise CommandError(
                f"the recipe {given.checkpoint} ships no model that could be measured. There are: {', '.join(cards)}"
            )
    status = 0
    for name in names:
        card, figures = remeasure(name, given.pairs)
        print(f"{name}: {card.get('summary', '')}")
        width = max(len(figure.name) for figure in figures)
        for figure in figures:
            interval = "" if figure.low is None else f"[{shown(figure.low)}, {shown(figure.high)}]"
            stated = "" if figure.card is None else f"card {shown(figure.card)}: "
            line = f"  {figure.name:<{width}}  {shown(figure.value):>8}  {interval:<16}  {stated}{figure.verdict}"
            print(line.rstrip())
        for signature in dict.fromkeys(figure.signature for figure in figures if figure.signature):
            print(f"  {signature}")
        differing = [figure.name for figure in figures if figure.verdict == "DIFFERS"]
        unknown = [figure.name for figure in figures if figure.card is None]
        if differing:
            print(f"  Not the card's: {', '.join(differing)}.")
        elif unknown:
            print("  The card has no figures of the test split: its training was not finished.")
        else:
            print("  These are the card's figures.")
        status |= bool(differing)
        sys.stdout.flush()
    return status


def shown(x: int | float | None) -> str:
    """A figure for people: whole numbers as they are, others with four digits."""
    return f"{x:,}" if isinstance(x, int) else f"{x:.4g}"


def export(given: argparse.Namespace) -> int:
    """Copy a checkpoint, checked, to a folder or into a zip file."""
    from attention_decoded.checkpoints import CARD, SHIPPED, load_checkpoint
    from attention_decoded.files import write_atomically

    card = load_checkpoint(given.checkpoint).card
    source = Path(given.checkpoint) if Path(given.checkpoint).is_dir() else SHIPPED / given.checkpoint
    names = [*card["sha256"], CARD]  # the card last: it vouches for the others
    if strange := [name for name in names if Path(name).name != name]:
        raise CommandError(f"{source}: its card names files outside the folder ({', '.join(strange)})")
    contents = {name: (source / name).read_bytes() for name in names}
    out: Path = given.out
    if not given.force and (out.is_file() or (out.is_dir() and any(out.iterdir()))):
        raise CommandError(f"{out} exists and is not empty: name another place, or overwrite it with --force")
    if out.suffix.lower() == ".zip":
        write_atomically(checked_output(out), zipped(source.resolve().name, contents))
    elif out.is_file():
        raise CommandError(f"{out} is a file: name a folder, or a file that ends with .zip")
    else:
        for name, content in contents.items():
            write_atomically(out / name, content)
    print(f"{out}: {len(contents)} files, {sum(map(len, contents.values())):,} bytes")
    return 0


def zipped(folder: str, contents: dict[str, bytes]) -> bytes:
    """A zip of one folder: the same checkpoint gives the same bytes. Weights lie in it as they are, the rest packed."""
    import io
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(f"{folder}/{name}")  # its date is 1980: no clock in it
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_STORED if name.endswith(".safetensors") else zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return buffer.getvalue()


# ── the command line ────────────────────────────────────────────────────────────────────────────


def number(
    kind: type, low: int | float, high: int | float = float("inf"), *, above: bool = False
) -> Callable[[str], Any]:
    """An argparse type: a number of this kind from `low` (or above it) to `high`."""
    bounds = f"{'above' if above else 'at least'} {low:g}" + (f", at most {high:g}" if high < float("inf") else "")

    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
        if not low <= value <= high or (above and value == low):
            raise argparse.ArgumentTypeError(f"{text} must be {bounds}")
        return value

    return read


def parser() -> argparse.ArgumentParser:
    """All commands, their options and their help."""
    main = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Translate, complete, train, measure and export with the models of the book Attention, Decoded.",
        epilog=examples(
            f"echo 你好。 | {PROGRAM} translate",
            f'{PROGRAM} complete "I would like to g"',
            f"{PROGRAM} train completer --minutes 5 --out mine",
            f"{PROGRAM} COMMAND --help",
        )
        + "\n\nexit status: 0 all went well, 1 it did not, 2 wrong usage, 130 stopped by Ctrl-C",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    main.add_argument("--version", action="version", version=f"{PROGRAM} {version()}")
    main.add_argument("--traceback", action="store_true", help="show where in the code an error came from")
    commands = main.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], help: str, more: str, *lines: str):
        made = commands.add_parser(
            name, help=help, description=more, epilog=examples(*lines),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        made.set_defaults(run=run, parser=made)
        return made

    made = command(
        "translate", translate, "Chinese into English, line by line",
        "Translate Chinese into English: every line, or every argument, gives one line of English. An empty line\n"
        "stays empty. Lines are translated as they come in; a line that is too long for the model is cut at its\n"
        "punctuation, and stderr says so.",
        f"{PROGRAM} translate 我喜欢喝茶。 你呢？",
        f"{PROGRAM} translate < chinese.txt > english.txt",
        f"{PROGRAM} translate --n-best 3 我喜欢喝茶。            number, rank, score and text, with tabs between",
        f"{PROGRAM} translate --attention maps.html 我喜欢喝茶。  where the model looked, for a browser",
        f"{PROGRAM} translate --sample --top-p 0.9 --seed 1 你好。",
    )  # fmt: skip
    made.add_argument("text", nargs="*", metavar="TEXT", help="what to translate (default: the lines of stdin)")
    made.add_argument("--model", default="translator", metavar="NAME|FOLDER", help="whose weights (%(default)s)")
    searching(made)
    made.add_argument("--attention", type=Path, metavar="FILE.html",
                      help="also write a page with the cross-attention of each layer and head, and their mean,"
                      f" as tables: row = query, column = key; of the first {MAX_MAPS} sentences")  # fmt: skip

    made = command(
        "complete", complete, "go on with an English beginning",
        "Complete English: every line, or every argument, comes back with an end. The last word may be half typed;\n"
        "a space behind it says that it is whole.",
        f'{PROGRAM} complete "I would like to g"',
        f'{PROGRAM} complete --n-best 3 "Do you "',
        f'{PROGRAM} complete --model completer --sample --temperature 0.8 --n-best 5 "My mother"',
    )  # fmt: skip
    made.add_argument("text", nargs="*", metavar="TEXT", help="beginnings (default: the lines of stdin)")
    made.add_argument("--model", default="completer-decoder-only", metavar="NAME|FOLDER",
                      help="whose weights: %(default)s (default), completer, or a folder")  # fmt: skip
    searching(made)

    made = command(
        "train", train, "run a recipe: train a model of the book",
        f"Train a model. Recipes: {', '.join(recipes())}.\n"
        "Options behind the recipe's name are its own. An interrupted run goes on when the command is given again.",
        f"{PROGRAM} train translator --help",
        f"{PROGRAM} train completer completer-decoder-only --epochs 2 --out runs",
    )  # fmt: skip
    made.add_argument("recipe", metavar="RECIPE", help="which; see above")
    made.add_argument("options", nargs=argparse.REMAINDER, metavar="…", help="the recipe's options")

    made = command(
        "score", score, "measure a checkpoint again on the test split",
        "Measure a checkpoint on its test split, by its recipe's own measure: each figure with its 95 % interval and\n"
        "the signature that says how it was counted, and whether it is the figure of its card. Exit status 1 if not.",
        f"{PROGRAM} score masked-lm",
        f"{PROGRAM} score digits                      every checkpoint of this recipe",
        f"{PROGRAM} score runs/mine --pairs FILE.tsv  trained on pairs of your own",
    )  # fmt: skip
    made.add_argument("checkpoint", metavar="RECIPE", help="a recipe (all its checkpoints), a checkpoint, or a folder")
    made.add_argument("--pairs", type=Path, metavar="FILE.tsv", help="the pairs that it was trained on, if your own")

    made = command(
        "export", export, "copy a checkpoint to a folder or one zip file",
        "Copy a checkpoint, every file checked against the card's SHA-256. A name that ends with .zip gives one zip\n"
        "file, with a folder in it; any other name gives that folder. The files are those that the book's pages\n"
        "read: model.safetensors (weights, 16-bit floats; the sizes are in its metadata under \"config\"), the\n"
        "tokenizers (Hugging Face's format) and card.json. `--model FOLDER` reads a folder back.",
        f"{PROGRAM} export translator translator.zip",
        f"{PROGRAM} export completer my/models/completer",
    )  # fmt: skip
    made.add_argument("checkpoint", metavar="NAME|FOLDER", help="which checkpoint")
    made.add_argument("out", type=Path, metavar="OUT", help="a folder, or a file that ends with .zip")
    made.add_argument("--force", action="store_true", help="overwrite what is there")
    return main


def searching(made: argparse.ArgumentParser) -> None:
    """The options of commands that write text."""
    made.add_argument("--n-best", type=number(int, 1, 100), default=1, metavar="N",
                      help="N texts a line: number, rank, score, text (%(default)s: the text alone)")  # fmt: skip
    made.add_argument("--beam", type=number(int, 1, 100), metavar="N",
                      help="beginnings followed side by side (5, or as many as --n-best); 1 is greedy")  # fmt: skip
    made.add_argument("--sample", action="store_true", help="draw words by chance instead of searching the likeliest")
    made.add_argument("--temperature", type=number(float, 0, 100, above=True), metavar="X",
                      help="with --sample: below 1 surer, above 1 bolder (1)")  # fmt: skip
    made.add_argument("--top-k", type=number(int, 1), metavar="N", help="with --sample: of the N likeliest tokens only")
    made.add_argument("--top-p", type=number(float, 0, 1, above=True), metavar="X",
                      help="with --sample: of the likeliest that together have this probability (1)")  # fmt: skip
    made.add_argument("--seed", type=number(int, 0, 2**63 - 1), metavar="N",
                      help="with --sample: the same seed and text, the same result (0)")  # fmt: skip


def check_search(given: argparse.Namespace) -> None:
    """Refuse options that contradict each other, and fill in the defaults."""
    drawn = {"temperature": 1.0, "top_k": None, "top_p": 1.0, "seed": 0}
    idle = [f"--{name.replace('_', '-')}" for name in drawn if getattr(given, name) is not None]
    if idle and not given.sample:
        given.parser.error(f"{', '.join(idle)} can only be given with --sample")
    if given.sample and given.beam:
        given.parser.error("--beam searches and --sample draws: give one of them")
    given.beam = given.beam or max(5, given.n_best)
    if given.n_best > given.beam and not given.sample:
        given.parser.error(f"--n-best {given.n_best} needs a --beam at least as wide, not {given.beam}")
    for name, default in drawn.items():
        setattr(given, name, default if getattr(given, name) is None else getattr(given, name))


def examples(*lines: str) -> str:
    """Examples at the end of a help text."""
    return "examples:\n" + "\n".join(f"  {line}" for line in lines)


def version() -> str:
    """The package's version."""
    from attention_decoded import __version__

    return __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; its exit status. Wrong usage leaves through SystemExit(2), as argparse has it."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # UTF-8 and \n, whatever the locale and the system
            stream.reconfigure(encoding="utf-8", newline="\n", errors="backslashreplace")  # type: ignore[union-attr]
    given = parser().parse_args(arguments)
    if hasattr(given, "n_best"):
        check_search(given)
    try:
        status = given.run(given)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Whoever reads has closed the pipe, as `head` does: there is nobody left to write to, and nothing to say.
        with contextlib.suppress(Exception):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        again = "; the same command goes on where it was" if given.run is train else ""
        say(f"stopped by Ctrl-C{again}")
        return 130
    except Exception as error:
        if given.traceback:
            raise
        told = str(error) if isinstance(error, CommandError) or str(error) else type(error).__name__
        if isinstance(error, OSError) and error.strerror:
            told = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        elif type(error).__module__ == "builtins" and not isinstance(error, ValueError | ImportError):
            told = f"{type(error).__name__}: {told} (--traceback before the command shows where)"
        say(f"error: {told}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
