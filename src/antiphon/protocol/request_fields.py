"""The request's half of the table of fields. To honour a refused field, change its row here."""

from antiphon.protocol.decoding_fields import DECODING_ROWS, PARAMETERS
from antiphon.protocol.field import honoured, redundant, refused
from antiphon.protocol.rendering_fields import RENDERING_ROWS

REQUESTS = ("antiphon.protocol.requests", "tests/protocol/test_requests.py")
MESSAGES = ("antiphon.protocol.messages", "tests/protocol/test_messages.py")
CITATIONS = ("antiphon.protocol.responses", "tests/protocol/test_messages.py")
CONVERSATION = ("antiphon.protocol.message_order", "tests/protocol/test_message_order.py")
DECLARATIONS = ("antiphon.protocol.tools", "tests/protocol/test_tools.py")
TOOL_RULES = ("antiphon.protocol.tool_rules", "tests/protocol/test_tool_rules.py")
STORED = ("antiphon.protocol.stored", "tests/protocol/test_stored.py")
RENDERER = ("antiphon.rendering.renderer", "tests/rendering/test_renderer.py")
PROMPT_RENDERER = ("antiphon.rendering.prompt_renderer", "tests/rendering/test_renderer.py")
TURNS = ("antiphon.rendering.turns", "tests/rendering/test_turns.py")
INSTRUCTIONS = ("antiphon.rendering.instructions", "tests/rendering/test_instructions.py")
TOOLS = ("antiphon.rendering.tool_use", "tests/rendering/test_tool_use.py")
STRICT = (
    "true: a schema that cannot be enforced exactly is refused. Otherwise such a keyword is left out, and "
    "x-antiphon-unenforced names it."
)
CONSTRAINTS = ("antiphon.rendering.answer_constraints", "tests/rendering/test_answer_constraints.py")
CUSTOM_TOOLS = ("antiphon.constraints.custom_tools", "tests/constraints/test_custom_tools.py")
SAMPLER = ("antiphon.engine.sampling.sampler", "tests/engine/sampling/test_sampler.py")
LOGITS_PROCESSORS = ("antiphon.engine.sampling.logits_processors", "tests/engine/sampling/test_logits_processors.py")
TOKEN_DRAW = ("antiphon.engine.sampling.token_draw", "tests/engine/sampling/test_token_draw.py")
RANDOM_STREAM = ("antiphon.engine.sampling.sampling_state", "tests/engine/sampling/test_sampler.py")
SCHEDULER = ("antiphon.engine.worker.scheduler", "tests/engine/worker/test_scheduler.py")
STOP_STRINGS = ("antiphon.assembly.stop_strings", "tests/assembly/test_stop_strings.py")
TOKEN_LOGPROBS = ("antiphon.assembly.token_logprobs", "tests/assembly/test_token_logprobs.py")
ROUTER = ("antiphon.routing.router", "tests/routing/test_router.py")
SERVICE = ("antiphon.service.service", "tests/service/test_service.py")
RECORDER = ("antiphon.service.recorder", "tests/service/test_recorder.py")
END_USER = ("antiphon.service.end_user", "tests/service/test_end_user.py")
ANSWERS = ("antiphon.service.answers", "tests/service/test_answers.py")
SERVER = ("antiphon.server.completion_answer", "tests/server/test_completion_answer.py")

_BREAKPOINT = (".mode", ".ttl")


