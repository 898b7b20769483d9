"""One spelling for one sentence: Unicode, script, punctuation and spaces unified.

The page repeats `normalize_chinese(text, simplify="characters")` in JavaScript, step by step, so
the character classes here are explicit ranges: both languages read them alike.

    1  NFKC                               full-width Ａ becomes A; `，` becomes `,` for now; `…` becomes `...`
    2  SPACE → a space, then CONTROL → nothing     (zero-width characters, soft hyphens, the BOM)
    3  traditional → simplified           "phrases": opencc's t2s; "characters": its single characters alone;
       then in both: 甚么 → 什么, and 著 → 着 unless it means "write" or "known" (ASPECT)
    4  「」『』 → “”‘’, straight double quotes → “ and ” by turns, ─ → —
    5  spaces before , . ! ? : ; ) and their Chinese forms go; runs of two or more of . 。 … ⋯ → …, and ⋯ → …
    6  ! ? ; ( ) , : → ！？；（），： but , and : stay between ASCII digits (3,000  10:30)
    7  `.` → 。 where no ASCII letter or digit follows, and either none precedes or the text ends there
    8  spaces: runs become one; those at the ends, and beside a WIDE character, go

The two ways to simplify differ where a traditional character has several simplified ones and
opencc decides by the phrase: 乾燥 → 干燥 but 乾坤 stays. One character at a time, the table can only
take the commonest. Typed text is nearly always simplified already, and then both agree.
"""

import re
import unicodedata
from functools import cache
from itertools import cycle
from typing import Literal

SPACE = r"[\t\n\v\f\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
CONTROL = r"[\u0000-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]"
HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""The inside of a character class: Chinese characters."""
WIDE = rf"[{HAN}\u3000-\u303f\uff00-\uffef“”‘’…—]"
"""Chinese characters and Chinese punctuation: no space is ever needed beside them."""

_ALNUM = "[0-9A-Za-z]"
_WESTERN = dict(zip(",!?:;()", "，！？：；（）", strict=True))
_QUOTES = str.maketrans("「」『』─", "“”‘’—")
ASPECT = "(?<![名显原论编巨土卓昭合专拙遗])著(?![名作称者述])"
"""Traditional 著 where simplified script writes 着 (看着): opencc cannot tell, the neighbours nearly always can."""
_FIRST, _LAST = 0x3400, 0x3FFFF
_VARIANTS = {"妳": "你", "牠": "它"}  # written apart in Taiwan only; opencc leaves them


@cache
def _opencc():
    from attention_decoded.data.sources import OPENCC, missing_package

    try:
        import opencc
    except ImportError as error:
        raise missing_package(OPENCC) from error
    return opencc.OpenCC("t2s")


@cache
def simplified_characters() -> dict[str, str]:
    """Traditional → simplified, one character at a time: opencc's table as the page gets it (`t2s.json`)."""
    characters = [chr(code) for code in range(_FIRST, _LAST + 1) if re.match(f"[{HAN}]", chr(code))]
    simplified = _opencc().convert("\n".join(characters)).split("\n")
    table = {old: new for old, new in zip(characters, simplified, strict=True) if new != old and len(new) == 1}
    return table | _VARIANTS


def normalize_chinese(text: str, *, simplify: Literal["phrases", "characters"] = "phrases") -> str:
    """The one spelling of a Chinese sentence; the steps stand at the head of this module.

    Normalising twice changes nothing more.
    """
    text = unicodedata.normalize("NFKC", text)
    text = re.sub(CONTROL, "", re.sub(SPACE, " ", text))
    if simplify == "phrases":
        text = _opencc().convert(text).translate(str.maketrans(_VARIANTS))
    else:
        text = "".join(map(simplified_characters().get, text, text))
    text = re.sub(ASPECT, "着", text.replace("甚么", "什么"))
    turns = cycle("“”")
    text = re.sub('"', lambda _: next(turns), text.translate(_QUOTES))
    text = re.sub(r"[.。…⋯]{2,}|⋯", "…", re.sub(" +(?=[,.!?:;)，。！？：；）…⋯])", "", text))
    text = re.sub("[!?;()]|(?<![0-9])[,:]|[,:](?! *[0-9])", lambda match: _WESTERN[match[0]], text)
    text = re.sub(rf"(?<![0-9A-Za-z. ])\.(?!{_ALNUM})|\.(?=[”’） ]*$)", "。", text)
    text = re.sub(" +", " ", text).strip(" ")
    return re.sub(rf"(?<={WIDE}) | (?={WIDE})", "", text)


def normalize_english(text: str) -> str:
    """The one spelling of an English sentence: NFKC, straight quotes, single spaces, no control characters."""
    text = unicodedata.normalize("NFKC", text)
    text = re.sub(CONTROL, "", re.sub(SPACE, " ", text))
    text = re.sub("[‘’]", "'", re.sub("[“”]", '"', text))
    return re.sub(" +", " ", text).strip(" ")


def near_key(text: str) -> str:
    """What is left without punctuation, case and spaces: sentences with equal keys are near duplicates."""
    return "".join(char for char in text.casefold() if unicodedata.category(char)[0] in "LMN")
