from collections import Counter

from antiphon.protocol.base62 import DIGITS, base62


def test_each_byte_becomes_one_letter_or_digit() -> None:
    assert 256 == len(base62(bytes(range(256))))
    assert set(DIGITS) == set(base62(bytes(range(256))))


def test_digits_are_in_ascii_order() -> None:
    assert b"09AZaz0" == base62(bytes([0, 9, 10, 35, 36, 61, 62]))


def test_digits_are_almost_equally_likely() -> None:
    assert {4, 5} == set(Counter(base62(bytes(range(256)))).values())
