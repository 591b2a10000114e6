"""Render conversations of every kind through the chat templates of a folder.

``python scripts/try_templates.py FOLDER`` prints for each file that ends in .jinja the family and the features of its
template and the words that its prompts lack. The exit status is 1 if a template fails or a word is missing.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from antiphon.chat_formats.builtin import recognise
from antiphon.errors import InvalidRequestError
from antiphon.protocol.requests import decode_request
from antiphon.rendering.renderer import Renderer
from antiphon.templates.capabilities import Capabilities
from antiphon.templates.chat_template import ChatTemplate, ChatTemplateError

CONTEXT: Final = 1 << 20
Fields = dict[str, Any]


def said(role: str, content: str, **fields: Any) -> Fields:  # noqa: ANN401 (JSON)
    """Return a message."""
    return {"role": role, "content": content, **fields}


def called(*words: str, content: str | None = None, **fields: Any) -> Fields:  # noqa: ANN401 (JSON)
    """Return an assistant's message with a call of each tool that is named by a word."""
    calls = [
        {"id": f"call_{word}", "type": "function", "function": {"name": f"find_{word}", "arguments": _arguments(word)}}
        for word in words
    ]
    return {"role": "assistant", "content": content, "tool_calls": calls, **fields}


def result(word: str, content: str) -> Fields:
    """Return the result of a call."""
    return {"role": "tool", "tool_call_id": f"call_{word}", "content": content}


def _arguments(word: str) -> str:
    return json.dumps({"place": f"{word} harbour"})


def _tool(word: str) -> Fields:
    parameters = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
    return {"type": "function", "function": {"name": f"find_{word}", "description": word, "parameters": parameters}}


TOOLS: Final = [_tool("maple"), _tool("cedar")]
ASKED: Final = said("user", "Falcon?")
CONVERSATIONS: Final[dict[str, tuple[Fields, Sequence[str]]]] = {
    "a question": ({"messages": [ASKED]}, ["Falcon?"]),
    "system messages anywhere": (
        {
            "messages": [
                *(said("system", "Copper."), said("system", "Silver."), ASKED, said("system", "Tin.")),
                *(
                    said("assistant", "Heron."),
                    said("system", "Zinc."),
                    said("user", "Osprey?"),
                    said("system", "Lead."),
                ),
            ]
        },
        ["Copper.", "Silver.", "Falcon?", "Tin.", "Heron.", "Zinc.", "Osprey?", "Lead."],
    ),
    "tools": (
        {"messages": [said("system", "Copper."), ASKED], "tools": TOOLS},
        ["Copper.", "find_maple", "find_cedar"],
    ),
    "a tool's result": (
        {
            "messages": [ASKED, called("maple"), result("maple", "Glacier"), said("assistant", "Heron."), ASKED],
            "tools": TOOLS,
        },
        ["find_maple", "maple harbour", "Glacier", "Heron."],
    ),
    "parallel calls": (
        {
            "messages": [
                *(ASKED, called("maple", "cedar", content="Heron.")),
                *(result("cedar", "Glacier"), result("maple", "Lagoon"), said("system", "Tin.")),
            ],
            "tools": TOOLS,
        },
        ["Heron.", "maple harbour", "cedar harbour", "Glacier", "Lagoon", "Tin."],
    ),
    "calls without tools": (
        {"messages": [ASKED, called("maple"), result("maple", "Glacier")]},
        ["find_maple", "maple harbour", "Glacier"],
    ),
    "a question after a result": (
        {"messages": [ASKED, called("maple"), result("maple", "Glacier"), said("user", "Osprey?")], "tools": TOOLS},
        ["Falcon?", "Glacier", "Osprey?"],
    ),
    "an answer to continue": ({"messages": [ASKED, said("assistant", "Heron.")]}, ["Falcon?", "Heron."]),
}
"""By name: the fields of a request, and the words that must be in its prompt."""
REASONED: Final = (
    [ASKED, said("assistant", "Heron.", reasoning_content="Lantern."), said("user", "Osprey?")],
    [ASKED, called("maple", reasoning_content="Lantern."), result("maple", "Glacier")],
)
"""Conversations with reasoning, one of which a template that supports it renders: many drop that of earlier turns."""


class Bytes:
    """A vocabulary of the 256 bytes, without structure tokens."""

    n_vocab = 256
    add_bos = False
    bos_id = None
    longest_token = 1
    unknown_ids: frozenset[int] = frozenset()
    eog_ids: frozenset[int] = frozenset()
    special_tokens: dict[str, int] = {}  # noqa: RUF012 (the protocol's)
    user_defined_tokens: dict[str, int] = {}  # noqa: RUF012

    def encode(self, text: str, *, parse_special: bool = False) -> list[int]:  # noqa: ARG002 (the protocol's)
        """Return the bytes."""
        return list(text.encode())


def faults(template: ChatTemplate) -> Iterator[str]:
    """Yield the faults of the template's prompts."""
    renderer = Renderer(Bytes(), template, recognise(template.source), CONTEXT)
    for name, (fields, words) in CONVERSATIONS.items():
        try:
            text = prompt(renderer, fields)
        except InvalidRequestError as error:
            yield f"{name}: {error.message}"
        else:
            yield from (f"{name}: {word!r} is missing" for word in words if word not in text)
    if template.capabilities.reasoning_key is not None:
        texts = [prompt(renderer, {"messages": messages}) for messages in REASONED]
        if not any("Lantern." in text for text in texts):
            yield "reasoning: it is missing"


def prompt(renderer: Renderer, fields: Fields) -> str:
    """Return the prompt of a request. Raises ``InvalidRequestError``."""
    request = decode_request(json.dumps({"model": "m", **fields}).encode())
    return bytes(renderer.render(request, "", "").generate.prompt_ids).decode()


def features(found: Capabilities) -> str:
    """Return the features that the template supports."""
    history = found.tool_history
    supported = {
        "system": found.system and not found.late_system,
        "system anywhere": found.system and found.late_system,
        "developer": found.developer,
        "tools": found.tools,
        "calls and results": history is not None,
        "parallel calls": history is not None and history.parallel,
        f"{found.reasoning_key}": found.reasoning_key is not None,
        f"switch {found.switch and found.switch.variable}": found.switch is not None,
        f"effort {found.effort_variable}": found.effort_variable is not None,
    }
    return ", ".join(name for name, is_supported in supported.items() if is_supported) or "questions and answers only"


def tried(path: Path) -> bool:
    """Try one template and print its features and faults; return whether it has no fault."""
    source = path.read_text(encoding="utf-8")
    try:
        template = ChatTemplate(source, "<s>", "</s>")
    except ChatTemplateError as error:
        sys.stdout.write(f"{path.name}: cannot be used\n    failed: {error}\n")
        return False
    sys.stdout.write(f"{path.name}: {recognise(source).name}; {features(template.capabilities)}\n")
    found = list(faults(template))
    sys.stdout.writelines(f"    failed: {fault}\n" for fault in found)
    return not found


def main(folder: str) -> int:
    """Try every template of the folder and return the exit status, which is 1 for an empty folder."""
    outcomes = [tried(path) for path in sorted(Path(folder).glob("*.jinja"))]
    sys.stdout.write(f"{sum(outcomes)} of {len(outcomes)} templates render every conversation whole.\n")
    return 0 if outcomes and all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
