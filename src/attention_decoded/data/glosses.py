"""Our own choices where the dictionary, read by rule, would mislead: glosses, readings, and what is no word."""

# Function words and the like, glossed for a reader who sees one word under each token.
COMMON = {
    "的": "’s; that (links)", "了": "done (particle)", "吗": "question?", "呢": "and…? (particle)",
    "吧": "let’s; right?", "啊": "ah!", "呀": "ah!", "嘛": "of course", "着": "-ing", "过": "pass; ever did",
    "得": "so that; get", "地": "-ly; ground", "把": "takes (object)", "被": "by (passive)", "在": "at; in",
    "是": "be", "不": "not", "没": "not (yet)", "没有": "have not", "有": "have; there is", "和": "and; with",
    "跟": "with; follow", "与": "and; with", "也": "also", "都": "all", "就": "then; just", "才": "only then",
    "还": "still; return", "又": "again", "再": "again", "很": "very", "太": "too; very", "真": "really", "最": "most",
    "更": "more", "我": "I; me", "你": "you", "您": "you (polite)", "他": "he; him", "她": "she; her", "它": "it",
    "我们": "we; us", "你们": "you (plural)", "他们": "they; them", "她们": "they (women)", "这": "this", "那": "that",
    "哪": "which", "谁": "who", "什么": "what", "怎么": "how", "这个": "this one", "那个": "that one",
    "一个": "one; a", "一": "one", "个": "(measure word)", "只": "only; (measure)", "会": "can; will; meeting",
    "能": "can", "要": "want; must", "想": "want; think; miss", "让": "let; make", "给": "give; for",
    "对": "right; towards", "从": "from", "到": "arrive; to", "向": "towards", "为": "for", "比": "than; compare",
    "打": "hit; play; call", "开": "open; drive", "花": "flower; spend", "看": "look; read", "行": "go; OK; row",
    "上": "on; up", "下": "under; down", "里": "inside", "中": "middle; in", "来": "come", "去": "go",
    "出": "out; go out", "好": "good", "多": "many; much", "少": "few; little", "大": "big", "小": "small",
    "人": "person", "家": "home; family", "天": "day; sky", "年": "year", "时": "when; time", "点": "o’clock; a bit",
    "说": "say", "做": "do; make", "吃": "eat", "请": "please; invite", "用": "use", "本": "(book measure)",
    "东西": "thing", "意思": "meaning", "美女": "beautiful woman", "事": "matter; thing", "子": "child; -(noun)",
    "汤姆": "Tom", "玛丽": "Mary", "叫": "call; be named", "长": "long; grow", "老": "old", "信": "letter; believe",
    "快": "quick; soon", "生": "give birth; raw", "发": "send; hair", "道": "way; say", "头": "head",
    "面": "face; noodles", "手": "hand", "车": "car; vehicle", "书": "book", "水": "water", "等": "wait; and so on",
    "别": "don’t; other", "像": "resemble; like", "件": "(item measure)", "张": "(sheet measure)",
    "条": "(strip measure)", "次": "time (once)", "位": "(polite measure)", "块": "piece; yuan", "岁": "years old",
    "些": "some", "每": "every", "两": "two", "几": "how many", "所": "place; that which", "以": "by means of",
    "而": "and yet", "但": "but", "如": "as; if", "自": "self; from", "不是": "is not", "不会": "cannot; will not",
    "不要": "don’t", "不能": "cannot", "钱": "money", "着急": "worried", "告诉": "tell", "到了": "arrived",
    "学": "learn", "著": "write; notable", "当": "when; serve as", "于": "in; at", "么": "(what)-suffix",
    "为什么": "why", "就是": "is just", "后": "after; behind", "无": "without", "将": "will; shall", "该": "should",
    "不想": "not want", "一下": "a moment; briefly", "场": "place; (event)", "名": "name; (measure)", "呵": "ha",
    "日": "day; sun", "教": "teach", "起": "rise; up", "语": "language", "话": "words; speech", "进": "enter",
    "带": "bring; belt", "者": "person who", "得很": "very", "正": "just; upright", "作": "do; work",
    "多少": "how many", "相信": "believe", "气": "air; anger", "意": "idea", "台": "platform; (machine)",
    "那是": "that is", "间": "room; between", "热": "hot", "利": "profit; sharp", "斯": "(sound in names)",
    "克": "gram; (in names)", "尔": "(sound in names)", "数": "number; count", "机": "machine", "可": "can; but",
    "重": "heavy", "男人": "man", "性": "nature; -ness", "待": "wait; stay", "理": "reason",
    "份": "portion; (measure)", "辆": "(vehicle measure)", "之": "’s (written)", "画": "draw; picture",
    "班": "class; shift", "期": "period", "种": "kind; plant", "们": "(plural)", "我去": "I go",
    "并": "and; (not) at all", "接": "receive; pick up", "国": "country", "关": "close; concern", "干": "do; dry",
    "情": "feeling", "回": "return", "队": "team", "部": "part; section", "装": "pretend; install",
    "电": "electricity", "座": "(building measure)", "特": "special", "同": "same; with", "业": "business",
    "弹": "play (strings)", "二": "two", "亚": "Asia; second", "指": "point; finger", "活": "live; alive",
    "萨": "(sound in names)", "表": "watch; table", "单": "single; list", "离": "away from; leave", "连": "even; link",
    "先生": "Mr; sir", "合": "fit; join", "望": "look; hope", "度": "degree", "由": "by; from", "片": "slice; film",
    "先": "first", "久": "long (time)", "方": "side; square", "客": "guest", "封": "(letter measure)",
    "命": "life; fate", "谢谢": "thanks", "品": "goods", "定": "decide; fixed", "落": "fall", "其": "its; that",
    "倒": "pour; fall", "只有": "only", "使": "make; use", "包": "bag; wrap", "代": "generation; replace",
    "有没有": "is there?", "明白": "understand", "然": "so; -ly", "视": "look at", "预": "in advance",
    "菜": "dish; vegetable", "或": "or", "应": "should; answer", "周": "week", "东京": "Tokyo", "故事": "story",
    "化": "-ize; change", "钟": "clock", "整": "whole; exactly", "结": "knot; tie", "都会": "all can", "知": "know",
    "好了": "ready; OK now", "谈": "talk", "运": "transport; luck", "制": "make; system", "楼": "building; floor",
    "个月": "month(s)", "个星期": "week(s)", "店": "shop", "报": "newspaper; report", "尼": "(sound in names)",
    "差": "lack; bad", "中的": "in the", "架": "shelf; (measure)", "一步": "one step", "不多": "not many",
    "不太": "not very", "不懂": "not understand", "不起": "(cannot) afford", "来说": "speaking of",
    "来越": "(more and) more", "学家": "scholar of", "下一": "next", "不上": "(cannot) reach", "不好": "not good",
    "不到": "less than", "不可": "must not", "不了": "(cannot) manage", "不见": "not see", "点儿": "a bit",
    "一点儿": "a bit", "个人": "person; personal", "什么事": "what matter", "另一": "another", "不可以": "may not",
    "要看": "depends on", "会死": "will die", "对我": "to me", "说不": "say no", "不在": "not at", "是不是": "is it?",
    "有人": "someone", "在家": "at home", "一样": "the same", "一直": "all along", "一起": "together",
    "看起来": "look; seem", "像是": "be like", "号": "number; date", "首": "head; (song measure)",
    "支": "(stick measure)", "双": "pair", "只是": "merely", "地方": "place", "一定": "certainly", "已": "already",
    "曾": "once; ever", "因": "because", "及": "and", "各": "each", "需": "need", "真的": "really",
    "还有": "also; still have", "光": "light; only", "空": "empty; sky", "照": "shine; photo",
    "达": "reach; (in names)", "服": "clothes; obey", "布": "cloth", "取": "take", "付": "pay", "成": "become",
    "乐": "happy; music", "白": "white; in vain", "通": "through", "交": "hand in; make", "提": "mention; carry",
    "假": "fake; holiday", "师": "teacher; master", "网": "net; web", "样": "kind; way", "系": "be; department",
    "站": "stand; station",
}  # fmt: skip


