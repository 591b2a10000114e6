"""The rows of the table of fields for :mod:`antiphon.protocol.rendering_extensions` and ``continuous_usage_stats``."""

from typing import Final

from antiphon.protocol.field import Owner, honoured

PROMPT_END: Final[Owner] = ("antiphon.rendering.prompt_end", "tests/rendering/test_prompt_end.py")
INSTRUCTIONS: Final[Owner] = ("antiphon.rendering.instructions", "tests/rendering/test_instructions.py")
REASONING_FIELDS: Final[Owner] = ("antiphon.protocol.reasoning_fields", "tests/protocol/test_reasoning_fields.py")
CONSTRAINT: Final[Owner] = (
    "antiphon.rendering.content_constraint",
    "tests/rendering/test_content_constraint.py",
)
RENDERER: Final[Owner] = ("antiphon.rendering.renderer", "tests/rendering/test_renderer.py")
SCHEDULER: Final[Owner] = ("antiphon.engine.worker.scheduler", "tests/engine/worker/test_scheduler.py")

_PREFILL = """\
The last assistant message is a prefill, which the answer continues and does not repeat; not with \
add_generation_prompt."""
_REASONING = "Agrees with reasoning_effort and the other fields about reasoning, or is refused."
_THINKING_BUDGET = """\
Tokens of reasoning after which its end marker is forced; -1: no bound. Only for models whose end marker begins with \
a token of its own."""
_PRIORITY = """\
A lower one is served earlier: each unit moves the arrival by a second, by 30 at most, beside service_tier."""

RENDERING_ROWS: Final = (
    honoured("add_generation_prompt", PROMPT_END, "false: the prompt ends after the messages.", origin="vLLM"),
    honoured("continue_final_message", PROMPT_END, _PREFILL, origin="vLLM"),
    honoured("enable_thinking", INSTRUCTIONS, "Turns reasoning on or off.", origin="Qwen"),
    honoured(
        "thinking",
        REASONING_FIELDS,
        "true and false, or an object. Turns reasoning on or off.",
        nested=(".type",),
        origin="DeepSeek, GLM, Anthropic",
    ),
    honoured("thinking.budget_tokens", REASONING_FIELDS, "thinking_budget.", origin="Anthropic"),
    honoured("reasoning", REASONING_FIELDS, _REASONING, nested=(".effort", ".enabled"), origin="OpenRouter"),
    honoured("reasoning.max_tokens", REASONING_FIELDS, "thinking_budget.", origin="OpenRouter"),
    honoured("thinking_budget", RENDERER, _THINKING_BUDGET, origin="Qwen"),
    honoured(
        "structured_outputs",
        CONSTRAINT,
        "One form of the content, without another in the request. The prompt does not name it.",
        nested=(".json", ".json_object", ".regex", ".choice"),
        origin="vLLM",
    ),
    honoured("structured_outputs.grammar", CONSTRAINT, "Lark with a rule start, else GBNF.", origin="vLLM"),
    honoured("guided_json", CONSTRAINT, "structured_outputs.json.", origin="vLLM"),
    honoured("guided_regex", CONSTRAINT, "structured_outputs.regex.", origin="vLLM"),
    honoured("guided_choice", CONSTRAINT, "structured_outputs.choice.", origin="vLLM"),
    honoured("guided_grammar", CONSTRAINT, "structured_outputs.grammar.", origin="vLLM"),
    honoured("grammar", CONSTRAINT, "GBNF without token references.", origin="llama.cpp"),
    honoured("cache_salt", RENDERER, "1 to 1024 characters. Keeps cached prefixes apart by salt.", origin="vLLM"),
    honoured("priority", SCHEDULER, _PRIORITY, origin="vLLM"),
)
