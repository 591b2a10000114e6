"""The rows of the table of fields about the extensions of decoding."""

from typing import Final

from antiphon.protocol.field import Row, honoured, refused

EXTENSIONS: Final = ("antiphon.protocol.decoding_extensions", "tests/protocol/test_decoding_extensions.py")
PARAMETERS: Final = ("antiphon.rendering.sampling_parameters", "tests/rendering/test_sampling_parameters.py")
CORE: Final = ("antiphon.engine.worker.core", "tests/engine/worker/test_core.py")
CHOICE: Final = ("antiphon.assembly.choice", "tests/assembly/test_choice.py")
CONTENT: Final = ("antiphon.assembly.content", "tests/assembly/test_content.py")
PROCESSORS: Final = ("antiphon.engine.sampling.logits_processors", "tests/engine/sampling/test_logits_processors.py")
TRUNCATIONS: Final = ("antiphon.engine.sampling.truncations", "tests/engine/sampling/test_truncations.py")
SCORES: Final = ("antiphon.engine.worker.prompt_scores", "tests/engine/worker/test_prompt_scores.py")
MIROSTAT: Final = ("antiphon.engine.sampling.mirostat", "tests/engine/sampling/test_mirostat.py")
BREAKERS: Final = ("antiphon.rendering.sequence_breakers", "tests/rendering/test_sequence_breakers.py")
_XTC: Final = "llama.cpp, text-generation-webui"

HONOURED: Final[tuple[Row, ...]] = (
    honoured("n_predict", PARAMETERS, "Another name of max_tokens, with the same values.", origin="llama.cpp"),
    honoured(
        "min_tokens",
        PROCESSORS,
        "No token that ends the answer is drawn before, and no stop string is searched. At most the limit of the "
        "answer. A grammar that ends wins.",
        origin="vLLM, SGLang",
    ),
    honoured(
        "ignore_eos",
        PROCESSORS,
        "true: no token that ends the answer is drawn. A grammar that ends wins.",
        origin="vLLM, llama.cpp, SGLang",
    ),
    honoured("repeat_penalty", PARAMETERS, "repetition_penalty over the newest tokens.", origin="llama.cpp"),
    honoured(
        "repeat_last_n",
        PARAMETERS,
        "The tokens that the repetition penalty counts; -1: all; 0: off. By default 64 with repeat_penalty, else all. "
        "The other penalties count the whole answer.",
        origin="llama.cpp",
    ),
    honoured("typical_p", TRUNCATIONS, "0 to 1; 1: off.", origin="llama.cpp"),
    honoured("xtc_probability", TRUNCATIONS, "0 to 1; 0: off.", origin=_XTC),
    honoured("xtc_threshold", TRUNCATIONS, "0 to 1, 0.1 by default; above 0.5: off.", origin=_XTC),
    honoured("dry_multiplier", PROCESSORS, "0 to 100; 0: off.", origin=_XTC),
    honoured("dry_base", PROCESSORS, "1 to 100, 1.75 by default.", origin=_XTC),
    honoured("dry_allowed_length", PROCESSORS, "0 to 256 tokens, 2 by default.", origin=_XTC),
    honoured(
        "dry_penalty_last_n",
        PARAMETERS,
        "The newest tokens of prompt and answer; -1, the default: all; 0: off.",
        origin="llama.cpp",
    ),
    honoured(
        "dry_sequence_breakers",
        BREAKERS,
        "At most 64 of at most 40 characters. By default a newline, a colon, a quotation mark and an asterisk.",
        origin="llama.cpp",
    ),
    honoured(
        "mirostat",
        MIROSTAT,
        "0, 1 or 2; 0: off. It takes the place of top_p, top_k, min_p, typical_p and xtc.",
        origin="llama.cpp",
    ),
    honoured("mirostat_tau", MIROSTAT, "0 to 100 bits, 5 by default.", origin="llama.cpp"),
    honoured("mirostat_eta", MIROSTAT, "0 to 100, 0.1 by default.", origin="llama.cpp"),
    honoured(
        "stop_token_ids",
        CORE,
        "At most 1024. The token counts in the usage; the content ends before it.",
        origin="vLLM, SGLang",
    ),
    honoured(
        "include_stop_str_in_output",
        CONTENT,
        "true: the content ends with the stop string, or with the token that has ended it.",
        origin="vLLM",
    ),
    honoured("no_stop_trim", EXTENSIONS, "Another name of include_stop_str_in_output.", origin="SGLang"),
    honoured(
        "prompt_logprobs",
        SCORES,
        "0 to 20 likely tokens beside each token of the prompt, by the model alone: no penalty, bias or temperature. "
        "Not with stream. An operator can allow more by --max-logprobs. Such a prompt uses no cached prefix. "
        "They are not stored.",
        origin="vLLM",
    ),
    honoured(
        "return_token_ids",
        PARAMETERS,
        "true: the answer has prompt_token_ids and token_ids, the token that ended it included. They are not stored.",
        origin="vLLM",
    ),
    honoured(
        "skip_special_tokens",
        CHOICE,
        "false: the content has the texts of control tokens.",
        origin="vLLM, SGLang",
    ),
    honoured(
        "spaces_between_special_tokens",
        EXTENSIONS,
        "true only where special tokens are skipped: it has no effect there.",
        origin="vLLM",
    ),
    honoured("best_of", EXTENSIONS, "Equal to n: no choice is dropped.", origin="vLLM"),
)
IDLE: Final[tuple[Row, ...]] = (
    refused("add_special_tokens", "special tokens around the chat template's", idle=(False,), origin="vLLM"),
    refused("cache_prompt", "prompts that are not cached", idle=(True,), origin="llama.cpp"),
    refused("early_stopping", "beam search", idle=(False,), origin="vLLM"),
    refused("id_slot", "slots that a client chooses", idle=(-1,), origin="llama.cpp"),
    refused("length_penalty", "beam search", idle=(1,), origin="vLLM"),
    refused("min_keep", "a least number of candidate tokens", idle=(0, 1), origin="llama.cpp"),
    refused("n_discard", "contexts that drop their beginning", idle=(0,), origin="llama.cpp"),
    refused("n_indent", "a least indentation", idle=(0,), origin="llama.cpp"),
    refused("n_keep", "contexts that drop their beginning", idle=(0, -1), origin="llama.cpp"),
    refused("n_probs", "probabilities other than logprobs", idle=(0,), origin="llama.cpp"),
    refused("post_sampling_probs", "probabilities after sampling", idle=(False,), origin="llama.cpp"),
    refused("return_hidden_states", "hidden states", idle=(False,), origin="SGLang"),
    refused("return_progress", "reports of a prompt's progress", idle=(False,), origin="llama.cpp"),
    refused("return_tokens_as_token_ids", "token ids in place of tokens", idle=(False,), origin="vLLM"),
    refused("t_max_predict_ms", "a limit of time", idle=(0, -1), origin="llama.cpp"),
    refused("timings_per_token", "timings in answers", idle=(False,), origin="llama.cpp"),
    refused("use_beam_search", "beam search", idle=(False,), origin="vLLM"),
)
DECODING_ROWS: Final = HONOURED + IDLE
