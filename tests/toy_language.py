"""A language of our own in which every Chinese word has one English word, for tiny runs of the recipes."""

from itertools import product

WHO = {"我": "I", "你": "You", "他": "He", "她": "She", "我们": "We"}
VERB = {"喝": "drink", "买": "buy", "看": "see", "爱": "love"}
WHAT = {"茶": "tea", "水": "water", "书": "books", "马": "horses", "花": "flowers", "鱼": "fish"}
WHEN = {"": "", "今天": " today", "常常": " often"}


def rows(who: dict[str, str] = WHO, verb: dict[str, str] = VERB) -> list[str]:
    """Every sentence: Chinese, a tab, English."""
    return [
        f"{subject}{when}{action}{what}。\t{who[subject]} {verb[action]} {WHAT[what]}{WHEN[when]}."
        for subject, when, action, what in product(who, WHEN, verb, WHAT)
    ]


ROWS = rows()
MORE_ROWS = rows({**WHO, "他们": "They"}, {**VERB, "要": "want"})


def quiet(_: str) -> None:
    """What a run is given to report to when nobody listens."""
