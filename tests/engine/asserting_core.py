"""A core over a real model in which llama.cpp itself fails an assertion, where a request asks for it.

The worker finds it by its dotted path. The failing call is an ordinary one of the bindings, with a sequence id that
there is not: ``GGML_ASSERT`` prints its condition and aborts the process, as wherever the library finds itself broken.
"""

from antiphon.engine.interface import GenerateRequest
from antiphon.engine.models.llama import LlamaModel
from antiphon.engine.worker.core import Core

ASSERT = "assert"
"""The id of the request that does."""
NO_SEQUENCE = 1 << 20


class AssertingCore(Core):
    """The core as it is, but for one request."""

    def add(self, request: GenerateRequest) -> None:
        """Take a request, or end the process."""
        if request.request_id == ASSERT:
            assert isinstance(self._model, LlamaModel)
            self._model.seq_cp(NO_SEQUENCE, 0, 0, 1)
        super().add(request)
