"""Control tokens in a prompt are those that the template wrote, whatever users write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.errors import InvalidRequestError
from antiphon.rendering.masks import Mask
from antiphon.rendering.prompt import MAX_CACHED_LENGTH, Prompt, PromptEncoder
from antiphon.rendering.server_text import server_text
from antiphon.templates.chat_template import CHATML, ChatTemplate
from tests.rendering.byte_vocabulary import CONTROL_TEXTS, ByteVocabulary

fragments = st.sampled_from(
    [*CONTROL_TEXTS, "<", "|", "im_", "end", "|>", "s", ">", "/", "[", "INST", "]", " ", "\n", '"', "\\", "é", "\ud800"]
)
texts = st.lists(fragments, max_size=8).map("".join)

TEMPLATES = {
    "chatml": CHATML,
    "trimming": "<s>{% for m in messages %}[INST]{{ m.content | trim }}[/INST]{% endfor %}",
    "tight": "{% for m in messages %}<{{ m.content }}>{{ m.content }}|>{% endfor %}",
    "json": "{% for m in messages %}<|im_start|>{{ m.content | tojson }}<|im_end|>{% endfor %}",
    "ascii": "{% for m in messages %}<|im_start|>{{ m.content | tojson(ensure_ascii=true) }}<|im_end|>{% endfor %}",
    "looking": "{% for m in messages %}<s>{{ m.content.split('/')[-1] }}{{ 'x' if '<' in m.content }}</s>{% endfor %}",
}
COMPILED = {name: ChatTemplate(source, "<s>", "</s>") for name, source in TEMPLATES.items()}
VOCABULARY = ByteVocabulary()


def no_suffix(_: str) -> str:
    return ""


def encoded(template: str, contents: list[str], vocabulary: ByteVocabulary = VOCABULARY) -> Prompt:
    def render(mask: Mask, _: Mask) -> str:
        return COMPILED[template].render([{"role": "user", "content": mask(content)} for content in contents])

    return PromptEncoder(vocabulary).encode(render, no_suffix)


@pytest.mark.parametrize("template", TEMPLATES)
@given(contents=st.lists(texts, min_size=1, max_size=3))
def test_the_control_tokens_are_those_of_harmless_text(template: str, contents: list[str]) -> None:
    harmless = encoded(template, ["" if not content.strip() else "~" for content in contents])
    assert VOCABULARY.control(harmless.ids) == VOCABULARY.control(encoded(template, contents).ids)


@given(contents=st.lists(texts, min_size=1, max_size=3))
def test_the_ids_decode_to_the_users_text(contents: list[str]) -> None:
    expected = "".join(f"<|im_start|>user\n{content}<|im_end|>\n" for content in contents) + "<|im_start|>assistant\n"
    decoded = VOCABULARY.decode(encoded("chatml", contents).ids)
    assert expected.replace("\ud800", "\ufffd") == decoded


def test_a_template_that_looks_into_the_text_still_sees_it() -> None:
    assert "<s><bx</s>" == VOCABULARY.decode(encoded("looking", ["a/<b"]).ids)


def test_short_texts_keep_their_length_while_they_are_hidden() -> None:
    source = "{% for m in messages %}<s>{{ m.content if m.content | length < 7 }}</s>{% endfor %}"
    template = ChatTemplate(source, "", "")
    prompt = PromptEncoder(VOCABULARY).encode(
        lambda mask, _: template.render([{"content": mask("sixsix")}, {"content": mask("seven77")}]), no_suffix
    )
    assert "<s>sixsix</s><s></s>" == VOCABULARY.decode(prompt.ids)


def test_a_control_token_completed_by_the_template_is_text() -> None:
    prompt = encoded("tight", ["|im_end|"])
    assert "<|im_end|>|im_end||>" == VOCABULARY.decode(prompt.ids)
    assert [] == VOCABULARY.control(prompt.ids)


def of_variable(source: str, value: str) -> Prompt:
    template = ChatTemplate(source + "{% for m in messages %}{{ m.content }}{% endfor %}", "", "")

    def render(mask: Mask, variables: Mask) -> str:
        return template.render([{"role": "user", "content": mask("Hi")}], mood=variables(value))

    return PromptEncoder(VOCABULARY).encode(render, no_suffix)


def test_a_variable_cannot_complete_a_control_token_either() -> None:
    prompt = of_variable("<s><{{ mood }}>", "|im_end|")
    assert "<s><|im_end|>Hi" == VOCABULARY.decode(prompt.ids)
    assert ["<s>"] == VOCABULARY.control(prompt.ids)


def test_nor_can_one_that_is_escaped_beside() -> None:
    prompt = of_variable("<s>{{ (mood or '') | tojson }}<{{ (mood or '').strip('\"') }}>", '"|im_end|')
    assert ["<s>"] == VOCABULARY.control(prompt.ids)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ '<s>' if mood == 'calm' else '</s>' }}", "<s>Hi"),
        ("{{ 'a' if mood == 'calm' else 'b' }}<s>", "a<s>Hi"),
        ("{{ raise_exception('no') if mood is defined and mood != 'calm' }}<s>", "<s>Hi"),
    ],
)
def test_a_template_that_looks_into_a_variable_sees_it(source: str, expected: str) -> None:
    assert expected == VOCABULARY.decode(of_variable(source, "calm").ids)


def test_bos_is_added_once() -> None:
    vocabulary = ByteVocabulary(add_bos=True)
    begin = vocabulary.special_tokens["<s>"]
    assert encoded("chatml", ["a"], vocabulary).ids[:2] == [begin, vocabulary.special_tokens["<|im_start|>"]]
    assert encoded("trimming", ["a"], vocabulary).ids[:2] == [begin, vocabulary.special_tokens["[INST]"]]


def test_a_vocabulary_that_merges_into_control_tokens_is_held_off() -> None:
    vocabulary = ByteVocabulary(merges=True)
    prompt = encoded("trimming", ["a</s>b"], vocabulary)
    assert ["<s>", "[INST]", "[/INST]"] == vocabulary.control(prompt.ids)
    assert "<s>[INST]a</s>b[/INST]" == vocabulary.decode(prompt.ids)


def test_a_token_that_every_text_is_searched_for_is_structure_where_the_template_writes_it() -> None:
    vocabulary = ByteVocabulary((), user_defined=[text for text in CONTROL_TEXTS if text != "<|"])
    prompt = encoded("trimming", ["a</s>b", "[INST]c<|im_end|>"], vocabulary)
    assert ["<s>", "[INST]", "[/INST]", "[INST]", "[/INST]"] == vocabulary.control(prompt.ids)
    assert "<s>[INST]a</s>b[/INST][INST][INST]c<|im_end|>[/INST]" == vocabulary.decode(prompt.ids)


def test_a_token_that_is_plain_text_is_found_in_every_text() -> None:
    vocabulary = ByteVocabulary((), user_defined=["\n\n", "<b>"])
    prompt = encoded("chatml", ["a\n\nb<b>"], vocabulary)
    assert ["\n\n", "<b>"] == vocabulary.control(prompt.ids)


def test_what_the_template_writes_is_structure() -> None:
    def render(mask: Mask, _: Mask) -> str:
        return f"<b>{mask('<b>')}"

    vocabulary = ByteVocabulary((), user_defined=["<b>"])
    prompt = PromptEncoder(vocabulary, ["<b>"]).encode(render, no_suffix)
    assert ([256], "<b><b>") == (prompt.ids[:1], vocabulary.decode(prompt.ids))
    assert ["<b>"] == vocabulary.control(prompt.ids)


def test_what_the_server_writes_among_the_texts_is_structure() -> None:
    prompt = encoded("chatml", [f"a<s>{server_text('<s>b')} <s>"])
    assert "<|im_start|>user\na<s><s>b <s><|im_end|>\n<|im_start|>assistant\n" == VOCABULARY.decode(prompt.ids)
    assert ["<|im_start|>", "<s>", "<|im_end|>", "<|im_start|>"] == VOCABULARY.control(prompt.ids)


def test_a_text_cannot_complete_what_the_server_writes() -> None:
    for text in (f"<|im_{server_text('end|>')}", f"{server_text('<|im_')}end|>"):
        assert "<|im_end|>" not in VOCABULARY.control(encoded("tight", [text]).ids)


def test_a_token_that_swallows_whitespace_does() -> None:
    class Phi(ByteVocabulary):
        def encode(self, text: str, *, parse_special: bool = False) -> list[int]:
            return super().encode(text.strip() if parse_special else text, parse_special=parse_special)

    expected = "<|im_start|>user\na<|im_end|><|im_start|>assistant\n"
    assert expected == VOCABULARY.decode(encoded("chatml", ["a"], Phi()).ids)


def test_recent_fragments_are_not_tokenized_again() -> None:
    vocabulary = ByteVocabulary()
    encoder = PromptEncoder(vocabulary)
    for _ in range(2):
        encoder.encode(
            lambda mask, _: f"<s>{mask('system prompt')}</s>{mask('x' * (MAX_CACHED_LENGTH + 1))}", no_suffix
        )
    assert 1 == vocabulary.encoded.count("system prompt")
    assert 2 == vocabulary.encoded.count("x" * (MAX_CACHED_LENGTH + 1))


def test_the_suffix_is_the_servers_own_text() -> None:
    prompt = PromptEncoder(VOCABULARY).encode(
        lambda mask, _: mask("a<s>") + "b \n", lambda ending: f"|{ending[-1]}</s>\n"
    )
    assert "a<s>b \n|b</s>\n" == VOCABULARY.decode(prompt.ids)
    assert ["</s>"] == VOCABULARY.control(prompt.ids)
    assert prompt.ending.endswith("|b</s>")


def test_errors_show_the_users_own_text() -> None:
    def render(mask: Mask, _: Mask) -> str:
        raise InvalidRequestError(f"Not {mask('<s>')}", param="messages")

    with pytest.raises(InvalidRequestError, match="Not <s>"):
        PromptEncoder(VOCABULARY).encode(render, no_suffix)


def test_a_vocabulary_without_control_tokens() -> None:
    vocabulary = ByteVocabulary(())
    assert vocabulary.decode(encoded("chatml", ["a"], vocabulary).ids).startswith("<|im_start|>user\na<|im_end|>")
