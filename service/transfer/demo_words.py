"""The vocabulary of the demo population: tastes with their interests and sentences, cities, names."""

import msgspec


class Taste(msgspec.Struct, frozen=True):
    """One way to spend a free day: what people of this taste list, what they write, and how old they tend to be."""

    name: str
    kindred: str
    """The other taste that people of this one also find attractive."""
    mean_age: float
    interests: tuple[str, ...]
    sentences: tuple[str, ...]


TASTES = (
    Taste(
        "outdoors",
        "travel",
        36,
        ("hiking", "camping", "rock climbing", "kayaking", "trail running", "birdwatching", "stargazing", "skiing"),
        (
            "Happiest on a ridge trail with a thermos of coffee.",
            "Boots by the door, tent in the car.",
            "I plan my weekends around the weather and the mountains.",
            "Ask me about the sunrise I saw from a bivouac last summer.",
            "Learning to climb, still afraid of heights.",
        ),
    ),
    Taste(
        "arts",
        "books",
        39,
        ("painting", "galleries", "sculpture", "photography", "film photography", "ceramics", "architecture", "design"),
        (
            "I sketch strangers on the train.",
            "Most Sundays you find me in a gallery, standing too close to the paintings.",
            "There is clay under my fingernails and I am not sorry.",
            "Always carrying a camera older than I am.",
            "I choose cafes by their light.",
        ),
    ),
    Taste(
        "games",
        "science",
        29,
        ("board games", "video games", "chess", "roleplaying", "puzzles", "anime", "cosplay", "game design"),
        (
            "My shelf has more board games than books.",
            "Looking for a player two.",
            "I run a roleplaying table every other Thursday.",
            "Will explain the rules twice and then beat you kindly.",
            "Speedrunner by night, sleepy by day.",
        ),
    ),
    Taste(
        "music",
        "dance",
        33,
        ("live music", "guitar", "piano", "vinyl", "songwriting", "choir", "jazz", "festivals"),
        (
            "I measure years in concerts.",
            "Plays bass in a band you have not heard of yet.",
            "My records are sorted by mood.",
            "I hum in queues and apologise for it.",
            "Tell me the song you never skip.",
        ),
    ),
    Taste(
        "food",
        "travel",
        38,
        ("cooking", "baking", "wine", "street food", "coffee", "farmers markets", "fermentation", "barbecue"),
        (
            "I cook for eight and live alone: come hungry.",
            "My sourdough starter has a name.",
            "I will travel two hours for good noodles.",
            "The market on Saturday morning is my church.",
            "Currently perfecting a lemon tart.",
        ),
    ),
    Taste(
        "fitness",
        "outdoors",
        31,
        ("running", "yoga", "cycling", "swimming", "weightlifting", "boxing", "triathlon", "pilates"),
        (
            "Up at six for the pool, in bed by ten.",
            "Training for my second marathon and talking about it too much.",
            "I need someone to race me to the bakery by bike.",
            "Yoga keeps me nice, boxing keeps me honest.",
            "Rest days are my weakness.",
        ),
    ),
    Taste(
        "books",
        "arts",
        43,
        ("reading", "poetry", "creative writing", "history", "philosophy", "libraries", "languages", "theatre"),
        (
            "I read the last page first, sometimes.",
            "Give me a rainy afternoon and a long novel.",
            "Writing a story that will not end.",
            "I own too many dictionaries and use them all.",
            "Second-hand bookshops are a problem for me.",
        ),
    ),
    Taste(
        "science",
        "games",
        34,
        ("programming", "astronomy", "robotics", "electronics", "mathematics", "podcasts", "startups", "3d printing"),
        (
            "I build small robots that fall over.",
            "Curious about everything, expert in one odd thing.",
            "There is a soldering iron on my kitchen table.",
            "I explain black holes at parties when nobody stops me.",
            "My side project has a side project.",
        ),
    ),
    Taste(
        "travel",
        "food",
        35,
        ("travel", "backpacking", "road trips", "surfing", "scuba diving", "sailing", "night trains", "maps"),
        (
            "Just back from somewhere, already packing.",
            "I collect ferry tickets.",
            "Three languages, all of them with an accent.",
            "I once missed a flight and stayed a year.",
            "The window seat is mine.",
        ),
    ),
    Taste(
        "home",
        "animals",
        46,
        ("gardening", "knitting", "woodworking", "sewing", "houseplants", "interior design", "upcycling", "pottery"),
        (
            "My tomatoes win no prizes but I love them.",
            "I fix chairs that other people throw away.",
            "Knitting through a whole series counts as productive.",
            "There are forty plants in my flat and they all have names.",
            "Give me a workshop, a radio and a free afternoon.",
        ),
    ),
    Taste(
        "dance",
        "music",
        32,
        ("salsa", "tango", "clubbing", "ballet", "techno", "karaoke", "comedy", "fashion"),
        (
            "I lead, I follow, I step on toes only once.",
            "Tuesday is salsa and nothing may come between.",
            "Last to leave the dance floor since 2009.",
            "I can be bribed with disco.",
            "Glitter is a neutral colour.",
        ),
    ),
    Taste(
        "animals",
        "home",
        40,
        ("dogs", "cats", "horses", "volunteering", "wildlife", "animal rescue", "beekeeping", "aquariums"),
        (
            "My dog has to approve of you first.",
            "I foster cats and fail at giving them back.",
            "Saturdays I help at the shelter.",
            "Two hives on the roof, honey for friends.",
            "I talk to every horse I pass.",
        ),
    ),
)

