"""The mutated modules, the most important first, and the tests of each."""

from pathlib import Path
from typing import Final

SOURCE: Final = Path("src/antiphon")
TESTS: Final = Path("tests")

HELD_ELSEWHERE: Final[dict[str, tuple[str, ...]]] = {
    "engine/worker/scheduler": (
        "engine/worker/test_scheduler_overtaking.py",
        "engine/worker/test_scheduler_shared_prefixes.py",
        "engine/worker/test_scheduler_preemption.py",
        "engine/worker/test_scheduler_drafts.py",
        "engine/worker/test_core.py",
    ),
    "engine/cache/kv_cache": ("engine/cache/test_kv_cache_machine.py", "engine/worker/test_core.py"),
    "engine/cache/offloading": ("engine/cache/test_kv_cache_machine.py", "engine/worker/test_core.py"),
    "engine/cache/cell_pool": ("engine/cache/test_kv_cache.py", "engine/cache/test_kv_cache_machine.py"),
    "engine/sequence": ("engine/worker/test_scheduler.py", "engine/worker/test_scheduler_drafts.py"),
    "engine/cache/lease": ("engine/cache/test_kv_cache.py", "engine/cache/test_kv_cache_machine.py"),
    "engine/cache/radix_tree": ("engine/cache/test_kv_cache.py", "engine/cache/test_kv_cache_machine.py"),
    "engine/worker/core": ("engine/test_late_masks.py",),
    "engine/worker/batches": ("engine/worker/test_core.py",),
    "engine/sampling/logits_processors": ("engine/sampling/test_sampler.py",),
    "engine/sampling/row_blocks": ("engine/sampling/test_sampler.py",),
    "engine/sampling/sampling_state": ("engine/sampling/test_sampler.py",),
    "engine/sampling/token_draw": ("engine/sampling/test_sampler.py",),
    "engine/drafting/draft_proposals": ("engine/worker/test_core.py",),
    "assembly/assembler": ("assembly/test_choice.py",),
    "assembly/choice": ("assembly/test_assembler.py",),
    "assembly/call_arguments": ("assembly/test_tool_parser.py",),
    "store/completions": ("store/test_query_plans.py", "store/test_reserve.py"),
    "store/idempotency": ("store/test_reserve.py",),
    "store/keys": ("store/test_reserve.py",),
}
"""Further tests of a module's behaviour, which run after the mirrored file."""

MODULES: Final = (
    "assembly/stop_strings",
    "assembly/tool_parser",
    "engine/cache/radix_tree",
    "engine/cache/cell_pool",
    "engine/cache/kv_cache",
    "engine/cache/offloading",
    "engine/worker/scheduler",
    "engine/drafting/prediction_drafter",
    "engine/sampling/sampler",
    "store/limits",
    "store/rate_leases",
    "constraints/tool_grammar",
    "constraints/json_schema/algebra",
    "store/completions",
    "engine/sequence",
    "engine/cache/lease",
    "engine/models/batch_plan",
    "engine/worker/batches",
    "engine/worker/core",
    "engine/sampling/logits_processors",
    "engine/sampling/row_blocks",
    "engine/sampling/token_draw",
    "engine/sampling/sampling_state",
    "engine/drafting/prompt_lookup",
    "engine/drafting/draft_length",
    "engine/drafting/draft_proposals",
    "assembly/assembler",
    "assembly/byte_source",
    "assembly/call_arguments",
    "assembly/call_pieces",
    "assembly/choice",
    "assembly/collector",
    "assembly/content",
    "assembly/detokenizer",
    "assembly/foreign_parser",
    "assembly/json_text",
    "assembly/prompt_logprobs",
    "assembly/reasoning_parser",
    "assembly/token_logprobs",
    "store/idempotency",
    "store/keys",
    "constraints/grammar_size",
    "constraints/json_schema/compiler",
    "constraints/json_schema/costs",
    "constraints/json_schema/difference",
    "constraints/json_schema/document",
    "constraints/json_schema/codegen",
    "constraints/json_schema/expansion",
    "constraints/json_schema/finite_terms",
    "constraints/json_schema/keywords",
    "constraints/json_schema/enumeration",
    "constraints/json_schema/pattern_queries",
    "constraints/json_schema/intersection",
    "constraints/json_schema/multiples",
    "constraints/json_schema/normalise",
    "constraints/json_schema/numbers",
    "constraints/json_schema/pattern",
    "constraints/json_schema/look_ahead",
    "constraints/json_schema/lowering",
    "constraints/json_schema/shapes",
    "constraints/json_schema/strict",
    "constraints/json_schema/terms",
    "constraints/json_schema/validity",
    "constraints/json_schema/vocabulary",
)


def source_of(module: str) -> Path:
    """Return the file of a module, relative to the root."""
    return SOURCE / f"{module}.py"


def held_by(module: str) -> tuple[Path, ...]:
    """Return the test files of a module, relative to the root."""
    folder, _, name = module.rpartition("/")
    return (TESTS / folder / f"test_{name}.py", *(TESTS / file for file in HELD_ELSEWHERE.get(module, ())))


def chosen(name: str) -> tuple[str, ...]:
    """Return the module, or the modules of the folder, called ``name``; all when it is empty.

    Raises ValueError for an unknown name.
    """
    name = name.removeprefix(f"{SOURCE}/").removesuffix(".py").strip("/")
    found = tuple(module for module in MODULES if module == name or module.startswith(f"{name}/" if name else ""))
    if not found:
        raise ValueError(f"'{name}' is none of the mutated modules: {', '.join(MODULES)}")
    return found
