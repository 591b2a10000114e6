"""The enforced formats, as regular expressions in llguidance's syntax; every other format is an annotation.

JSON Schema 2020-12 leaves it to an implementation whether ``format`` is asserted. The reference's nine formats and
``uri`` are. llguidance's own formats admit 29 February in every year, leap seconds and labels of any length; these
follow the RFCs in their common form: upper-case ``T`` and ``Z``, no leap second.
"""

from typing import Final

from msgspec import Struct


class Format(Struct, frozen=True):
    """An anchored pattern, and the maximum length of the text in code points."""

    pattern: str
    max_length: int | None = None


_LEAP: Final = "(?:0[48]|[2468][048]|[13579][26])"
_YEAR: Final = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_DATE: Final = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    f"|02-(?:0[1-9]|1[0-9]|2[0-8]))|(?:[0-9]{{2}}{_LEAP}|{_LEAP}00)-02-29)"
)
_CLOCK: Final = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIME: Final = f"{_CLOCK}:[0-5][0-9](?:\\.[0-9]{{1,9}})?(?:Z|[+\\-]{_CLOCK})"

_CLOCK_PART: Final = "T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)"
_DATE_PART: Final = "(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)"
_DURATION: Final = f"P(?:{_DATE_PART}(?:{_CLOCK_PART})?|{_CLOCK_PART}|[0-9]+W)"

_LABEL: Final = "[a-zA-Z0-9](?:[a-zA-Z0-9\\-]{0,61}[a-zA-Z0-9])?"
_ATOM: Final = "[a-zA-Z0-9!#$%\\x{26}'*+/=?\\^_`{|}\\x{7E}\\-]+"
_OCTET: Final = "(?:[0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])"
_IPV4: Final = f"{_OCTET}(?:\\.{_OCTET}){{3}}"
_GROUP: Final = "[0-9a-fA-F]{1,4}"
_TAIL: Final = f"(?:{_GROUP}:{_GROUP}|{_IPV4})"
_IPV6: Final = "|".join(
    [
        f"(?:{_GROUP}:){{6}}{_TAIL}",
        *(f"(?:(?:{_GROUP}:){{0,{n - 1}}}{_GROUP})?::(?:{_GROUP}:){{{5 - n}}}{_TAIL}" for n in range(1, 6)),
        f"::(?:{_GROUP}:){{5}}{_TAIL}",
        f"(?:(?:{_GROUP}:){{0,5}}{_GROUP})?::{_GROUP}",
        f"(?:(?:{_GROUP}:){{0,6}}{_GROUP})?::",
    ]
)

_ESCAPED: Final = "%[0-9a-fA-F]{2}"
_PLAIN: Final = "a-zA-Z0-9\\-._\\x{7E}!$\\x{26}'()*+,;="
_SEGMENT: Final = f"(?:[{_PLAIN}:@]|{_ESCAPED})"
_HOST: Final = f"(?:\\[(?:{_IPV6})\\]|(?:[{_PLAIN}]|{_ESCAPED})*)"
_AUTHORITY: Final = f"(?:(?:[{_PLAIN}:]|{_ESCAPED})*@)?{_HOST}(?::[0-9]*)?"
_PATH: Final = f"(?://{_AUTHORITY}(?:/{_SEGMENT}*)*|/(?:{_SEGMENT}+(?:/{_SEGMENT}*)*)?|{_SEGMENT}+(?:/{_SEGMENT}*)*)?"
_URI: Final = f"[a-zA-Z][a-zA-Z0-9+\\-.]*:{_PATH}(?:\\?(?:{_SEGMENT}|[/?])*)?(?:#(?:{_SEGMENT}|[/?])*)?"

FORMATS: Final = {
    "date-time": Format(f"^{_DATE}T{_TIME}$"),
    "date": Format(f"^{_DATE}$"),
    "time": Format(f"^{_TIME}$"),
    "duration": Format(f"^{_DURATION}$"),
    "email": Format(f"^{_ATOM}(?:\\.{_ATOM})*@{_LABEL}(?:\\.{_LABEL})*$", 254),
    "hostname": Format(f"^{_LABEL}(?:\\.{_LABEL})*$", 253),
    "ipv4": Format(f"^{_IPV4}$"),
    "ipv6": Format(f"^(?:{_IPV6})$"),
    "uuid": Format("^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"),
    "uri": Format(f"^{_URI}$"),
}
"""RFC 3339 (dates, times, durations), 5321 (email), 1123 (hostname), 2673 and 4291 (addresses), 4122, 3986."""
