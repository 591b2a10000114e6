"""`python -m bench.schema_share FOLDER...`: the shares of real-world schemas that are enforced and refused, by keyword.

Every ``*.json`` file below the folders is a schema, an object with one under ``schema``, or an array of such objects,
as in the JSON Schema Test Suite. The grammar of an enforced schema generates random texts, byte by byte and without a
model, and `jsonschema` validates every finished text.
"""

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any, Final

import llguidance
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for
from msgspec import Struct, field
from referencing import Registry
from referencing.exceptions import Unresolvable
from rich.console import Console
from rich.progress import track
from rich.table import Table

from antiphon.constraints.json_schema import enforce_schema
from antiphon.errors import InvalidRequestError

WALKS: Final = 3
MAX_BYTES: Final = 4000
"""Maximum bytes of a random text; a longer one is dropped as unfinished."""
PLAIN_DIGITS: Final = 50
"""Maximum digits of a number that is read as an integer."""
_REASON: Final = re.compile(r"In context=\(.*?\), (.*)\.$", re.DOTALL)
_KEYWORD: Final = re.compile(r"'([$\w-]+)'")
_CLOSING: Final = frozenset(b'"]}')
_TOKENIZER = llguidance.LLTokenizer("byte")


class Share(Struct):
    """The counts of schemas and of random texts."""

    enforced: int = 0
    """Schemas that are enforced wholly."""
    partly: Counter[str] = field(default_factory=Counter)
    """Schemas of which a keyword is not enforced, by the first such keyword."""
    refused: Counter[str] = field(default_factory=Counter)
    """Schemas by the keyword that was refused, or by the reason when it names no keyword."""
    unread: int = 0
    """Files without a schema."""
    walked: int = 0
    unfinished: int = 0
    unjudged: int = 0
    """Texts that `jsonschema` cannot validate: endless or missing references, large numbers, foreign patterns."""
    invalid: list[tuple[str, str]] = field(default_factory=list)
    """File and text of each text that is not valid."""

    @property
    def total(self) -> int:
        """Schemas that were read."""
        return self.enforced + self.partly.total() + self.refused.total()


def read_schemas(path: Path) -> list[Any]:
    """Return the schemas of a file."""
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return []
    if isinstance(document, list):
        return [group["schema"] for group in document if isinstance(group, dict) and "schema" in group]
    if isinstance(document, dict) and isinstance(document.get("schema"), dict):
        return [document["schema"]]
    return [document] if isinstance(document, dict | bool) else []


def refused_by(message: str) -> str:
    """Return the keyword that a refusal names, or its reason."""
    found = _REASON.search(message)
    reason = found[1] if found else message
    keyword = _KEYWORD.search(reason)
    return keyword[1] if keyword else reason


def walk(compiled: str, choice: random.Random) -> str | None:
    """Return a random text of the grammar, or None when it does not end within ``MAX_BYTES``; ends are preferred."""
    matcher = llguidance.LLMatcher(_TOKENIZER, f"start: %json {compiled}", log_level=0)
    text, end = bytearray(), _TOKENIZER.eos_token
    while not matcher.is_stopped() and len(text) < MAX_BYTES:
        if forced := matcher.compute_ff_tokens():
            matcher.consume_tokens(forced)
            text += bytes(forced)
            continue
        bits = matcher.compute_bitmask()
        allowed = [token for token in range(end + 1) if bits[token >> 3] >> (token & 7) & 1]
        if not allowed:
            return None
        if (token := _choose(allowed, end, choice)) == end:
            break
        matcher.consume_token(token)
        text.append(token)
    return None if matcher.is_error() or not matcher.is_accepting() else text.decode()


def _choose(allowed: Sequence[int], end: int, choice: random.Random) -> int:
    closing = [token for token in allowed if token in _CLOSING or token == end]
    return choice.choice(closing if closing and choice.random() < 1 / 2 else allowed)


