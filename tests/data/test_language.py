import numpy as np
import pytest
from tokenizers import Tokenizer as Files
from tokenizers import models, pre_tokenizers

from stair.data.config import LanguageConfig
from stair.data.language import LlamaTokenizer, WordTokenizer, load_tokenizer, pad_prompts, prompt_ids
from stair.errors import StairError, UsageError


def test_word_ids_are_the_same_for_ever():
    # A saved model is worthless when these change.
    assert WordTokenizer(1024).encode("Put the red block, please") == [416, 982, 79, 602, 942, 954]


def test_words_are_lower_cased_and_new_lines_are_nothing():
    tokenizer = WordTokenizer(1024)
    assert tokenizer.encode("RED\nblock") == tokenizer.encode("red block")
    assert min(tokenizer.encode("a b c d ? : .")) >= 4


def test_a_prompt_is_bos_template_blank_eos():
    config, tokenizer = LanguageConfig(), WordTokenizer(1024)
    ids = prompt_ids("Put the Carrot on the plate ", config, tokenizer)
    text = "In: What action should the robot take to put the carrot on the plate?\nOut:"
    assert ids.tolist() == [1, *tokenizer.encode(text), 3, 2]
    assert ids.dtype == np.int64


def test_words_of_the_instruction_decide_the_prompt():
    config, tokenizer = LanguageConfig(), WordTokenizer(1024)
    red, blue = (prompt_ids(f"put the {c} block on the plate", config, tokenizer) for c in ("red", "blue"))
    assert (red != blue).sum() == 1


@pytest.fixture
def llama_folder(tmp_path):
    """A tokenizer file of the same kind with the few words of one prompt; Llama's own cannot be kept here."""
    words = ["In", ":", "What", "action", "should", "the", "robot", "take", "to", "lift", "it", "?", "Out"]
    vocabulary = {word: 100 + i for i, word in enumerate(words)} | {":": 29901, "<unk>": 0}
    files = Files(models.WordLevel(vocabulary, unk_token="<unk>"))
    files.pre_tokenizer = pre_tokenizers.Whitespace()
    files.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_a_llama_prompt_ends_as_cogact_serves_it(llama_folder):
    config = LanguageConfig(tokenizer=str(llama_folder))
    tokenizer = load_tokenizer(config)
    assert isinstance(tokenizer, LlamaTokenizer)
    ids = prompt_ids("LIFT it", config, tokenizer)
    assert ids[0] == 1
    assert ids[-3:].tolist() == [29901, 29871, 2]
    assert 0 not in ids
    assert tokenizer.pad_id == 32000


def test_a_missing_tokenizer_is_told(tmp_path):
    with pytest.raises(StairError, match=r"no tokenizer at .*tokenizer.json"):
        load_tokenizer(LanguageConfig(tokenizer=str(tmp_path)))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(StairError, match="cannot read"):
        load_tokenizer(LanguageConfig(tokenizer=str(tmp_path)))


def test_a_prompt_that_is_too_long_is_named():
    with pytest.raises(UsageError, match=r"'again again.*has 35 tokens, at most 20 fit"):
        prompt_ids("again " * 20, LanguageConfig(max_tokens=20), WordTokenizer(1024))


def test_a_template_without_a_place_for_words_is_refused():
    with pytest.raises(UsageError, match=r"no {instruction}"):
        prompt_ids("lift", LanguageConfig(template="Out:"), WordTokenizer(1024))


def test_braces_in_an_instruction_are_only_words():
    assert len(prompt_ids("put {x} on {0}", LanguageConfig(), WordTokenizer(1024))) > 10


def test_prompts_are_padded_on_the_right():
    ids, mask = pad_prompts([np.array([1, 5, 2]), np.array([1, 2]), np.array([1, 7, 8, 2])], 9)
    assert ids.tolist() == [[1, 5, 2, 9], [1, 2, 9, 9], [1, 7, 8, 2]]
    assert mask.sum(1).tolist() == [3, 2, 4]
    assert mask[1].tolist() == [True, True, False, False]
