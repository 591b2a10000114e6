"""Flips: for every honoured field two requests that differ in it alone, and a function that tells them apart."""

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from tests.conformance.observations import (
    MARKED,
    Body,
    admitted,
    cached_tokens,
    decoded,
    grammar_text,
    logged,
    prompt,
    refusal,
    sent,
    stored,
    turn,
    verified,
)
from tests.engine.fake_model import EOG_IDS

Observe = Callable[[Body], object]


class Flip(Struct, frozen=True):
    """Two requests that differ in the field of this path alone, and a function that tells them apart."""

    path: str
    before: Body
    after: Body
    observe: Observe


HI = {"role": "user", "content": "Hi"}
FUNCTION = {"name": "find", "description": "Finds.", "parameters": {"type": "object", "properties": {}}}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
OFF_AND_ON = (False, True)
END = min(EOG_IDS)
"""A token that ends the answer of the fake model."""
TAGS = {"type": "object", "properties": {"tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True}}}
"""A schema with a keyword that cannot be enforced."""
CITATION = {"start_index": 0, "end_index": 2, "url": "http://a.test", "title": "A"}


def body(**fields: Any) -> Body:  # noqa: ANN401 (JSON)
    """Give a request with these fields."""
    return {"model": "m", "messages": [HI], **fields}


def talk(*messages: Body) -> Body:
    """Give a request with these messages."""
    return body(messages=list(messages))


def drawn(**fields: Any) -> Body:  # noqa: ANN401 (JSON)
    """Give a request for a few tokens that are drawn by a seed."""
    return body(**{"max_completion_tokens": 12, "seed": 1, **fields})


def flip(path: str, values: tuple[object, object], request: Callable[[Any], Body], observe: Observe) -> Flip:
    """Flip between two values, of each of which ``request`` makes a request."""
    before, after = map(request, values)
    return Flip(path, before, after, observe)


def field(name: str, before: object, after: object, observe: Observe, **others: object) -> Flip:
    """Flip a field of the request itself."""
    return flip(name, (before, after), lambda value: body(**others, **{name: value}), observe)


def sampled(name: str, before: object, after: object, **others: object) -> Flip:
    """Flip a field that changes which tokens the core draws."""
    return flip(name, (before, after), lambda value: drawn(**others, **{name: value}), decoded)


def assistant(**fields: object) -> Body:
    return {"role": "assistant", **fields}


def said_before(**fields: object) -> Body:
    """Give a conversation in which the assistant has said something."""
    return talk(HI, assistant(**fields), HI)


def called(name: str = "find", arguments: str = "{}", ids: tuple[str, str] = ("c1", "c2"), answers: str = "12") -> Body:
    """Give a conversation with two calls and their results; ``answers`` tells which call each result is of."""
    functions = ({"name": name, "arguments": arguments}, {"name": "look", "arguments": "{}"})
    calls = [
        {"id": each, "type": "function", "function": function} for each, function in zip(ids, functions, strict=True)
    ]
    results = [
        {"role": "tool", "tool_call_id": f"c{number}", "content": text}
        for number, text in zip(answers, ("rain", "sun"), strict=True)
    ]
    return talk(HI, assistant(tool_calls=calls), *results)


def called_custom(name: str = "run", text: str = "x") -> Body:
    calls = [{"id": "c1", "type": "custom", "custom": {"name": name, "input": text}}]
    return talk(HI, assistant(tool_calls=calls), {"role": "tool", "tool_call_id": "c1", "content": "rain"})


def called_function(name: str = "find", arguments: str = "{}") -> Body:
    return said_before(function_call={"name": name, "arguments": arguments})


def cited(kind: str = "url_citation", **fields: object) -> Body:
    annotation = {"type": kind, "url_citation": {**CITATION, **fields}}
    return said_before(content="Hi", annotations=[annotation]) | {"store": True}


def parts(*contents: Body) -> Body:
    return said_before(content=list(contents))


def messages() -> Iterator[Flip]:
    """Flip the messages and their parts."""
    yield Flip("messages", talk(HI), talk(HI, HI), prompt)
    yield Flip("messages[].role", talk(HI), talk({"role": "system", "content": "Hi"}), prompt)
    yield Flip("messages[].content", talk(HI), talk({"role": "user", "content": "Ho"}), prompt)
    text, refused = {"type": "text", "text": "Hi"}, {"type": "refusal", "refusal": "No."}
    yield Flip("messages[].content[].type", parts(text), parts(text | {"type": "refusal"}), refusal)
    yield Flip("messages[].content[].text", parts(text), parts(text | {"text": "Ho"}), prompt)
    yield Flip("messages[].content[].refusal", parts(refused), parts(refused | {"refusal": "Never."}), prompt)
    yield Flip("messages[].name", talk(HI), talk(HI | {"name": "ada"}), prompt)
    yield Flip("messages[].refusal", said_before(refusal="No."), said_before(refusal="Never."), prompt)
    spoken = {"content": "Hi"}
    yield Flip(
        "messages[].reasoning_content", said_before(**spoken), said_before(**spoken, reasoning_content="Hm."), prompt
    )
    yield Flip("messages[].tool_call_id", called(), called(answers="21"), prompt)


def calls_made() -> Iterator[Flip]:
    """Flip the calls of the history."""
    call = "messages[].tool_calls"
    yield Flip(call, called(), called("look", '{"a": 1}'), prompt)
    yield Flip(f"{call}[].id", called(), called(ids=("c2", "c1")), prompt)
    yield Flip(f"{call}[].type", called(), _custom_types(called()), refusal)
    yield Flip(f"{call}[].function", called(), called("look", '{"a": 1}'), prompt)
    yield Flip(f"{call}[].function.name", called(), called("look"), prompt)
    yield Flip(f"{call}[].function.arguments", called(), called(arguments='{"a": 1}'), prompt)
    yield Flip(f"{call}[].custom", called_custom(), called_custom("walk", "y"), prompt)
    yield Flip(f"{call}[].custom.name", called_custom(), called_custom("walk"), prompt)
    yield Flip(f"{call}[].custom.input", called_custom(), called_custom(text="y"), prompt)
    call = "messages[].function_call"
    yield Flip(call, called_function(), called_function("look", '{"a": 1}'), prompt)
    yield Flip(f"{call}.name", called_function(), called_function("look"), prompt)
    yield Flip(f"{call}.arguments", called_function(), called_function(arguments='{"a": 1}'), prompt)


def _custom_types(request: Body) -> Body:
    """Call the functions of the conversation custom tools."""
    user, calling, *results = request["messages"]
    calls = [each | {"type": "custom"} for each in calling["tool_calls"]]
    return talk(user, calling | {"tool_calls": calls}, *results)


def annotations() -> Iterator[Flip]:
    """Flip the citations of the history, which are stored and never rendered."""
    path = "messages[].annotations"
    plain = said_before(content="Hi", annotations=[]) | {"store": True}
    yield Flip(path, plain, cited(), stored)
    yield Flip(f"{path}[].type", cited(), cited("file_citation"), refusal)
    yield Flip(f"{path}[].url_citation", cited(), cited(title="B", end_index=1), stored)
    yield Flip(f"{path}[].url_citation.start_index", cited(), cited(start_index=1), stored)
    yield Flip(f"{path}[].url_citation.end_index", cited(), cited(end_index=1), stored)
    yield Flip(f"{path}[].url_citation.url", cited(), cited(url="http://b.test"), stored)
    yield Flip(f"{path}[].url_citation.title", cited(), cited(title="B"), stored)


def sampling() -> Iterator[Flip]:
    """Flip the fields that decide which tokens the core draws, and how many."""
    yield sampled("temperature", 0, 1.5)
    yield sampled("top_p", 0, 1)
    yield sampled("top_k", 1, 0)
    yield sampled("min_p", 1, 0)
    yield sampled("presence_penalty", 0, 2, **_few())
    yield sampled("frequency_penalty", 0, 2, **_few())
    yield sampled("repetition_penalty", 1, 2, **_few())
    yield sampled("logit_bias", {"97": 100}, {"98": 100})
    yield sampled("seed", 1, 2)
    yield sampled("n", 1, 2)
    yield sampled("max_completion_tokens", 5, 6)
    yield field("max_tokens", 5, 6, decoded, seed=1)
    yield field("n_predict", 5, 6, decoded, seed=1)


def _few() -> Body:
    """Leave the model a few letters, so that it repeats itself."""
    return {"logit_bias": dict.fromkeys(map(str, b"abcdef"), 100)}


def decoding_extensions() -> Iterator[Flip]:
    """Flip the extensions of other local servers about decoding."""
    ends = {"logit_bias": dict.fromkeys(map(str, (*b"ab", END)), 100)}
    yield sampled("min_tokens", 0, 12, **ends)
    yield sampled("ignore_eos", *OFF_AND_ON, **ends)
    yield sampled("repeat_penalty", 1, 2, **_few())
    yield sampled("repeat_last_n", 0, -1, repeat_penalty=2, **_few())
    yield sampled("typical_p", 1, 0)
    yield sampled("xtc_probability", 0, 1)
    yield sampled("xtc_threshold", 0.01, 1, xtc_probability=1)
    yield sampled("mirostat", 0, 2, mirostat_tau=0)
    yield sampled("mirostat_tau", 0, 5, mirostat=2)
    yield sampled("mirostat_eta", 0, 1, mirostat=2, mirostat_tau=1)
    letters = {"logit_bias": dict.fromkeys(map(str, b"abcdef"), 100)}
    repeating = {**letters, "temperature": 0.1, "max_completion_tokens": 40}
    dry = {**repeating, "dry_multiplier": 1, "dry_allowed_length": 1, "dry_base": 3}
    yield sampled("dry_multiplier", 0, 1, **repeating, dry_allowed_length=1)
    for name, before, after in (("dry_base", 1, 3), ("dry_allowed_length", 1, 9), ("dry_penalty_last_n", 0, -1)):
        yield sampled(name, before, after, **{key: value for key, value in dry.items() if key != name})
    yield sampled("dry_sequence_breakers", [], ["a", "b", "c"], **dry)
    yield sampled("stop_token_ids", [], [*b"abc"], **letters)
    for name in ("include_stop_str_in_output", "no_stop_trim"):
        yield field(name, *OFF_AND_ON, sent, stop=",")
    yield field("prompt_logprobs", None, 0, sent)
    yield field("return_token_ids", *OFF_AND_ON, sent)
    yield field("skip_special_tokens", *OFF_AND_ON, sent, model=MARKED)
    yield field("spaces_between_special_tokens", *OFF_AND_ON, refusal, skip_special_tokens=False)
    yield field("best_of", 1, 2, refusal)


def shape_of_the_answer() -> Iterator[Flip]:
    """Flip the model, and the parts of its answer."""
    yield field("model", "m", "other", sent)
    yield field("logprobs", *OFF_AND_ON, sent)
    yield field("top_logprobs", 1, 2, sent, logprobs=True)
    yield field("stop", ",", ["w"], sent)
    yield field("stream", *OFF_AND_ON, sent)
    yield field("stream_options", {}, {"include_usage": True, "include_obfuscation": False}, sent, stream=True)

    def streamed(**options: object) -> Body:
        return body(stream=True, stream_options=options)

    yield flip("stream_options.include_usage", OFF_AND_ON, lambda value: streamed(include_usage=value), sent)

    def counted(value: object) -> Body:
        return streamed(include_usage=True, continuous_usage_stats=value)

    yield flip("stream_options.continuous_usage_stats", OFF_AND_ON, counted, sent)
    yield flip(
        "stream_options.include_obfuscation", OFF_AND_ON, lambda value: streamed(include_obfuscation=value), sent
    )


def bookkeeping() -> Iterator[Flip]:
    """Flip the fields of storage, log, cache and scheduling."""
    yield field("store", *OFF_AND_ON, stored)
    yield field("metadata", {"a": "b"}, {"a": "c"}, stored, store=True)
    yield field("user", "ada", "bob", logged)
    yield field("safety_identifier", "ada", "bob", logged, user="cid")
    yield Flip("prompt_cache_key", drawn(prompt_cache_key="a"), drawn(prompt_cache_key="b"), cached_tokens)
    yield Flip("cache_salt", drawn(cache_salt="a"), drawn(cache_salt="b"), cached_tokens)
    yield Flip("priority", drawn(priority=1), drawn(priority=-1), turn)
    yield Flip("service_tier", drawn(service_tier="flex"), drawn(service_tier="priority"), turn)


def telling_the_model() -> Iterator[Flip]:
    """Flip the instructions of the prompt beside the messages."""
    yield field("reasoning_effort", "low", "high", prompt)
    yield field("verbosity", "low", "high", prompt)
    yield field("enable_thinking", *OFF_AND_ON, prompt)
    yield field("thinking", *OFF_AND_ON, prompt)
    kinds = ("disabled", "enabled")
    yield flip("thinking.type", kinds, lambda kind: body(thinking={"type": kind}), prompt)
    yield flip("reasoning.effort", ("low", "high"), lambda effort: body(reasoning={"effort": effort}), prompt)
    yield flip("reasoning.enabled", OFF_AND_ON, lambda value: body(reasoning={"enabled": value}), prompt)
    yield field("reasoning", {"enabled": True}, {"effort": "none"}, prompt)
    yield field("thinking_budget", 2, 3, grammar_text)
    yield flip("reasoning.max_tokens", (2, 3), lambda value: body(reasoning={"max_tokens": value}), grammar_text)

    def bounded(tokens: object) -> Body:
        return body(thinking={"type": "enabled", "budget_tokens": tokens})

    yield flip("thinking.budget_tokens", (2, 3), bounded, grammar_text)
    yield field("add_generation_prompt", *OFF_AND_ON, prompt)
    prefill = talk(HI, assistant(content="Hi"))
    yield flip("continue_final_message", OFF_AND_ON, lambda value: prefill | {"continue_final_message": value}, prompt)
    yield field("chat_template_kwargs", {"mood": "merry"}, {"mood": "sad"}, prompt)


def predicting() -> Iterator[Flip]:
    """Flip the prediction for a model that generates nothing but the letter a."""
    path = "prediction"
    asked = body(max_completion_tokens=40, logit_bias={str(ord("a")): 100})
    right, wrong = "a" * 40, "ab" * 20
    text, part = {"type": "content", "content": wrong}, {"type": "text", "text": wrong}

    def predicted(prediction: Body) -> Body:
        return asked | {path: prediction}

    yield Flip(path, predicted(text), predicted(text | {"content": right}), verified)
    yield Flip(f"{path}.type", predicted(text), predicted(text | {"type": "answer"}), refusal)
    yield Flip(f"{path}.content", predicted(text), predicted(text | {"content": right}), verified)

    def listed(one: Body) -> Body:
        return predicted(text | {"content": [one]})

    yield Flip(f"{path}.content[].text", listed(part), listed(part | {"text": right}), verified)
    yield Flip(f"{path}.content[].type", listed(part), listed(part | {"type": "answer"}), refusal)


def function(**fields: object) -> Body:
    return {"type": "function", "function": {**FUNCTION, **fields}}


def custom_tool(name: str = "run", **fields: object) -> Body:
    return {"type": "custom", "custom": {"name": name, **fields}}


def grammar(definition: str = "x", syntax: str = "regex") -> Body:
    return {"type": "grammar", "grammar": {"definition": definition, "syntax": syntax}}


def tools(*declared: Body, **fields: object) -> Body:
    return body(tools=list(declared), **fields)


FIND, LOOK, RUN, WALK = function(), function(name="look"), custom_tool(), custom_tool("walk")


def functions_declared() -> Iterator[Flip]:
    """Flip the tools that are functions."""
    path = "tools[].function"
    yield Flip("tools", tools(FIND), tools(FIND, LOOK), admitted)
    yield Flip("tools[].type", tools(FIND), tools(FIND | {"type": "custom"}), refusal)
    yield Flip(path, tools(FIND), tools(function(name="look", description="Looks.")), prompt)
    yield Flip(f"{path}.name", tools(FIND), tools(LOOK), admitted)
    yield Flip(f"{path}.description", tools(FIND), tools(function(description="Seeks.")), prompt)
    yield Flip(f"{path}.parameters", tools(FIND), tools(function(parameters=CITY)), admitted)
    yield flip(f"{path}.strict", OFF_AND_ON, lambda strict: tools(function(parameters=TAGS, strict=strict)), refusal)


def customs_declared() -> Iterator[Flip]:
    """Flip the custom tools."""
    path = "tools[].custom"
    yield Flip(path, tools(RUN), tools(WALK), prompt)
    yield Flip(f"{path}.name", tools(RUN), tools(WALK), admitted)
    texts = ("Runs.", "Executes.")
    yield flip(f"{path}.description", texts, lambda text: tools(custom_tool(description=text)), prompt)

    def formatted(**form: object) -> Body:
        return tools(custom_tool(format=form))

    x, xyz, lark = grammar(), grammar("xyz"), 'start: "x"'
    yield Flip(f"{path}.format", formatted(type="text"), formatted(**x), admitted)
    yield Flip(f"{path}.format.type", formatted(type="text"), formatted(type="grammar"), refusal)
    yield Flip(f"{path}.format.grammar", formatted(**x), formatted(**xyz), admitted)
    yield Flip(f"{path}.format.grammar.definition", formatted(**x), formatted(**xyz), admitted)
    syntaxes = ("regex", "lark")
    yield flip(f"{path}.format.grammar.syntax", syntaxes, lambda syntax: formatted(**grammar(lark, syntax)), admitted)


def choices_among_tools() -> Iterator[Flip]:
    """Flip the choice among the tools."""
    path = "tool_choice"

    def chosen(choice: object) -> Body:
        return tools(FIND, LOOK, RUN, WALK, tool_choice=choice)

    def named(kind: str, name: str, member: str = "") -> Body:
        return {"type": kind, member or kind: {"name": name}}

    def allowed(mode: str, name: str) -> Body:
        return chosen({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [named("function", name)]}})

    yield Flip(path, chosen("none"), chosen("required"), admitted)
    misnamed = named("custom", "find", member="function")
    yield Flip(f"{path}.type", chosen(named("function", "find")), chosen(misnamed), refusal)
    functions, customs = ("find", "look"), ("run", "walk")
    for suffix in ("", ".name"):
        yield flip(f"{path}.function{suffix}", functions, lambda name: chosen(named("function", name)), admitted)
        yield flip(f"{path}.custom{suffix}", customs, lambda name: chosen(named("custom", name)), admitted)
    yield Flip(f"{path}.allowed_tools", allowed("auto", "find"), allowed("required", "look"), admitted)
    yield Flip(f"{path}.allowed_tools.mode", allowed("auto", "find"), allowed("required", "find"), admitted)
    yield Flip(f"{path}.allowed_tools.tools", allowed("auto", "find"), allowed("auto", "look"), admitted)
    yield flip("parallel_tool_calls", OFF_AND_ON, lambda value: tools(LOOK, FIND, parallel_tool_calls=value), admitted)


def deprecated_functions() -> Iterator[Flip]:
    """Flip the deprecated form of tools."""
    look = FUNCTION | {"name": "look"}
    yield field("functions", [FUNCTION], [FUNCTION, look], admitted)

    def declared(**fields: object) -> Body:
        return body(functions=[FUNCTION | fields])

    yield Flip("functions[].name", declared(), declared(name="look"), admitted)
    yield Flip("functions[].description", declared(), declared(description="Seeks."), prompt)
    yield Flip("functions[].parameters", declared(), declared(parameters=CITY), admitted)
    both = {"functions": [FUNCTION, look]}
    yield field("function_call", "none", "auto", admitted, **both)
    yield flip(
        "function_call.name", ("find", "look"), lambda name: body(**both, function_call={"name": name}), admitted
    )


def formats() -> Iterator[Flip]:
    """Flip the format of the answer."""
    path = "response_format"

    def form(**fields: object) -> Body:
        schema = {"name": "place", "schema": CITY, **fields}
        return body(response_format={"type": "json_schema", "json_schema": schema})

    yield field(path, {"type": "text"}, {"type": "json_object"}, admitted)
    kinds = ("text", "json_object")
    yield flip(f"{path}.type", kinds, lambda kind: body(response_format={"type": kind}), admitted)
    yield Flip(f"{path}.json_schema", form(), form(schema={"type": "object"}, name="thing"), admitted)
    yield Flip(f"{path}.json_schema.schema", form(), form(schema={"type": "object"}), admitted)
    yield Flip(f"{path}.json_schema.name", form(), form(name="thing"), prompt)
    yield Flip(f"{path}.json_schema.description", form(), form(description="A place."), prompt)
    yield flip(f"{path}.json_schema.strict", OFF_AND_ON, lambda strict: form(schema=TAGS, strict=strict), refusal)


def forms() -> Iterator[Flip]:
    """Flip the forms of the content that other servers have."""
    thing, place = {"type": "object"}, CITY
    shapes = ('root ::= "Hi."', 'root ::= "{}"')
    values: dict[str, tuple[object, object]] = {
        "json": (thing, place),
        "regex": ("Hi[.]", r"\{\}"),
        "choice": (["Hi."], ["{}"]),
        "grammar": shapes,
    }
    for name, (before, after) in values.items():
        yield Flip(f"structured_outputs.{name}", form(**{name: before}), form(**{name: after}), admitted)
        yield field(f"guided_{name}", before, after, admitted)
    yield field("structured_outputs", {"regex": "Hi[.]"}, {"json_object": True}, admitted)
    yield flip("structured_outputs.json_object", (True, False), lambda value: form(json_object=value), refusal)
    yield field("grammar", *shapes, admitted)

    def loose(schema: object) -> Body:
        return body(response_format={"type": "json_object", "schema": schema})

    yield flip("response_format.schema", (thing, place), loose, admitted)


def form(**fields: object) -> Body:
    return body(structured_outputs=fields)


GROUPS = (
    *(messages, calls_made, annotations),
    *(sampling, decoding_extensions, shape_of_the_answer, bookkeeping, telling_the_model, predicting),
    *(functions_declared, customs_declared, choices_among_tools, deprecated_functions, formats, forms),
)


def flips() -> list[Flip]:
    """Give one flip for each field."""
    return [flip for group in GROUPS for flip in group()]
