"""A handler that tokenizes texts with vocabularies of several files, for a process with limits."""

import msgspec

from antiphon.engine.models.tokenizer import Tokenizer
from antiphon.isolation.fork_server import Handler, ReportStage

FACTORY = "tests.engine.tokenizer_jobs:open_handler"


class TokenizerJob(msgspec.Struct):
    """A vocabulary, and a text as a piece and how often it stands in it."""

    path: str
    piece: str
    times: int


def open_handler(_argument: bytes) -> Handler:
    """Return the handler; it opens the vocabulary of each job."""

    def handle(payload: bytes, report_stage: ReportStage) -> bytes:
        report_stage("messages")
        job = msgspec.json.decode(payload, type=TokenizerJob)
        tokenizer = Tokenizer.open(job.path)
        count = len(tokenizer.encode(job.piece * job.times))
        tokenizer.close()
        return str(count).encode()

    return handle
