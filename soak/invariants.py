"""The invariants of every answer, for all requests and during all faults.

Each check takes a request and its reply, and returns the problem or None.
"""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Struct

from soak.wire import Behaviour, Reply

ERROR_KEYS: Final = {"message", "type", "param", "code"}
HAS_BODY_ERROR: Final = 400
RETRYABLE: Final = (429, 503)
DONE: Final = "[DONE]"


class Request(Struct, frozen=True, kw_only=True):
    """One request and its allowed statuses."""

    kind: str
    method: str
    path: str
    body: bytes = b""
    fields: dict[str, Any] = {}
    """The body as JSON, for a completion."""
    expected: frozenset[int] = frozenset({200})
    """Allowed statuses without faults. A completion may also get a 429."""
    stores: bool = False
    """Whether the answer needs the database."""
    behaviour: Behaviour = Behaviour()

    @property
    def completes(self) -> bool:
        """Whether it is a completion."""
        return bool(self.fields)

    @property
    def streams(self) -> bool:
        """Whether the answer is a stream."""
        return self.fields.get("stream") is True

    @property
    def choices(self) -> int:
        """The number of choices."""
        n: int = self.fields.get("n", 1)
        return n


Problem = str | None
Check = Callable[[Request, Reply, bool], Problem]
"""The last argument says whether a fault excuses an error."""


def violations(request: Request, reply: Reply, *, excused: bool) -> list[str]:
    """Return the problems, each with the name of its check."""
    found = []
    for check in CHECKS:
        try:
            problem = check(request, reply, excused)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            problem = f"the answer cannot be read: {type(error).__name__}: {error}"
        if problem is not None:
            found.append(f"{check.__name__}: {problem}")
    return found


def status(request: Request, reply: Reply, excused: bool) -> Problem:  # noqa: FBT001 (the shape of all checks)
    """Check that the status is expected; completions may also get 429, and excused requests 503."""
    allowed = set(request.expected)
    if request.completes:
        allowed.add(429)
    if excused:
        allowed.add(503)
    return None if reply.status in allowed else f"{reply.status} is none of {sorted(allowed)}: {reply.body[:300]!r}"


def request_id(_asked: Request, reply: Reply, _excused: bool) -> Problem:  # noqa: FBT001
    """Check that the answer has a request id."""
    return None if reply.headers.get("x-request-id", "").startswith("req_") else "there is no x-request-id"


def completeness(_asked: Request, reply: Reply, _excused: bool) -> Problem:  # noqa: FBT001
    """Check that the answer is not cut off."""
    return None if reply.complete else f"cut off after {len(reply.body)} bytes"


def error_shape(_asked: Request, reply: Reply, _excused: bool) -> Problem:  # noqa: FBT001
    """Check that an error has the reference's shape."""
    if reply.status < HAS_BODY_ERROR:
        return None
    return _shape_problem(json.loads(reply.body))


def retry_after(_asked: Request, reply: Reply, _excused: bool) -> Problem:  # noqa: FBT001
    """Check that a 429 or 503 has the header Retry-After."""
    seconds = reply.headers.get("retry-after", "")
    if reply.status not in RETRYABLE or (seconds.isdigit() and int(seconds) >= 1):
        return None
    return f"retry-after is {seconds!r}"


def one_end(request: Request, reply: Reply, excused: bool) -> Problem:  # noqa: FBT001
    """Check that a stream ends with ``[DONE]`` or with one excused error."""
    if not _is_stream(request, reply):
        return None
    events = _events(reply)
    ends = [number for number, (name, data) in enumerate(events) if data == DONE or name == "error"]
    if ends != [len(events) - 1]:
        return f"ends at {ends} of {len(events)} events"
    name, data = events[-1]
    if name != "error":
        return None
    return _shape_problem(json.loads(data)) or (None if excused else f"no fault excuses {data[:300]}")


def one_finish(request: Request, reply: Reply, _excused: bool) -> Problem:  # noqa: FBT001
    """Check that every choice finishes once and has no text after that."""
    if not _is_success(request, reply):
        return None
    if not request.streams:
        finishes = [choice["finish_reason"] for choice in json.loads(reply.body)["choices"]]
        return None if len(finishes) == request.choices and all(finishes) else f"finish reasons {finishes}"
    finished: Counter[int] = Counter()
    for chunk in _chunks(reply):
        for choice in chunk["choices"]:
            if finished[choice["index"]]:
                return f"choice {choice['index']} continues after its end"
            finished[choice["index"]] += choice["finish_reason"] is not None
    expected = Counter(range(request.choices))
    return None if finished == expected else f"finishes of the choices: {dict(finished)}"


def usage(request: Request, reply: Reply, _excused: bool) -> Problem:  # noqa: FBT001
    """Check that a requested usage occurs once and adds up."""
    if not _is_success(request, reply):
        return None
    answers = _chunks(reply) if request.streams else [json.loads(reply.body)]
    found = [answer["usage"] for answer in answers if answer.get("usage")]
    wanted = not request.streams or request.fields.get("stream_options", {}).get("include_usage", False)
    if len(found) != int(wanted):
        return f"{len(found)} usages"
    adds_up = all(u["prompt_tokens"] + u["completion_tokens"] == u["total_tokens"] for u in found)
    return None if adds_up and all(u["prompt_tokens"] > 0 for u in found) else f"{found}"


def schema(request: Request, reply: Reply, _excused: bool) -> Problem:  # noqa: FBT001
    """Check that a finished answer under a schema has the schema's members."""
    if "response_format" not in request.fields or not _is_success(request, reply):
        return None
    required = set(request.fields["response_format"]["json_schema"]["schema"].get("required", ()))
    if not required:
        return None
    for message in contents(request, reply):
        if message.finish_reason == "stop" and required != set(json.loads(message.content)):
            return f"{message.content!r} does not have the members {sorted(required)}"
    return None


