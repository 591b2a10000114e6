"""A handler that tries grammars with the vocabulary of a model file, for a process with limits."""

import msgspec

from antiphon.engine.grammars.grammar_trial import GrammarTrial
from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.isolation.fork_server import Handler

FACTORY = "tests.engine.trial_jobs:open_handler"


def open_handler(argument: bytes) -> Handler:
    """Prepare the vocabulary of the file whose path is ``argument``, as JSON."""
    trial = GrammarTrial(Tokenizer.open(msgspec.json.decode(argument, type=str)))
    return lambda payload, _: trial.problem(payload.decode()).encode()
