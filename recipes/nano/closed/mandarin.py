"""A closed world in Mandarin: sentences, and questions about facts that the English world also knows."""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from kimi_audio.core.words import number_words
from recipes.nano.closed.examples import Example, Speech, asked, heard, spoken, written
from recipes.nano.closed.qa import QAItem, all_items, deal, find_item, is_right, side
from recipes.nano.closed.scoring import characters, chinese_number, mentions, names_only
from recipes.nano.closed.splits import is_reserved
from recipes.nano.closed.voices import (
    ASSISTANT,
    MANDARIN_ASSISTANT,
    MANDARIN_RESERVED,
    MANDARIN_SEEN,
    RESERVED,
    SEEN,
    Voice,
    draw_delivery,
)


def _list(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# 她 and 它 sound like 他, 做 like 坐 and 作: of such groups the world has one.
WORDS: dict[str, tuple[str, ...]] = {
    "人": _list("我 你 他 我们 你们 他们 老师 学生 医生 朋友 妈妈 爸爸 哥哥 姐姐 弟弟 妹妹 爷爷 奶奶 孩子"),
    "时": _list("今天 明天 昨天 早上 晚上 中午 下午 现在 星期一 星期二 星期三 星期四 星期五 星期六 每天"),
    "地": _list("学校 公园 医院 商店 家里 火车站 机场 饭店 海边 山上 图书馆 中国 北京 外面"),
    "吃": _list("苹果 米饭 面包 鸡蛋 西瓜 香蕉 鱼 牛肉 菜 鸡肉 糖"),
    "喝": _list("茶 水 牛奶 咖啡 汤"),
    "物": _list("书 手机 电脑 衣服 鞋子 帽子 桌子 椅子 雨伞 花 自行车 床 笔 画"),
    "动": _list("狗 猫 鸟 马 牛 羊 熊猫 老虎 兔子 鸭子 猪"),
    "色": _list("红色 黄色 蓝色 绿色 白色 黑色"),
    "形": _list("大 小 高 快 慢 漂亮 便宜 贵 好 新 旧"),
    "数": _list("一 两 三 四 五 六 七 八 九 十"),
    "气": _list("热 冷 好 不好 晴"),
    "车": _list("火车 飞机 公车 船 马车"),
    "课": _list("英文 中文 音乐 画画 写字"),
    "玩": _list("唱歌 打球 看书 跑 睡觉 学习 看画 听音乐"),
}
FRAMES = _list("""
    {时}{人}在{地}吃{吃}。 {人}{时}去{地}买{物}。 {人}喜欢{色}的{物}。 这个{物}很{形}。 {人}有{数}个{吃}。
    {人}的{动}很{形}。 {时}{地}天气很{气}。 {人}想喝{喝}还是喝{喝}？ {人}不喜欢吃{吃}。 请给我{数}个{吃}。
    {人}和{人}一起去{地}。 {人}的{物}在{地}。 {人}{时}学习{课}。 {人}要坐{车}去{地}。 {人}的{物}是{色}的。
    {地}有{数}只{动}。 {人}喜欢{动}和{动}。 {人}在{地}{玩}。 {时}{人}和{人}在{地}{玩}。 {人}没有{色}的{物}。
    你喜欢{吃}吗？ 那个{色}的{物}很{形}。 {人}会{玩}也会{玩}。 {人}买了{数}个{物}。 请把{物}放在{地}。
    {人}想吃{吃}和{吃}。 {人}不在{地}。 {动}在{地}，{动}也在{地}。 {人}家里有{动}和{动}。 {人}刚才在{地}找{物}。
""")
_SLOT = re.compile(r"\{(.)\}")


def sentences(generator: random.Random) -> Iterator[str]:
    """Yield written sentences without end; no sentence has the same word in two places."""
    while True:
        slots = _SLOT.findall(frame := generator.choice(FRAMES))
        words = [generator.choice(WORDS[slot]) for slot in slots]
        if len(set(words)) == len(words):
            filled = iter(words)
            yield _SLOT.sub(lambda _, filled=filled: next(filled), frame)


def transcript(text: str) -> str:
    """Return what is to be recognised: the characters without punctuation."""
    return "".join(characters(text))


def sentence_key(text: str) -> str:
    """Return what decides on the side of a Mandarin text."""
    return "zh:" + transcript(text)


def take_mandarin_sentences(count: int, generator: random.Random, reserved: bool) -> list[str]:
    """Return ``count`` distinct sentences of one side."""
    taken: dict[str, str] = {}
    for text in sentences(generator):
        if len(taken) == count:
            break
        if is_reserved(key := sentence_key(text)) == reserved:
            taken.setdefault(key, text)
    return list(taken.values())


# ---------------------------------------------------------------------------------------------------------------------
# Questions


@dataclass(frozen=True)
class MandarinItem:
    """A question in Mandarin; ``fact`` is the name of the same fact in the English world (``QAItem.fact``)."""

    question: str
    answer: str
    kind: str
    fact: str
    key: str
    essential: str


@dataclass(frozen=True)
class _Kind:
    phrasings: tuple[str, ...]
    reply: str
    facts: dict[str, tuple[tuple[str, ...], str]]  # by name: what is asked about, and the answer


def _pairs(text: str) -> dict[str, str]:
    return dict(pair.split(":") for pair in text.split())


CAPITALS = _pairs("""
    France:法国/巴黎 Germany:德国/柏林 Italy:意大利/罗马 Spain:西班牙/马德里 England:英国/伦敦 Russia:俄罗斯/莫斯科
    Egypt:埃及/开罗 China:中国/北京 Japan:日本/东京 Thailand:泰国/曼谷 Vietnam:越南/河内 Greece:希腊/雅典
    Cuba:古巴/哈瓦那 Peru:秘鲁/利马""")
OPPOSITES = _pairs("""
    hot:热/冷 cold:冷/热 big:大/小 small:小/大 fast:快/慢 slow:慢/快 good:好/坏 bad:坏/好 left:左/右 right:右/左
    black:黑/白 white:白/黑 early:早/晚 late:晚/早 heavy:重/轻 light:轻/重 near:近/远 far:远/近 rich:富/穷 wet:湿/干
    dry:干/湿 deep:深/浅 shallow:浅/深 man:男/女 woman:女/男 buy:买/卖 sell:卖/买 front:前/后 back:后/前
    summer:夏天/冬天 winter:冬天/夏天 true:真/假 false:假/真 difficult:难/容易 easy:容易/难""")
DAYS = _pairs("""
    Monday:星期一 Tuesday:星期二 Wednesday:星期三 Thursday:星期四 Friday:星期五 Saturday:星期六 Sunday:星期日""")
COLOURS = _pairs("""
    the_sky:天空/蓝色 grass:草/绿色 snow:雪/白色 blood:血/红色 a_banana:香蕉/黄色 coal:煤/黑色 milk:牛奶/白色""")
LEGS = _pairs("dog:狗/四 cat:猫/四 cow:牛/四 horse:马/四 bird:鸟/两 chicken:鸡/两 duck:鸭子/两")
LARGEST = 10


def _table(kind: str, pairs: dict[str, str]) -> dict[str, tuple[tuple[str, ...], str]]:
    facts = {}
    for name, pair in pairs.items():
        operand, answer = pair.split("/")
        facts[f"{kind}:{name.replace('_', ' ')}"] = ((operand,), answer)
    return facts


def _numeric(kind: str, compute: Callable[[int, int], int]) -> dict[str, tuple[tuple[str, ...], str]]:
    return {
        f"{kind}:{number_words(a)}:{number_words(b)}": (
            (chinese_number(a), chinese_number(b)),
            chinese_number(compute(a, b)),
        )
        for a in range(LARGEST + 1)
        for b in range(LARGEST + 1)
        if compute(a, b) >= 0
    }


def _neighbours(kind: str, step: int) -> dict[str, tuple[tuple[str, ...], str]]:
    names = list(DAYS)
    return {f"{kind}:{name}": ((DAYS[name],), DAYS[names[(i + step) % 7]]) for i, name in enumerate(names)}


KINDS: dict[str, _Kind] = {
    "capital": _Kind(
        _list("{0}的首都是哪里？ {0}的首都是什么？ 请告诉我{0}的首都。 哪个城市是{0}的首都？ {0}的首都叫什么名字？"),
        "{0}的首都是{answer}。",
        _table("capital", CAPITALS),
    ),
    "opposite": _Kind(
        _list("{0}的反义词是什么？ 什么是{0}的反义词？ 请告诉我{0}的反义词。 {0}的反义词是哪个词？ 请说{0}的反义词。"),
        "{0}的反义词是{answer}。",
        _table("opposite", OPPOSITES),
    ),
    "add": _Kind(
        _list(
            "{0}加{1}是多少？ {0}加{1}等于几？ 请告诉我{0}加{1}是多少。 {0}和{1}加起来是多少？ 请问{0}加{1}等于多少？"
        ),
        "{0}加{1}等于{answer}。",
        _numeric("add", lambda a, b: a + b),
    ),
    "subtract": _Kind(
        _list("{0}减{1}是多少？ {0}减{1}等于几？ 请告诉我{0}减{1}是多少。 请问{0}减{1}等于多少？ {0}减去{1}是多少？"),
        "{0}减{1}等于{answer}。",
        _numeric("subtract", lambda a, b: a - b),
    ),
    "day-after": _Kind(
        _list(
            "{0}后面是星期几？ {0}的后一天是星期几？ 请告诉我{0}后面是哪天。 哪天在{0}后面？ 今天是{0}，明天是星期几？"
        ),
        "{0}后面是{answer}。",
        _neighbours("day-after", 1),
    ),
    "day-before": _Kind(
        _list(
            "{0}前面是星期几？ {0}的前一天是星期几？ 请告诉我{0}前面是哪天。 哪天在{0}前面？ 今天是{0}，昨天是星期几？"
        ),
        "{0}前面是{answer}。",
        _neighbours("day-before", -1),
    ),
    "number-after": _Kind(
        _list("{0}后面是几？ {0}后面是哪个数？ 请告诉我{0}后面的数。 哪个数在{0}后面？ 数到{0}，后面是几？"),
        "{0}后面是{answer}。",
        {f"number-after:{number_words(n)}": ((chinese_number(n),), chinese_number(n + 1)) for n in range(31)},
    ),
    "colour": _Kind(
        _list("{0}是什么颜色？ {0}是什么颜色的？ 请告诉我{0}的颜色。 {0}的颜色是什么？ 请问{0}是哪个颜色？"),
        "{0}是{answer}的。",
        _table("colour", COLOURS),
    ),
    "legs": _Kind(
        _list("{0}有几条腿？ 请告诉我{0}有几条腿。 一只{0}有多少条腿？ {0}有多少条腿？ 请问{0}有几条腿？"),
        "{0}有{answer}条腿。",
        _table("legs", LEGS),
    ),
}


@cache
def all_mandarin_items() -> tuple[MandarinItem, ...]:
    """Return every question, in a fixed order."""
    items = []
    for kind_name, kind in KINDS.items():
        for fact, (operands, answer) in kind.facts.items():
            for index, phrasing in enumerate(kind.phrasings):
                question = phrasing.format(*operands)
                reply = kind.reply.format(*operands, answer=answer)
                items.append(MandarinItem(question, reply, kind_name, fact, f"zh:{fact}/{index}", answer))
    return tuple(items)


@cache
def mandarin_side(reserved: bool) -> tuple[MandarinItem, ...]:
    """Return the reserved tenth of the questions, or all the others."""
    return tuple(item for item in all_mandarin_items() if is_reserved(item.key) == reserved)


_NUMBERS = frozenset(chinese_number(n) for n in range(100)) | {"两"}


@cache
def _candidates(kind: str) -> frozenset[str]:
    answers = frozenset(item.essential for item in all_mandarin_items() if item.kind == kind)
    return answers | _NUMBERS if answers & _NUMBERS else answers


def is_right_mandarin(item: MandarinItem, reply: str) -> bool:
    """Tell whether a reply answers the question: the right name comes last, others only if the question names them."""

    def named(text: str) -> list[str]:
        return [name.replace("两", "二") for name in mentions(characters(text), _candidates(item.kind), "")]

    return names_only(named(reply), item.essential.replace("两", "二"), named(item.question))


# ---------------------------------------------------------------------------------------------------------------------
# Examples

TRANSCRIBE = _list("请写下来。 请写出你听到的话。 他说了什么？ 请写下听到的文字。")
IN_MANDARIN = ("Answer in Chinese.", "Please answer in Chinese.", "Reply in Chinese.", "Say the answer in Chinese.")
IN_ENGLISH = _list("请用英文回答。 用英文回答。 请用英语回答。 请用英语说。")
SPOKEN_REQUEST = 0.4  # share of the requests that are spoken


def recognition_examples(count: int, generator: random.Random, reserved: bool, unseen: bool = False) -> list[Example]:
    """Return recordings with the request to write them down; three in four are sentences, one a question."""
    voices = MANDARIN_RESERVED if unseen else MANDARIN_SEEN
    texts = [(text, sentence_key(text)) for text in take_mandarin_sentences(count - count // 4, generator, reserved)]
    items = mandarin_side(reserved)
    texts += [(item.question, item.key) for item in generator.choices(items, k=count // 4)]
    examples = []
    for text, key in texts:
        sound = Speech(text, draw_delivery(generator, voices))
        parts = (asked(generator.choice(TRANSCRIBE)), heard(sound), written(transcript(text)))
        examples.append(Example("mandarin-asr", "transcribe", key, parts, (transcript(text),)))
    generator.shuffle(examples)
    return examples


def question_examples(count: int, generator: random.Random, reserved: bool, unseen: bool = False) -> list[Example]:
    """Return spoken Mandarin questions with their answers in Mandarin, in text and speech."""
    voices = MANDARIN_RESERVED if unseen else MANDARIN_SEEN
    examples = []
    for item in deal(mandarin_side(reserved), count, generator):
        sound = Speech(item.question, draw_delivery(generator, voices))
        parts = (heard(sound), spoken(Speech(item.answer, MANDARIN_ASSISTANT)))
        examples.append(Example("mandarin-qa", item.kind, item.key, parts, (item.essential,)))
    return examples


@cache
def _answers() -> dict[str, tuple[QAItem, MandarinItem]]:
    """Return the facts of both worlds, each as one question of either language (their answers are what is used)."""
    english = {item.fact: item for item in all_items()}
    return {item.fact: (english[item.fact], item) for item in all_mandarin_items() if item.fact in english}


def english_answers() -> list[str]:
    """Return what is answered in English to questions in Mandarin."""
    return [english.answer for english, _ in _answers().values()]


def cross_examples(count: int, generator: random.Random, reserved: bool, unseen: bool = False) -> list[Example]:
    """Return spoken questions in one language with the request to answer in the other, written or spoken.

    The key is that of the question in its own language: what is reserved there is reserved here.
    """
    english = [item for item in side(reserved) if item.fact in _answers()]
    mandarin = [item for item in mandarin_side(reserved) if item.fact in _answers()]
    voices: dict[bool, tuple[Voice, ...]] = {True: RESERVED, False: SEEN}
    examples = []
    for item in deal(english, count // 2, generator):
        delivery = draw_delivery(generator, voices[unseen])
        request, answer = generator.choice(IN_MANDARIN), _answers()[item.fact][1]
        asking = heard(Speech(request, delivery)) if generator.random() < SPOKEN_REQUEST else asked(request)
        parts = (asking, heard(Speech(item.question, delivery)), spoken(Speech(answer.answer, MANDARIN_ASSISTANT)))
        examples.append(Example("cross-language", "en-zh", item.key, parts, (answer.essential,)))
    for item in deal(mandarin, count - count // 2, generator):
        delivery = draw_delivery(generator, MANDARIN_RESERVED if unseen else MANDARIN_SEEN)
        request, answer = generator.choice(IN_ENGLISH), _answers()[item.fact][0]
        asking = heard(Speech(request, delivery)) if generator.random() < SPOKEN_REQUEST else asked(request)
        parts = (asking, heard(Speech(item.question, delivery)), spoken(Speech(answer.answer, ASSISTANT)))
        examples.append(Example("cross-language", "zh-en", item.key, parts, (answer.essential,)))
    generator.shuffle(examples)
    return examples


def is_cross_right(key: str, reply: str) -> bool:
    """Tell whether the reply to the cross-language question with this key is right, and in the language asked for."""
    in_mandarin = not key.startswith("zh:")
    fact = find_item(key).fact if in_mandarin else find_mandarin(key).fact
    english, mandarin = _answers()[fact]
    has_characters = any("\u4e00" <= character <= "\u9fff" for character in reply)
    if has_characters != in_mandarin:
        return False
    return is_right_mandarin(mandarin, reply) if in_mandarin else is_right(english, reply)


def find_mandarin(key: str) -> MandarinItem:
    """Return the question with the key that a manifest states.

    Raises:
        ValueError: there is no such question.
    """
    if key not in _by_key():
        raise ValueError(f"{key!r} is not a Mandarin question; was the corpus built by another version?")
    return _by_key()[key]


@cache
def _by_key() -> dict[str, MandarinItem]:
    return {item.key: item for item in all_mandarin_items()}
