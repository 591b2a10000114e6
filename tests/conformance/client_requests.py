"""Requests in the shapes that other people's clients send, from their documentation and source.

Each client has the bodies of its usual work: a benchmark's stream, a chat, a tool loop, a structured answer.
"""

from typing import Any, Final

Body = dict[str, Any]
MODEL: Final = "m"
SYSTEM: Final = {"role": "system", "content": "You help."}
USER: Final = {"role": "user", "content": "What is the weather in Rome?"}
PARTS: Final = {"role": "user", "content": [{"type": "text", "text": "What is the weather in Rome?"}]}
CITY: Final = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION: Final = {"name": "find", "description": "Finds the weather.", "parameters": CITY}
TOOL: Final = {"type": "function", "function": FUNCTION}
CALL: Final = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"city": "Rome"}'}}
CALLED: Final = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT: Final = {"role": "tool", "tool_call_id": "call_1", "content": "Rain."}
USAGE: Final = {"include_usage": True}


def chat(*messages: Body, **fields: Any) -> Body:  # noqa: ANN401 (JSON)
    """Give a request for these messages."""
    return {"model": MODEL, "messages": list(messages), **fields}


def json_schema(**fields: Any) -> Body:  # noqa: ANN401 (JSON)
    """Give a ``response_format`` for a city."""
    schema = {**CITY, "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "city", "schema": schema, **fields}}


CLIENTS: Final[dict[str, list[Body]]] = {
    "guidellm": [
        chat(
            PARTS,
            stream=True,
            stream_options={"include_usage": True, "continuous_usage_stats": True},
            max_completion_tokens=16,
            stop=None,
            ignore_eos=True,
        ),
        chat(PARTS, max_completion_tokens=16),
    ],
    "vllm bench serve": [
        chat(PARTS, max_completion_tokens=16, stream=True, stream_options=USAGE, ignore_eos=True),
        chat(
            PARTS,
            max_completion_tokens=16,
            stream=True,
            stream_options=USAGE,
            ignore_eos=True,
            temperature=0.0,
            top_p=1.0,
            top_k=-1,
            min_p=0.0,
            repetition_penalty=1.0,
        ),
    ],
    "SillyTavern": [
        chat(
            SYSTEM,
            {"role": "system", "content": "[Start a new chat]"},
            {"role": "assistant", "content": "Hello.", "name": "Ada"},
            USER,
            temperature=1,
            max_tokens=300,
            stream=True,
            presence_penalty=0,
            frequency_penalty=0,
            top_p=1,
            top_k=0,
            min_p=0,
            repetition_penalty=1,
            stop=[],
            logit_bias={},
            seed=-1,
            n=1,
        ),
        chat(
            USER,
            {"role": "assistant", "content": "The weather"},
            temperature=0.7,
            max_tokens=300,
            stream=False,
            logprobs=True,
            top_logprobs=10,
            add_generation_prompt=False,
            continue_final_message=True,
        ),
        chat(USER, CALLED, RESULT, stream=True, tools=[TOOL], tool_choice="auto"),
        chat(USER, stream=False, response_format=json_schema(description="A city.", strict=True)),
    ],
    "Open WebUI": [
        chat(SYSTEM, USER, stream=True, stream_options=USAGE),
        chat(
            USER,
            stream=True,
            temperature=0.8,
            top_p=0.9,
            min_p=0.0,
            frequency_penalty=0.0,
            presence_penalty=0.0,
            max_tokens=128,
            seed=0,
            stop=["###"],
            logit_bias={"5": -10},
            reasoning_effort="low",
            chat_template_kwargs={},
        ),
        chat(USER, stream=False, max_tokens=1000),
    ],
    "Continue": [
        chat(
            SYSTEM,
            PARTS,
            max_tokens=4096,
            temperature=0.0,
            top_p=0.95,
            frequency_penalty=0,
            presence_penalty=0,
            stop=["\n\n"],
            stream=True,
            stream_options=USAGE,
            tools=[TOOL],
            parallel_tool_calls=False,
        ),
        chat(USER, {**CALLED, "content": ""}, RESULT, stream=True, tools=[TOOL]),
        chat(USER, max_tokens=512, prediction={"type": "content", "content": "Rain."}),
    ],
    "Cline": [
        chat(
            SYSTEM, PARTS, temperature=0, stream=True, stream_options=USAGE, max_tokens=8192, reasoning_effort="medium"
        ),
        chat(SYSTEM, PARTS, CALLED, RESULT, stream=True, stream_options=USAGE, tools=[TOOL], tool_choice="auto"),
    ],
    "LangChain": [
        chat(SYSTEM, USER, stream=False, temperature=0.7, max_completion_tokens=64, n=1),
        chat(USER, stream=True, stream_options=USAGE, stop=["."], seed=1, logprobs=True, top_logprobs=2),
        chat(USER, {**CALLED, "content": ""}, RESULT, stream=False, tools=[TOOL], tool_choice="required"),
        chat(
            USER,
            stream=False,
            tools=[TOOL],
            tool_choice={"type": "function", "function": {"name": "find"}},
            parallel_tool_calls=False,
        ),
        chat(USER, stream=False, response_format=json_schema(strict=True)),
        chat(USER, stream=False, functions=[FUNCTION], function_call={"name": "find"}),
    ],
    "Vercel AI SDK": [
        chat(PARTS, max_tokens=64, temperature=0, top_p=1, frequency_penalty=0, presence_penalty=0, seed=1),
        chat(SYSTEM, USER, stream=True, stream_options=USAGE, user="ada", reasoning_effort="low", verbosity="low"),
        chat(USER, CALLED, RESULT, stream=True, stream_options=USAGE, tools=[TOOL], tool_choice="auto"),
        chat(USER, response_format=json_schema(strict=True, description="A city."), stop=["###"]),
        chat(USER, response_format={"type": "json_object"}),
    ],
    "LiteLLM": [
        chat(SYSTEM, USER, temperature=0.2, max_tokens=64, user="ada", n=1, stream=False),
        chat(USER, stream=True, stream_options=USAGE, top_k=40, min_p=0.05, repetition_penalty=1.1),
        chat(USER, tools=[TOOL], tool_choice="auto", parallel_tool_calls=True, thinking={"type": "disabled"}),
        chat(USER, response_format={"type": "json_object", "schema": CITY}, guided_json=None),
    ],
}
