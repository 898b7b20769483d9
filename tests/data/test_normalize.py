"""One spelling for one sentence. All sentences here are our own."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_decoded.data.normalize import near_key, normalize_chinese, normalize_english, simplified_characters

MESS = st.text(
    alphabet="我們们買乾著看名甚么花钱,.!?:;()，。！？…⋯ 　\u200b\ufeff\t\"'「」『』“”aB7Ａ７~-", max_size=17
)


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("\ufeff我們去吃飯。", "我们去吃饭。"),  # BOM, traditional
        ("我 想  喝茶 .", "我想喝茶。"),
        ("我叫 Tom Smith.", "我叫Tom Smith。"),
        ("你好,世界!", "你好，世界！"),
        ("ＡＢＣ　１２３", "ABC 123"),
        ("它要3,000块,10:30开门.", "它要3,000块，10:30开门。"),
        ("圆周率是3.14吗?", "圆周率是3.14吗？"),
        ("他说：「好。」", "他说：“好。”"),
        ('她说"走"。', "她说“走”。"),
        ("等等......", "等等…"),
        ("等等…", "等等…"),
        ("等等⋯⋯", "等等…"),
        ("零\u200b宽\u00ad度", "零宽度"),
        ("妳愛牠", "你爱它"),
        ("你在做甚麼？", "你在做什么？"),
        ("他看著我", "他看着我"),
        ("一位著名的作家", "一位著名的作家"),
        ("（真的）", "（真的）"),
        ("a\tb\nc", "a b c"),
        ("   ", ""),
    ],
)
def test_chinese_has_one_spelling(written: str, normal: str) -> None:
    assert normalize_chinese(written) == normal
    assert normalize_chinese(written, simplify="characters") == normal


def test_phrases_and_characters_differ_where_the_phrase_decides() -> None:
    """The page has only the table of characters; the module says so, and here is the difference."""
    assert normalize_chinese("乾坤") == "乾坤"
    assert normalize_chinese("乾坤", simplify="characters") == "干坤"


def test_table_for_the_page_maps_one_character_to_one_other() -> None:
    table = simplified_characters()
    assert len(table) > 3000
    assert table["馬"] == "马"
    assert all(len(old) == len(new) == 1 and old != new for old, new in table.items())


@given(MESS)
@settings(max_examples=300, deadline=None)
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    for simplify in ("phrases", "characters"):
        once = normalize_chinese(text, simplify=simplify)
        assert normalize_chinese(once, simplify=simplify) == once


@given(MESS)
@settings(max_examples=200, deadline=None)
def test_english_twice_changes_nothing_more(text: str) -> None:
    once = normalize_english(text)
    assert normalize_english(once) == once


def test_english_has_one_spelling() -> None:
    assert normalize_english("\ufeff It’s  “fine”,\u00a0really ") == 'It\'s "fine", really'


def test_near_key_keeps_words_alone() -> None:
    assert near_key("It's fine, REALLY!") == near_key("its fine really") == "itsfinereally"
    assert near_key("你好，世界！") == near_key("你好世界") == "你好世界"
    assert near_key("…！？") == ""
    assert near_key("10") != near_key("100")
