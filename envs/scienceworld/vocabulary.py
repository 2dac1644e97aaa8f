"""Every word of the simulator: its sentence forms, commands, and the names of things in it."""

from agentrl.envs.scienceworld.demonstrators import ROOMS
from agentrl.models.tiny.build import Vocabulary

PHRASES = (
    "Your task is to",
    "Your task is to find a n",
    "Your task is to find the animal with the",
    "First focus on the thing Then move it to the",
    "The animals are in the outside location",
    "Focus on the animal with the",
    "longest life span",
    "shortest life span",
    "longest life span then the shortest life span",
    "then the animal with the",
    "First focus on the animal with the",
    "Then focus on the animal with the",
    "non-living thing",
    "living thing",
    "This room is called the",
    "This outside location is called the",
    "In it you see",
    "Here you see",
    "You also see",
    "A door to the",
    "that is open",
    "that is closed",
    "substance called",
    "containing substance called",
    "containing nothing",
    "On the",
    "In the",
    "is nothing",
    "which is turned off",
    "which is turned on",
    "which is off",
    "which is on",
    "which is deactivated",
    "door is closed",
    "door is open",
    "currently reading a temperature of",
    "degrees celsius",
    "You teleport to the",
    "You move to the",
    "You focus on the",
    "You move the",
    "to the inventory",
    "to the",
    "In your inventory you see",
    "No known action matches that input",
    "The door is already open",
    "Ambiguous request Please enter the number for the action you intended or blank to cancel",
    "in the adult stage",
    "in the reproducing stage",
    "in the seedling stage",
    "in the seed stage",
    "light bulb",
    "wait1",
    "apple tree",
    "avocado tree",
    "banana tree",
    "cherry tree",
    "grapefruit tree",
    "lemon tree",
    "orange tree",
    "peach tree",
    "pea plant",
    "giant tortoise",
    "blue jay",
    "brown bear",
    "finger painting",
    "fire pit",
    "glass cup",
    "look around",
    "look at",
    "look in",
    "focus on",
    "pick up",
    "put down",
    "go to",
    "teleport to",
)
"""Runs of words in what the world says and is told, as they read once DROPPED is gone."""

BOXES = ("red", "orange", "yellow", "green", "blue", "purple")
"""Colours of the boxes in which things are to be put."""

MIXED = ("blue-violet", "green-blue", "red-orange", "violet-red", "yellow-green", "yellow-orange")
"""Colours of paint that read as one word, for what is decoded goes back to the simulator."""

