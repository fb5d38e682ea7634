r"""How the Evalkit's Chinese normaliser reads digits and drops punctuation, so that its numbers can be compared.

It is ``cn_tn`` of speechio/chinese_text_normalization with all options off, in own words and with its faults, which
published scores contain; ``normalizers.CHINESE`` is the good one. The rules go over the text one after the other. Each
looks for all its matches first, and then puts each reading in the place of the first text that looks like the match,
which may be an earlier one. ``\d`` matches full-width digits, too, whose zeros are not known as zeros (１００ is
一百零十零).
"""

import re
import string
from collections.abc import Callable

_DIGITS = "零一二三四五六七八九"
_UNITS = tuple(
    zip(
        (*range(44, 8, -4), 8, 4, 3, 2, 1),
        "载正涧沟穰秭垓京兆亿万千百十",
        strict=True,
    )
)
_NUMBER = r"\d+(?:\.\d+)?"
_MONEY = "(?:(?:亿|千万|百万|万|千|百)|(?:亿|千万|百万|万|千|百|)[元块]|[角毛分])"
_MEASURES = (
    "[匹张座回场尾条个首阙阵网炮顶丘棵只支袭辆挑担颗壳窠曲墙群腔砣客贯扎捆刀令打手罗坡山岭江溪钟队单双对出口头脚板跳枝件贴"
    "针线管名位身堂课本页家户层丝毫厘分钱两斤铢石钧锱忽寸尺丈里寻常铺程撮勺合升斗盘碗碟叠桶笼盆盒杯斛锅簋篮罐瓶壶卮盏箩箱煲"
    "啖袋钵年月日季刻时周天秒旬纪岁世更夜春夏秋冬代伏辈丸泡粒幢堆根道面片块]|[千毫微]克|[千分厘毫微]米"
)
_MARKS = (
    string.punctuation + "！？｡。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～"
    "｟｠｢｣､、〃《》「」『』【】〔〕〖〗〘〙〚〛〜〝〞〟〰〾〿–—‘’‛“”„‟…‧﹏·〈〉"
)
_WITHOUT_MARKS = str.maketrans(_MARKS, " " * len(_MARKS))


def read_digits(text: str) -> str:
    """Return the text with its digits as Chinese characters and its punctuation as spaces."""
    text = (
        f"^{text}$"  # the rules of dates and money want something in front, those of telephones something behind, too
    )
    for pattern, read in _RULES:
        for match in list(pattern.finditer(text)):
            text = text.replace(found := match[1], read(found), 1)
        if read is _fraction:
            text = text.replace("％", "%")
    for whole, left, right in re.findall(r"(([a-zA-Z]+)二([a-zA-Z]+))", text):
        text = text.replace(whole, f"{left}2{right}", 1)  # B2B stays
    return text.lstrip("^").rstrip("$").translate(_WITHOUT_MARKS)


def _number(text: str) -> str:
    """Read a decimal number."""
    whole, _, decimals = text.partition(".")
    symbols = _whole(whole) if len(whole) > 1 else [_DIGITS[int(whole)]]
    for place, symbol in enumerate(symbols):
        # 两 stands before 百 and larger units, unless 十 is on either side.
        before, after = (symbols[i] if 0 <= i < len(symbols) else "" for i in (place - 1, place + 1))
        if symbol == "二" and after and after not in _DIGITS + "十" and (not before or before not in _DIGITS + "十"):
            symbols[place] = "两"
    reading = "".join(symbols) + ("点" + _one_by_one(decimals) if decimals else "")
    if reading.startswith("点"):
        return "零" + reading
    return reading[1:] if reading.startswith("一十") else reading


def _whole(run: str) -> list[str]:
    """Read a run of digits from its largest unit on. Only ASCII zeros count as zeros in front."""
    significant = run.lstrip("0")
    if not significant:
        return []
    if len(significant) == 1:
        return ["零"] * (len(run) > 1) + [_DIGITS[int(significant)]]
    power, unit = next(pair for pair in _UNITS if pair[0] < len(significant))
    return [*_whole(run[:-power]), unit, *_whole(significant[-power:])]


def _one_by_one(text: str) -> str:
    return re.sub(r"\d", lambda digit: _DIGITS[int(digit[0])], text)


def _date(text: str) -> str:
    year, sign, rest = text.rpartition("年")
    return _one_by_one(year) + sign + _each_number(rest)


def _each_number(text: str) -> str:
    return re.sub(_NUMBER, lambda match: _number(match[0]), text)


def _telephone(text: str) -> str:
    return _one_by_one(re.sub("[-+ ]", "", text))


def _fraction(text: str) -> str:
    above, below = text.split("/")
    return f"{_number(below)}分之{_number(above)}"


def _percentage(text: str) -> str:
    return "百分之" + _number(text.strip("%"))


_RULES: tuple[tuple[re.Pattern[str], Callable[[str], str]], ...] = tuple(
    (re.compile(pattern), read)
    for pattern, read in (
        (r"\D+((?:(?:[089]\d|(?:19|20)\d{2})年)?(?:\d{1,2}月(?:\d{1,2}[日号])?)?)", _date),
        (rf"\D+({_NUMBER}[多余几]?{_MONEY}(?:\d{_MONEY}?)?)", _each_number),
        (r"\D((?:\+?86 ?)?1(?:[38]\d|5[0-35-9]|7[678]|9[89])\d{8})\D", _telephone),
        (r"\D((?:0(?:10|2[1-3]|[3-9]\d{2})-?)?[1-9]\d{6,7})\D", _telephone),
        (r"(\d+/\d+)", _fraction),
        (rf"({_NUMBER}%)", _percentage),
        (rf"({_NUMBER})[多余几]?(?:{_MEASURES})", _number),
        (r"(\d{4,32})", _one_by_one),
        (rf"({_NUMBER})", _number),
    )
)