SMALL_TALK = (
    "New here, be kind.",
    "Tea over coffee.",
    "Bad at texting, good at showing up.",
    "My friends say I am a good listener.",
    "Looking for someone who laughs easily.",
    "Let us skip the small talk.",
    "Still figuring out what to write here.",
    "I like long talks and short queues.",
)

JOBS = (
    "nurse",
    "teacher",
    "software engineer",
    "carpenter",
    "lawyer",
    "barista",
    "architect",
    "journalist",
    "chemist",
    "electrician",
    "translator",
    "accountant",
    "physiotherapist",
    "bus driver",
    "researcher",
    "florist",
)


class City(msgspec.Struct, frozen=True):
    name: str
    latitude: float
    longitude: float
    share: float


CITIES = (
    City("London", 51.5072, -0.1276, 0.27),
    City("New York", 40.7128, -74.0060, 0.23),
    City("San Francisco", 37.7749, -122.4194, 0.17),
    City("Berlin", 52.5200, 13.4050, 0.14),
    City("Toronto", 43.6532, -79.3832, 0.10),
    City("Amsterdam", 52.3676, 4.9041, 0.09),
)

GENDERS = ("female", "male", "non-binary")


def _names(text: str) -> tuple[str, ...]:
    """Names parted by spaces."""
    return tuple(text.split())


GIVEN_NAMES = (
    _names(
        "Alice Amara Ana Beatriz Camille Chloe Daniela Elif Emma Fatima Freya Grace Hana Ines Ingrid Isabel Jasmine "
        "Julia Kavya Keiko Lea Leila Lucia Maya Mei Mila Nadia Naomi Nora Olga Olivia Priya Rosa Ruth Sara Sofia "
        "Tara Valentina Yara Zoe"
    ),
    _names(
        "Adam Ahmed Alexander Anton Ben Carlos Daniel David Diego Elias Emeka Felix Finn Gabriel Hugo Ibrahim Ivan "
        "Jack James Jonas Kenji Kwame Leo Liam Luca Marco Mateo Max Mohammed Noah Omar Oscar Pablo Rafael Ravi "
        "Samuel Theo Tomas Viktor Wei"
    ),
    _names("Alex Ariel Ash Charlie Eden Jamie Jules Kai Morgan Noor Quinn Remy Robin Rowan Sam Sasha Sky Taylor"),
)
"""By gender, in the order of GENDERS."""

FAMILY_NAMES = _names(
    "Abe Adeyemi Ahmadi Andersen Bakker Bauer Becker Brown Carvalho Chen Clarke Costa Dubois Evans Fischer Garcia "
    "Gupta Haddad Hansen Hoffmann Ito Jansen Jensen Johnson Kaya Khan Kim Kowalski Larsen Lee Lopez Martin Mbeki "
    "Meyer Moreau Murphy Nakamura Nguyen Novak Okafor Okoye Patel Petrov Popescu Ramirez Rossi Santos Schmidt "
    "Sharma Silva Singh Smith Suzuki Tanaka Taylor Torres Tran Visser Walker Wang Weber Williams Wilson Wright "
    "Yilmaz Young Zhang"
)
