"""Models that write, made on disk in a moment by the real classes: some say what they are told to, some only babble."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

END = "<|im_end|>"
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(folder: Path, *, words: Sequence[str] = (), template: str | None = None) -> Any:
    """One token for each byte, and for each of the words, which are never read, only written.

    Its special tokens are those of ChatML, with `END` at the end; `<think>` is a token of its own, but not special.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    units = dict.fromkeys([*bytes_, *(word.replace(" ", "Ġ") for word in words)])
    made = Tokenizer(models.BPE(vocab={unit: i for i, unit in enumerate(units)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<|endoftext|>", "<|im_start|>", END])
    made.add_tokens(["<think>", "</think>", "  "])
    kind: Any = PreTrainedTokenizerFast
    tokenizer = kind(tokenizer_object=made, eos_token=END, pad_token="<|endoftext|>")
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_speaker(
    folder: Path, words: Sequence[str], *, template: str | None = CHAT, ends: bool = True, context: int = 4096
) -> Path:
    """A Llama model that writes these words one after the other, whatever it reads, and ends, or begins anew.

    What is next hangs on the last token alone: attention and feed-forward layers add nothing to the embedding, which
    has one dimension a token, and the head takes each token to its successor. Every token but the words begins anew.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer(folder, words=words, template=template)
    size = len(tokenizer) + len(tokenizer) % 2
    ids = tokenizer.convert_tokens_to_ids([word.replace(" ", "Ġ") for word in words])
    end = tokenizer.convert_tokens_to_ids(END)
    config = LlamaConfig(
        vocab_size=size, hidden_size=size, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        max_position_embeddings=context, tie_word_embeddings=False,
        bos_token_id=None, eos_token_id=end, pad_token_id=end,
    )  # fmt: skip
    model: Any = LlamaForCausalLM(config)
    successors = dict(zip(ids, [*ids[1:], end if ends else ids[0]], strict=True))
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(size))
        model.lm_head.weight.zero_()
        for token in range(size):
            model.lm_head.weight[successors.get(token, ids[0]), token] = 1
    model.save_pretrained(folder)
    return folder


def make_babbler(
    folder: Path, kind: str, *, template: str | None = None, dtype: str = "float32", **options: Any
) -> Path:
    """A model of 2 layers and 32 dimensions whose weights are random, and so is what it writes.

    Args:
        folder: where it is saved.
        kind: 'llama', 'gpt2', 't5', or 'bert', which does not write.
        template: of chats.
        dtype: of the weights.
        options: of its configuration.
    """
    import torch
    import transformers

    size = len(make_tokenizer(folder, template=template))
    end = size - 4  # END; behind it are the added tokens that are not special
    architecture, configuration, sizes = _KINDS[kind]
    ends = {"bos_token_id": None, "eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": end}
    config = getattr(transformers, configuration)(**(ends | sizes | {"vocab_size": size} | options))
    torch.manual_seed(2)
    made: Any = getattr(transformers, architecture)(config)
    made.to(getattr(torch, dtype)).save_pretrained(folder)
    return folder


_LAYERS = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
_KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": (
        "LlamaForCausalLM", "LlamaConfig",
        _LAYERS | {"max_position_embeddings": 256, "initializer_range": 1.0},
    ),
    "gpt2": (
        "GPT2LMHeadModel", "GPT2Config",
        {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128, "initializer_range": 1.0},
    ),
    "t5": (
        "T5ForConditionalGeneration", "T5Config",
        {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "initializer_factor": 10.0},
    ),
    "bert": ("BertModel", "BertConfig", _LAYERS),
}  # fmt: skip
