"""The words of the general sentences, by the part that they play in a sentence frame.

Classes are kept about as large as their frames are frequent, so that every word is heard equally often.
"""


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.split()))


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(phrase.strip() for phrase in text.split(",")))


WORDS: dict[str, tuple[str, ...]] = {
    "name": _words("""
        Adam Alice Amy Andrew Anna Ben Brian Carla Charles Chloe Clara Daniel David Diana Dora Edward Ella Emma
        Eric Eva Felix Frank George Grace Hannah Harry Helen Henry Hugo Ida Irene Jack James Jane Jason Julia Karen
        Kate Kevin Laura Leo Linda Lucy Lucas Maria Mark Martha Martin Mary Max Michael Mona Nathan Nina Noah Nora
        Oliver Olivia Oscar Paul Peter Philip Rachel Robert Rosa Ruth Sam Sarah Simon Sophie Susan Thomas Tina Tom
        Victor Vera Walter William Zoe"""),
    "person": _words("""
        actor artist baby banker boss brother captain chef child clerk coach cousin customer dancer doctor
        engineer farmer father fisherman gardener girl guard guide hunter husband king leader librarian man
        manager mayor mechanic minister mother musician neighbor nephew nurse officer painter parent
        passenger player president princess professor queen sailor scientist sheriff soldier son stranger
        tailor uncle waiter wife winner woman writer"""),
    "people": _words("""
        actors artists boys brothers children cousins dancers farmers friends girls guests kids ladies men neighbors
        nurses parents people players pupils sailors singers sisters soldiers students teachers tourists twins
        visitors women workers"""),
    "animal": _words("""
        ant bear bee bird bull butterfly cat cow crow deer dog dolphin dragon duck eagle fish fox giraffe
        hamster horse kangaroo kitten lion lizard panda parrot pig pigeon pony puppy rabbit shark sheep
        snake spider squirrel turkey zebra"""),
    "animals": _words("""
        bees birds butterflies cats cows dogs fishes foxes frogs goats horses insects lions monkeys ponies
        puppies spiders"""),
    "thing": _words("""
        axe bag ball basket belt bike boat book bottle box bracelet brick bucket button cabinet camera
        candle candy car card carpet cart chain chair chest clock cloth coat computer cord cup curtain desk
        diamond dish doll door drawer dress envelope fence file flag flute folder frame gate gift glass
        globe guitar hammer handle hat hook jar jewel kettle key kite ladder lamp lantern leaf letter lid
        light magazine magnet map medal microphone mirror mug nail napkin needle newspaper novel package
        paddle page painting pan paper pen pencil photo piano pipe plane plate pocket pot present prize pump
        purse puzzle ring robot rug saddle sail saw scarf screen seed shelf shoe soap sofa statue stick
        stool stove string suitcase sweater sword table tape telephone tent thread tool torch towel toy
        tractor tray treasure trophy truck trumpet umbrella vase vehicle violin wagon watch weapon wheel
        whistle wire"""),
    "things": _words("""
        bananas bells blocks boards boats bottles bowls branches bridges buttons cards carrots clothes
        cookies cups doors dresses eggs flowers gifts hats keys lamps leaves letters lights machines maps
        medals nuts oranges papers pears pencils photos pictures pillows plants plates plums rings rocks
        ropes roses seeds shells ships shoes spoons strawberries tickets tools trucks watches windows"""),
    "food": _words("""
        bacon beef bread broth butter cabbage cake chicken chocolate cream flour fruit ginger ham jam juice
        ketchup lemonade lunch milk mustard oil pasta pepper pie pizza popcorn pork porridge rice salad
        salmon salt sandwich sauce sausage sugar supper tea vanilla yogurt"""),
    "place": _words("""
        airport apartment attic bakery balcony basement bathroom beach bedroom bridge cabin cafe camp canal
        cave cellar chapel church cinema classroom clinic coast corner court courtyard field fountain
        gallery garage garden hall hill hospital house hut island jungle kitchen lobby market meadow mill
        mine office palace park path pool porch prison restaurant river room seaside shop square stable
        staircase station street supermarket swamp temple theater tower tunnel university valley yard zoo"""),
    "city": _words("""
        Africa Asia Athens Australia Berlin Boston Canada China Dublin England Florida France Geneva Germany
        Greece Iceland India Ireland Italy Japan Kenya Lisbon London Norway Oslo Paris Poland Portugal
        Prague Rome Russia Scotland Spain Sweden Texas Turkey Venice"""),
    "did": _words("""
        admired arranged bought built carried caught checked cleaned collected colored copied counted
        covered damaged designed destroyed discovered drew dropped examined felt filled finished fixed
        forgot found grabbed guarded handled ignored invented inspected kicked left lent liked located lost
        loved made marked measured mentioned missed offered opened packed placed prepared pulled purchased
        pushed put raised received recognized removed scratched sent shared showed sold spotted stole stored
        threw tied took touched traded tested turned unpacked used wiped"""),
    "do": _words("""
        ask avoid balance be bring build buy change check choose close collect copy count cut decorate
        deliver describe discover divide drop dry explain find finish fix fold follow forget get give guess
        hang hide hold inspect judge keep lift load make mark mention notice own paint plan play polish
        prepare print prove pull push raise reach record remember repair replace rescue see sell send serve
        share study support throw touch trust turn use visit wash watch wear weigh wrap"""),
    "does": _words("""
        admires brings buys carries draws drives enjoys fears finds gets guards has holds keeps needs owns
        pays prefers remembers sells shares studies trusts understands uses wants watches wears"""),
    "went": _words("""
        appeared arrived ate awoke began cheered cooked danced departed disappeared dived dreamed exercised
        failed fell fled flew fought gathered grew hid jogged jumped knelt laughed lay marched met paused
        played ran rested sailed sat screamed searched sighed slept slipped smiled spoke stayed stood
        stopped stumbled suffered talked trained traveled vanished waited wandered waved whispered worked
        yawned"""),
    "going": _words("""
        arguing baking begging breathing camping cooking counting crying digging drawing drinking falling
        fighting fishing floating flying growing hiking hunting hurrying laughing leaving listening living
        lying marching moving painting planting reading resting rowing running sailing shopping shouting
        singing sitting sleeping smiling snoring spelling studying talking thinking training typing waiting
        washing whispering winning writing yawning"""),
    "good": _words("""
        ancient antique awful bad basic beautiful better big black blue bright broken brown cheap classic clean clear
        cold colorful common complete correct cracked crazy crooked curious cute dangerous dark deep delicate
        different dirty double dull dusty easy electric elegant empty enormous excellent expensive extra fake false
        familiar famous fancy fashionable fast favorite final fine flat foreign fragile fresh frozen full funny
        giant golden gray great green handy hard hollow hot huge important large last late lazy little local long
        loose lost lovely low lucky magic massive mechanical medium metal missing modern mysterious narrow natural
        neat new next normal odd old orange ordinary original perfect pink plain plastic popular precious pretty
        private pure purple rare raw real rectangular red regular rich round rusty safe secret shallow sharp shiny
        short silver similar simple single slim slow small smooth soft solid special spare square steep stiff
        strange strong sturdy terrible thick thin tiny tough traditional typical ugly unusual useful usual valuable
        warm weird wet white whole wide wild wonderful wooden yellow"""),
    "kind": _words("""
        alone angry anxious ashamed awake bored brave busy calm careful cheerful comfortable confident
        confused crazy curious eager fair friendly generous grateful greedy happy healthy helpful hungry
        innocent joyful lonely loyal mad nice patient polite proud ready rude selfish serious shy sick
        silent smart sure surprised talented tall thirsty tired upset weak worried wrong young"""),
    "slowly": _words("""
        again alone angrily anxiously badly beautifully bravely briefly carefully cheerfully clearly closely
        completely correctly early eagerly easily finally gently gladly happily hard honestly immediately kindly late
        lazily loudly nervously nicely often patiently perfectly politely poorly properly proudly quickly quietly
        rapidly sadly safely secretly seriously silently slowly smoothly softly strangely suddenly sweetly together
        well wildly wisely"""),
    "when": _phrases("""
        yesterday, today, tomorrow, tonight, last night, this morning, this afternoon, this evening, on Monday,
        on Tuesday, on Wednesday, on Thursday, on Friday, on Saturday, on Sunday, in January, in February, in March,
        in April, in May, in June, in July, in August, in September, in October, in November, in December,
        in spring, in summer, in autumn, in winter, at noon, at midnight, at dawn, at sunset, after school,
        before breakfast, after dinner, during lunch, every day, every week, last year, this month, next weekend,
        at Christmas, an hour ago, on my birthday, in the holidays"""),
    "number": _words("""
        two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
        eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred several many few"""),
    "ordinal": _words("first second third fourth fifth sixth seventh eighth ninth tenth"),
    "near": _phrases("""
        near, behind, beside, under, above, inside, outside, across, around, past, through, toward, beyond, below,
        opposite, next to, in front of, at, in, by, from"""),
    "idea": _words("""
        adventure advice argument beauty battle choice crime culture death decision difference disease dream
        duty emergency event experience experiment fear freedom friendship future game goal habit health
        history holiday humor idea joy justice knowledge language law lesson message mood murder music
        mystery noise opinion party past patience peace plan pleasure poem politics power pressure price
        problem question religion report result reward risk science secret shape silence situation skill
        sleep solution song speech speed spirit story strategy summer surprise theory time title tradition
        truth value victory view vision voice vote war weather wedding wisdom wish work world"""),
    "body": _words("""
        ankle back beard chin ear eye finger forehead hair hand head knee lip mouth neck nose shoulder skin
        stomach toe tongue tooth wrist"""),
    "weather": _words("""
        cloudy cold cool damp dry frosty hot humid icy misty rainy snowy stormy sunny warm wet"""),
    "nature": _words("""
        breeze darkness dew dust earth fire flood ground moon planet rain rainbow river sea shadow sky smoke
        snow star steam storm sun sunshine thunder waterfall wave"""),
    "whose": _words("my your his her our their"),
    "they": _words("I you we they"),
    "can": _words("can could will would should must might may cannot"),
    "because": _words("and but because while when until before after although unless if since so though"),
    "usually": _words("always never usually sometimes often rarely seldom probably certainly already just still"),
    "job": _words("""
        art baseball biology chess drama geography golf mathematics medicine philosophy physics poetry
        soccer tennis volleyball"""),
    "material": _words("""
        clay cotton iron leather marble metal paper plastic rubber silk steel straw velvet wood"""),
    "dontwant": _phrases("""
        I don't, you didn't, he doesn't, she couldn't, we shouldn't, they won't, I can't, we aren't going to,
        it wouldn't, you mustn't"""),
    "its": _words("it's that's there's he's she's what's here's who's where's"),
    "someone": _words("""
        someone everyone nobody anyone somebody everybody he she"""),
    "something": _words("something nothing everything anything it this that these those them"),
    "where": _words("where why when how"),
    "about": _words("about against for without"),
}
