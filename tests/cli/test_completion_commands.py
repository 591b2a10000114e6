import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from antiphon.cli.completion_commands import examples
from antiphon.errors import NotFoundError
from antiphon.protocol.responses import FinishReason, FunctionCall, FunctionToolCall
from antiphon.protocol.stored import MessageList, StoredAnswer, StoredChoice, StoredCompletion, StoredMessage
from antiphon.protocol.stored_queries import PageQuery
from antiphon.store.completions import CompletionStore
from antiphon.store.database import Database
from tests.cli.commands import on_database, output, refusal, run, table
from tests.conftest import Installed
from tests.databases import Site
from tests.store.rows import OTHER, PROJECT, add_project, completion, messages

TOOL: dict[str, Any] = {"type": "function", "function": {"name": "save", "parameters": {"type": "object"}}}


def choice(
    answer: StoredAnswer | None = None, finish_reason: FinishReason | None = "stop", index: int = 0
) -> StoredChoice:
    return StoredChoice(index=index, message=answer or StoredAnswer(content="Yes."), finish_reason=finish_reason)


def with_choices(identifier: str, *choices: StoredChoice, created: int = 1) -> StoredCompletion:
    return msgspec.structs.replace(completion(identifier, created=created), choices=list(choices))


def store(site: Site, *stored: StoredCompletion, number: int = 1, project: str = PROJECT) -> None:
    async def save(database: Database) -> None:
        for one in stored:
            await CompletionStore(database).save(project, one, messages(one.id, number))

    on_database(site, save)