MESSAGE_ROWS = (
    honoured("messages", CONVERSATION, "At least one."),
    honoured("messages[].role", TURNS, "developer and system become what the template supports."),
    honoured("messages[].content", TURNS, "A string, or at least one part."),
    honoured("messages[].content[].type", MESSAGES, "Which types a role may have follows the reference."),
    honoured("messages[].content[].text", TURNS),
    honoured("messages[].content[].refusal", TURNS, "The only part of its message."),
    refused("messages[].content[].image_url", "image input", nested=(".url", ".detail")),
    refused("messages[].content[].input_audio", "audio input", nested=(".data", ".format")),
    refused("messages[].content[].file", "file input", nested=(".file_data", ".file_id", ".filename")),
    refused("messages[].content[].prompt_cache_breakpoint", "explicit prompt cache breakpoints", nested=_BREAKPOINT),
    honoured("messages[].name", TURNS, "1 to 64 characters; on a tool message, an extension, to 256."),
    honoured("messages[].refusal", TURNS),
    honoured("messages[].tool_call_id", CONVERSATION, "Answers a call that nothing has answered."),
    honoured(
        "messages[].tool_calls",
        TURNS,
        "In the history. Every call is answered before the next message of another role. Empty: absent.",
        nested=(
            "[].id",
            "[].function",
            "[].function.name",
            "[].function.arguments",
            "[].custom",
            "[].custom.name",
            "[].custom.input",
        ),
    ),
    honoured("messages[].tool_calls[].type", MESSAGES, "function or custom."),
    redundant("messages[].parsed", "The content, parsed by the official SDK."),
    redundant("messages[].tool_calls[].function.parsed_arguments", "The arguments, parsed by the official SDK."),
    redundant("messages[].tool_calls[].index", "The call's place in the list, as in the chunks of a stream."),
    honoured("messages[].function_call", TURNS, "In the history.", nested=(".name", ".arguments")),
    refused("messages[].audio", "audio answers", nested=(".id",)),
    honoured("messages[].reasoning_content", TURNS, "As our answers carry it.", extension=True),
    honoured(
        "messages[].annotations",
        STORED,
        "As our answers carry them. Kept with a stored completion; no model is told of them.",
        extension=True,
    ),
    honoured("messages[].annotations[].type", CITATIONS, "url_citation.", extension=True),
    honoured(
        "messages[].annotations[].url_citation",
        CITATIONS,
        nested=(".start_index", ".end_index", ".url", ".title"),
        extension=True,
    ),
)

HONOURED_ROWS = (
    honoured("model", ROUTER, "A served model's name."),
    honoured("temperature", LOGITS_PROCESSORS, "0 to 2."),
    honoured("top_p", TOKEN_DRAW, "0 to 1."),
    honoured("presence_penalty", LOGITS_PROCESSORS, "-2 to 2."),
    honoured("frequency_penalty", LOGITS_PROCESSORS, "-2 to 2."),
    honoured("logit_bias", LOGITS_PROCESSORS, "Token ids to -100 ... 100."),
    honoured("seed", RANDOM_STREAM, "A 64-bit integer. -1 is an extension (vLLM, llama.cpp): a random one."),
    honoured("logprobs", SAMPLER),
    honoured(
        "top_logprobs",
        TOKEN_LOGPROBS,
        "0 to 20, with logprobs; 0 also without. An operator can allow more by --max-logprobs, an extension (vLLM).",
    ),
    honoured("n", SCHEDULER, "1 to 128."),
    honoured("stop", STOP_STRINGS, "A string or up to 4 of them, none empty. An empty list counts as absent."),
    honoured(
        "max_tokens",
        PARAMETERS,
        "At least 1; -1 is an extension (llama.cpp): no limit. Equal to max_completion_tokens where both are given.",
    ),
    honoured("max_completion_tokens", PARAMETERS, "At least 1; -1 is an extension (llama.cpp): no limit."),
    honoured("metadata", RECORDER, "Only with store. At most 16 pairs, keys to 64 and values to 512 characters."),
    honoured("store", SERVICE, "Committed before the answer's end is sent. A stream that broke off is kept, too."),
    honoured("stream", SERVER),
    honoured(
        "stream_options",
        ANSWERS,
        "Only with stream; {} also without.",
        nested=(".include_usage", ".include_obfuscation"),
    ),
    honoured(
        "stream_options.continuous_usage_stats",
        ANSWERS,
        "Only with include_usage: every chunk carries the usage of all choices so far.",
        origin="vLLM",
    ),
    honoured(
        "user",
        END_USER,
        "Names the end user for limits and, by a hash, in the log. At most 512 characters. Stored as input_user.",
    ),
    honoured(
        "safety_identifier",
        END_USER,
        "Goes before user. At most 128 characters. Stored under its own name: the reference's object has none for it.",
    ),
    honoured("prompt_cache_key", RENDERER, "At most 1024 characters. Requests share cached prefixes within one key."),
    honoured("service_tier", SCHEDULER, "fast is priority."),
    honoured("reasoning_effort", INSTRUCTIONS, "Through the template, else as an instruction."),
    honoured("verbosity", INSTRUCTIONS, "Through the template, else as an instruction. medium is the default."),
    honoured("top_k", LOGITS_PROCESSORS, "0 and -1: off.", origin="vLLM, llama.cpp"),
    honoured("min_p", LOGITS_PROCESSORS, "0 to 1.", origin="vLLM, llama.cpp"),
    honoured("repetition_penalty", LOGITS_PROCESSORS, "Above 0, to 2; 1: off.", origin="vLLM"),
    honoured(
        "chat_template_kwargs",
        PROMPT_RENDERER,
        "Variables of the template, nested at most 32 deep, 64 KiB.",
        origin="vLLM",
    ),
)

