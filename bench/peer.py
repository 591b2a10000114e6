"""Runs llama.cpp's server of the package xllamacpp until SIGTERM: PORT MODEL THREADS STREAMS CTX_SIZE."""

import signal
import sys

import xllamacpp


def main() -> None:
    """Serve until SIGTERM."""
    port, model, threads, streams, ctx_size = sys.argv[1:]
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames = ["127.0.0.1"]
    params.port = int(port)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(threads)
    params.n_parallel = int(streams)
    params.n_ctx = int(ctx_size)
    params.kv_unified = True
    params.n_predict = -1
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    server = xllamacpp.Server(params)
    assert server.listening_address, "the server does not listen"
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