def exported(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def answers(text: str) -> list[str]:
    return [example["messages"][-1]["content"] for example in exported(text)]


def test_newest_completion_is_listed_first(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    store(site, completion("a", created=60), completion("b", created=120))
    newest, oldest = table(capsys, site, "completions", "list")
    assert {"id": "b", "created": "1970-01-01 00:02", "model": "tiny", "ended": "stop", "answer": "I am b."} == newest
    assert "a" == oldest["id"]


def test_list_goes_over_several_pages_up_to_its_limit(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    store(site, *(completion(f"c{number:03}", created=number) for number in range(130)))
    rows = table(capsys, site, "completions", "list", "--limit", "120")
    assert [f"c{number:03}" for number in range(129, 9, -1)] == [row["id"] for row in rows]


def test_default_limit_of_a_list_is_20(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    store(site, *(completion(f"c{number}", created=number) for number in range(22)))
    assert 20 == len(table(capsys, site, "completions", "list"))


@pytest.mark.parametrize("limit", ["0", "-1"])
def test_limit_below_1_is_refused(limit: str, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(site, "completions", "list", "--limit", limit)
    assert "--limit" in capsys.readouterr().err


def test_list_is_filtered_by_model_and_metadata(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = {"team": "a", "kind": "x=y"}
    store(site, completion("c1", metadata=pairs), completion("c2", model="huge", metadata=pairs), completion("c3"))
    filters = ("--metadata", "team=a", "--metadata", "kind=x=y", "--answered-by", "huge")
    assert ["c2"] == [row["id"] for row in table(capsys, site, "completions", "list", *filters)]


def test_environment_sets_a_filter(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store(site, completion("c1", metadata={"team": "a b", "kind": "x"}), completion("c2", metadata={"kind": "x"}))
    monkeypatch.setenv("ANTIPHON_METADATA", "'team=a b' kind=x")
    assert ["c1"] == [row["id"] for row in table(capsys, site, "completions", "list")]


def test_variable_of_the_served_models_is_not_a_filter(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store(site, completion("c1"))
    monkeypatch.setenv("ANTIPHON_MODEL", "a.gguf b=b.gguf")
    assert ["c1"] == [row["id"] for row in table(capsys, site, "completions", "list")]


def test_filter_without_a_value_is_refused(site: Site) -> None:
    assert "team is not a pair. Write --metadata key=value." == refusal(
        site, "completions", "list", "--metadata", "team"
    )


def test_list_shows_one_projects_completions(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    on_database(site, add_project)
    store(site, completion("mine"))
    store(site, completion("theirs"), project=OTHER)
    assert ["theirs"] == [row["id"] for row in table(capsys, site, "completions", "list", "--project", OTHER)]


def test_list_shows_finish_reasons_and_the_beginning_of_answers(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    call = FunctionToolCall(id="call_1", function=FunctionCall(name="save", arguments="{}"))
    store(
        site,
        with_choices("broken", choice(StoredAnswer(content="a\n\tb " * 40), None)),
        with_choices("calls", choice(StoredAnswer(content=None, tool_calls=[call]), "tool_calls"), created=2),
        with_choices("two", choice(), choice(finish_reason="length", index=1), created=3),
    )
    rows = table(capsys, site, "completions", "list")
    assert ["length, stop", "tool_calls", "broke off"] == [row["ended"] for row in rows]
    assert ["Yes.", "save", "a b " * 14 + "a b…"] == [row["answer"] for row in rows]


def test_show_prints_a_completion_with_all_messages(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    store(site, completion("c1", metadata={"team": "a"}), number=250)
    shown = json.loads(output(capsys, site, "completions", "show", "c1"))
    assert ("c1", {"team": "a"}) == (shown["completion"]["id"], shown["completion"]["metadata"])
    assert [f"c1-{number}" for number in range(250)] == [message["id"] for message in shown["messages"]]


def test_missing_completion_is_not_found(site: Site) -> None:
    assert "Chat completion with id 'c1' not found." == refusal(site, "completions", "show", "c1")


def test_completion_of_another_project_is_not_found(site: Site) -> None:
    on_database(site, add_project)
    store(site, completion("theirs"), project=OTHER)
    assert "Chat completion with id 'theirs' not found." == refusal(site, "completions", "show", "theirs")


def test_export_has_all_completions_the_oldest_first(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    store(site, *(completion(f"c{number:03}", created=number) for number in range(120)))
    assert [f"I am c{number:03}." for number in range(120)] == answers(output(capsys, site, "completions", "export"))


def test_export_is_filtered_by_model_and_metadata(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    store(site, completion("c1", metadata={"team": "a"}), completion("c2", model="huge", metadata={"team": "a"}))
    filters = ("--metadata", "team=a", "--answered-by", "huge")
    assert ["I am c2."] == answers(output(capsys, site, "completions", "export", *filters))


def test_export_writes_a_file(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(site, completion("c1"))
    run(site, "completions", "export", "--output", str(tmp_path / "train.jsonl"))
    assert ("", "1 examples written.\n") == tuple(capsys.readouterr())
    assert ["I am c1."] == answers((tmp_path / "train.jsonl").read_text())


def test_unwritable_export_file_is_an_error(site: Site, tmp_path: Path) -> None:
    assert f"{tmp_path} cannot be written: Is a directory." == refusal(
        site, "completions", "export", "--output", str(tmp_path)
    )


def test_full_disk_is_an_error(site: Site) -> None:
    store(site, completion("c1"))
    message = refusal(site, "completions", "export", "--output", "/dev/full")
    assert "/dev/full cannot be written: No space left on device." == message


def test_closed_pipe_is_an_error(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    store(site, completion("c1"))
    reader, writer = os.pipe()
    os.close(reader)
    with io.TextIOWrapper(os.fdopen(writer, "wb")) as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert "stdout was closed before the end." == refusal(site, "completions", "export")


def test_export_leaves_out_unfinished_answers_by_default(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    choices = [choice(StoredAnswer(content=str(end)), end) for end in ("stop", "length", "content_filter", None)]
    store(site, *(with_choices(f"c{number}", one, created=number) for number, one in enumerate(choices)))
    assert ["stop"] == answers(output(capsys, site, "completions", "export"))
    assert ["stop", "length", "content_filter", "None"] == answers(
        output(capsys, site, "completions", "export", "--unfinished")
    )


def test_environment_sets_an_option_without_a_value(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store(site, with_choices("c1", choice(finish_reason="length")))
    monkeypatch.setenv("ANTIPHON_UNFINISHED", "true")
    assert ["Yes."] == answers(output(capsys, site, "completions", "export"))


def test_example_has_conversation_answer_and_tools() -> None:
    call = FunctionToolCall(id="call_2", function=FunctionCall(name="save", arguments="{}"))
    stored = msgspec.structs.replace(
        with_choices("c", choice(StoredAnswer(content=None, tool_calls=[call]), "tool_calls")), tools=[TOOL]
    )
    past = {"id": "call_1", "type": "function", "function": {"name": "save", "arguments": "{}"}}
    conversation = [
        StoredMessage(id="c-0", role="user", content=None, name="Ada", content_parts=[{"type": "text", "text": "Hi"}]),
        StoredMessage(id="c-1", role="assistant", content=None, tool_calls=[past], reasoning_content="Hm."),
        StoredMessage(id="c-2", role="tool", content="", tool_call_id="call_1"),
    ]
    (example,) = examples(stored, conversation)
    assert {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi"}], "name": "Ada"},
            {"role": "assistant", "tool_calls": [past]},
            {"role": "tool", "content": "", "tool_call_id": "call_1"},
            {"role": "assistant", "tool_calls": [past | {"id": "call_2"}]},
        ],
        "tools": [TOOL],
    } == msgspec.json.decode(msgspec.json.encode(example))


def test_every_choice_is_an_example() -> None:
    stored = with_choices("c", choice(StoredAnswer(content="a")), choice(StoredAnswer(content="b"), index=1))
    assert ["a", "b"] == [example["messages"][-1]["content"] for example in examples(stored, messages("c"))]


@pytest.mark.parametrize("content", [None, ""])
def test_empty_answer_is_not_an_example(content: str | None) -> None:
    stored = with_choices("c", choice(StoredAnswer(content=content), None))
    assert [] == list(examples(stored, messages("c"), unfinished=True))


def test_a_refusal_is_an_example() -> None:
    stored = with_choices("c", choice(StoredAnswer(content=None, refusal="No.")))
    (example,) = examples(stored, messages("c"))
    assert {"role": "assistant", "refusal": "No."} == example["messages"][-1]


def test_installed_command_exports(installed: Installed, sqlite_template: Path, tmp_path: Path) -> None:
    site = Site(None, tmp_path)
    (tmp_path / sqlite_template.name).write_bytes(sqlite_template.read_bytes())
    store(site, completion("c1"))
    done = installed.run("completions", "export", "--data-dir", str(tmp_path))
    assert (0, "1 examples written.\n") == (done.returncode, done.stderr)
    assert ["I am c1."] == answers(done.stdout)


def test_completion_deleted_during_the_export_is_left_out(
    site: Site, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    store(site, completion("a", created=1), completion("b", created=2))
    whole = CompletionStore.messages

    async def deleted(self: CompletionStore, project: str, identifier: str, query: PageQuery) -> MessageList:
        if identifier == "a":
            raise NotFoundError("deleted")
        return await whole(self, project, identifier, query)

    monkeypatch.setattr(CompletionStore, "messages", deleted)
    run(site, "completions", "export")
    assert ["I am b."] == answers(capfdbinary.readouterr().out.decode())
