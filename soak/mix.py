"""The random mix of requests, from one seeded generator; the order also depends on the timing of the answers."""

import json
import random
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from soak.hostile import hostile_fields
from soak.invariants import Request
from soak.ledger import Ledger, LedgerEntry
from soak.wire import Behaviour

PATH: Final = "/v1/chat/completions"
WORDS: Final = (
    "sea",
    "wind",
    "stone",
    "river",
    "light",
    "paper",
    "garden",
    "winter",
    "letter",
    "song",
    "road",
    "field",
)
TOOLS: Final = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "maxLength": 12}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("weather", "population")
]
SCHEMA: Final = {
    "type": "object",
    "properties": {"word": {"type": "string", "maxLength": 12}, "count": {"type": "integer", "maximum": 99}},
    "required": ["word", "count"],
    "additionalProperties": False,
}
STAGES: Final = {
    "in the head": Behaviour(send_bytes=60),
    "in the body": Behaviour(send_bytes=300),
    "at once": Behaviour(leave_after=b""),
    "at the first event": Behaviour(leave_after=b"data: "),
    "in decode": Behaviour(leave_after=b'"content":"', times=4),
    "in a tool call": Behaviour(leave_after=b'"arguments":"', times=2),
    "after the last token": Behaviour(leave_after=b'"finish_reason":"'),
    "after [DONE]": Behaviour(leave_after=b"[DONE]"),
}
"""The moments at which clients disconnect."""
MALFORMED: Final = (
    (b"{", 400),
    (b"[]", 400),
    (b"\xff\xfe", 400),
    (b"[" * 5000, 400),
    (b'{"model": 1}', 400),
    (b'{"messages": []}', 400),
    (b'{"model": "MODEL", "messages": []}', 400),
    (b'{"model": "MODEL", "messages": [{"role": "nobody", "content": "x"}]}', 400),
    (b'{"model": "MODEL", "messages": [{"role": "user", "content": "x"}], "n": 0}', 400),
    (b'{"model": "MODEL", "messages": [{"role": "user", "content": "x"}], "temperature": "hot"}', 400),
    (b'{"model": "MODEL", "messages": [{"role": "user", "content": "x"}], "nonsense": true}', 400),
    (b'{"model": "nobody", "messages": [{"role": "user", "content": "x"}]}', 404),
)
"""Invalid bodies with their statuses."""
WEIGHTS: Final = {
    "plain": 4,
    "tools": 3,
    "schema": 3,
    "choices": 3,
    "stop": 2,
    "logprobs": 2,
    "prediction": 2,
    "stored": 6,
    "malformed": 3,
    "oversized": 1,
    "hostile": 3,
    "vanishing": 5,
    "slow": 2,
    "list": 2,
    "retrieve": 3,
    "messages": 1,
    "update": 2,
    "delete": 1,
    "models": 1,
}
"""Relative frequency of each kind of request."""


