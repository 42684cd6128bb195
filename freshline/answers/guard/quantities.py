"""Numbers, units, dates and times in one spelling, so that they are compared as what they are and not as words.

``two``, ``2`` and ``2.0 kg``, ``2000 g`` come out alike; ``5 mg`` and ``5 ml`` do not. Units are those of daily life,
as exact multiples of one unit of their kind (NIST Special Publication 811, appendix B.8).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from freshline.answers.guard.text import Token, words


def _list(text: str) -> list[str]:
    return text.split()


_ONES: Final = {
    word: number
    for number, word in enumerate(
        _list(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen"
        )
    )
}
_TENS: Final = {
    word: 10 * number for number, word in enumerate(_list("twenty thirty forty fifty sixty seventy eighty ninety"), 2)
}
_POWERS: Final = {
    "hundred": 100,
    "thousand": 1_000,
    "million": 1_000_000,
    "billion": 1_000_000_000,
    "dozen": 12,
    "k": 1_000,
    "m": 1_000_000,
    "mio": 1_000_000,
    "bn": 1_000_000_000,
}
_LETTER_POWERS: Final = frozenset(("k", "m", "bn", "mio"))
_ORDINALS: Final = {
    word: number
    for number, word in enumerate(
        _list("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"), 1
    )
}
_ORDINAL_ENDINGS: Final = frozenset(("st", "nd", "rd", "th"))
_TIMES: Final = {"once": 1, "twice": 2, "thrice": 3}
_MONTHS: Final = {
    word: number
    for number, names in enumerate(
        (
            "january jan",
            "february feb",
            "march mar",
            "april apr",
            "may",
            "june jun",
            "july jul",
            "august aug",
            "september sept sep",
            "october oct",
            "november nov",
            "december dec",
        ),
        1,
    )
    for word in names.split()
}
_AMBIGUOUS_MONTHS: Final = frozenset(("may", "mar", "jan", "march"))
_WEEKDAYS: Final = {
    word: names.split()[0]
    for names in (
        "monday mondays mon",
        "tuesday tuesdays tue tues",
        "wednesday wednesdays wed",
        "thursday thursdays thu thur thurs",
        "friday fridays fri",
        "saturday saturdays",
        "today",
        "tomorrow",
        "yesterday",
        "tonight",
        "sunday sundays",
    )
    for word in names.split()
}
_UNITS: Final[dict[str, tuple[str, str]]] = {
    word: (factor, kind)
    for kind, names in {
        "g": {
            "0.000001": "ug mcg microgram micrograms",
            "0.001": "mg mgs milligram milligrams milligramme milligrammes",
            "1": "g gr gram grams gramme grammes",
            "1000": "kg kgs kilo kilos kilogram kilograms kilogramme kilogrammes",
            "1000000": "tonne tonnes",
            "28.349523125": "oz ounce ounces",
            "453.59237": "lb lbs pound pounds",
        },
        "l": {
            "0.001": "ml mls millilitre millilitres milliliter milliliters",
            "0.01": "cl centilitre centilitres centiliter centiliters",
            "0.1": "dl decilitre decilitres deciliter deciliters",
            "1": "l litre litres liter liters",
        },
        "m": {
            "0.001": "mm millimetre millimetres millimeter millimeters",
            "0.01": "cm centimetre centimetres centimeter centimeters",
            "1": "m metre metres meter meters",
            "1000": "km kms kilometre kilometres kilometer kilometers",
            "0.0254": "inch inches",
            "0.3048": "ft foot feet",
            "0.9144": "yd yard yards",
            "1609.344": "mi mile miles",
        },
        "s": {
            "0.001": "ms millisecond milliseconds",
            "1": "s sec secs second seconds",
            "60": "min mins minute minutes",
            "3600": "h hr hrs hour hours",
            "86400": "day days",
            "604800": "week weeks wk wks",
            "1209600": "fortnight fortnights",
        },
        "month": {"1": "month months", "12": "year years yr yrs"},
        "B": {
            "1": "byte bytes",
            "1000": "kb kilobyte kilobytes",
            "1000000": "mb megabyte megabytes",
            "1000000000": "gb gig gigs gigabyte gigabytes",
            "1000000000000": "tb terabyte terabytes",
        },
        "Hz": {"1": "hz hertz", "1000000": "mhz megahertz", "1000000000": "ghz gigahertz"},
        "W": {"1": "w watt watts", "1000": "kw kilowatt kilowatts"},
        "tsp": {"1": "tsp teaspoon teaspoons"},
        "tbsp": {"1": "tbsp tablespoon tablespoons"},
        "cup": {"1": "cup cups"},
        "USD": {"1": "$ usd dollar dollars", "0.01": "cent cents"},
        "EUR": {"1": "€ eur euro euros"},
        "GBP": {"1": "£ gbp quid sterling"},
        "JPY": {"1": "¥ jpy yen"},
        "CHF": {"1": "chf franc francs"},
        "%": {"1": "% percent pct"},
        "km/h": {"1": "kph kmh", "1.609344": "mph"},
        "°": {"1": "° degree degrees"},
        "°C": {"1": "celsius centigrade c"},
        "°F": {"1": "fahrenheit f"},
    }.items()
    for factor, words in names.items()
    for word in words.split()
}
_UNITS_ALONE: Final = frozenset(
    word
    for word, (_, kind) in _UNITS.items()
    if len(word) > 2 and kind not in {"s", "month"}  # noqa: PLR2004
)
_MONEY: Final = frozenset("$€£¥")
_MONTHS_IN_YEAR: Final = 12
_DAYS_IN_MONTH: Final = 31
_YEARS: Final = range(1900, 2101)
_HOURS: Final = 12


def gather(tokens: Sequence[Token]) -> list[Token]:
    """The tokens with each quantity, ordinal, date and time as one token of that kind, in its one spelling."""
    gathered: list[Token] = []
    at = 0
    while at < len(tokens):
        for rule in (_clock, _date, _ordinal, _quantity):
            if (found := rule(tokens, at)) is not None:
                taken, kind, texts = found
                place = tokens[at].start, tokens[at + taken - 1].end
                gathered.extend(Token(text, kind, *place) for text in texts)
                at += taken
                break
        else:
            gathered.append(tokens[at])
            at += 1
    return gathered


def is_unit(word: str) -> bool:
    """Whether a word by itself names a unit of measure, as in "how many inches"."""
    return word in _UNITS_ALONE


def _text(tokens: Sequence[Token], at: int) -> str:
    return tokens[at].text if 0 <= at < len(tokens) else ""


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


_Found = tuple[int, str, list[str]]


def _quantity(tokens: Sequence[Token], at: int) -> _Found | None:  # noqa: PLR0911 - one for each form
    """A number, with its unit if it has one."""
    text = _text(tokens, at)
    if text in _MONEY and (found := _number(tokens, at + 1)) is not None:
        return 1 + found[0], "amount", [_measured(found[1], text)]
    if text in _TIMES and (text != "once" or (_text(tokens, at - 1) != "at" and _text(tokens, at + 1) in _AFTER_ONCE)):
        return 1, "amount", [f"{_TIMES[text]} times"]
    found = _number(tokens, at)
    if found is None:
        return None
    taken, number = found
    unit = _text(tokens, at + taken)
    if unit == "times":
        return taken + 1, "amount", [f"{number} times"]
    if unit in {"°", "degree", "degrees"} and _UNITS.get(_text(tokens, at + taken + 1), ("", ""))[1] in {"°C", "°F"}:
        return taken + 2, "amount", [_measured(number, _text(tokens, at + taken + 1))]
    if unit == "per" and _text(tokens, at + taken + 1) == "cent":
        return taken + 2, "amount", [_measured(number, "%")]
    if unit in _UNITS:
        if unit in {"km", "kilometres", "kilometers", "miles"} and (speed := _per_hour(tokens, at + taken + 1)):
            return taken + 1 + speed, "amount", [_measured(number, "mph" if unit == "miles" else "kmh")]
        return taken + 1, "amount", [_measured(number, unit)]
    return taken, "amount", [number]


_AFTER_ONCE: Final = frozenset(("", "?", ".", ",", "a", "per", "every", "each", "daily", "weekly", "monthly"))
"""What follows "once" where it counts; else it is "as soon as"."""


def _per_hour(tokens: Sequence[Token], at: int) -> int:
    """How many tokens say "per hour" here."""
    return 2 if _text(tokens, at) in {"/", "per", "an"} and _text(tokens, at + 1) in {"h", "hr", "hour"} else 0


def _measured(number: str, unit: str) -> str:
    """A number of units as a number of the one unit of their kind."""
    factor, kind = _UNITS[unit]
    return f"{_plain(Decimal(number) * Decimal(factor))} {kind}"


def _number(tokens: Sequence[Token], at: int) -> tuple[int, str] | None:
    """A number in digits or words: how many tokens it takes, and its one spelling."""
    text = _text(tokens, at)
    if at < len(tokens) and tokens[at].kind == "number":
        number = _digits(text)
        power = _text(tokens, at + 1)
        glued = at + 1 < len(tokens) and tokens[at + 1].start == tokens[at].end
        if power in _POWERS and (power not in _LETTER_POWERS or (glued and power != "m") or power in {"bn", "mio"}):
            return 2, _plain(Decimal(number) * _POWERS[power]) if number.count(".") < 2 else number  # noqa: PLR2004
        return 1, number
    return _words(tokens, at)


def _digits(text: str) -> str:
    """Digits without marks of thousands; what has more points than one, a version or a clause, stays as it is."""
    groups = text.replace(".", ",").split(",")
    if "," in text and all(len(group) == 3 for group in groups[1:]) and len(groups[0]) <= 3:  # noqa: PLR2004
        return text.replace(",", "")
    text = text.replace(",", ".")
    return text if "." in text else str(int(text)) if len(text) < 16 and not text.startswith("0") else text  # noqa: PLR2004


def _words(tokens: Sequence[Token], at: int) -> tuple[int, str] | None:
    """A number in words, ``a hundred and fifty`` say."""
    start = at
    total, part, seen = 0, 0, False
    if _text(tokens, at) in {"a", "an"} and _text(tokens, at + 1) in {
        "hundred",
        "thousand",
        "million",
        "billion",
        "dozen",
    }:
        part, at = 1, at + 1
    while at < len(tokens) and (text := _text(tokens, at)):
        if text in _ONES and (seen or text != "one" or _counts(tokens, at)):
            part += _ONES[text]
        elif text in _TENS:
            part += _TENS[text]
        elif text == "hundred" and (part or seen):
            part *= 100
        elif text in _POWERS and text not in _LETTER_POWERS and (part or text == "dozen"):
            total, part = total + max(part, 1) * _POWERS[text], 0
        elif not (
            text == "and" and seen and _text(tokens, at - 1) in _POWERS and _text(tokens, at + 1) in _ONES | _TENS
        ):
            break
        seen = True
        at += 1
    return (at - start, str(total + part)) if seen else None


def _counts(tokens: Sequence[Token], at: int) -> bool:
    """Whether "one" is a number here and not a pronoun: a unit or a thing that is counted follows."""
    before, after = _text(tokens, at - 1), _text(tokens, at + 1)
    if before in {
        "the",
        "this",
        "that",
        "which",
        "no",
        "any",
        "every",
        "each",
        "old",
        "new",
        "does",
        "can",
        "should",
        "how",
    }:
        return False
    return after in _UNITS or (after.isalpha() and after not in _NOT_COUNTED)


_NOT_COUNTED: Final = words(
    "of is are was were do does did can could should would will must has have had to and or in on at for from with by "
    "need needs use uses get gets make makes apply install register"
)


_NUMBERED: Final = words("paragraph chapter section clause article page part step phase question item point")
"""What is counted by a number after it: "paragraph two" is "the second paragraph"."""


def _ordinal(tokens: Sequence[Token], at: int) -> _Found | None:
    """A place in an order."""
    text, after = _text(tokens, at), _text(tokens, at + 1)
    if _text(tokens, at - 1) in _NUMBERED and after not in _UNITS and (found := _number(tokens, at)) is not None:
        return found[0], "ordinal", [f"#{found[1]}"]
    if tokens[at].kind == "number" and after in _ORDINAL_ENDINGS and tokens[at + 1].start == tokens[at].end:
        return 2, "ordinal", [f"#{int(text)}"] if text.isdecimal() else [text]
    if text in _ORDINALS:
        return 1, "ordinal", [f"#{_ORDINALS[text]}"]
    if len(text) == 2 and text[0] == "q" and text[1] in "1234":  # noqa: PLR2004
        return 1, "ordinal", [f"#{text[1]}", "quarter"]
    return None


def _clock(tokens: Sequence[Token], at: int) -> _Found | None:
    """A time of day, as minutes are written on a clock of 24 hours."""
    token, taken = tokens[at], 1
    if token.kind == "time":
        hour, minute = (int(part) for part in token.text.split(":"))
    elif token.kind == "number" and token.text.isdecimal() and int(token.text) <= _HOURS:
        hour, minute = int(token.text), 0
    else:
        return None
    half = _text(tokens, at + 1)
    if half == "in" and _text(tokens, at + 2) == "the" and _text(tokens, at + 3) in {"morning", "afternoon", "evening"}:
        half, taken = "am" if _text(tokens, at + 3) == "morning" else "pm", 4
    elif half in {"am", "pm"}:
        taken = 2
    elif half in {"o'clock", "oclock"}:
        return 2, "date", [f"at {hour:02}:{minute:02}"]
    elif token.kind != "time":
        return None
    else:
        half = ""
    if half:
        hour = hour % _HOURS + (_HOURS if half == "pm" else 0)
    return taken, "date", [f"at {hour:02}:{minute:02}"]


def _date(tokens: Sequence[Token], at: int) -> _Found | None:
    """A day, month, year or day of the week; each part by itself, so that their order is free."""
    token = tokens[at]
    if token.kind == "date":
        year, month, day = (int(part) for part in token.text.split("-"))
        return 1, "date", [f"year {year}", f"month {month}", f"day {day}"]
    if token.text in _WEEKDAYS:
        return 1, "date", [_WEEKDAYS[token.text]]
    texts: list[str] = []
    taken = 0
    if (before := _day(tokens, at)) is not None:
        taken, texts = before[0], [f"day {before[1]}"]
        taken += _text(tokens, at + taken) == "of"
    month_word = _text(tokens, at + taken)
    if month_word not in _MONTHS:
        return None
    after = at + taken + 1 + (_text(tokens, at + taken + 1) == ".")
    if not taken and (behind := _day(tokens, after)) is not None and not _is_year(tokens, after):
        texts, after = [f"day {behind[1]}"], after + behind[0]
    if _text(tokens, after) == "," and _is_year(tokens, after + 1):
        after += 1
    if _is_year(tokens, after):
        texts, after = [*texts, f"year {_text(tokens, after)}"], after + 1
    if not texts and month_word in _AMBIGUOUS_MONTHS and _text(tokens, at - 1) not in _BEFORE_MONTHS:
        return None
    return after - at, "date", [f"month {_MONTHS[month_word]}", *texts]


_BEFORE_MONTHS: Final = words("in of last next this since until till from by during before after for between and")


def _day(tokens: Sequence[Token], at: int) -> tuple[int, int] | None:
    """A day of a month: how many tokens, and which."""
    text = _text(tokens, at)
    if at < len(tokens) and tokens[at].kind == "number" and text.isdecimal() and 1 <= int(text) <= _DAYS_IN_MONTH:
        return (2 if _text(tokens, at + 1) in _ORDINAL_ENDINGS else 1), int(text)
    return (1, _ORDINALS[text]) if text in _ORDINALS else None


def _is_year(tokens: Sequence[Token], at: int) -> bool:
    text = _text(tokens, at)
    return at < len(tokens) and tokens[at].kind == "number" and text.isdecimal() and int(text) in _YEARS
