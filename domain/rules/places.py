"""US states and territories: their codes, and the one time zone of those that lie in one."""

from __future__ import annotations

#: Postal code, name, and the zone where the whole of it (but for a few border towns) keeps one; else empty, and the
#: site's zone speaks. Arizona without the Navajo Nation. Source: 49 CFR part 71; IANA tz database.
_TABLE = """
AL|Alabama|America/Chicago
AK|Alaska|
AZ|Arizona|America/Phoenix
AR|Arkansas|America/Chicago
CA|California|America/Los_Angeles
CO|Colorado|America/Denver
CT|Connecticut|America/New_York
DE|Delaware|America/New_York
DC|District of Columbia|America/New_York
FL|Florida|
GA|Georgia|America/New_York
HI|Hawaii|Pacific/Honolulu
ID|Idaho|
IL|Illinois|America/Chicago
IN|Indiana|
IA|Iowa|America/Chicago
KS|Kansas|
KY|Kentucky|
LA|Louisiana|America/Chicago
ME|Maine|America/New_York
MD|Maryland|America/New_York
MA|Massachusetts|America/New_York
MI|Michigan|
MN|Minnesota|America/Chicago
MS|Mississippi|America/Chicago
MO|Missouri|America/Chicago
MT|Montana|America/Denver
NE|Nebraska|
NV|Nevada|America/Los_Angeles
NH|New Hampshire|America/New_York
NJ|New Jersey|America/New_York
NM|New Mexico|America/Denver
NY|New York|America/New_York
NC|North Carolina|America/New_York
ND|North Dakota|
OH|Ohio|America/New_York
OK|Oklahoma|America/Chicago
OR|Oregon|
PA|Pennsylvania|America/New_York
RI|Rhode Island|America/New_York
SC|South Carolina|America/New_York
SD|South Dakota|
TN|Tennessee|
TX|Texas|
UT|Utah|America/Denver
VT|Vermont|America/New_York
VA|Virginia|America/New_York
WA|Washington|America/Los_Angeles
WV|West Virginia|America/New_York
WI|Wisconsin|America/Chicago
WY|Wyoming|America/Denver
AS|American Samoa|Pacific/Pago_Pago
GU|Guam|Pacific/Guam
MP|Northern Mariana Islands|Pacific/Saipan
PR|Puerto Rico|America/Puerto_Rico
VI|Virgin Islands|America/St_Thomas
"""
_ROWS = tuple(tuple(line.split("|")) for line in _TABLE.split("\n") if line)
_CODES = {text.casefold(): code for code, name, _ in _ROWS for text in (code, name)}
_ZONES = {code: zone for code, _, zone in _ROWS if zone}


def state_code(text: str) -> str | None:
    """The postal code of a state given by code or name, in any case; None = it is none."""
    return _CODES.get(text.strip().casefold())


def zone_of_state(code: str) -> str | None:
    """The IANA zone of a state that keeps one time throughout; None = it keeps several, or is unknown."""
    return _ZONES.get(code)