# Entries of the dictionary that are phrases rather than words. Left whole they would hide a common word's
# different uses (打电话, 打网球) or tear sentences wrongly (我去 is slang in the dictionary, "I go" in sentences).
_PHRASES = """
不是 不会 不要 不能 不想 不在 不是吗 不了 不好 不到 不用 不见 不该 不再 不可 不必 不怕 不知 不住 不动 不对
这不 不下 要不 不愿 不合 不停 可不 不行 不舒服 不太好 不明 打电话 打网球 打篮球 打人 打球 打网 每个人 那个人
在教 开车 开门 开会 开枪 看书 看病 吃饭 吃的 吃完 吃饱 喝酒 喝茶 喝醉 写信 写字 写下 读书 要说 说出 对我来说
我去 就要 一定要 快要 将要 都会 会不会 将会 有没有 有钱 有人 有空 有用 有了 有意思 有可能 有兴趣 从来没有
在家 在一起 在下 在地 在那儿 那是 是不是 他用 他人 我等 你我 这就 中的 得很 过得 长得 得了 家的 小的 的哥
的姐 到了 知道了 坏了 完了 成了 太好了 准备好了 极了 没什么 没有什么 没法 没用 没事 没办法 多大 多年 多时
把门 个人 去死 花钱 做饭 上车 下车 做了 过了 一个人 的人 打中 给我
"""
PHRASES = frozenset(_PHRASES.split())

# Readings in the dictionary's spelling where pypinyin chooses the less common one for a token on its own.
READINGS = {
    "告诉": "gao4 su5", "得": "de5", "地": "de5", "故事": "gu4 shi5", "东西": "dong1 xi5", "长": "chang2",
    "台": "tai2", "一个": "yi2 ge4", "教": "jiao4", "干": "gan4", "好了": "hao3 le5", "谁": "shei2",
    "地方": "di4 fang5", "些": "xie1", "意思": "yi4 si5", "认识": "ren4 shi5",
}  # fmt: skip
