"""Where sites and patients are: zones of area codes and states, by the simulator's own tables (NANPA, public)."""

from __future__ import annotations

from dataclasses import dataclass

NEW_YORK = "America/New_York"
CHICAGO = "America/Chicago"
DENVER = "America/Denver"
PHOENIX = "America/Phoenix"
LOS_ANGELES = "America/Los_Angeles"

_NEW_YORK_CODES = """
    212 617 646 718 917 347 857 781 508 413 201 202 203 207 215 216 234 239 240 267 301 302 305 315 321 330 336
    339 351 352 386 401 404 407 410 412 419 434 440 443 470 475 478 484 513 516 518 540 551 561 570 571 585 603
    607 609 610 614 631 678 703 704 716 717 724 727 732 740 754 757 770 772 774 786 802 803 804 810 813 814 828
    843 845 848 856 860 862 863 864 865 878 904 908 910 912 914 919 929 937 941 954 959 973 978 980
"""
_CHICAGO_CODES = """
    312 773 612 651 763 630 708 815 847 507 218 205 214 217 224 225 228 251 254 262 281 309 314 316 318 320 331
    337 361 409 414 417 430 469 479 501 504 512 515 563 573 601 608 615 618 636 641 660 662 682 712 713 715 731
    769 779 806 816 817 830 832 870 901 903 918 920 936 940 952 956 972 979 985
"""
_LOS_ANGELES_CODES = """
    213 310 323 626 714 747 818 909 949 206 209 253 360 408 415 424 425 503 509 510 530 559 562 619 650 657 661
    702 707 760 805 831 858 916 925 951 971
"""

#: Area codes that lie in one zone only; Arizona's keep Mountain Standard Time all year.
AREA_CODES: dict[str, tuple[str, ...]] = {
    NEW_YORK: tuple(_NEW_YORK_CODES.split()),
    CHICAGO: tuple(_CHICAGO_CODES.split()),
    DENVER: ("303", "720", "970", "719", "505", "801", "385", "435", "307", "406"),
    PHOENIX: ("602", "480", "623", "520", "928"),
    LOS_ANGELES: tuple(_LOS_ANGELES_CODES.split()),
}

ZONE_OF_AREA_CODE: dict[str, str] = {code: zone for zone, codes in AREA_CODES.items() for code in codes}

#: States that lie in one zone only, for addresses without a zone of their own.
ZONE_OF_STATE: dict[str, str] = {
    **dict.fromkeys(
        ("NY", "MA", "CT", "NJ", "PA", "MD", "VA", "GA", "OH", "NC", "SC", "RI", "VT", "NH", "ME", "DE", "DC", "WV"),
        NEW_YORK,
    ),
    **dict.fromkeys(("IL", "MN", "WI", "IA", "MO", "LA", "MS", "AL", "AR", "OK"), CHICAGO),
    **dict.fromkeys(("CO", "NM", "UT", "WY", "MT"), DENVER),
    "AZ": PHOENIX,
    **dict.fromkeys(("CA", "WA", "NV"), LOS_ANGELES),
    "HI": "Pacific/Honolulu",
}


#: Exports of other systems write states out.
_NAMES = """
    NY New York, MA Massachusetts, CT Connecticut, NJ New Jersey, PA Pennsylvania, MD Maryland, VA Virginia, GA Georgia,
    OH Ohio, NC North Carolina, SC South Carolina, RI Rhode Island, VT Vermont, NH New Hampshire, ME Maine, DE Delaware,
    DC District of Columbia, WV West Virginia, IL Illinois, MN Minnesota, WI Wisconsin, IA Iowa, MO Missouri,
    LA Louisiana, MS Mississippi, AL Alabama, AR Arkansas, OK Oklahoma, CO Colorado, NM New Mexico, UT Utah, WY Wyoming,
    MT Montana, AZ Arizona, CA California, WA Washington, NV Nevada, HI Hawaii
"""
_STATE_NAMES = {name.lower(): code for code, name in (each.split(maxsplit=1) for each in _NAMES.split(","))}


@dataclass(frozen=True, slots=True)
class Place:
    """A town where a patient may live."""

    city: str
    state: str
    zone: str
    postal_prefix: str
    """The first three digits of its postal codes."""


NEW_YORK_CITY = Place("New York", "NY", NEW_YORK, "100")
BOSTON = Place("Boston", "MA", NEW_YORK, "021")
CHICAGO_CITY = Place("Chicago", "IL", CHICAGO, "606")
MINNEAPOLIS = Place("Minneapolis", "MN", CHICAGO, "554")
DENVER_CITY = Place("Denver", "CO", DENVER, "802")
PHOENIX_CITY = Place("Phoenix", "AZ", PHOENIX, "850")
LOS_ANGELES_CITY = Place("Los Angeles", "CA", LOS_ANGELES, "900")

PLACES = (
    NEW_YORK_CITY,
    BOSTON,
    CHICAGO_CITY,
    MINNEAPOLIS,
    DENVER_CITY,
    PHOENIX_CITY,
    LOS_ANGELES_CITY,
)


def zone_of_state(state: str) -> str | None:
    """The zone of a state, by code or name; None where it has several, or we do not know it."""
    return ZONE_OF_STATE.get(_STATE_NAMES.get(state.lower(), state.upper()))


def zone_of_number(number: str) -> str | None:
    """The zone of a North American number in E.164 form; None where its area code says nothing."""
    return ZONE_OF_AREA_CODE.get(number[2:5]) if number.startswith("+1") and len(number) == 12 else None


def fictional_number(zone: str, nth: int) -> str | None:
    """The nth number of a zone from the range reserved for fiction (555-0100 to 555-0199); None when used up."""
    codes = AREA_CODES[zone]
    line, code = divmod(nth, len(codes))
    return f"+1{codes[code]}55501{line:02d}" if line < 100 else None
