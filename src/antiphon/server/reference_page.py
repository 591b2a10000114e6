"""The reference page: the OpenAPI document as one HTML page without scripts or external resources."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

STYLE: Final = """
:root { color-scheme: light dark; --fg: light-dark(#1c2024, #e6e8eb); --dim: light-dark(#60646c, #a0a6ad);
  --bg: light-dark(#fdfdfc, #131517); --card: light-dark(#f4f4f2, #1c1f22); --line: light-dark(#dddcd7, #33383d);
  --link: light-dark(#0b5cad, #7cb7ff); --get: light-dark(#176f3d, #4cc38a); --post: light-dark(#0b5cad, #6cb0ff);
  --delete: light-dark(#b3261e, #ff8f85); }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0; font: 16px/1.6 system-ui, sans-serif; color: var(--fg); background: var(--bg); }
.page { display: grid; grid-template-columns: 15rem minmax(0, 50rem); gap: 3rem; max-width: 72rem; margin: 0 auto;
  padding: 2rem 1.5rem 6rem; }
nav { position: sticky; top: 1rem; align-self: start; max-height: calc(100vh - 2rem); overflow-y: auto;
  font-size: .875rem; }
nav ul { list-style: none; margin: 0 0 1rem; padding: 0; }
nav a { display: block; padding: .15rem 0; color: var(--dim); text-decoration: none; overflow-wrap: anywhere; }
nav a:hover, nav a:focus { color: var(--link); }
nav strong { font-size: .75rem; letter-spacing: .06em; text-transform: uppercase; }
a { color: var(--link); }
h1 { margin: 0; font-size: 2rem; line-height: 1.2; }
h2 { margin: 3.5rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line); font-size: 1.35rem; }
h3 { margin: 2rem 0 .25rem; font-size: 1.05rem; }
h4 { margin: 1.5rem 0 .25rem; font-size: .8rem; letter-spacing: .05em; text-transform: uppercase; color: var(--dim); }
code, pre { font: .85em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
code { overflow-wrap: anywhere; }
pre { margin: .5rem 0; padding: .9rem 1rem; overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem;
  background: var(--card); }
.dim { color: var(--dim); }
.call { display: flex; gap: .75rem; align-items: baseline; font-size: 1rem; }
.method { font-weight: 700; }
.GET { color: var(--get); } .POST { color: var(--post); } .DELETE { color: var(--delete); }
dl { margin: .5rem 0; border-top: 1px solid var(--line); }
dl > div { padding: .55rem 0; border-bottom: 1px solid var(--line); }
dt { display: flex; flex-wrap: wrap; gap: .1rem .75rem; align-items: baseline; }
dt b { font-weight: 650; } dt .type { color: var(--dim); font-size: .875rem; }
dt .presence { color: light-dark(#a4460b, #ffa057); font-size: .75rem; }
dd { margin: .1rem 0 0; font-size: .925rem; color: var(--dim); }
@media (max-width: 52rem) { .page { grid-template-columns: minmax(0, 1fr); gap: 1rem; } nav { position: static;
  max-height: none; columns: 2; } }
"""

TEMPLATE: Final = """\
{%- macro fields(rows) %}
<dl>
{%- for row in rows %}
<div><dt><b><code>{{ row.name }}</code></b> <span class="type">{{ row.type }}</span>
{%- if row.presence %} <span class="presence">{{ row.presence }}</span>{% endif %}</dt>
{%- if row.description %}<dd>{{ row.description }}</dd>{% endif %}</div>
{%- endfor %}
</dl>
{%- endmacro -%}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ info.title }} {{ info.version }}: API reference</title>
<style>{{ style }}</style>
</head>
<body>
<div class="page">
<nav aria-label="Contents">
<ul>
<li><strong>Endpoints</strong></li>
{%- for operation in operations %}
<li><a href="#{{ operation.id }}">{{ operation.summary }}</a></li>
{%- endfor %}
</ul>
<ul>
<li><strong>Objects</strong></li>
{%- for schema in schemas %}
<li><a href="#{{ schema.id }}">{{ schema.name }}</a></li>
{%- endfor %}
</ul>
</nav>
<main>
<h1>{{ info.title }}</h1>
<p class="dim">Version {{ info.version }} · <a href="openapi.json">openapi.json</a></p>
{{ introduction }}
{%- for operation in operations %}
<section id="{{ operation.id }}">
<h2>{{ operation.summary }}</h2>
<p class="call"><code class="method {{ operation.method }}">{{ operation.method }}</code>
<code>{{ operation.path }}</code></p>
{{ operation.description }}
{%- for place, parameters in operation.parameters.items() %}
<h4>{{ place }}</h4>
{{ fields(parameters) }}
{%- endfor %}
{%- if operation.request %}
<h4>Request</h4>
<p>{{ operation.request }}</p>
{%- endif %}
{%- for example in operation.examples %}
<h4>Example: {{ example.summary }}</h4>
<pre><code>{{ example.text }}</code></pre>
{%- endfor %}
<h4>Answers</h4>
{{ fields(operation.answers) }}
</section>
{%- endfor %}
<h2 id="objects">Objects</h2>
{%- for schema in schemas %}
<section id="{{ schema.id }}">
<h3>{{ schema.name }}</h3>
{{ schema.description }}
{%- if schema.rows %}{{ fields(schema.rows) }}{% else %}<p>{{ schema.type }}</p>{% endif %}
</section>
{%- endfor %}
</main>
</div>
</body>
</html>
"""


def render_page(document: dict[str, Any]) -> str:
    """Return the page for an OpenAPI ``document``, with every text escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    components = document["components"]
    return environment.from_string(TEMPLATE).render(
        style=Markup(STYLE),  # noqa: S704 - a constant
        info=document["info"],
        introduction=_prose(document["info"]["description"]),
        operations=list(_operations(document)),
        schemas=[_schema(name, schema) for name, schema in components["schemas"].items()],
    )


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            request = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            yield {
                "id": operation["operationId"],
                "summary": operation["summary"],
                "method": method.upper(),
                "path": path,
                "description": _prose(operation["description"]),
                "parameters": _parameters(operation.get("parameters", ())),
                "request": _type(request["schema"]) if request else None,
                "examples": [_example(example) for example in request.get("examples", {}).values()],
                "answers": list(_answers(document, operation["responses"])),
            }


def _parameters(parameters: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Group parameters by place: path, query, header."""
    places: dict[str, list[dict[str, Any]]] = {}
    for parameter in parameters:
        schema = {**parameter["schema"], "description": parameter["description"]}
        row = _row(parameter["name"], schema, "required" if parameter.get("required") else "")
        places.setdefault(parameter["in"].capitalize(), []).append(row)
    return places


def _example(example: dict[str, Any]) -> dict[str, str]:
    text = msgspec.json.format(msgspec.json.encode(example["value"]), indent=2).decode()
    return {"summary": example["summary"], "text": text}


def _answers(document: dict[str, Any], answers: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for status, answer in answers.items():
        target = _resolve(document, answer)
        kinds = [(media, content["schema"]) for media, content in target["content"].items()]
        types = Markup(", ").join(Markup("{} as {}").format(_type(schema), media) for media, schema in kinds)
        yield {"name": status, "type": types, "presence": "", "description": _inline(target["description"])}


def _resolve(document: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in value:
        return value
    target: Any = document
    for key in value["$ref"].removeprefix("#/").split("/"):
        target = target[key]
    assert isinstance(target, dict)
    return target


def _schema(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    # Only objects that clients send forbid further fields.
    presence = "required" if schema.get("additionalProperties") is False else "always present"
    required = schema.get("required", ())
    properties = schema.get("properties", {}).items()
    rows = [_row(key, value, presence if key in required else "") for key, value in properties]
    return {
        "id": _anchor(name),
        "name": name,
        "description": _prose(schema.get("description", "")),
        "rows": rows,
        "type": _type(schema),
    }


def _row(name: str, schema: dict[str, Any], presence: str) -> dict[str, Any]:
    """Return the row of a field; an optional field's type leaves null out."""
    description = schema.get("description", "")
    if "anyOf" in schema and not presence:
        schema = {"anyOf": [option for option in schema["anyOf"] if option.get("type") != "null"]}
    return {"name": name, "type": _type(schema), "presence": presence, "description": _inline(description)}


def _anchor(name: str) -> str:
    return f"schema-{name}"


def _type(schema: dict[str, Any]) -> Markup:
    """Return the type of ``schema`` in a few words, with links to the objects it names."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return Markup('<a href="#{}">{}</a>').format(_anchor(name), name)
    if "anyOf" in schema:
        return Markup(" or ").join(_type(option) for option in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return Markup(" | ").join(_literal(value) for value in schema.get("enum", [schema.get("const")]))
    if "contentSchema" in schema:
        return Markup("{} as JSON text").format(_type(schema["contentSchema"]))
    return _plain_type(schema)


def _literal(value: object) -> Markup:
    return Markup("<code>{}</code>").format(msgspec.json.encode(value).decode())


def _plain_type(schema: dict[str, Any]) -> Markup:
    match schema.get("type"):
        case "array":
            return Markup("array of {}").format(_type(schema.get("items", {}))) + _bounds(schema)
        case "object" if "properties" in schema:
            members = [Markup("{}: {}").format(name, _type(value)) for name, value in schema["properties"].items()]
            return Markup("object with ") + Markup(", ").join(members)
        case "object":
            return Markup("map to {}").format(_type(schema.get("additionalProperties") or {})) + _bounds(schema)
        case None:
            return escape("any value")
        case name:
            return escape(name) + _bounds(schema)


BOUNDS: Final = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minLength": "length ≥ {}",
    "maxLength": "length ≤ {}",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "maxProperties": "at most {} members",
    "default": "default {}",
}


def _bounds(schema: dict[str, Any]) -> Markup:
    words = [text.format(msgspec.json.encode(schema[key]).decode()) for key, text in BOUNDS.items() if key in schema]
    return Markup(" ({})").format(", ".join(words)) if words else Markup("")


def _prose(text: str) -> Markup:
    """Return the paragraphs of ``text``, which blank lines separate."""
    paragraphs = [_inline(paragraph) for paragraph in text.split("\n\n") if paragraph.strip()]
    return Markup("\n").join(Markup("<p>{}</p>").format(paragraph) for paragraph in paragraphs)


def _inline(text: str) -> Markup:
    """Return ``text`` escaped, with text between backticks as code."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        return escape(text)
    return Markup("").join(Markup("<code>{}</code>").format(p) if i % 2 else escape(p) for i, p in enumerate(pieces))
