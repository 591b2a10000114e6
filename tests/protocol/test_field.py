from antiphon.protocol.field import Field, Row, expand

TOOLS = Field(path="tools", side="request", status="refused", module="m", test="t", note="tool calls", idle=("none",))


def test_a_row_stands_for_its_field_and_those_inside() -> None:
    name = Field(path="tools[].name", side="request", status="refused", module="m", test="t")
    assert expand((Row(field=TOOLS, nested=("[].name",)),)) == (TOOLS, name)


def test_rows_keep_their_order() -> None:
    paths = [field.path for field in expand((Row(field=TOOLS, nested=("[].b", "[].a")), Row(field=TOOLS)))]
    assert paths == ["tools", "tools[].b", "tools[].a", "tools"]