def is_valid(schema: Any, text: str) -> bool:  # noqa: ANN401 (JSON)
    """Validate a text with exact decimals and formats. Raises the errors of `jsonschema`."""
    with localcontext(prec=4000):
        exact = json.loads(json.dumps(schema), parse_float=Decimal)
        dialect = validator_for(exact, default=Draft202012Validator)
        # With an empty registry the validator fetches no references.
        registry: Registry[Any] = Registry()
        validator = dialect(exact, registry=registry, format_checker=dialect.FORMAT_CHECKER)
        return bool(validator.is_valid(json.loads(text, parse_float=_number)))


def _number(text: str) -> Decimal | int:
    """Read a number exactly, with exponents cut to ±1000; whole numbers become integers."""
    mantissa, _, exponent = text.lower().partition("e")
    number = Decimal(mantissa).scaleb(max(-1000, min(1000, int(exponent[:9] or 0))))
    return int(number) if number.adjusted() < PLAIN_DIGITS and number == number.to_integral_value() else number


def measure(paths: Iterable[Path], walks: int, seed: int = 0) -> Share:
    """Compile every schema and validate ``walks`` random texts of each."""
    share, choice = Share(), random.Random(seed)  # noqa: S311 (walks)
    for path in paths:
        schemas = read_schemas(path)
        share.unread += not schemas
        for schema in schemas:
            _measure_one(share, path, schema, walks, choice)
    return share


def _measure_one(share: Share, path: Path, schema: Any, walks: int, choice: random.Random) -> None:  # noqa: ANN401 (JSON)
    try:
        enforced = enforce_schema(schema, param="schema")
    except InvalidRequestError as error:
        share.refused[refused_by(error.message)] += 1
        return
    if enforced.unenforced:
        share.partly[_last_keyword(enforced.unenforced[0])] += 1
        return
    share.enforced += 1
    for _ in range(walks):
        _judge(share, path, schema, walk(enforced.text, choice))


def _last_keyword(path: Sequence[str | int]) -> str:
    """Return the keyword at the end of a path, or the root."""
    return next((key for key in reversed(path) if isinstance(key, str)), "the root")


def _judge(share: Share, path: Path, schema: Any, text: str | None) -> None:  # noqa: ANN401 (JSON)
    if text is None:
        share.unfinished += 1
        return
    share.walked += 1
    try:
        if not is_valid(schema, text):
            share.invalid.append((str(path), text))
    except json.JSONDecodeError:
        share.invalid.append((str(path), text))
    except (RecursionError, Unresolvable, ArithmeticError, ValueError, re.error, AttributeError):
        share.unjudged += 1


def show(share: Share, console: Console) -> None:
    """Print the shares, the reasons of refusals, and the invalid texts."""
    total = max(share.total, 1)
    table = Table("schemas", "number", "share", title=f"{share.total} schemas, {share.unread} files without one")
    table.add_row("wholly enforced", str(share.enforced), f"{share.enforced / total:.1%}")
    for keyword, count in share.partly.most_common():
        table.add_row(f"partly enforced, without {keyword[:80]}", str(count), f"{count / total:.1%}")
    for reason, count in share.refused.most_common():
        table.add_row(f"refused: {reason[:80]}", str(count), f"{count / total:.1%}")
    console.print(table)
    console.print(
        f"{share.walked} finished texts: {len(share.invalid)} are invalid, {share.unjudged} cannot be validated; "
        f"{share.unfinished} did not finish"
    )
    for path, text in share.invalid:
        console.print(f"{path}: {text[:200]}", markup=False, highlight=False)


def main() -> None:
    """Parse the options, measure and print. Exits with status 1 when a text is invalid."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--walks", type=int, default=WALKS, help="random texts of each schema")
    parser.add_argument("--sample", type=int, help="number of random files, instead of all")
    options = parser.parse_args()
    paths = sorted(path for folder in options.folders for path in folder.rglob("*.json"))
    if options.sample is not None and options.sample < len(paths):
        paths = random.Random(0).sample(paths, options.sample)  # noqa: S311 (files)
    console = Console()
    share = measure(track(paths, "schemas", console=console, transient=True), options.walks)
    show(share, console)
    raise SystemExit(bool(share.invalid))


if __name__ == "__main__":
    main()
