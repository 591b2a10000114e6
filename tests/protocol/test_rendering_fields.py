from antiphon.protocol.decoding_extensions import DecodingExtensions
from antiphon.protocol.field import expand
from antiphon.protocol.rendering_extensions import RenderingExtensions, StructuredOutputs
from antiphon.protocol.rendering_fields import RENDERING_ROWS

PATHS = [field.path for field in expand(RENDERING_ROWS)]


def test_every_extension_has_one_row() -> None:
    own = set(RenderingExtensions.__struct_fields__) - set(DecodingExtensions.__struct_fields__)
    assert own == {path for path in PATHS if "." not in path}
    assert len(PATHS) == len(set(PATHS))


def test_every_member_of_structured_outputs_has_a_row() -> None:
    assert {f"structured_outputs.{name}" for name in StructuredOutputs.__struct_fields__} <= set(PATHS)


def test_every_row_names_the_origin_of_its_field() -> None:
    assert [] == [row.field.path for row in RENDERING_ROWS if not row.field.origin]