def tool_arguments(request: Request, reply: Reply, _excused: bool) -> Problem:  # noqa: FBT001
    """Check that calls name a tool of the request, and that finished calls have JSON arguments."""
    if "tools" not in request.fields or not _is_success(request, reply):
        return None
    names = {tool["function"]["name"] for tool in request.fields["tools"] if "function" in tool}
    if not names:
        return None
    for message in contents(request, reply):
        for name, arguments in message.calls:
            if name not in names:
                return f"the request has no tool {name!r}"
            if message.finish_reason == "tool_calls":
                json.loads(arguments)
    return None


def stop(request: Request, reply: Reply, _excused: bool) -> Problem:  # noqa: FBT001
    """Check that the answer does not contain its stop string."""
    if "stop" not in request.fields or not _is_success(request, reply):
        return None
    text = request.fields["stop"]
    found = [message.content for message in contents(request, reply) if text in message.content]
    return f"{found[0]!r} contains {text!r}" if found else None


def logprobs(request: Request, reply: Reply, _excused: bool) -> Problem:  # noqa: FBT001
    """Check that logprobs have the requested number of alternatives."""
    if not request.fields.get("logprobs") or not _is_success(request, reply):
        return None
    answers = _chunks(reply) if request.streams else [json.loads(reply.body)]
    found = [choice["logprobs"] for answer in answers for choice in answer["choices"] if choice.get("logprobs")]
    entries = [entry for logprob in found for entry in logprob["content"] or ()]
    requested = request.fields["top_logprobs"]
    wrong = [entry["token"] for entry in entries if len(entry["top_logprobs"]) != requested]
    said = any(message.content for message in contents(request, reply))
    return f"{len(wrong)} of {len(entries)} tokens" if wrong or (said and not entries) else None


CHECKS: Final[tuple[Check, ...]] = (
    status,
    request_id,
    completeness,
    error_shape,
    retry_after,
    one_end,
    one_finish,
    usage,
    schema,
    tool_arguments,
    stop,
    logprobs,
)


class ChoiceContent(Struct, kw_only=True):
    """The content of one choice."""

    content: str = ""
    calls: list[tuple[str, str]] = msgspec.field(default_factory=list)
    """Name and arguments of each tool call."""
    finish_reason: str | None = None


def contents(request: Request, reply: Reply) -> list[ChoiceContent]:
    """Return the content of each choice of a successful answer."""
    if not request.streams:
        return [_whole(choice) for choice in json.loads(reply.body)["choices"]]
    said = [ChoiceContent() for _ in range(request.choices)]
    for chunk in _chunks(reply):
        for choice in chunk["choices"]:
            _add(said[choice["index"]], choice)
    return said


def answer_id(request: Request, reply: Reply) -> str:
    """Return the id of a successful answer."""
    identifier: str = (_chunks(reply)[0] if request.streams else json.loads(reply.body))["id"]
    return identifier


def whole_message(choice: dict[str, Any]) -> ChoiceContent:
    """Return the content of a choice of a complete or stored answer."""
    return _whole(choice)


def _whole(choice: dict[str, Any]) -> ChoiceContent:
    message = choice["message"]
    calls = [(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls") or ()]
    return ChoiceContent(content=message.get("content") or "", calls=calls, finish_reason=choice["finish_reason"])


def _add(said: ChoiceContent, choice: dict[str, Any]) -> None:
    delta = choice["delta"]
    said.content += delta.get("content") or ""
    said.finish_reason = choice["finish_reason"] or said.finish_reason
    for call in delta.get("tool_calls") or ():
        if call["index"] == len(said.calls):
            said.calls.append((call["function"]["name"], ""))
        name, arguments = said.calls[call["index"]]
        said.calls[call["index"]] = (name, arguments + (call["function"].get("arguments") or ""))


def succeeded(request: Request, reply: Reply) -> bool:
    """Return whether the request is a completion with a complete answer."""
    return _is_success(request, reply)


def _is_success(request: Request, reply: Reply) -> bool:
    if not request.completes or reply.status != 200:  # noqa: PLR2004
        return False
    return not request.streams or (bool(_events(reply)) and _events(reply)[-1][1] == DONE)


def _is_stream(request: Request, reply: Reply) -> bool:
    return request.completes and request.streams and reply.status == 200  # noqa: PLR2004


def error_code(reply: Reply) -> str:
    """Return status and code of an answer's error; empty without an error."""
    if reply.status >= HAS_BODY_ERROR:
        return f"{reply.status} {json.loads(reply.body)['error']['code']}"
    events = _events(reply) if reply.headers.get("content-type", "").startswith("text/event-stream") else []
    if events and events[-1][0] == "error":
        return f"in a stream: {json.loads(events[-1][1])['error']['code']}"
    return ""


def _events(reply: Reply) -> list[tuple[str, str]]:
    """Return name and data of each event."""
    events = []
    for block in reply.body.decode().split("\n\n"):
        lines = dict(line.partition(": ")[::2] for line in block.split("\n") if line)
        if lines:
            events.append((lines.get("event", "message"), lines.get("data", "")))
    return events


def _chunks(reply: Reply) -> list[dict[str, Any]]:
    return [json.loads(data) for name, data in _events(reply) if name == "message" and data != DONE]


def _shape_problem(body: Any) -> Problem:  # noqa: ANN401 (any JSON)
    error = body.get("error")
    if set(body) != {"error"} or set(error) != ERROR_KEYS or not error["message"] or not error["type"]:
        return f"not the reference's shape: {str(body)[:300]}"
    return None
