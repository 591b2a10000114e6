from antiphon.protocol.field import Field, Row, expand

TOOLS = Field(path="tools", side="request", status="refused", module="m", test="t", note="tool calls", idle=("none",))


def test_row_expands_to_its_field_and_the_nested_fields() -> None:
    name = Field(path="tools[].name", side="request", status="refused", module="m", test="t")
    assert (TOOLS, name) == expand((Row(field=TOOLS, nested=("[].name",)),))


def test_expanded_rows_keep_their_order() -> None:
    paths = [field.path for field in expand((Row(field=TOOLS, nested=("[].b", "[].a")), Row(field=TOOLS)))]
    assert ["tools", "tools[].b", "tools[].a", "tools"] == paths
