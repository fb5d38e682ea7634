"""The facts of the closed question-and-answer world."""


def _pairs(text: str) -> dict[str, str]:
    pairs = (pair.split(":") for pair in text.split(","))
    return {key.strip(): value.strip() for key, value in pairs}


def _words(text: str) -> list[str]:
    return text.split()


CAPITALS = _pairs("""
    France: Paris, Germany: Berlin, Italy: Rome, Spain: Madrid, Portugal: Lisbon, England: London, Ireland: Dublin,
    Scotland: Edinburgh, Norway: Oslo, Sweden: Stockholm, Finland: Helsinki, Denmark: Copenhagen, Poland: Warsaw,
    Austria: Vienna, Hungary: Budapest, Greece: Athens, Russia: Moscow, Ukraine: Kiev, Romania: Bucharest,
    Bulgaria: Sofia, Serbia: Belgrade, Croatia: Zagreb, Belgium: Brussels, Turkey: Ankara, Egypt: Cairo,
    Kenya: Nairobi, Morocco: Rabat, Ethiopia: Addis Ababa, China: Beijing, Japan: Tokyo, India: New Delhi,
    Thailand: Bangkok, Vietnam: Hanoi, Iran: Tehran, Iraq: Baghdad, Canada: Ottawa, Cuba: Havana, Brazil: Brasilia,
    Peru: Lima, Chile: Santiago, Argentina: Buenos Aires, Australia: Canberra""")

OPPOSITES = _pairs("""
    hot: cold, big: small, tall: short, fast: slow, old: young, good: bad, happy: sad, up: down, left: right,
    in: out, day: night, black: white, early: late, empty: full, hard: soft, heavy: light, high: low, loud: quiet,
    near: far, open: closed, rich: poor, strong: weak, thick: thin, wet: dry, wide: narrow, clean: dirty,
    deep: shallow, easy: difficult, first: last, always: never, before: after, above: below, begin: end,
    buy: sell, push: pull, give: take, love: hate, win: lose, laugh: cry, remember: forget, awake: asleep,
    alive: dead, brave: afraid, cheap: expensive, dark: bright, false: true, friend: enemy, front: back,
    inside: outside, less: more, man: woman, boy: girl, north: south, east: west, peace: war, question: answer,
    summer: winter, sweet: sour, top: bottom, yes: no""")

DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = _words("January February March April May June July August September October November December")
ORDINALS = _words("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth")

SPELLED = _words("""
    cat dog sun hat bed cup pen box fox car bus map jam egg ice sea sky tea zoo arm leg ear eye lip toe king queen
    fish bird frog duck goat lion bear wolf milk cake rice soup salt tree leaf rose seed rain snow wind fire moon
    star door room wall roof book desk ball game song drum ring gold ship boat road town park farm hill lake blue
    pink green black white house mouse horse sheep table chair bread apple lemon water river ocean plane train
    truck shirt glove watch clock paper happy quick jump love zero five seven eight nine zebra""")

PLURALS = _pairs("""
    mouse: mice, child: children, foot: feet, tooth: teeth, man: men, woman: women, goose: geese, leaf: leaves,
    knife: knives, wolf: wolves, baby: babies, box: boxes, city: cities, dog: dogs, house: houses, fox: foxes,
    sheep: sheep, person: people, story: stories, bus: buses, shelf: shelves, wife: wives, cherry: cherries""")

PASTS = _pairs("""
    go: went, see: saw, eat: ate, run: ran, take: took, give: gave, come: came, write: wrote, drink: drank,
    swim: swam, sing: sang, fly: flew, buy: bought, think: thought, teach: taught, make: made, find: found,
    sleep: slept, keep: kept, leave: left, tell: told, sit: sat, stand: stood, win: won, lose: lost, drive: drove,
    break: broke, speak: spoke, know: knew, begin: began, walk: walked, play: played, jump: jumped, work: worked""")

COLOURS = _pairs("""
    the sky: blue, grass: green, snow: white, blood: red, a banana: yellow, coal: black, a carrot: orange,
    an elephant: gray, chocolate: brown, a flamingo: pink, a lemon: yellow, milk: white, a tomato: red,
    a frog: green, a violet: purple, the sun: yellow, a strawberry: red, a raven: black""")

SOUNDS = _pairs("""
    cow: moo, dog: woof, cat: meow, sheep: baa, duck: quack, pig: oink, lion: roar, bee: buzz, snake: hiss,
    mouse: squeak, owl: hoot, horse: neigh, frog: croak, wolf: howl, bird: tweet""")

