from antiphon.protocol.decoding_extensions import DecodingExtensions
from antiphon.protocol.decoding_fields import DECODING_ROWS
from antiphon.protocol.field import expand


def test_rows_are_those_of_the_extensions_about_decoding() -> None:
    assert sorted(DecodingExtensions.__struct_fields__) == sorted(field.path for field in expand(DECODING_ROWS))


def test_every_row_names_the_origin_of_its_field() -> None:
    assert [] == [field.path for field in expand(DECODING_ROWS) if not field.origin]
