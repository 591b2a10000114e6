"""Which modules are mutated, the most important first, and which tests each mutant must get past."""

from pathlib import Path
from typing import Final

SOURCE: Final = Path("src/antiphon")
TESTS: Final = Path("tests")

HELD_ELSEWHERE: Final[dict[str, tuple[str, ...]]] = {
    "engine/scheduler": ("engine/test_core.py",),
    "engine/kv_cache": ("engine/test_core.py",),
    "engine/sequence": ("engine/test_scheduler.py",),
    "engine/lease": ("engine/test_kv_cache.py",),
    "engine/radix_tree": ("engine/test_kv_cache.py",),
    "engine/batches": ("engine/test_core.py",),
    "engine/drawing": ("engine/test_sampler.py",),
    "engine/sampling_state": ("engine/test_sampler.py",),
    "engine/drafting": ("engine/test_core.py",),
    "assembly/byte_source": ("assembly/test_tool_parser.py",),
    "assembly/call_arguments": ("assembly/test_tool_parser.py",),
    "rendering/json_schema/costs": ("rendering/json_schema/test_compiler.py",),
    "rendering/json_schema/differences": ("rendering/json_schema/test_compiler.py",),
    "rendering/json_schema/finite_terms": ("rendering/json_schema/test_compiler.py",),
    "rendering/json_schema/listed": ("rendering/json_schema/test_compiler.py",),
    "rendering/json_schema/meeting": ("rendering/json_schema/test_compiler.py",),
    "rendering/json_schema/multiples": ("rendering/json_schema/test_compiler.py",),
    "rendering/json_schema/document": ("rendering/json_schema/test_compiler.py",),
    "rendering/json_schema/emission": ("rendering/json_schema/test_compiler.py",),
    "rendering/json_schema/expansion": ("rendering/json_schema/test_compiler.py",),
    "rendering/json_schema/keywords": ("rendering/json_schema/test_compiler.py",),
    "rendering/json_schema/matching": ("rendering/json_schema/test_compiler.py",),
    "rendering/json_schema/normal": ("rendering/json_schema/test_compiler.py",),
    "rendering/json_schema/numbers": ("rendering/json_schema/test_compiler.py",),
    "rendering/json_schema/settling": ("rendering/json_schema/test_compiler.py",),
    "rendering/json_schema/shapes": ("rendering/json_schema/test_compiler.py",),
    "rendering/json_schema/terms": ("rendering/json_schema/test_compiler.py",),
}
"""Beside the mirrored file: tests that hold a part of the module's behaviour, run after it."""

MODULES: Final = (
    "assembly/stop_strings",
    "assembly/tool_parser",
    "engine/radix_tree",
    "engine/kv_cache",
    "engine/scheduler",
    "engine/speculative",
    "engine/sampler",
    "store/limits",
    "rendering/tool_grammar",
    "rendering/json_schema/algebra",
    "store/completions",
    "engine/sequence",
    "engine/lease",
    "engine/batch_plan",
    "engine/batches",
    "engine/core",
    "engine/drawing",
    "engine/sampling_state",
    "engine/prompt_lookup",
    "engine/draft_length",
    "engine/drafting",
    "assembly/assembler",
    "assembly/byte_source",
    "assembly/call_arguments",
    "assembly/choice",
    "assembly/collector",
    "assembly/content",
    "assembly/detokenizer",
    "assembly/json_text",
    "assembly/reasoning_parser",
    "assembly/token_logprobs",
    "store/idempotency",
    "store/keys",
    "rendering/grammar_size",
    "rendering/json_schema/compiler",
    "rendering/json_schema/costs",
    "rendering/json_schema/differences",
    "rendering/json_schema/document",
    "rendering/json_schema/emission",
    "rendering/json_schema/expansion",
    "rendering/json_schema/finite_terms",
    "rendering/json_schema/keywords",
    "rendering/json_schema/listed",
    "rendering/json_schema/matching",
    "rendering/json_schema/meeting",
    "rendering/json_schema/multiples",
    "rendering/json_schema/normal",
    "rendering/json_schema/numbers",
    "rendering/json_schema/pattern",
    "rendering/json_schema/settling",
    "rendering/json_schema/shapes",
    "rendering/json_schema/strict",
    "rendering/json_schema/terms",
    "rendering/json_schema/vocabulary",
)


def source_of(module: str) -> Path:
    """Return the file of a module, relative to the root."""
    return SOURCE / f"{module}.py"


def held_by(module: str) -> tuple[Path, ...]:
    """Return the files of the tests that hold a module's behaviour, relative to the root."""
    folder, _, name = module.rpartition("/")
    return (TESTS / folder / f"test_{name}.py", *(TESTS / file for file in HELD_ELSEWHERE.get(module, ())))


def chosen(name: str) -> tuple[str, ...]:
    """Return the modules that ``name`` means: one, those of a folder, or all when it is empty.

    Raises ValueError when it means none.
    """
    name = name.removeprefix(f"{SOURCE}/").removesuffix(".py").strip("/")
    found = tuple(module for module in MODULES if module == name or module.startswith(f"{name}/" if name else ""))
    if not found:
        raise ValueError(f"'{name}' is none of the mutated modules: {', '.join(MODULES)}")
    return found
