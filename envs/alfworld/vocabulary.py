"""Every word of the domain: its sentence forms, commands, and types of things with the highest number each may bear."""

from agentrl.models.tiny.build import Vocabulary

PHRASES = (
    "You are in the middle of a room",
    "Looking quickly around you you see a",
    "Looking quickly around you you see nothing",
    "Your task is to",
    "You arrive at",
    "On the",
    "The",
    "is closed",
    "is open In it you see a",
    "is open In it you see nothing",
    "you see a",
    "you see an",
    "you see nothing",
    "You open the",
    "You close the",
    "You pick up the",
    "from the",
    "You move the",
    "to the",
    "You clean the",
    "You heat the",
    "You cool the",
    "using the",
    "You turn on the",
    "You turn off the",
    "You don't see any switch on the",
    "You sliced the",
    "with the",
    "under the",
    "You are facing the",
    "Next to it you see nothing",
    "Next to it you see a",
    "You are carrying a",
    "You are carrying",
    "You are not carrying anything",
    "There's nothing special about",
    "This is a",
    "This is a normal",
    "This is a hot and clean",
    "This is a cool and clean",
    "Nothing happens",
    "go to",
)
"""Runs of words in what the world says and is told, as they read once DROPPED is gone."""

WORDS = tuple(
    """You are The On In This There's Nothing it you see a an and nothing is on off open closed normal hot clean cool
    cold sliced in the task to Your put some find two them look at examine with under slice of then heat take from
    move go close use inventory help stop special about arrive pick up turn using facing Next carrying not
    anything happens middle room Looking quickly around your current location check receptacle object something
    place or sharp Available commands an into by one any switch don't TODO UNKNOWN GOAL
    = - ! ( ) : . , # / ' ?""".split()
)
"""Every single word and sign of the grammar, the goals and the help text, so that nothing is unknown."""

DROPPED = (
    r"-= Welcome to TextWorld, ALFRED! =-"
    r"|, (?:and )?an? (?=[a-z]+ \d)"
    r"|, and (?=[a-z]+ \d)"
    r"|[.,:](?=\s|$)"
)
"""The greeting, what parts the items of a list, and the ends of sentences."""

MOVABLE = (
    "alarmclock apple applesliced baseballbat basketball book boots bowl box bread breadsliced butterknife candle cd "
    "cellphone cloth creditcard cup dishsponge egg footstool fork glassbottle handtowel kettle keychain knife ladle "
    "laptop lettuce lettucesliced mug newspaper pan papertowel papertowelroll pen pencil peppershaker pillow plate "
    "plunger pot potato potatosliced remotecontrol saltshaker scrubbrush soapbar soapbottle spatula spoon spraybottle "
    "statue teddybear tennisracket tissuebox toiletpaper toiletpaperroll tomato tomatosliced towel vase watch "
    "wateringcan winebottle"
).split()
"""What can be carried; a room holds at most seven of a type."""

FIXED = (
    "armchair bathtub bathtubbasin bed blinds cart chair coffeemachine coffeetable countertop curtains desk desklamp "
    "diningtable dresser faucet floorlamp fridge garbagecan handtowelholder houseplant lamp laundryhamper "
    "laundryhamperlid lightswitch microwave mirror ottoman painting paintinghanger poster safe showercurtain "
    "showerdoor showerglass showerhead sidetable sink sinkbasin sofa stoveburner stoveknob television toaster "
    "toilet toiletpaperhanger towelholder tvstand window"
).split()
"""Furniture, devices and decoration; a room holds at most eight of a type."""

NUMEROUS = {"cabinet": 30, "drawer": 30, "shelf": 20}
"""Types of which a room holds many."""

MOST = 8
"""Of every other type; a higher number is read as word and number."""


def vocabulary() -> Vocabulary:
    """Phrases, words and things of every game of this domain, official or generated, whatever was demonstrated."""
    entities = dict.fromkeys((*MOVABLE, *FIXED), MOST) | NUMEROUS
    return Vocabulary(phrases=PHRASES, words=tuple(dict.fromkeys(WORDS)), entities=entities, dropped=DROPPED)
