"""Load local models and tokenizers, quietly and the same way everywhere."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

from traces.errors import DataError, MissingDependencyError, UserError
from traces.models.builtin import BUILTIN, ensure_builtin
from traces.models.hub import only_cached
from traces.record import Message
from traces.signed import unsigned

Tools = tuple[dict[str, Any], ...]


def need_torch() -> None:
    """Fail with the exact pip line unless torch and transformers are installed.

    Raises:
        MissingDependencyError: one of them is missing.
    """
    from importlib.util import find_spec

    missing = [name for name in ("torch", "transformers", "safetensors") if not find_spec(name)]
    if missing:
        raise MissingDependencyError(
            f"a local model needs {', '.join(missing)}", "pip install 'trace-distill[train]'"
        )
    # Progress bars of the libraries would run into ours.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def model_source(name: str) -> str:
    """Where to load `name` from: a folder (a built-in model's too), or a hub id as it is."""
    if name in BUILTIN:
        need_torch()
        return str(ensure_builtin(name))
    path = Path(name).expanduser()
    if path.is_dir() and not (path / "config.json").exists():
        raise DataError(f"{path} holds no model: config.json is missing")
    if not path.is_dir() and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise DataError(
            f"there is no folder {name!r}", "give a folder, a hub id or a built-in name"
        )
    return str(path) if path.is_dir() else name


def _only_here(source: str, revision: str) -> bool:
    return Path(source).is_dir() or only_cached(source, revision)


def load_tokenizer(name: str, revision: str = "") -> Any:
    """The tokenizer of a model.

    Raises:
        UserError: it cannot be found or loaded.
    """
    need_torch()
    import transformers

    transformers.utils.logging.disable_progress_bar()
    source = model_source(name)
    options = {"revision": revision or None, "local_files_only": _only_here(source, revision)}
    try:
        return transformers.AutoTokenizer.from_pretrained(source, **options)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot load the tokenizer of {name!r}: {first_line(error)}") from error


def load_model(
    name: str,
    *,
    revision: str = "",
    adapter: str = "",
    dtype: str = "auto",
    attention: str = "auto",
    quantise: bool = False,
) -> Any:
    """A causal language model on the best device here, in evaluation mode.

    `adapter` is a PEFT folder, merged into the weights. `dtype` auto is bfloat16 on a GPU that has
    it and float32 on a CPU. `quantise` loads the weights as 4-bit NF4 (QLoRA).

    Raises:
        UserError: the model cannot be found or loaded.
    """
    need_torch()
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    options: dict[str, Any] = {"dtype": model_dtype(dtype), "revision": revision or None}
    if attention != "auto":
        options["attn_implementation"] = attention
    if quantise:
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=options["dtype"],
        )
        options["device_map"] = {"": torch.cuda.current_device() if device == "cuda" else "cpu"}
    source = model_source(name)
    options["local_files_only"] = _only_here(source, revision)
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(source, **options)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot load the model {name!r}: {first_line(error)}") from error
    if adapter:
        model = _merged(model, adapter)
    return (model if quantise else model.to(device)).eval()


def check_adapter(adapter: str) -> None:
    """Return where `adapter` is the folder of a PEFT adapter.

    Raises:
        DataError: a file is missing.
    """
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (Path(adapter) / name).is_file():
            raise DataError(
                f"{adapter} holds no adapter: {name} is missing",
                "teacher.adapter is a folder that `save_pretrained` of PEFT wrote",
            )


def _merged(model: Any, adapter: str) -> Any:
    from peft import PeftModel

    check_adapter(adapter)
    try:
        with warnings.catch_warnings():  # PEFT asks transformers for deprecated properties
            warnings.simplefilter("ignore", FutureWarning)
            return PeftModel.from_pretrained(model, adapter).merge_and_unload()
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"the adapter {adapter} does not fit: {first_line(error)}") from error


def model_dtype(dtype: str) -> Any:
    """The torch dtype for `auto`, `fp32` or `bf16`."""
    import torch

    if dtype == "auto":
        bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if bf16 else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]


