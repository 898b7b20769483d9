"""Fonts are cut to exactly what is asked for."""

import io

from fontTools.ttLib import TTFont
from web_fonts import FACES, chinese_in, cut, face_file, slices, stand_in, unicode_range


def test_unicode_ranges_join_neighbours():
    assert unicode_range("abc我") == "U+61-63, U+6211"


def test_slices_keep_every_character_once():
    letters = [chr(97 + i) for i in range(26)]
    parts = slices(letters, 7)
    assert [len(part) for part in parts] == [7, 7, 7, 5]
    assert [letter for part in parts for letter in part] == letters


def test_chinese_is_told_from_latin():
    assert chinese_in("他 is tā, 「电话」。 naïve – …") == set("他「电话」。")


def test_a_cut_font_has_the_characters_asked_for_and_no_others():
    font = TTFont(io.BytesIO(cut(face_file(FACES[2]), "abé")))
    assert font.flavor == "woff2"
    assert set(font.getBestCmap()) == set(map(ord, "abé"))
    assert "fvar" in font  # still variable


def test_the_stand_in_is_measured_from_the_face():
    rule = stand_in(FACES[0])
    assert 'local("Georgia")' in rule
    sizes = [float(part.split("%")[0].split(":")[1]) for part in rule.split(";") if "size-adjust" in part]
    assert 80 < sizes[0] < 125
