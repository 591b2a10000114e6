"""Jobs in this process; test_optimizer_jobs.py runs them in their own process."""

from pathlib import Path

from antiphon.engine.optimizer.optimizer_jobs import Failed, Measure, Message, Planned, Progress, Quantize, Quantized
from antiphon.engine.optimizer.optimizer_process import work


def test_copy_is_planned_before_it_is_written(tiny_path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.gguf"
    existed: list[bool] = []
    sent: list[Message] = []

    def send(message: Message) -> None:
        existed.append(target.exists())
        sent.append(message)

    result = work(Quantize(source=str(tiny_path), target=str(target), file_type="Q8_0"), send)
    assert Quantized(size=target.stat().st_size) == result
    assert isinstance(sent[0], Planned)
    assert not existed[0]
    assert {Progress} == {type(message) for message in sent[1:]}


def test_failure_of_a_job_is_a_message() -> None:
    assert Failed(message="There is no model file at /none.gguf.") == work(Measure(path="/none.gguf"), lambda _: None)