class Mix:
    """Draws random requests."""

    def __init__(
        self,
        rng: random.Random,
        model: str,
        ledger: Ledger,
        *,
        max_body_size: int,
        weights: Mapping[str, int] = MappingProxyType(WEIGHTS),
    ) -> None:
        self._rng = rng
        self._weights = weights
        self._model = model
        self._ledger = ledger
        self._max_body_size = max_body_size

    def draw(self) -> tuple[Request, LedgerEntry | None]:
        """Return a request, and the stored completion that it borrows, if any."""
        kind = self._rng.choices(list(self._weights), list(self._weights.values()))[0]
        if kind in ("retrieve", "messages", "update", "delete"):
            kept = self._ledger.borrow(self._rng)
            if kept is not None:
                return self._about(kind, kept), kept
            kind = "stored"
        request: Request = getattr(self, f"_{kind}")()
        return request, None

    def small(self, kind: str) -> Request:
        """Return a request for a short stream."""
        return self._completion(kind, {"stream": True, "max_completion_tokens": 4})

    def _about(self, kind: str, kept: LedgerEntry) -> Request:
        path = f"{PATH}/{kept.id}"
        match kind:
            case "update":
                body = json.dumps({"metadata": {"note": self._words(2), "run": "soak"}}).encode()
                return Request(kind=kind, method="POST", path=path, body=body, stores=True)
            case "delete":
                return Request(kind=kind, method="DELETE", path=path, stores=True)
            case "messages":
                return Request(kind=kind, method="GET", path=f"{path}/messages", stores=True)
            case _:
                return Request(kind=kind, method="GET", path=path, stores=True)

    def _plain(self) -> Request:
        return self._completion("plain", self._delivery())

    def _tools(self) -> Request:
        choice = self._rng.choice(["auto", "required"])
        return self._completion("tools", {**self._delivery(), "tools": TOOLS, "tool_choice": choice})

    def _schema(self) -> Request:
        response_format = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}
        return self._completion("schema", {**self._delivery(), "response_format": response_format})

    def _choices(self) -> Request:
        return self._completion("choices", {**self._delivery(), "n": self._rng.randint(2, 4)})

    def _stop(self) -> Request:
        return self._completion("stop", {**self._delivery(), "stop": self._rng.choice(["e", ".", "the", "\n"])})

    def _logprobs(self) -> Request:
        return self._completion("logprobs", {**self._delivery(), "logprobs": True, "top_logprobs": 3})

    def _prediction(self) -> Request:
        prediction = {"type": "content", "content": self._words(20)}
        return self._completion("prediction", {**self._delivery(), "prediction": prediction})

    def _stored(self) -> Request:
        metadata = {"note": self._words(1)}
        return self._completion("stored", {**self._delivery(), "store": True, "metadata": metadata})

    def _malformed(self) -> Request:
        body, status = self._rng.choice(MALFORMED)
        body = body.replace(b"MODEL", self._model.encode())
        return Request(kind="malformed", method="POST", path=PATH, body=body, expected=frozenset({status}))

    def _oversized(self) -> Request:
        body = b'{"model": "' + b"x" * self._max_body_size + b'"}'
        return Request(kind="oversized", method="POST", path=PATH, body=body, expected=frozenset({413}))

    def _hostile(self) -> Request:
        """Return a hostile request, which may be answered or refused but must not be a server error."""
        request = self._completion("hostile", {**self._delivery(), **hostile_fields(self._rng)})
        return msgspec.structs.replace(request, expected=frozenset({200, 400, 413}))

    def _vanishing(self) -> Request:
        stage = self._rng.choice(list(STAGES))
        behaviour = _with_reset(STAGES[stage], reset=self._rng.random() < 0.5)  # noqa: PLR2004 (as often as not)
        fields: dict[str, Any] = {"stream": True, "store": self._rng.random() < 0.3}  # noqa: PLR2004 (some)
        if stage == "in a tool call":
            fields |= {"tools": TOOLS, "tool_choice": "required"}
        if self._rng.random() < 0.3:  # noqa: PLR2004 (some in a long prefill)
            fields["messages"] = [{"role": "user", "content": self._words(400)}]
        return self._completion("vanishing", fields, behaviour)

    def _slow(self) -> Request:
        behaviour = Behaviour(
            bytes_per_second=1,
            slow_seconds=self._rng.uniform(1, 6),
            leaves_after_slow_reading=self._rng.choice([True, False]),
        )
        return self._completion("slow", {"stream": True}, behaviour)

    def _list(self) -> Request:
        query = f"limit={self._rng.randint(1, 20)}&order={self._rng.choice(['asc', 'desc'])}"
        return Request(kind="list", method="GET", path=f"{PATH}?{query}", stores=True)

    def _models(self) -> Request:
        return Request(kind="models", method="GET", path="/v1/models")

    def _delivery(self) -> dict[str, Any]:
        """Return the fields for a complete answer, or for a stream with or without usage."""
        if self._rng.random() < 0.4:  # noqa: PLR2004 (most are streams)
            return {}
        return {"stream": True, "stream_options": {"include_usage": self._rng.choice([True, False])}}

    def _completion(self, kind: str, fields: dict[str, Any], behaviour: Behaviour | None = None) -> Request:
        fields = {
            "model": self._model,
            "messages": [{"role": "user", "content": f"Write about {self._words(5)}."}],
            "max_completion_tokens": self._rng.randint(1, 40),
            "temperature": self._rng.choice([0, 0.7, 1]),
            **fields,
        }
        body = json.dumps(fields).encode()
        stores = fields.get("store", False)
        return Request(
            kind=kind,
            method="POST",
            path=PATH,
            body=body,
            fields=fields,
            stores=stores,
            behaviour=behaviour or Behaviour(),
        )

    def _words(self, number: int) -> str:
        return " ".join(self._rng.choices(WORDS, k=number))


def _with_reset(behaviour: Behaviour, *, reset: bool) -> Behaviour:
    return Behaviour(
        send_bytes=behaviour.send_bytes, leave_after=behaviour.leave_after, times=behaviour.times, reset=reset
    )
