"""What must hold of every answer, whatever was asked and whatever was broken meanwhile.

Each check takes what was asked and what came back and says what is wrong, or nothing.
"""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Struct

from soak.wire import Manner, Reply

ERROR_KEYS: Final = {"message", "type", "param", "code"}
HAS_BODY_ERROR: Final = 400
RETRYABLE: Final = (429, 503)
DONE: Final = "[DONE]"


class Asked(Struct, frozen=True, kw_only=True):
    """One request, and what it may be answered with."""

    kind: str
    method: str
    path: str
    body: bytes = b""
    fields: dict[str, Any] = {}
    """The body as JSON, where it is a request for a completion."""
    expected: frozenset[int] = frozenset({200})
    """Statuses without faults. A completion may be refused with 429, too."""
    stores: bool = False
    """Whether the database is needed for the answer."""
    manner: Manner = Manner()

    @property
    def completes(self) -> bool:
        """Whether it asks for a completion that is to be checked."""
        return bool(self.fields)

    @property
    def streams(self) -> bool:
        """Whether the answer comes in events."""
        return self.fields.get("stream") is True

    @property
    def choices(self) -> int:
        """How many are asked for."""
        n: int = self.fields.get("n", 1)
        return n


Problem = str | None
Check = Callable[[Asked, Reply, bool], Problem]
"""The last argument says whether a fault was there meanwhile that may be the reason of an error."""


def violations(asked: Asked, reply: Reply, *, excused: bool) -> list[str]:
    """Return everything that does not hold, each beginning with the check's name."""
    found = []
    for check in CHECKS:
        try:
            problem = check(asked, reply, excused)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            problem = f"the answer cannot be read: {type(error).__name__}: {error}"
        if problem is not None:
            found.append(f"{check.__name__}: {problem}")
    return found


def status(asked: Asked, reply: Reply, excused: bool) -> Problem:  # noqa: FBT001 (the shape of all checks)
    """Refusals only of completions, unavailability only around faults, no other error than the expected one."""
    allowed = set(asked.expected)
    if asked.completes:
        allowed.add(429)
    if excused:
        allowed.add(503)
    return None if reply.status in allowed else f"{reply.status} is none of {sorted(allowed)}: {reply.body[:300]!r}"


def request_id(_asked: Asked, reply: Reply, _excused: bool) -> Problem:  # noqa: FBT001
    """Every answer has an id."""
    return None if reply.headers.get("x-request-id", "").startswith("req_") else "there is no x-request-id"


def completeness(_asked: Asked, reply: Reply, _excused: bool) -> Problem:  # noqa: FBT001
    """No answer is cut off."""
    return None if reply.complete else f"cut off after {len(reply.body)} bytes"


def error_shape(_asked: Asked, reply: Reply, _excused: bool) -> Problem:  # noqa: FBT001
    """Every error has the reference's shape."""
    if reply.status < HAS_BODY_ERROR:
        return None
    return _shape_problem(json.loads(reply.body))


def retry_after(_asked: Asked, reply: Reply, _excused: bool) -> Problem:  # noqa: FBT001
    """Who is to come back is told when."""
    seconds = reply.headers.get("retry-after", "")
    if reply.status not in RETRYABLE or (seconds.isdigit() and int(seconds) >= 1):
        return None
    return f"retry-after is {seconds!r}"


def one_end(asked: Asked, reply: Reply, excused: bool) -> Problem:  # noqa: FBT001
    """A stream ends in exactly one way: ``[DONE]``, or one error, which needs a fault to excuse it."""
    if not _is_stream(asked, reply):
        return None
    events = _events(reply)
    ends = [number for number, (name, data) in enumerate(events) if data == DONE or name == "error"]
    if ends != [len(events) - 1]:
        return f"ends at {ends} of {len(events)} events"
    name, data = events[-1]
    if name != "error":
        return None
    return _shape_problem(json.loads(data)) or (None if excused else f"no fault excuses {data[:300]}")


def one_finish(asked: Asked, reply: Reply, _excused: bool) -> Problem:  # noqa: FBT001
    """Every choice finishes once, and says nothing afterwards."""
    if not _is_success(asked, reply):
        return None
    if not asked.streams:
        finishes = [choice["finish_reason"] for choice in json.loads(reply.body)["choices"]]
        return None if len(finishes) == asked.choices and all(finishes) else f"finish reasons {finishes}"
    finished: Counter[int] = Counter()
    for chunk in _chunks(reply):
        for choice in chunk["choices"]:
            if finished[choice["index"]]:
                return f"choice {choice['index']} goes on after its end"
            finished[choice["index"]] += choice["finish_reason"] is not None
    expected = Counter(range(asked.choices))
    return None if finished == expected else f"choices finished so often: {dict(finished)}"


