"""Units of measurement: products of known units with their powers, converted exactly; words nobody knows are labels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

_TABLE = """
length: um micrometer micron=1/1000000; nm nanometer=1/1000000000; mm millimeter millimetre=1/1000;
  cm centimeter centimetre=1/100; dm=1/10; m meter metre=1; km kilometer
  kilometre=1000; in inch inches=127/5000; ft foot feet=381/1250; yd yard=1143/1250; mi mile=201168/125
time: ms millisecond=1/1000; s sec second=1; min minute=60; h hr hour=3600; day=86400; week=604800
month: month=1; yr year=12; decade=120; century centuries=1200
mass: mg milligram=1/1000; g gram=1; kg kilogram=1000; ton tonne=1000000
pound: oz ounce=1/16; lb pound=1
volume: ml mL milliliter millilitre=1/1000; cl=1/100; l L liter litre=1
gallon: cup=1/16; pint pt=1/8; quart qt=1/4; gal gallon=1
money: cent=1/100; dollar usd=1
euro: euro eur=1
sterling: penny pence=1/100; gbp=1
yen: yen=1
rupee: rupee=1
angle: ° degree deg=1
radian: rad radian=1
celsius: °C celsius=1
fahrenheit: °F fahrenheit=1
kelvin: K kelvin=1
force: N newton=1; kN kilonewton=1000
energy: J joule=1; kJ kilojoule=1000; MJ megajoule=1000000; Wh=3600; kWh=3600000; cal=4184/1000; kcal=4184
power: W watt=1; kW kilowatt=1000; MW megawatt=1000000
frequency: Hz hertz=1; kHz=1000; MHz=1000000
voltage: V volt=1
current: A amp ampere=1; mA=1/1000
resistance: ohm=1; kohm kiloohm=1000
capacitance: F farad=1; mF millifarad=1/1000; uF microfarad=1/1000000; nF nanofarad=1/1000000000
charge: C coulomb=1; uC microcoulomb=1/1000000
pressure: Pa pascal=1; kPa=1000
data: bit=1; byte=8
substance: mol mole=1
"""
_UNITS: dict[str, tuple[str, Fraction]] = {}
for _line in _TABLE.replace("\n  ", " ").strip().splitlines():
    _kind, _, _entries = _line.partition(": ")
    for _entry in _entries.split(";"):
        _names, _, _factor = _entry.partition("=")
        _UNITS |= {name: (_kind, Fraction(_factor.strip())) for name in _names.split()}
_SHORTHANDS = {"mph": "mi/h", "kph": "km/h", "kmh": "km/h", "rpm": "1/min"}
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_ITEM = re.compile(r"(°[CF]?|[A-Za-z]+)\.?(?:\^\{?(-?\d)\}?)?")


@dataclass(frozen=True, slots=True)
class Unit:
    """A product of units."""

    dimensions: tuple[tuple[str, int], ...]
    """Kind and power of each factor, sorted; empty if any word is unknown."""
    factor: Fraction
    """Size in the table's units."""


def read(text: str) -> Unit | None:
    """Read `km/h`, `m s^{-1}`, `square feet`, `miles per hour`; None if a word is no known unit."""
    powers: dict[str, int] = {}
    factor, sign, pending = Fraction(1), 1, 1
    for shorthand, long in _SHORTHANDS.items():
        text = re.sub(rf"\b{shorthand}\b", long, text)
    for token in re.findall(r"/|\*|per\b|°[CF]?|[A-Za-z]+\.?(?:\^\{?-?\d\}?)?|\S", text):
        if token in ("/", "per"):
            sign = -1
        elif token in _POWERS:
            pending = _POWERS[token]
        elif token != "*":
            match = _ITEM.fullmatch(token)
            found = _lookup(match.group(1)) if match else None
            if match is None or found is None:
                return None
            power = sign * pending * int(match.group(2) or 1)
            powers[found[0]] = powers.get(found[0], 0) + power
            factor *= found[1] ** power
            pending = 1
    return Unit(tuple(sorted(powers.items())), factor) if powers else None


def _lookup(word: str) -> tuple[str, Fraction] | None:
    for spelling in (word, word.lower(), word.lower().removesuffix("s"), word.lower().removesuffix("es")):
        if spelling in _UNITS:
            return _UNITS[spelling]
    return None


def conversion(gold: str, prediction: str) -> Fraction | None:
    """What turns the prediction's unit into the gold's: 1 if either is missing or unknown, None if they clash."""
    if not gold or not prediction or gold == prediction:
        return Fraction(1)
    ours, theirs = read(gold), read(prediction)
    if ours is None or theirs is None:
        return Fraction(1)
    return theirs.factor / ours.factor if ours.dimensions == theirs.dimensions else None
