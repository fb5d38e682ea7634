"""Pinyin of the Mandarin closed world: every character in it has one reading, or one per word."""

from functools import cache

# One reading per character. Words whose readings differ from those of their characters follow below.
_CHARACTERS = """
    话 hua4 出 chu1
    零 ling2 一 yi1 二 er4 三 san1 四 si4 五 wu3 六 liu4 七 qi1 八 ba1 九 jiu3 十 shi2 两 liang3 我 wo3 你 ni3 他 ta1
    们 men5 的 de5 了 le5 吗 ma5 是 shi4 不 bu4 有 you3 没 mei2 在 zai4 和 he2 很 hen3 也 ye3 个 ge4 本 ben3 条 tiao2
    只 zhi1 这 zhe4 那 na4 什 shen2 么 me5 哪 na3 里 li3 几 ji3 多 duo1 少 shao3 请 qing3 告 gao4 诉 su4 说 shuo1
    问 wen4 叫 jiao4 给 gei3 想 xiang3 要 yao4 会 hui4 去 qu4 来 lai2 到 dao4 吃 chi1 喝 he1 买 mai3 卖 mai4 看 kan4
    学 xue2 习 xi2 喜 xi3 欢 huan1 坐 zuo4 跑 pao3 用 yong4 找 zhao3 画 hua4 写 xie3 听 ting1 老 lao3 师 shi1
    生 sheng1 医 yi1 朋 peng2 友 you3 妈 ma1 爸 ba4 哥 ge1 姐 jie3 弟 di4 妹 mei4 爷 ye2 奶 nai3 孩 hai2 子 zi5
    今 jin1 天 tian1 明 ming2 昨 zuo2 早 zao3 晚 wan3 上 shang4 中 zhong1 午 wu3 下 xia4 星 xing1 期 qi1 日 ri4
    每 mei3 校 xiao4 公 gong1 园 yuan2 院 yuan4 商 shang1 店 dian4 家 jia1 火 huo3 车 che1 站 zhan4 机 ji1 场 chang3
    饭 fan4 海 hai3 边 bian1 山 shan1 河 he2 城 cheng2 市 shi4 国 guo2 首 shou3 都 dou1 苹 ping2 果 guo3 米 mi3
    面 mian4 包 bao1 鸡 ji1 蛋 dan4 西 xi1 瓜 gua1 香 xiang1 蕉 jiao1 鱼 yu2 牛 niu2 肉 rou4 菜 cai4 茶 cha2 水 shui3
    咖 ka1 啡 fei1 汤 tang1 糖 tang2 书 shu1 手 shou3 电 dian4 脑 nao3 衣 yi1 服 fu2 鞋 xie2 帽 mao4 桌 zhuo1 椅 yi3
    雨 yu3 伞 san3 花 hua1 自 zi4 行 xing2 床 chuang2 笔 bi3 狗 gou3 猫 mao1 鸟 niao3 马 ma3 羊 yang2 熊 xiong2 虎 hu3
    兔 tu4 猪 zhu1 鸭 ya1 草 cao3 空 kong1 雪 xue3 血 xue4 煤 mei2 红 hong2 黄 huang2 蓝 lan2 绿 lv4 白 bai2 黑 hei1
    色 se4 颜 yan2 大 da4 小 xiao3 高 gao1 快 kuai4 慢 man4 漂 piao4 亮 liang4 便 pian2 宜 yi2 贵 gui4 好 hao3
    坏 huai4 新 xin1 旧 jiu4 热 re4 冷 leng3 前 qian2 后 hou4 左 zuo3 右 you4 开 kai1 气 qi4 晴 qing2 远 yuan3 近 jin4
    难 nan2 易 yi4 容 rong2 男 nan2 女 nv3 夏 xia4 冬 dong1 轻 qing1 重 zhong4 富 fu4 穷 qiong2 干 gan1 湿 shi1
    深 shen1 浅 qian3 真 zhen1 假 jia3 东 dong1 北 bei3 南 nan2 加 jia1 减 jian3 等 deng3 于 yu2 数 shu4 反 fan3
    义 yi4 词 ci2 字 zi4 腿 tui3 名 ming2 法 fa3 英 ying1 德 de2 意 yi4 利 li4 俄 e2 罗 luo2 斯 si1 班 ban1 牙 ya2
    埃 ai1 及 ji2 泰 tai4 京 jing1 巴 ba1 黎 li2 伦 lun2 敦 dun1 柏 bo2 林 lin2 莫 mo4 科 ke1 曼 man4 谷 gu3 越 yue4
    内 nei4 希 xi1 腊 la4 雅 ya3 典 dian3 古 gu3 哈 ha1 瓦 wa3 秘 bi4 鲁 lu3 回 hui2 答 da2 文 wen2 语 yu3 起 qi3
    还 hai2 飞 fei1 船 chuan2 图 tu2 馆 guan3 音 yin1 乐 yue4 球 qiu2 打 da3 唱 chang4 歌 ge1 睡 shui4 觉 jiao4
    现 xian4 刚 gang1 才 cai2 把 ba3 放 fang4 外 wai4
"""
_WORDS = """
    首都 shou3_du1 学生 xue2_sheng5 医生 yi1_sheng5 朋友 peng2_you5 妈妈 ma1_ma5 爸爸 ba4_ba5 哥哥 ge1_ge5
    姐姐 jie3_jie5 弟弟 di4_di5 妹妹 mei4_mei5 爷爷 ye2_ye5 奶奶 nai3_nai5 喜欢 xi3_huan5 告诉 gao4_su5 衣服 yi1_fu5
    漂亮 piao4_liang5 便宜 pian2_yi5 早上 zao3_shang5 晚上 wan3_shang5 什么 shen2_me5 名字 ming2_zi5 多少 duo1_shao5
    外面 wai4_mian5 后面 hou4_mian5 前面 qian2_mian5 孩子 hai2_zi5
"""


@cache
def _readings() -> dict[str, tuple[str, ...]]:
    items = f"{_CHARACTERS} {_WORDS}".split()
    return {text: tuple(reading.split("_")) for text, reading in zip(items[::2], items[1::2], strict=True)}


def pinyin(text: str) -> list[str]:
    """Return the syllables of a text with tone digits; commas and ends of sentences are kept as ``,`` ``.`` ``?``.

    Raises:
        ValueError: a character is not in the closed world.
    """
    readings, marks = _readings(), {"，": ",", "。": ".", "？": "?", "！": "!", "、": ","}
    syllables, start = [], 0
    while start < len(text):
        if text[start] in marks:
            syllables.append(marks[text[start]])
            start += 1
            continue
        length = next((n for n in (2, 1) if text[start : start + n] in readings), None)
        if length is None:
            raise ValueError(f"{text[start]!r} of {text!r} has no reading; add it to pinyin.py")
        syllables += readings[text[start : start + length]]
        start += length
    return syllables


def to_engine(text: str) -> str:
    """Return what espeak-ng's voice for pinyin is given."""
    # Marks join the syllable before them, otherwise they would be read out.
    joined = " ".join(pinyin(text))
    for mark in ",.?!":
        joined = joined.replace(f" {mark}", mark)
    return joined.replace("v", "ü")