def usage(asked: Asked, reply: Reply, _excused: bool) -> Problem:  # noqa: FBT001
    """The usage comes once, where it was asked for, and adds up."""
    if not _is_success(asked, reply):
        return None
    answers = _chunks(reply) if asked.streams else [json.loads(reply.body)]
    found = [answer["usage"] for answer in answers if answer.get("usage")]
    wanted = not asked.streams or asked.fields.get("stream_options", {}).get("include_usage", False)
    if len(found) != int(wanted):
        return f"{len(found)} usages"
    adds_up = all(u["prompt_tokens"] + u["completion_tokens"] == u["total_tokens"] for u in found)
    return None if adds_up and all(u["prompt_tokens"] > 0 for u in found) else f"{found}"


def schema(asked: Asked, reply: Reply, _excused: bool) -> Problem:  # noqa: FBT001
    """An answer that finished under a schema has the schema's members."""
    if "response_format" not in asked.fields or not _is_success(asked, reply):
        return None
    required = set(asked.fields["response_format"]["json_schema"]["schema"].get("required", ()))
    if not required:
        return None
    for message in contents(asked, reply):
        if message.finish_reason == "stop" and required != set(json.loads(message.content)):
            return f"{message.content!r} has not the members {sorted(required)}"
    return None


def tool_arguments(asked: Asked, reply: Reply, _excused: bool) -> Problem:  # noqa: FBT001
    """Calls name a tool that was given, and finished ones have arguments that are JSON."""
    if "tools" not in asked.fields or not _is_success(asked, reply):
        return None
    names = {tool["function"]["name"] for tool in asked.fields["tools"] if "function" in tool}
    if not names:
        return None
    for message in contents(asked, reply):
        for name, arguments in message.calls:
            if name not in names:
                return f"the tool {name!r} was not given"
            if message.finish_reason == "tool_calls":
                json.loads(arguments)
    return None


def stop(asked: Asked, reply: Reply, _excused: bool) -> Problem:  # noqa: FBT001
    """No answer contains what it was to stop at."""
    if "stop" not in asked.fields or not _is_success(asked, reply):
        return None
    text = asked.fields["stop"]
    found = [message.content for message in contents(asked, reply) if text in message.content]
    return f"{found[0]!r} contains {text!r}" if found else None


def logprobs(asked: Asked, reply: Reply, _excused: bool) -> Problem:  # noqa: FBT001
    """Whoever asks for logprobs gets as many alternatives as asked for."""
    if not asked.fields.get("logprobs") or not _is_success(asked, reply):
        return None
    answers = _chunks(reply) if asked.streams else [json.loads(reply.body)]
    found = [choice["logprobs"] for answer in answers for choice in answer["choices"] if choice.get("logprobs")]
    entries = [entry for logprob in found for entry in logprob["content"] or ()]
    asked_for = asked.fields["top_logprobs"]
    wrong = [entry["token"] for entry in entries if len(entry["top_logprobs"]) != asked_for]
    said = any(message.content for message in contents(asked, reply))
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


class Said(Struct, kw_only=True):
    """One choice of an answer, whole."""

    content: str = ""
    calls: list[tuple[str, str]] = msgspec.field(default_factory=list)
    """Name and arguments of each tool call."""
    finish_reason: str | None = None


def contents(asked: Asked, reply: Reply) -> list[Said]:
    """Return what each choice of a successful answer said."""
    if not asked.streams:
        return [_whole(choice) for choice in json.loads(reply.body)["choices"]]
    said = [Said() for _ in range(asked.choices)]
    for chunk in _chunks(reply):
        for choice in chunk["choices"]:
            _add(said[choice["index"]], choice)
    return said


def answer_id(asked: Asked, reply: Reply) -> str:
    """Return the id of a successful answer."""
    identifier: str = (_chunks(reply)[0] if asked.streams else json.loads(reply.body))["id"]
    return identifier


def whole_message(choice: dict[str, Any]) -> Said:
    """Return what a choice of a whole or stored answer said."""
    return _whole(choice)


def _whole(choice: dict[str, Any]) -> Said:
    message = choice["message"]
    calls = [(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls") or ()]
    return Said(content=message.get("content") or "", calls=calls, finish_reason=choice["finish_reason"])


def _add(said: Said, choice: dict[str, Any]) -> None:
    delta = choice["delta"]
    said.content += delta.get("content") or ""
    said.finish_reason = choice["finish_reason"] or said.finish_reason
    for call in delta.get("tool_calls") or ():
        if call["index"] == len(said.calls):
            said.calls.append((call["function"]["name"], ""))
        name, arguments = said.calls[call["index"]]
        said.calls[call["index"]] = (name, arguments + (call["function"].get("arguments") or ""))


def succeeded(asked: Asked, reply: Reply) -> bool:
    """Whether a completion was asked for, and given to its end."""
    return _is_success(asked, reply)


def _is_success(asked: Asked, reply: Reply) -> bool:
    if not asked.completes or reply.status != 200:  # noqa: PLR2004
        return False
    return not asked.streams or (bool(_events(reply)) and _events(reply)[-1][1] == DONE)


def _is_stream(asked: Asked, reply: Reply) -> bool:
    return asked.completes and asked.streams and reply.status == 200  # noqa: PLR2004


def error_code(reply: Reply) -> str:
    """Return what an error of an answer is called, empty when there is none."""
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