PREDICTION_ROWS = (
    honoured(
        "prediction",
        RENDERER,
        "Drafts that the model verifies: a right prediction is fast, a wrong one changes nothing.",
        nested=(".content", ".content[].text"),
    ),
    honoured("prediction.type", REQUESTS, "content."),
    honoured("prediction.content[].type", MESSAGES, "text."),
    refused("prediction.content[].prompt_cache_breakpoint", "explicit prompt cache breakpoints", nested=_BREAKPOINT),
)

TOOL_ROWS = (
    honoured(
        "tools",
        TOOLS,
        "Up to 128, each name once. An empty list counts as absent.",
        nested=("[].function", "[].function.name", "[].function.description"),
    ),
    honoured("tools[].type", DECLARATIONS, "function or custom."),
    honoured("tools[].function.parameters", CONSTRAINTS, "Arguments always keep to it."),
    honoured("tools[].function.strict", CONSTRAINTS, STRICT),
    honoured("tools[].custom", TOOLS, nested=(".name", ".description")),
    honoured(
        "tools[].custom.format",
        CUSTOM_TOOLS,
        nested=(".grammar", ".grammar.definition", ".grammar.syntax"),
    ),
    honoured("tools[].custom.format.type", DECLARATIONS, "text or grammar."),
    honoured(
        "tool_choice",
        TOOLS,
        "Without tools: none or auto.",
        nested=(".function", ".custom", ".allowed_tools"),
    ),
    honoured("tool_choice.type", DECLARATIONS, "function, custom or allowed_tools."),
    honoured("tool_choice.function.name", TOOL_RULES, "One of tools."),
    honoured("tool_choice.custom.name", TOOL_RULES, "One of tools."),
    honoured("tool_choice.allowed_tools.mode", TOOLS),
    honoured("tool_choice.allowed_tools.tools", TOOL_RULES, "Limits what is called, not what the model is told of."),
    honoured("parallel_tool_calls", TOOLS, "false: at most one call. Without tools it asks for nothing."),
    honoured(
        "functions",
        TOOLS,
        "Deprecated. Up to 128, each name once, without tools. An empty list counts as absent.",
        nested=("[].name", "[].description"),
    ),
    honoured("functions[].parameters", CONSTRAINTS, "Arguments always keep to it."),
    honoured("function_call", TOOLS, "Deprecated. Without functions: none or auto."),
    honoured("function_call.name", TOOL_RULES, "One of functions."),
    honoured("response_format", CONSTRAINTS, nested=(".json_schema", ".json_schema.schema")),
    honoured("response_format.type", DECLARATIONS, "text, json_object or json_schema."),
    honoured("response_format.schema", CONSTRAINTS, "With json_object: the object's schema.", origin="llama.cpp"),
    honoured("response_format.json_schema.name", TOOLS, "Told to the model."),
    honoured("response_format.json_schema.description", TOOLS, "Told to the model."),
    honoured("response_format.json_schema.strict", CONSTRAINTS, STRICT),
)

REFUSED_ROWS = (
    refused("modalities", "audio answers", idle=(["text"], [])),
    refused("audio", "audio answers", nested=(".format", ".voice", ".voice.id")),
    refused(
        "web_search_options",
        "web search",
        nested=(
            ".search_context_size",
            ".user_location",
            ".user_location.type",
            ".user_location.approximate",
            ".user_location.approximate.city",
            ".user_location.approximate.country",
            ".user_location.approximate.region",
            ".user_location.approximate.timezone",
        ),
    ),
    refused(
        "moderation",
        "moderation",
        nested=(".model", ".policy", ".policy.input", ".policy.input.mode", ".policy.output", ".policy.output.mode"),
    ),
    refused("prompt_cache_options", "explicit prompt cache breakpoints", nested=_BREAKPOINT),
    refused("prompt_cache_retention", "a prompt cache retention policy"),
)

REQUEST_ROWS = (
    MESSAGE_ROWS + HONOURED_ROWS + DECODING_ROWS + RENDERING_ROWS + PREDICTION_ROWS + TOOL_ROWS + REFUSED_ROWS
)