LEGS = _pairs("""
    dog: four, cat: four, cow: four, horse: four, spider: eight, ant: six, bird: two, chicken: two, person: two,
    snake: zero, fish: zero, bee: six, butterfly: six, duck: two, elephant: four, lion: four""")

HOMES = _pairs("""
    fish: water, bird: nest, bee: hive, lion: savanna, king: castle, horse: stable, camel: desert, spider: web,
    penguin: ice, farmer: farm""")

# Words that make the reply right, the reply, and the ways to ask.
SMALL_TALK: tuple[tuple[str, str, str], ...] = (
    ("hello", "Hello, nice to hear you.", "Hello. | Hello there. | Hi there. | Hey, hello. | Hi, can you hear me?"),
    (
        "good morning",
        "Good morning to you.",
        "Good morning. | A good morning to you. | Good morning, assistant. | Morning, my friend.",
    ),
    (
        "good evening",
        "Good evening to you.",
        "Good evening. | A good evening to you. | Good evening, assistant. | Evening, my friend.",
    ),
    (
        "good night",
        "Good night, sleep well.",
        "Good night. | I am going to bed. | I will sleep now. | Time to sleep. | Sleep well.",
    ),
    (
        "goodbye",
        "Goodbye, see you soon.",
        "Goodbye. | Bye for now. | See you later. | I have to go now. | Goodbye, my friend.",
    ),
    (
        "fine",
        "I am fine, thank you.",
        "How are you? | How are you today? | How do you feel? | How is it going? | Are you well?",
    ),
    (
        "nano",
        "My name is Nano.",
        "What is your name? | Who are you? | Tell me your name. | What are you called? | May I know your name?",
    ),
    (
        "welcome",
        "You are welcome.",
        "Thank you. | Thanks a lot. | Thank you very much. | Many thanks. | I thank you for that.",
    ),
    (
        "speech",
        "I can listen and answer with speech.",
        "What can you do? | How can you help me? | What are you able to do? | Tell me what you can do.",
    ),
    (
        "computer",
        "I live inside a computer.",
        "Where do you live? | Where are you? | Where is your home? | Tell me where you live.",
    ),
    (
        "machine",
        "No, I am a machine.",
        "Are you a human? | Are you a real person? | Are you alive? | Are you a man or a woman?",
    ),
    ("problem", "It is no problem at all.", "I am sorry. | Please forgive me. | I made a mistake. | Sorry about that."),
    (
        "music",
        "Yes, I love music.",
        "Do you like music? | Do you enjoy music? | What do you love? | Tell me what you like.",
    ),
    (
        "young",
        "I am still very young.",
        "How old are you? | What is your age? | Tell me your age. | When were you born?",
    ),
    (
        "seven days",
        "A week has seven days.",
        "How many days are in a week? | How many days has a week? | How long is a week? | Count the days of a week.",
    ),
    (
        "twelve months",
        "A year has twelve months.",
        "How many months are in a year? | How many months has a year? | Count the months of a year.",
    ),
    (
        "sixty minutes",
        "An hour has sixty minutes.",
        "How many minutes are in an hour? | How many minutes has an hour? | How long is an hour?",
    ),
    (
        "twenty four hours",
        "A day has twenty four hours.",
        "How many hours are in a day? | How many hours has a day? | How long is a day?",
    ),
    (
        "sixty seconds",
        "A minute has sixty seconds.",
        "How many seconds are in a minute? | How many seconds has a minute? | How long is a minute?",
    ),
    (
        "meet",
        "I am happy to meet you.",
        "Nice to meet you. | Pleased to meet you. | It is nice to meet you. | I am glad to meet you.",
    ),
    (
        "luck",
        "I wish you good luck.",
        "I have a test today. | Wish me luck. | I am nervous today. | Today is my big day.",
    ),
    (
        "birthday",
        "Happy birthday to you.",
        "Today is my birthday. | It is my birthday. | I have my birthday today. | Guess who has a birthday.",
    ),
    (
        "better soon",
        "I hope you feel better soon.",
        "I am sick. | I do not feel well. | My head hurts. | I feel bad today.",
    ),
    ("glad", "I am glad to hear that.", "I am happy. | I feel great today. | I had a good day. | Everything is fine."),
    ("listening", "Yes, I am listening.", "Are you there? | Are you listening? | Is anybody there? | Do you hear me?"),
    (
        "tired",
        "No, I am never tired.",
        "Are you tired? | Do you need sleep? | Do you ever sleep? | Do you want a rest?",
    ),
    (
        "joke",
        "My memory is too small for a joke.",
        "Tell me a joke. | Do you know a joke? | Make me laugh. | Say something funny.",
    ),
)