WORDS = tuple(
    """A a abhorrent ablaze able about above abstract acceptable accessible accompanied account acetate acetic acid
    acknowledged Action action actions activate activated add Adding adding Adler admirably adult advancing After
    after against Agent agent ago air akin Alexandra All all almond almonds alone already Also also aluminum always
    am Ambiguous ambiguous amount An an and angle animal animals anode another answer ant any anything anywhere
    appear appears apple Apples approximately apricot are aren't around arrived art Arthur artist as ash asked
    assure at atrophies Attempted attempting attempts Austen author avocado axe B b baby balanced banana
    bananapollen bananas base bathroom bathtub battery Be be bear beaver because bed bedroom bee beehive been before
    being below Bennet Beowulf beowulf between bicarbonate bird black blank blast block Blue blue boat Bob boil
    boiling book bottom bowl box boxes braces brass Bread bread break breeze brick bringing broken bronze brown bud
    buds bulb burned but butter butterfly buzzer by C c caesium Call called can CAN'T can't cancel cashew cashews
    catch catches caterpillar cathode cause causing celsius ceramic certain chair chameleon change changes Changing
    changing Charles Checking cheeks chemical chemistry cherry cherrypollen chicken chipmunk chloride Chocolate
    chocolate chop circuit circulation class clear climes clip close closeable closed closet cloth coffin cold color
    colour combinations Combust combusting Combustion combustion commencement common complete Completed completed
    completely completing component components compounds Conan conditions conductive conductivity confidence Connect
    connect connected Connections connections connects considered consume contact contain Container container
    containers containing Contents contents continues cool cooler cooling copper correct couch Could counter covered
    cow cream create created creating Criteria critical crocodile crossing crosspollinated cup cupboard currently
    cycle D d damp Darwin daughters day deactivate deactivated dead dear death decide default Defaulting defined
    degree degrees deleted deliberately delicious delight departs Description description desk determine develop
    device Dick dick dig directly Disabled disaster disconnect disconnected disconnecting disposition Disuse Do
    document does doesn't Dom Domestication dominant don't done door dough dove down Doyle dragonfly drain drawer
    drawing dried driving drizzly drop dunk dunking E e earliest early eat eclipses edible egg either electric
    electrical electrically elephant elliptical else emotion emotions Empty empty end Ending energy enter entering
    enterprise entire environment Error error especially every evil examine exceeded exceeds Existing expect
    expected experiment eyes F f Failed failure false families far farm fatness feel feeling feelings felt filled
    fills final find finger fire First first fixed flammable Flour flour flower Flowerpots flowers flush flushing
    Focus focus foil food For for forebodings foretaste forever fork fortune Found found Foundations foundations
    foundry fountain Frankenstein frankenstein freeze freezer friction fridge frog from fruit funeral furnace G g
    gallium garlic gas gaseous generate generated generator Genes genes Genetics genetics get giant gives glass go
    goal gold good grapefruit greater Green green greenhouse greenpaint grey grim ground grow growing grown gs H h
    habits hallway hand happen has hatchling hats have having He he health hear heard Heat heat heated heater
    heating heats hedgehog height help her Here here Herman hidden high hills him himself his hit hive hole Holmes
    holmes hot how hypos I I'm ice icy identify If if ignite In in inclined increasing index individual Infinite
    ingredients initialize input Inside inside instead instructions instrument intended interest intermediate into
    Invalid invalid inventory involuntarily Irene Iron iron is Ishmael isn't It it It's it's items iterations Its
    its itself J j jam Jane jar jay jug juice just juvenile keeping keys kind kitchen knocking known lady large last
    lastsatisfied latest lead leaf least leaves lemon length let letter life lifecycle lifespan light lighter Lily
    linear liquid liquids list listed little lived Living living located location locked London long longest look
    looks love lover low lush machine make man marshmallow Mary matches material matter mattress max may me meadow
    means measure measures medium meet melt melting Melville mendelian mendellian mention mercury message met metal
    method methodically might mind minds Missing missing mix mixed Mixing mixing Moby moby mode modifier modifiers
    money Monitored moon moral more most moth motor mountain mouse mouth movable Move move moveable moved Moving
    moving Mr multiplied must My my myself n name named near nearby need neighbourhood nerves Netherfield never new
    Next No no non nonconductive none nonrenewable north northern not nothing November now nuclear null Number
    number nut nuts O o Obj obj Object object object's Objects objects observations observing occasionally of off
    Offspring On on One one onion only open openable Optional or orange oranges ordered organism Origin origin other
    out outside ovate oven Owen paint painting paints panel Paper paper Parent parent Park parrot part partially
    particular particularly parts Passable passable patient pausing pea peach peanut Peanuts peanuts peapollen pear
    peas people perfect periods Petersburgh Pick pick picture pillow pink pit place placed plane planes Plant plant
    plants plastic plate platinum play playing Please poet point pointed points polarized pollen pollinator Portal
    Portals position possession Possible possible pot potato pots pour poured pouring power powering powers precise
    precisely predominates Prejudice prejudice prerequisites prevent Pride pride principle Principles probably
    produce progress propagate property pupa purple purse put R r rabbit random Reached reaches read reading reads
    rear reasoning Rec recessive recipe Red red referent referents regarded regions regulating rejoice renewable
    Replaced reprod Reproducing reproducing reproduction request requested require requires reset respects result
    resultant retrieve returning rightful river rolling room round rubber Running running rust s said sail salad
    salt same sample sandpaper sandwich satisfied Score sea secondary see seed seedling seedlings Seeds seeds
    seedtype seen seldom Selection self Sequential set setting setup several sewer sex shallowest shape shapes she
    shelf Shelley Sherlock sherlock shore short shortest should shovel sick silicon silver single sink sister
    sittable size small smores so Soap soap soapy Sodium sodium soil solar solid Some some Something something
    sometimes soon soul source span Species species specific specify spherical spleen square Stage stage stages
    Started starting state stature Stay steadily steam steel steepest stepping steps stir stopwatch stove street
    streets strong studio Subgoal subgoal Subgoals substance substances success such Sugar sugar sure surface
    surfaces surrounding switch t table tadpole take tall Task task tconnected teleport Temperature temperature
    Terminal terminal terminals tertiary test text That that The the their them Then then There there there's
    thermometer Thing thing things This this those though thought through tick ticks time timer tin titanium title
    titled To to toad together toilet top tortoise total towards tparent trait transfer travelled tree trifling true
    truth Try Trying turn turned turtle two Type type ultfreezer ultra Unable undefined under understand undertaking
    universally Universe universe Unknown unknown unless unnamed Unordered unordered unpolarized Unrecognized until
    unwell up upon upper use using uuid valid value Variation variation variations varies very view viewing views
    Violet violet voltage vs wait walk wandering want warehouses was watch water watering watery way welfare well
    were what When Whenever whenever where whether which while white whole widely wife will wilting wind wintery
    wire wireits with without wolf Wollstonecraft woman wood workshop world would wrinkly years Yellow yellow
    yesterday yet You you Your your zinc
    0 - % ? ! [ ] / ( ) . , : ; '""".split()
)
"""Every word that was heard in all thirty tasks, or stands in the simulator's texts."""

DROPPED = (
    r"(?<=\t)(?:an?|the) "
    r"|(?<=, )an? |(?<=\()an? |(?<=: )an? "
    r"|(?<!\w)'|'(?!\w)"
    r"|[()]"
    r"|[.,:;](?=\s|$)"
)
"""Articles in lists, quotation marks, brackets, what parts the items of a list, and the ends of sentences."""

NUMBERED = {"flower pot": 9, "self watering flower pot": 9, "bee": 9}
"""Types of which a room holds several."""


def vocabulary() -> Vocabulary:
    """Phrases, words and things of every task, whatever was demonstrated. Numbers above 99 are not known."""
    phrases = (*PHRASES, *ROOMS, *(f"{colour} box" for colour in BOXES), *MIXED)
    return Vocabulary(phrases=phrases, words=tuple(dict.fromkeys(WORDS)), entities=NUMBERED, dropped=DROPPED)
