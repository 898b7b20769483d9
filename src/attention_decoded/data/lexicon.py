"""Pinyin and a short English gloss for Chinese tokens, so that every reader can follow every example.

The reading is the one pypinyin chooses for the whole token (银行 is yínháng, 行 alone xíng); the gloss is
the first plain sense that CC-CEDICT gives for that reading, cut to GLOSS_LENGTH characters. For the commonest
words a dictionary's first sense misleads, or is grammar prose; those glosses are our own (glosses.py).
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache

from attention_decoded.data.glosses import COMMON, PHRASES, READINGS
from attention_decoded.data.normalize import HAN
from attention_decoded.data.sources import CEDICT, PYPINYIN, missing_package, read_source

GLOSS_LENGTH = 24
"""No gloss is longer, so that it fits under a token."""

PART = "(part of a word)"

_LINE = re.compile(r"(?P<traditional>\S+) (?P<simplified>\S+) \[(?P<pinyin>[^\]]*)\] /(?P<senses>.*)/\s*$")
_POINTER = re.compile(
    r"^(\([^)]*\) )?(old |archaic |erroneous |Japanese |Taiwan )?(variant|pr\.|form) |^(see|same as|used in|abbr\. for|"
    r"also (written|pr\.)|equivalent to|surname|CL:|Taiwan pr|also Taiwan|erhua variant)\b|\bsurname\b|^Kangxi radical|"
    r"^radical |^\(?(bound form|dialect|archaic|literary|old|Tw|slang|Internet slang|vulgar|coarse)\)?$"
)
_RARE = re.compile(r"\((archaic|literary|old|dialect|slang|Internet slang|Tw|vulgar|coarse|Cantonese|math|chemistry)\b")
_TONES = {"1": "\u0304", "2": "\u0301", "3": "\u030c", "4": "\u0300", "5": "", "0": ""}


@cache
def entries() -> dict[str, tuple[tuple[str, tuple[str, ...]], ...]]:
    """Simplified word → its readings, as the dictionary spells them (`yin2 hang2`), each with its senses."""
    found: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for line in read_source(CEDICT).decode("utf-8").splitlines():
        if match := _LINE.match(line):
            found.setdefault(match["simplified"], []).append((match["pinyin"], tuple(match["senses"].split("/"))))
    return {word: tuple(readings) for word, readings in found.items()}


@cache
def words() -> frozenset[str]:
    """Every word of two or more Chinese characters in the dictionary, PHRASES excepted: what a token may be."""
    return frozenset(word for word in entries() if re.fullmatch(f"[{HAN}]{{2,}}", word)) - PHRASES


def marked(pinyin: str) -> str:
    """`yin2 hang2` or `nu:3 hai2` with tone marks, written as one word: yínháng, nǚhái."""
    syllables = []
    for syllable in pinyin.replace("u:", "ü").replace("U:", "Ü").replace("v", "ü").split():
        letters, tone = (syllable[:-1], syllable[-1]) if syllable[-1].isdigit() else (syllable, "5")
        bearer = next((letters.lower().find(v) for v in ("a", "e", "ou") if v in letters.lower()), -1)
        if bearer < 0:  # otherwise the last vowel bears the mark (guì, liú)
            bearer = max((i for i, letter in enumerate(letters.lower()) if letter in "iouü"), default=len(letters) - 1)
        letters = letters[: bearer + 1] + _TONES.get(tone, "") + letters[bearer + 1 :]
        # Pinyin writes an apostrophe before a later syllable that starts with a vowel: Xī'ān.
        syllables.append(("’" if syllables and letters[:1].lower() in "aeo" else "") + letters)
    word = unicodedata.normalize("NFC", "".join(syllables))
    return word[:1] + word[1:].lower()


def entry(token: str) -> tuple[str, str]:
    """Pinyin and gloss of a Chinese token; ("", "") for one without Chinese characters.

    A piece of a word that means nothing alone (圾 of 垃圾) is glossed PART.
    """
    if not re.search(f"[{HAN}]", token):
        return "", ""
    readings = entries().get(token, ())
    spoken = _spoken(token)
    # The dictionary writes final -r (这儿 zhe4 r5) and neutral tones more carefully than pypinyin does.
    alike = [reading for reading in readings if _plain(reading[0]) == _plain(spoken)] or [
        reading for reading in readings if _bare(reading[0]) == _bare(spoken)
    ]
    alike.sort(key=_is_name)  # both sorts are stable: names come last, else the order stays
    pinyin = alike[0][0] if alike else spoken
    senses = [sense for reading in [*alike, *sorted(readings, key=_is_name)] for sense in _plain_senses(reading[1])]
    if token in COMMON:
        gloss = COMMON[token]
    elif senses:
        gloss = senses[0]
    else:
        gloss = PART
    return marked(pinyin), gloss


def stacked(token: str) -> str:
    """A Chinese token and under it its pinyin, a line for each character: narrow enough for the label of a column.

    Where the word sounds unlike its characters alone, its pinyin stands in one line; other tokens come back as given.
    """
    pinyin = entry(token)[0]
    apart = [entry(character)[0] for character in token]
    return "\n".join([token, *(apart if "".join(apart) == pinyin else [pinyin])]) if pinyin else token


def table(tokens: Iterable[str]) -> dict[str, list[str]]:
    """`{token: [pinyin, gloss]}` for every token with Chinese characters: the page's `lexicon.json`."""
    return {token: list(entry(token)) for token in sorted(tokens) if re.search(f"[{HAN}]", token)}


def shorten(sense: str) -> str:
    """The sense in at most GLOSS_LENGTH characters: asides dropped first, then whole alternatives, then words."""
    bare = re.sub(r"\s*(\([^)]*\)|\[[^\]]*\])", "", sense).strip(" ,;")
    sense = re.sub(r"^(to be|to) (?=\w)", "", bare or sense.strip("() "))
    sense = re.sub(r"\w+\|(\w+)", r"\1", sense)
    if len(sense) <= GLOSS_LENGTH:
        return sense
    kept = ""
    for part in re.split(r"(?<=[;,]) ", sense):
        if len(kept) + len(part) > GLOSS_LENGTH:
            break
        kept += part + " "
    kept = kept.strip(" ,;")
    return kept or sense[: GLOSS_LENGTH - 1].rsplit(" ", 1)[0].rstrip(" ,;") + "…"


def _spoken(token: str) -> str:
    if token in READINGS:
        return READINGS[token]
    try:
        import pypinyin
    except ImportError as error:
        raise missing_package(PYPINYIN) from error
    return " ".join(pypinyin.lazy_pinyin(token, style=pypinyin.Style.TONE3, neutral_tone_with_five=True))


def _plain(pinyin: str) -> str:
    return pinyin.lower().replace("u:", "v").replace("ü", "v").replace("0", "5")


def _bare(pinyin: str) -> str:
    """Without tones, and with final -r as a syllable of its own, as pypinyin gives it."""
    return re.sub(r"\d", "", re.sub(r" r5\b", " er", _plain(pinyin)))


def _is_name(reading: tuple[str, tuple[str, ...]]) -> bool:
    return reading[0][:1].isupper()


def _plain_senses(senses: tuple[str, ...]) -> list[str]:
    """Senses worth showing, shortened, those marked as rare last; pointers to other entries are left out."""
    kept = [sense for sense in senses if not _POINTER.search(sense)]
    kept.sort(key=lambda sense: bool(_RARE.search(sense)))
    return [short for sense in kept if (short := shorten(sense)) and not re.search(f"[{HAN}]", short)]
