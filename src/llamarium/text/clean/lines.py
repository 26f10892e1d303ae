"""Lines: white space, and lines that belong to the page or the site rather than to what is said.

Takes: a text with plain line ends.
Gives: the text without those lines.
Does not know: whether the text comes from a web page: `clean` asks most of these rules only then.

"C4" is Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", section 2.2. What
it says of English has a Chinese counterpart here; the figures of those are ours, and each docstring gives them.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence

from llamarium.text.clean.characters import plain

FEWEST_WORDS = 3
FEWEST_HAN = 5
LONGEST_NOTICE = 100

_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f]")
_LINE_SPACE = re.compile("(?<![ \t\u3000])[ \t\u3000]+$", re.MULTILINE)  # starts once a run, so a long run costs its length
_BLANK_LINES = re.compile("\n{3,}")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")


def whitespace(text: str) -> str:
    r"""Plain spaces; no space at the end of lines; at most one blank line; indentation stays.

    >>> whitespace("one\u00a0two  \n\n\n\n  three\n")
    'one two\n\n  three'
    >>> whitespace("　　羊驼吃草。　\n")
    '　　羊驼吃草。'
    """
    if not plain(text):
        text = _SPACES.sub(" ", text)
    if " \n" in text or "\t\n" in text or "\u3000\n" in text or text.endswith((" ", "\t", "\u3000")):
        text = _LINE_SPACE.sub("", text)
    if "\n\n\n" in text:
        text = _BLANK_LINES.sub("\n\n", text)
    return text.strip("\n")


# Each begins with a line end, so that the search leaps from one to the next; a line end is put before the text for it.
_MARGIN = "[ \t\u3000]*"
_NUMBERED = re.compile(
    f"\n{_MARGIN}(?:(?:[Pp]age|PAGE|[Pp]\\.) ?(?P<page>[0-9]{{1,5}})(?: ?(?:of|OF|/) ?[0-9]{{1,5}})?"
    "|第 ?(?P<ye>[0-9]{1,5}) ?[页頁](?:[ ,，/]*共 ?[0-9]{1,5} ?[页頁])?"
    f"|[-–—] ?(?P<dashed>[0-9]{{1,5}}) ?[-–—]){_MARGIN}(?=\n|\\Z)"
)
_DIGITS = re.compile("[0-9]+")
_MARK_FAMILIES = {"page": 2, "ye": 2, "dashed": 3}  # how many there must be


def page_marks(text: str) -> str:
    r"""Take out lines that count pages, where they do count up, and the header or footer that stands beside at least half of them.

    "Page 3 of 12" and "第 3 页 共 12 页" must occur twice, "- 3 -" three times without a gap; a header or footer three times.

    >>> page_marks("One.\nPage 1 of 2\nTwo.\nPage 2 of 2")
    'One.\nTwo.'
    >>> page_marks("甲。\n羊驼手册\n第 1 页\n乙。\n羊驼手册\n第 2 页\n丙。\n羊驼手册\n第 3 页")
    '甲。\n乙。\n丙。'
    >>> page_marks("See\nPage 9\nand\nPage 4"), page_marks("第 1 页")
    ('See\nPage 9\nand\nPage 4', '第 1 页')
    """
    if not _NUMBERED.search("\n" + text):
        return text
    found: dict[str, list[tuple[int, int]]] = {family: [] for family in _MARK_FAMILIES}
    for mark in _NUMBERED.finditer("\n" + text):
        assert mark.lastgroup is not None
        found[mark.lastgroup].append((mark.start(), int(mark[mark.lastgroup])))
    starts = {
        start
        for family, marks in found.items()
        if len(marks) >= _MARK_FAMILIES[family] and _counts_up([number for _, number in marks], without_gap=family == "dashed")
        for start, _ in marks
    }
    if not starts:
        return text
    lines, offset, marks_at = text.split("\n"), 0, []
    for index, line in enumerate(lines):
        if offset in starts:
            marks_at.append(index)
        offset += len(line) + 1
    gone = {*marks_at, *_beside(lines, marks_at)}
    return "\n".join(line for index, line in enumerate(lines) if index not in gone)


def _counts_up(numbers: Sequence[int], *, without_gap: bool) -> bool:
    """Each number is no less than the one before, or begins anew at 1."""
    return all(after == before + 1 if without_gap else after >= before or after == 1 for before, after in itertools.pairwise(numbers))


def _beside(lines: Sequence[str], marks_at: Sequence[int]) -> set[int]:
    """The lines next to the marks, blank ones apart, that say the same, but for numbers, at three marks and at half of them."""
    marks = set(marks_at)
    near: dict[int, str] = {}
    for mark in marks_at:
        for step in (-1, 1):
            index = mark + step
            while 0 <= index < len(lines) and not lines[index].strip():
                index += step
            if 0 <= index < len(lines) and index not in marks:
                near[index] = _DIGITS.sub("0", lines[index].strip())
    counts = Counter(near.values())
    return {index for index, line in near.items() if counts[line] >= max(3, len(marks_at) / 2)}


def _whole_lines(*patterns: str) -> re.Pattern[str]:
    return re.compile(f"\n{_MARGIN}(?:{'|'.join(patterns)}){_MARGIN}(?=\n|\\Z)", re.IGNORECASE)


def _without(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub("", "\n" + text)[1:]


_NAVIGATION = _whole_lines(
    "skip to (?:main )?(?:content|navigation)|(?:back|return|go) to (?:the )?(?:top|home(?: ?page)?)",
    "(?:main )?menu|home|search|sitemap|contact us|about us",
    "(?:next|previous|prev|older|newer)(?: (?:page|posts?|article|story|chapter))?[ ]?[>»›→]*",
    "[<«‹←]+ ?(?:previous|prev|back|older)[a-z ]{0,12}",
    "(?:click here to |tap to )?(?:read|show|see|view|load|learn) (?:more|all)[. …>»›→]*|continue reading[. …>»›→]*",
    "(?:log|sign) ?(?:in|up|out)|register|subscribe(?: now| today)?|create (?:an )?account|forgot (?:your )?password\\??",
    "(?:related|popular|recent|latest) (?:posts?|articles?|stories|news|topics|tags)|you (?:may|might) also like",
    "(?:leave|post|add) a (?:comment|reply)|[0-9]+ (?:comments?|replies)|no comments(?: yet)?",
    "[^\n>»›]{1,30}(?: ?[>»›] ?[^\n>»›]{1,30}){2,6}",  # Home > News > World
    "首页|网站首页|返回(?:顶部|首页|列表|上一页)|网站地图|联系我们|关于我们",
    "[上下]一[篇页章节条][:：]?[^\n]{0,40}",
    "(?:点击|点此|点这里)?(?:阅读|查看|浏览)(?:全文|原文|更多|详情|全部)[^\n]{0,6}|展开(?:全文|更多|阅读全文)?|收起(?:全文)?|加载更多|更多[>»›]*",
    "登[录陆](?:[ /|、]*注册)?|注册|免费注册|忘记密码[?？]?",
    "(?:相关|推荐|热门|延伸|精彩|最新)(?:阅读|推荐|文章|新闻|标签|搜索|评论)[:：]?|猜你喜欢|大家都在看",
    "(?:发表|我要|查看|全部|网友)评论(?:[(（][0-9]+[)）])?|[0-9]+ ?条评论|暂无评论",
    "(?:您?(?:当前|现在|所在)的?)位置[:：][^\n]{0,60}|责任编辑[:：][^\n]{0,20}|字号[:：]?[^\n]{0,12}|打印本页|关闭窗口|加入收藏|设为首页",
)


def navigation(text: str) -> str:
    r"""Take out lines that lead elsewhere: menus, "Read more", "上一篇：…", "点击阅读全文", bread crumbs.

    >>> navigation("Home > News > World\nA llama escaped.\nRead more »\nLog in")
    'A llama escaped.'
    >>> navigation("首页 > 新闻 > 正文\n羊驼跑了。\n点击阅读全文\n上一篇：春耕")
    '羊驼跑了。'
    >>> navigation("We went home.\n他回到首页看了看。")
    'We went home.\n他回到首页看了看。'
    """
    return _without(_NAVIGATION, text)


_NETWORKS = "facebook|twitter|x|linkedin|pinterest|whatsapp|reddit|telegram|instagram|youtube|e-?mail|weibo|wechat|line"
_SHARING = _whole_lines(
    "(?:share|tweet|pin|e-?mail|print|like)(?: (?:this|it|us))?(?: (?:page|post|article|story))?"
    f"(?: ?(?:on|to|via|by|with)? ?(?:{_NETWORKS}))?",
    f"(?:follow|find|join) us(?: (?:on|at) [^\n]{{1,40}})?|(?:{_NETWORKS})(?:[ |/,·]+(?:{_NETWORKS}))+",
    "分享[到至给][^\n]{0,30}|一键分享|(?:微信|手机)?扫(?:一扫|码|描)[^\n]{0,24}|[^\n]{0,8}二维码[^\n]{0,16}",
    "(?:欢迎)?关注(?:我们|本站|微信|公众号|官方)[^\n]{0,24}",
    "(?:点赞|收藏|转发|评论|分享|赞|踩|举报|打赏)(?:[ /|、·0-9]+(?:点赞|收藏|转发|评论|分享|赞|踩|举报|打赏)?)*",
)


def sharing(text: str) -> str:
    r"""Take out the lines of share and follow buttons.

    >>> sharing("Share on Facebook\nA llama escaped.\nTweet\nFollow us on Instagram")
    'A llama escaped.'
    >>> sharing("羊驼跑了。\n分享到：微信 微博\n扫一扫关注我们\n点赞 收藏 转发")
    '羊驼跑了。'
    """
    return _without(_SHARING, text)


_ADVERTISING = _whole_lines(
    "(?:advertisements?|ads?|sponsored|promoted)(?: (?:content|post|links?|by [^\n]{1,30}))?[:.]?",
    "(?:story )?continues below(?: advertisement)?|(?:buy|shop|order|download|book|try)(?: it)? (?:now|today|for free)[!.]*",
    "(?:sign up|subscribe) (?:for|to) (?:our|the) [^\n]{0,30}newsletter[!.]*",
    "\\[?(?:广告|推广|赞助(?:内容|商)?|商业推广)\\]?[:：]?",
    "(?:限时|立即|马上|火热)(?:抢购|优惠|购买|下载|领取|预订|报名|咨询)[^\n]{0,16}",
    "(?:请?(?:加|添加)?)?(?:客服)?(?:微信|QQ|VX)(?:号|群|客服)?[:： ]+[0-9A-Za-z_-]{5,20}[^\n]{0,10}",
    "(?:点击)?下载[^\n]{0,10}(?:APP|客户端)[^\n]{0,16}",
)


def advertising(text: str) -> str:
    r"""Take out lines that advertise.

    >>> advertising("Advertisement\nA llama escaped.\nBuy now!")
    'A llama escaped.'
    >>> advertising("羊驼跑了。\n【广告】\n广告\n限时抢购，五折起\n加微信：llama2024")
    '羊驼跑了。\n【广告】'
    """
    return _without(_ADVERTISING, text)


_SITE_FOOTERS = _whole_lines(
    "(?:copyright|\\(c\\)|©)[^\n]{0,100}|[^\n]{0,60}all rights reserved[^\n]{0,40}|(?:proudly )?powered by [^\n]{1,40}",
    "(?:版权所有|Copyright ?©?)[^\n]{0,60}|[^\n]{0,8}ICP[备证][^\n]{0,30}|[^\n]{0,8}公网安备[^\n]{0,30}",
    "(?:未经|非经)[^\n]{0,16}(?:许可|授权|同意)[^\n]{0,12}(?:不得|禁止|严禁|请勿)[^\n]{0,20}|转载请注明[^\n]{0,24}",
)


def site_footers(text: str) -> str:
    r"""Take out copyright lines, site registrations and "powered by".

    >>> site_footers("A llama escaped.\n© 2024 The Farm. All rights reserved.\nPowered by Hay")
    'A llama escaped.'
    >>> site_footers("羊驼跑了。\n版权所有 牧场\n京ICP备12345678号\n未经许可，不得转载。")
    '羊驼跑了。'
    """
    return _without(_SITE_FOOTERS, text)


_POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_POLICIES_CHINESE = ("隐私政策", "隐私权政策", "使用条款", "服务条款", "用户协议", "免责声明", "使用cookie", "使用 cookie")


def policies(text: str) -> str:
    r"""Take out lines that hold one of C4's six phrases of policy notices, or, in at most 100 characters, a Chinese one.

    >>> policies("A llama escaped.\nThis site uses cookies.\nBy reading on you accept our Terms of Use.")
    'A llama escaped.'
    >>> policies("羊驼跑了。\n本网站使用 Cookie 以改善体验。\n阅读并同意《用户协议》和《隐私政策》")
    '羊驼跑了。'
    """
    lower = text.lower()
    english, chinese = (tuple(phrase for phrase in phrases if phrase in lower) for phrases in (_POLICIES, _POLICIES_CHINESE))
    if not english and not chinese:
        return text

    def is_notice(line: str) -> bool:
        line = line.lower()
        return any(phrase in line for phrase in english) or (len(line) <= LONGEST_NOTICE and any(phrase in line for phrase in chinese))

    return "\n".join(line for line in text.split("\n") if not is_notice(line))


def javascript(text: str) -> str:
    r"""Take out lines with the word Javascript: they ask for it to be switched on (C4).

    >>> javascript("A llama escaped.\nPlease enable JavaScript to view this page.")
    'A llama escaped.'
    >>> javascript("羊驼跑了。\n请开启 Javascript 后访问。")
    '羊驼跑了。'
    """
    if "javascript" not in text.lower():
        return text
    return "\n".join(line for line in text.split("\n") if "javascript" not in line.lower())


_CITATION_MARKS = re.compile(r"\[(?:[0-9]{1,3}|edit|citation needed|编辑|来源请求|原文如此|注 ?[0-9]{1,3})\]")


def citation_marks(text: str) -> str:
    """Take out an encyclopedia's marks such as [1], [edit], [citation needed] and [来源请求] (C4).

    >>> citation_marks("The llama[1] eats grass.[citation needed]"), citation_marks("羊驼[2]吃草。[来源请求]")
    ('The llama eats grass.', '羊驼吃草。')
    """
    return _CITATION_MARKS.sub("", text) if "[" in text else text


def repeated_lines(text: str) -> str:
    r"""Keep only the first of the lines that stand at least three times in a text and have at least ten characters.

    >>> repeated_lines("\n".join(["Llama farm, open daily", "One."] * 3))
    'Llama farm, open daily\nOne.\nOne.\nOne.'
    >>> repeated_lines("羊驼牧场，每天开放，欢迎来访\n一\n" * 3)
    '羊驼牧场，每天开放，欢迎来访\n一\n一\n一\n'
    """
    lines = text.split("\n")
    if len(lines) < 3:
        return text
    counts = Counter(lines)
    often = {line for line, count in counts.items() if count >= 3 and len(line.strip()) >= 10}
    if not often:
        return text
    kept: list[str] = []
    for line in lines:
        if line in often:
            if counts[line] == 0:
                continue
            counts[line] = 0
        kept.append(line)
    return "\n".join(kept)


_LATIN_ENDS = (".", "!", "?", '"', "'", "”", "’", "»")
_CHINESE_ENDS = (*_LATIN_ENDS, *"。！？；：，…」』》）")


def sentence_lines(text: str) -> str:
    r"""Keep lines that end like a sentence and have at least three words (C4); an ellipsis is no end.

    Of lines with Chinese characters: at least five of them, and at the end 。！？；：，… or a closing mark, as verse and speech have.

    >>> sentence_lines("Our llamas\nThe llama eats grass.\nContact\nRead on...")
    'The llama eats grass.'
    >>> sentence_lines("羊驼牧场\n春眠不觉晓，\n处处闻啼鸟。\n更多内容")
    '春眠不觉晓，\n处处闻啼鸟。'
    """
    return "\n".join(line for line in text.split("\n") if not line or _is_sentence(line.strip()))


def _is_sentence(line: str) -> bool:
    if not line.isascii() and _HAN.search(line):
        return line.endswith(_CHINESE_ENDS) and len(_HAN.findall(line[:200])) >= FEWEST_HAN
    return line.endswith(_LATIN_ENDS) and not line.endswith("...") and len(line.split(None, FEWEST_WORDS)) >= FEWEST_WORDS
