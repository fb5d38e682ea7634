"""How the Evalkit's Chinese normaliser reads digits, so that its numbers can be compared.

This is the documented behaviour in own words, not a good normaliser; ``normalizers.CHINESE`` is that one.

Known from the original's results, and kept with its faults:

- a digit run is a number (100 is 一百), or read digit by digit from four digits on if no measure word follows
  (1500 is 一五零零, but 1500元 a number);
- a leading zero is read once (08 is 零八), zeros alone vanish (1,000元 becomes 一 元), but full-width zeros stay zeros
  (１００ is 一百零十零);
- a minus and the hyphens of a date vanish without a trace (-5度 is 五度), all other punctuation becomes a space
  (12:30 is 十二 三十);
- letters stay (1kg is 一kg); width, case, fillers, erhua and traditional characters stay, too.

Not known, therefore the plain reading: per cent and fractions (百分之, 分之), digits behind a decimal point one by one,
years before 年 digit by digit, 两 for a 2 before 百, 千, 万 and 亿, telephone numbers like all long runs, hyphens
between letters like those of dates, and which measure words there are.
"""

import re
import unicodedata

_DIGITS = "零一二三四五六七八九"
_UNITS = ((8, "亿"), (4, "万"), (3, "千"), (2, "百"), (1, "十"))
_MEASURES = (
    "个 只 位 名 人 头 匹 条 张 本 册 份 件 套 台 部 辆 架 艘 座 栋 间 家 所 户 层 楼 "
    "门 扇 把 支 枝 根 棵 朵 片 块 粒 颗 滴 瓶 杯 碗 盘 袋 箱 包 盒 桶 束 双 对 副 组 "
    "队 排 群 批 次 回 趟 遍 场 届 顿 句 段 篇 页 首 封 种 类 项 级 号 期 岁 年 月 日 "
    "天 周 时 点 分 秒 刻 米 里 尺 寸 丈 亩 顷 吨 斤 两 克 升 度 倍 成 折 股 元 块 角 "
    "毛 圆 美元 欧元 英镑 日元 港元 人民币 公里 千米 厘米 毫米 平方 立方 公斤 千克 毫升 公顷 "
    "公分 小时 分钟 星期 万 亿 千 百"
)
_MEASURE = "|".join(sorted(set(_MEASURES.split()), key=len, reverse=True))
# \d matches full-width digits as well, which is how the original comes to read them wrongly.
_NUMBER = re.compile(
    r"(?P<year>\d{4}|\d{2})(?=年)"
    r"|(?P<percent>\d+(?:\.\d+)?)[%％]"
    r"|(?P<below>\d+)/(?P<above>\d+)"
    rf"|(?P<counted>\d+(?:\.\d+)?)(?=[多余几]?(?:{_MEASURE}))"
    r"|(?P<code>\d{4,})"
    r"|(?P<plain>\d+(?:\.\d+)?)"
)


def read_digits(text: str) -> str:
    """Return the text with its digits as Chinese characters and its punctuation as spaces."""
    text = _NUMBER.sub(_read, text)
    text = text.replace("-", "").replace("－", "")
    return "".join(" " if _is_punctuation(character) else character for character in text)


def _read(match: re.Match[str]) -> str:
    kind = match.lastgroup
    if kind == "above":
        return f"{_number(match['above'])}分之{_number(match['below'])}"
    if kind == "percent":
        return "百分之" + _number(match["percent"])
    if kind in ("year", "code"):
        return _one_by_one(match[kind])
    return _number(match.group())


def _number(text: str) -> str:
    """Read a decimal number."""
    whole, _, decimals = text.partition(".")
    reading = _whole(whole)
    if reading.startswith("一十"):
        reading = reading[1:]
    reading = re.sub("(?<!十)二(?=[百千万亿])", "两", reading)
    return f"{reading}点{_one_by_one(decimals)}" if decimals else reading


def _whole(run: str) -> str:
    """Read a run of digits from its largest unit on. Only ASCII zeros count as zeros in front."""
    significant = run.lstrip("0")
    if not significant:
        return ""
    if len(significant) == 1:
        return ("零" if len(run) > 1 else "") + _DIGITS[int(significant)]
    power, unit = next(pair for pair in _UNITS if pair[0] < len(significant))
    return _whole(run[:-power]) + unit + _whole(run[-power:])


def _one_by_one(run: str) -> str:
    return "".join(_DIGITS[int(digit)] for digit in run)


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] == "P" or character in "$+<=>^`|~"