def render_prompt(tokenizer: Any, messages: tuple[Message, ...], tools: Tools = ()) -> list[int]:
    """Token ids of the messages in the tokenizer's chat template, generation prompt included.

    Raises:
        DataError: the tokenizer has no template, or it cannot render these messages.
    """
    text = render_turns(tokenizer, messages, tools, add_generation_prompt=True)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def render_turns(
    tokenizer: Any,
    messages: tuple[Message, ...],
    tools: Tools = (),
    *,
    add_generation_prompt: bool = False,
) -> str:
    """The messages in the tokenizer's chat template, as text; `tools` are what may be called.

    Raises:
        DataError: the tokenizer has no template, or it cannot render these messages.
    """
    turns = [_turn(message) for message in messages]
    if not tokenizer.chat_template:
        raise DataError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no chat template",
            "use an instruction-tuned model, or add a chat_template to the tokenizer",
        )
    try:
        text = tokenizer.apply_chat_template(
            turns,
            tools=list(tools) or None,
            add_generation_prompt=add_generation_prompt,
            tokenize=False,
        )
    except Exception as error:  # a template is a program: it may raise anything
        raise DataError(
            f"the chat template of {tokenizer.name_or_path!r} cannot render "
            f"{[turn['role'] for turn in turns]}: {first_line(error)}",
            "check the roles of the prompt's messages",
        ) from error
    return str(text)


def _turn(message: Message) -> dict[str, Any]:
    """A message as templates know it: the arguments of tool calls are objects, not their text."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        turn["tool_calls"] = [_parsed(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        turn["tool_call_id"] = message.tool_call_id
    if message.role == "tool" and message.name is not None:
        turn["name"] = message.name
    return turn


def _parsed(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return unsigned(call)
    try:
        arguments = json.loads(function["arguments"])
    except ValueError:  # a model's own fault, to be shown as it was
        return unsigned(call)
    return {**unsigned(call), "function": {**function, "arguments": arguments}}


def tokenizer_sha(tokenizer: Any) -> str:
    """A hash of what makes token ids: two tokenizers with the same hash give the same ids."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    text = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def special_ids(tokenizer: Any) -> frozenset[int]:
    """All control tokens, also those that have no name in the tokenizer's configuration."""
    added = tokenizer.added_tokens_decoder.items()
    return frozenset(tokenizer.all_special_ids) | {id_ for id_, token in added if token.special}


def end_of_turn_id(tokenizer: Any, configured: str | None = None) -> int:
    """The token that ends an assistant turn: the configured one, the template's, or the EOS token.

    Raises:
        UserError: there is no template, the configured text is not one token, or none is found.
    """
    if configured is not None:
        ids = tokenizer(configured, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            raise UserError(f"student.end_of_turn {configured!r} is {len(ids)} tokens, not one")
        return int(ids[0])
    mark = "MARK"
    text = render_turns(tokenizer, (Message("user", "?"), Message("assistant", mark)))
    after = text[text.rindex(mark) + len(mark) :] if mark in text else ""
    special = special_ids(tokenizer)
    ids = tokenizer(after, add_special_tokens=False)["input_ids"]
    found = next((token for token in ids if token in special), tokenizer.eos_token_id)
    if found is None:
        raise UserError(
            f"the chat template of {tokenizer.name_or_path!r} ends a turn with no special token",
            "name the token in student.end_of_turn",
        )
    return int(found)


def stop_ids(tokenizer: Any, model: Any) -> frozenset[int]:
    """The tokens that end generation: of the template, the tokenizer and the generation config.

    The template's is among them because that is what a student is trained to end with.
    """
    found = {end_of_turn_id(tokenizer), tokenizer.eos_token_id}
    configured = getattr(model.generation_config, "eos_token_id", None)
    found.update(configured if isinstance(configured, list) else [configured])
    return frozenset(token for token in found if token is not None)


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its type."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
