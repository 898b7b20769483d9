"""Chinese in the pages' text is marked as Chinese, once, and nothing else is touched."""

import re
from pathlib import Path

import pytest
from chinese_marks import marked

HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
ALONE = (
    r'<div class="ad-widget-host">.*?</noscript>',
    r"<(script|style|svg|math|textarea|option|noscript)\b.*?</\1>",
    r'<span lang="zh[^"]*">.*?</span>',
)


@pytest.mark.parametrize(
    ("plain", "with_marks"),
    [
        ("<p>the word 花 (<em>huā</em>)</p>", '<p>the word <span lang="zh">花</span> (<em>huā</em>)</p>'),
        ("<p>「我花了。」 says</p>", '<p><span lang="zh">「我花了。」</span> says</p>'),
        ('<span class="s2">"三个小时。"</span>', '<span class="s2">"<span lang="zh">三个小时。</span>"</span>'),
        ("<p>你好, 世界</p>", '<p><span lang="zh">你好</span>, <span lang="zh">世界</span></p>'),
        ("<p>\u3000。</p>", "<p>\u3000。</p>"),
        ('<img alt="花 > 草" src="x">花', '<img alt="花 > 草" src="x"><span lang="zh">花</span>'),
        ('<span lang="zh-Hans"><b>花</b></span>', '<span lang="zh-Hans"><b>花</b></span>'),
        ("<svg><text>花</text></svg><script>'花'</script><!-- 花 -->", None),
        ('<div class="wide ad-widget-host"><div>花</div>花<br></div>', None),
        ('<span class="katex"><span>花</span>花</span>', None),
    ],
)
def test_chinese_is_marked_where_it_is_text(plain: str, with_marks: str | None):
    assert marked(plain) == (plain if with_marks is None else with_marks)
    assert marked(marked(plain)) == marked(plain)


def test_after_what_is_left_alone_marking_goes_on():
    assert marked('<div class="ad-plotly"><div>花</div></div>花') == (
        '<div class="ad-plotly"><div>花</div></div><span lang="zh">花</span>'
    )


def test_no_page_has_chinese_without_a_mark(site: Path):
    marks = 0
    for path in site.rglob("*.html"):
        if "_static" in path.relative_to(site).parts:
            continue
        body = path.read_text("utf-8").partition("<body")[2]
        marks += body.count('lang="zh"')
        for pattern in ALONE:
            body = re.sub(pattern, "", body, flags=re.DOTALL)
        left = HAN.findall(re.sub(r"<[^>]*>", "", body))
        assert not left, f"{path.name}: {''.join(left)}"
    assert marks > 50
