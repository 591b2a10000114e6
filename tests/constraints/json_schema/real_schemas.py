"""Schemas of the kinds found in public collections, written for these tests: tools, payloads, files, API fragments.

``REFUSED`` holds the schemas that cannot be enforced, with the keyword that the refusal names.
"""

from typing import Any

Schema = dict[str, Any]

DRAFT_4 = "http://json-schema.org/draft-04/schema#"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
DRAFT_2019 = "https://json-schema.org/draft/2019-09/schema"
DRAFT_2020 = "https://json-schema.org/draft/2020-12/schema"

TEXT: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}


def record(required: str = "", /, **properties: Any) -> Schema:  # noqa: ANN401
    """Return an object with some required properties."""
    schema: Schema = {"type": "object", "properties": properties}
    return {**schema, "required": required.split()} if required else schema


def sealed(required: str = "", /, **properties: Any) -> Schema:  # noqa: ANN401
    """Return an object without other properties."""
    return {**record(required, **properties), "additionalProperties": False}


def array(items: Any, **bounds: Any) -> Schema:  # noqa: ANN401
    return {"type": "array", "items": items, **bounds}


def choice(*values: Any) -> Schema:  # noqa: ANN401
    return {"enum": list(values)}


# fmt: off
TOOLS: dict[str, Schema] = {
    "get_weather": record("location", location=TEXT, unit={"type": "string", "enum": ["celsius", "fahrenheit"]}),
    "no parameters": {"type": "object", "properties": {}},
    "bash": record("command", command=TEXT, timeout={"type": "integer", "maximum": 600000}, description=TEXT, background=FLAG),
    "read_file": sealed("path", path={**TEXT, "minLength": 1}, offset={**INTEGER, "minimum": 0}, limit={**INTEGER, "exclusiveMinimum": 0}),
    "edit_file": sealed("path old new", path=TEXT, old=TEXT, new=TEXT, replace_all={**FLAG, "default": False}),
    "multi_edit": sealed("path edits", path=TEXT, edits=array(sealed("old new", old=TEXT, new=TEXT), minItems=1)),
    "glob": record("pattern", pattern=TEXT, path={"anyOf": [TEXT, {"type": "null"}], "default": None, "title": "Path"}),
    "grep": record("pattern", **{"pattern": TEXT, "-i": FLAG, "-n": FLAG, "-A": NUMBER, "-B": NUMBER, "mode": choice("content", "files", "count")}),
    "todo_write": sealed("todos", todos=array(sealed("content status id", content={**TEXT, "minLength": 1}, status={"type": "string", "enum": ["pending", "in_progress", "completed"]}, priority={"type": "string", "enum": ["high", "medium", "low"]}, id=TEXT))),
    "web_search": record("query", query={**TEXT, "minLength": 2}, allowed_domains=array(TEXT), top_k={**INTEGER, "minimum": 1, "maximum": 20}),
    "web_fetch": sealed("url", url={**TEXT, "format": "uri"}, prompt=TEXT),
    "click": record("x y", x={**INTEGER, "minimum": 0}, y={**INTEGER, "minimum": 0}, button=choice("left", "right", "middle")),
    "computer": {"type": "object", "oneOf": [record("action coordinate", action={"const": "click"}, coordinate=array(INTEGER, minItems=2, maxItems=2)), record("action text", action={"const": "type"}, text=TEXT), record("action keys", action={"const": "keypress"}, keys=array(TEXT, minItems=1)), record("action", action={"const": "screenshot"})]},
    "send_email": record("to subject body", to=array({**TEXT, "format": "email"}, minItems=1, maxItems=50), cc=array({**TEXT, "format": "email"}), subject={**TEXT, "maxLength": 998}, body=TEXT, priority={"type": "string", "enum": ["low", "normal", "high"], "default": "normal"}),
    "create_event": record("title start", title=TEXT, start={**TEXT, "format": "date-time"}, end={**TEXT, "format": "date-time"}, attendees=array({"type": "string", "format": "email"}), reminders=array(record("minutes", minutes={**INTEGER, "minimum": 0, "maximum": 40320}, method=choice("popup", "email")))),
    "sql": record("query", query={**TEXT, "pattern": "^\\s*(SELECT|WITH)"}, params=array({"type": ["string", "number", "boolean", "null"]})),
    "create_issue": record("owner repo title", owner={**TEXT, "pattern": "^[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,38})$"}, repo=TEXT, title=TEXT, labels=array(TEXT), milestone={"type": ["integer", "null"], "minimum": 1}),
    "mcp list": {"$schema": DRAFT_7, **sealed("", cursor=TEXT)},
    "mcp search nodes": {"$schema": DRAFT_7, **sealed("entities", entities=array(sealed("name entityType observations", name=TEXT, entityType=TEXT, observations=array(TEXT))))},
    "sequential thinking": record("thought next total", thought=TEXT, next={**FLAG, "description": "Whether another thought is needed"}, total={**INTEGER, "minimum": 1}, revises={**INTEGER, "minimum": 1}, branch=TEXT),
    "pydantic optional": {"properties": {"name": {"title": "Name", "type": "string"}, "age": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}], "default": None, "title": "Age"}, "tags": {"items": TEXT, "title": "Tags", "type": "array", "default": []}}, "required": ["name"], "title": "User", "type": "object"},
    "pydantic nested": {"$defs": {"Step": {"properties": {"explanation": TEXT, "output": TEXT}, "required": ["explanation", "output"], "type": "object"}, "Level": {"enum": [1, 2, 3], "type": "integer", "title": "Level"}}, **record("steps level", steps=array({"$ref": "#/$defs/Step"}), level={"allOf": [{"$ref": "#/$defs/Level"}], "default": 1})},
    "pydantic discriminated": {"$defs": {"Cat": record("kind lives", kind={"const": "cat", "type": "string"}, lives=INTEGER), "Dog": record("kind", kind={"const": "dog", "type": "string"}, barks={**FLAG, "default": True})}, **record("pet", pet={"discriminator": {"mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"}, "propertyName": "kind"}, "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]})},
    "pydantic constraints": record("id score code", id={**TEXT, "format": "uuid"}, score={**NUMBER, "minimum": 0, "maximum": 1}, code={**TEXT, "pattern": "^[A-Z]{3}-\\d{4}$"}, when={**TEXT, "format": "date"}, ttl={**TEXT, "format": "duration"}, ratio={"anyOf": [NUMBER, {"type": "string", "pattern": "^[+-]?\\d*\\.?\\d*$"}]}, pair={"type": "array", "maxItems": 2, "minItems": 2, "prefixItems": [INTEGER, TEXT]}, mapping={"type": "object", "additionalProperties": INTEGER}),
    "zod record": {"$schema": DRAFT_7, **sealed("headers", headers={"type": "object", "additionalProperties": TEXT, "propertyNames": {"minLength": 1}})},
    "zod union": sealed("value", value={"anyOf": [TEXT, NUMBER, FLAG, array({"anyOf": [TEXT, NUMBER]})]}),
}
EXTRACTION: dict[str, Schema] = {
    "invoice": sealed("number date total lines", number={**TEXT, "pattern": "^INV-[0-9]{4,8}$"}, date={**TEXT, "format": "date"}, currency={**TEXT, "minLength": 3, "maxLength": 3}, total={**NUMBER, "minimum": 0, "multipleOf": 0.01}, lines=array(sealed("text amount", text=TEXT, quantity={**INTEGER, "minimum": 1}, amount={**NUMBER, "multipleOf": 0.01}), minItems=1)),
    "person": record("firstName lastName", firstName=TEXT, lastName=TEXT, age={"description": "Age in years", "type": "integer", "minimum": 0}),
    "math reasoning": sealed("steps final_answer", steps=array(sealed("explanation output", explanation=TEXT, output=TEXT)), final_answer=TEXT),
    "user interface": {**sealed("type label children attributes", type={"type": "string", "enum": ["div", "button", "header", "section", "field", "form"]}, label=TEXT, children=array({"$ref": "#"}), attributes=array(sealed("name value", name=TEXT, value=TEXT)))},
    "linked list": {"$defs": {"node": sealed("value next", value=NUMBER, next={"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]})}, **sealed("list", list={"$ref": "#/$defs/node"})},
    "moderation": sealed("violates category", violates=FLAG, category={"type": ["string", "null"], "enum": ["violence", "sexual", None]}),
    "sentiment": {"type": "string", "enum": ["positive", "negative", "neutral"]},
    "classification scores": {"type": "object", "patternProperties": {"^[a-z_]+$": {"type": "number", "minimum": 0, "maximum": 1}}, "additionalProperties": False},
    "list of names": array({**TEXT, "minLength": 1, "maxLength": 64}, minItems=1, maxItems=100),
    "knowledge graph": record("nodes edges", nodes=array(record("id label", id=INTEGER, label=TEXT, color=TEXT)), edges=array(record("source target", source=INTEGER, target=INTEGER, weight={**NUMBER, "exclusiveMinimum": 0, "maximum": 1}))),
    "resume": {"$schema": DRAFT_4, **record("", basics=record("", name=TEXT, email={**TEXT, "format": "email"}, url={**TEXT, "format": "uri"}, location=record("", countryCode=TEXT)), work=array({**record("", company=TEXT, startDate={**TEXT, "format": "date"}, highlights=array(TEXT)), "additionalItems": False}), skills=array(record("", name=TEXT, keywords=array(TEXT))))},
    "quiz": record("question options answer", question=TEXT, options=array(TEXT, minItems=4, maxItems=4), answer={"type": "integer", "enum": [0, 1, 2, 3]}, difficulty={"type": "string", "enum": ["easy", "medium", "hard"]}),
}
FILES: dict[str, Schema] = {
    "package.json": {"$schema": DRAFT_7, "definitions": {"person": {"type": ["object", "string"], "required": ["name"], "properties": {"name": TEXT, "url": {**TEXT, "format": "uri"}, "email": {**TEXT, "format": "email"}}}, "dependency": {"type": "object", "additionalProperties": TEXT}, "scripts": {"type": "object", "properties": {"test": TEXT, "build": TEXT}, "additionalProperties": TEXT}}, **record("name version", name={**TEXT, "maxLength": 214, "minLength": 1, "pattern": "^(?:(?:@(?:[a-z0-9-*~][a-z0-9-*._~]*)?/[a-z0-9-._~])|[a-z0-9-~])[a-z0-9-._~]*$"}, version=TEXT, keywords=array(TEXT), private={"oneOf": [FLAG, choice("false", "true")]}, author={"$ref": "#/definitions/person"}, contributors=array({"$ref": "#/definitions/person"}), dependencies={"$ref": "#/definitions/dependency"}, devDependencies={"$ref": "#/definitions/dependency"}, scripts={"$ref": "#/definitions/scripts"}, bin={"type": ["string", "object"], "additionalProperties": TEXT}, engines={"type": "object", "properties": {"node": TEXT}, "additionalProperties": TEXT}, files=array(TEXT)), "patternProperties": {"^_": {"tsType": "any"}}},
    "tsconfig": {"$schema": DRAFT_7, **record("", compilerOptions=record("", target={"anyOf": [choice("ES5", "ES6", "ESNext"), {"pattern": "^([Ee][Ss]([356]|(20(1[56789]|2[01]))|[Nn][Ee][Xx][Tt]))$"}]}, strict=FLAG, lib=array({"anyOf": [choice("DOM", "ES6"), {"type": "string", "pattern": "^[Ee][Ss]5|[Ee][Ss]6$"}]}), paths={"type": "object", "additionalProperties": array(TEXT)}), include=array(TEXT), extends={"oneOf": [TEXT, array(TEXT)]})},
    "composer": record("", name={**TEXT, "pattern": "^[a-z0-9]([_.-]?[a-z0-9]+)*/[a-z0-9](([_.]|-{1,2})?[a-z0-9]+)*$"}, require={"type": "object", "additionalProperties": TEXT}),
    "github workflow": {"$schema": DRAFT_7, "definitions": {"shell": {"anyOf": [TEXT, choice("bash", "pwsh", "sh")]}, "env": {"oneOf": [{"type": "object", "additionalProperties": {"oneOf": [TEXT, NUMBER, FLAG]}}, {"type": "string", "pattern": "^.*\\$\\{\\{(.|[\r\n])*\\}\\}.*$"}]}, "step": {"type": "object", "additionalProperties": False, "dependencies": {"working-directory": ["run"], "shell": ["run"]}, "oneOf": [{"required": ["uses"]}, {"required": ["run"]}], "properties": {"id": TEXT, "name": TEXT, "if": {"type": ["boolean", "number", "string"]}, "uses": TEXT, "run": TEXT, "working-directory": TEXT, "shell": {"$ref": "#/definitions/shell"}, "with": {"$ref": "#/definitions/env"}, "env": {"$ref": "#/definitions/env"}, "timeout-minutes": {"anyOf": [NUMBER, TEXT]}}}}, **record("on jobs", name=TEXT, on={"oneOf": [choice("push", "pull_request"), array(choice("push", "pull_request"), minItems=1), {"type": "object"}]}, jobs={"type": "object", "minProperties": 1, "patternProperties": {"^[_a-zA-Z][a-zA-Z0-9_-]*$": record("runs-on", **{"runs-on": TEXT, "steps": array({"$ref": "#/definitions/step"}, minItems=1)})}, "additionalProperties": False})},
    "docker compose": {"$schema": DRAFT_7, **record("", version=TEXT, services={"type": "object", "patternProperties": {"^[a-zA-Z0-9._-]+$": {"$ref": "#/definitions/service"}}, "additionalProperties": False}), "patternProperties": {"^x-": {}}, "additionalProperties": False, "definitions": {"service": {**record("", image=TEXT, command={"oneOf": [TEXT, array(TEXT)]}, ports=array({"oneOf": [NUMBER, TEXT, record("", mode=TEXT, target=INTEGER)]}), environment={"oneOf": [{"type": "object", "patternProperties": {".+": {"type": ["string", "number", "boolean", "null"]}}, "additionalProperties": False}, array(TEXT)]}, restart=TEXT, mem_limit={"type": ["number", "string"]}), "patternProperties": {"^x-": {}}, "additionalProperties": False}}},
    "web manifest": {"$schema": DRAFT_4, **record("", name=TEXT, icons=array(record("", src={**TEXT, "format": "uri"}, sizes={"oneOf": [{**TEXT, "pattern": "^([0-9]+x[0-9]+ ?)+$"}, choice("any")]})), display=choice("fullscreen", "standalone", "browser"))},
    "renovate": record("", extends=array(TEXT), schedule={"oneOf": [array(TEXT), TEXT]}, prConcurrentLimit={**INTEGER, "default": 10}),
    "eslint": {"$schema": DRAFT_4, "definitions": {"rule": {"oneOf": [{"type": "integer", "minimum": 0, "maximum": 2}, choice("off", "warn", "error"), {"type": "array", "items": [{"oneOf": [{"type": "integer", "minimum": 0, "maximum": 2}, choice("off", "warn", "error")]}], "additionalItems": True}]}}, **record("", env={"type": "object", "additionalProperties": FLAG}, rules={"type": "object", "additionalProperties": {"$ref": "#/definitions/rule"}}, root=FLAG)},
    "kubernetes deployment": record("apiVersion kind metadata spec", apiVersion={"type": "string", "enum": ["apps/v1"]}, kind={"type": "string", "enum": ["Deployment"]}, metadata=record("name", name={**TEXT, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}, labels={"type": "object", "additionalProperties": {"type": ["string", "null"]}}), spec=record("selector template", replicas={"type": ["integer", "null"], "format": "int32"}, selector={"type": "object"}, template=record("", spec=record("containers", containers=array(record("name", name=TEXT, image=TEXT, ports=array(record("containerPort", containerPort={**INTEGER, "minimum": 1, "maximum": 65535}))))))), status={"type": ["object", "null"], "x-kubernetes-preserve-unknown-fields": True}),
    "int or string": record("", port={"oneOf": [TEXT, {"type": "integer", "format": "int32"}]}, size={"anyOf": [INTEGER, TEXT], "x-kubernetes-int-or-string": True}),
    "launch.json": record("version configurations", version=TEXT, configurations=array({**record("type request name", type=TEXT, request=choice("launch", "attach"), name=TEXT), "if": {"properties": {"request": {"const": "attach"}}, "required": ["request"]}, "then": {"properties": {"port": {**INTEGER, "minimum": 1, "maximum": 65535}}, "required": ["port"]}})),
    "cargo": record("package", package=record("name version", name=TEXT, version=TEXT, edition=choice("2015", "2018", "2021")), dependencies={"type": "object", "additionalProperties": {"anyOf": [TEXT, record("", version=TEXT, features=array(TEXT), optional=FLAG)]}}),
}
APIS: dict[str, Schema] = {
    "geojson point": record("type coordinates", type=choice("Point"), coordinates=array(NUMBER, minItems=2), bbox=array(NUMBER, minItems=4)),
    "geojson geometry": {"$schema": DRAFT_7, "definitions": {"position": array(NUMBER, minItems=2), "line": array({"$ref": "#/definitions/position"}, minItems=2)}, "oneOf": [{**record("type coordinates", type={"type": "string", "enum": ["Point"]}, coordinates={"$ref": "#/definitions/position"}), "title": "Point"}, {**record("type coordinates", type={"type": "string", "enum": ["LineString"]}, coordinates={"$ref": "#/definitions/line"}), "title": "LineString"}, {**record("type coordinates", type={"type": "string", "enum": ["Polygon"]}, coordinates=array(array({"$ref": "#/definitions/position"}, minItems=4))), "title": "Polygon"}]},
    "geojson feature": record("type properties geometry", type=choice("Feature"), id={"oneOf": [NUMBER, TEXT]}, properties={"oneOf": [{"type": "null"}, {"type": "object"}]}, geometry={"oneOf": [{"type": "null"}, record("type coordinates", type=choice("Point"), coordinates=array(NUMBER, minItems=2))]}),
    "coordinates": {"type": "object", "required": ["latitude", "longitude"], "properties": {"latitude": {**NUMBER, "minimum": -90, "maximum": 90}, "longitude": {**NUMBER, "minimum": -180, "maximum": 180}}},
    "openapi pet": {"required": ["id", "name"], "properties": {"id": {**INTEGER, "format": "int64"}, "name": TEXT, "tag": {**TEXT, "nullable": True}, "photoUrls": array(TEXT), "status": {**TEXT, "enum": ["available", "pending", "sold"]}}},
    "openapi components": {"$ref": "#/components/schemas/Page", "components": {"schemas": {"Page": record("items", items=array({"$ref": "#/components/schemas/Item"}), next={"type": ["string", "null"]}), "Item": {"allOf": [{"$ref": "#/components/schemas/Base"}, record("price", price={**NUMBER, "minimum": 0})]}, "Base": record("id", id={**TEXT, "format": "uuid"}, createdAt={**TEXT, "format": "date-time", "readOnly": True})}}},
    "error problem": record("type title", type={**TEXT, "format": "uri-reference"}, title=TEXT, status={**INTEGER, "minimum": 100, "exclusiveMaximum": 600}, detail=TEXT),
    "json api": record("data", data={"oneOf": [{"$ref": "#/definitions/resource"}, array({"$ref": "#/definitions/resource"}), {"type": "null"}]}, meta={"type": "object"}) | {"definitions": {"resource": record("type id", type=TEXT, id=TEXT, attributes={"type": "object", "not": {"anyOf": [{"required": ["relationships"]}, {"required": ["links"]}]}, "additionalProperties": True})}},
    "json patch": array({"oneOf": [sealed("op path value", op=choice("add", "replace", "test"), path=TEXT, value={}), sealed("op path", op=choice("remove"), path=TEXT), record("op path from", **{"op": choice("move", "copy"), "path": TEXT, "from": TEXT}) | {"additionalProperties": False}]}),
    "payment": {**record("amount method", amount={**NUMBER, "exclusiveMinimum": 0}, method=choice("card", "bank"), card=TEXT, iban={**TEXT, "pattern": "^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$"}), "allOf": [{"if": {"properties": {"method": {"const": "card"}}}, "then": {"required": ["card"]}}, {"if": {"properties": {"method": {"const": "bank"}}}, "then": {"required": ["iban"]}}]},
    "credit card dependency": {**record("name", name=TEXT, credit_card=NUMBER, billing_address=TEXT), "dependentRequired": {"credit_card": ["billing_address"]}},
    "address country": {"type": "object", "properties": {"country": {"default": "US", "enum": ["US", "CA"]}}, "if": {"properties": {"country": {"const": "US"}}}, "then": {"properties": {"postal_code": {"pattern": "[0-9]{5}(-[0-9]{4})?"}}}, "else": {"properties": {"postal_code": {"pattern": "[A-Z][0-9][A-Z] [0-9][A-Z][0-9]"}}}},
    "at least one": {**record("", email=TEXT, phone=TEXT), "anyOf": [{"required": ["email"]}, {"required": ["phone"]}]},
    "exactly one": {**sealed("", id=TEXT, name=TEXT), "oneOf": [{"required": ["id"]}, {"required": ["name"]}]},
    "unevaluated": {"$schema": DRAFT_2019, "allOf": [record("street", street=TEXT, city=TEXT)], "properties": {"type": choice("home", "work")}, "required": ["type"], "unevaluatedProperties": False},
    "graphql variables": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null", "array", "object"]}, "maxProperties": 32},
    "tree with siblings": {"$schema": DRAFT_2020, "$id": "https://example.org/tree", "$ref": "#node", "$defs": {"node": {"$anchor": "node", **record("data", data=True, children=array({"$ref": "tree#node"}))}}},
    "open rpc": record("jsonrpc method", jsonrpc={"const": "2.0"}, method=TEXT, params={"type": ["array", "object"]}, id={"type": ["string", "integer", "null"]}),
    "price range": {"$schema": DRAFT_4} | record("low high", low={**NUMBER, "minimum": 0, "exclusiveMinimum": True}, high={**NUMBER, "maximum": 1000000000.0, "exclusiveMaximum": False}),
    "ports": array({**INTEGER, "minimum": 0, "maximum": 65535}, uniqueItems=True, maxItems=1),
    "weekdays": array(choice("mon", "tue", "wed", "thu", "fri"), uniqueItems=True, minItems=1),
    "rgb": {"oneOf": [{**TEXT, "pattern": "^#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"}, array({**INTEGER, "minimum": 0, "maximum": 255}, minItems=3, maxItems=3)]},
    "settings": {**record("", theme=choice("light", "dark"), volume={**INTEGER, "minimum": 0, "maximum": 100, "multipleOf": 5}), "minProperties": 1, "additionalProperties": False},
    "feature flags": {"type": "object", "propertyNames": {"pattern": "^[a-z][a-z0-9-]*$"}, "additionalProperties": FLAG},
    "int64": record("id", id={**INTEGER, "minimum": -9223372036854775808, "maximum": 9223372036854775807}, uint={**INTEGER, "minimum": 0, "maximum": 18446744073709551615}),
    "matrix": array(array(NUMBER, minItems=3, maxItems=3), minItems=3, maxItems=3),
    "legacy tuple": {"$schema": DRAFT_7, "type": "array", "items": [TEXT, INTEGER, choice("a", "b")], "additionalItems": False, "minItems": 3},
    "non-empty text": record("name", name={**TEXT, "not": {"const": ""}}),
    "query filter": {"$defs": {"filter": {"oneOf": [sealed("and", **{"and": array({"$ref": "#/$defs/filter"}, minItems=1)}), sealed("not", **{"not": {"$ref": "#/$defs/filter"}}), sealed("field op value", field=TEXT, op=choice("eq", "gt", "lt"), value={"type": ["string", "number"]})]}}, "$ref": "#/$defs/filter"},
    "contains a primary": array(record("kind", kind=choice("primary", "backup")), contains={"properties": {"kind": {"const": "primary"}}}, maxItems=5),
    "password": record("", password={**TEXT, "pattern": "^(?=.*[A-Z])(?=.*[0-9]).{8,}$"}),
}
REFUSED: dict[str, tuple[Schema, str]] = {
    "unique tags": (record("", tags=array(TEXT, uniqueItems=True)), "uniqueItems"),
    "unique numbers": (array(NUMBER, uniqueItems=True, minItems=1), "uniqueItems"),
    "price": (record("", price={**TEXT, "pattern": "(?<=EUR )[0-9]+"}), "pattern"),
    "other file": (record("", shape={"$ref": "shapes.json#/definitions/circle"}), "$ref"),
    "word": (record("", text={**TEXT, "pattern": "\\bfoo\\b"}), "pattern"),
    "contains in any array": (array(INTEGER, contains={"const": 5}), "contains"),
}
# fmt: on

ACCEPTED = {**TOOLS, **EXTRACTION, **FILES, **APIS}
