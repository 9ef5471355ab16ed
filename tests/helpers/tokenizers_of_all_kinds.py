"""Tokenizers of every kind, trained on a few words."""

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from helpers import tiny
from hf_attrib.text import partition
from hf_attrib.text.encoding import encode_prompt


def unigram(pieces=(), byte_fallback=True):
    """SentencePiece's kind: spaces are written ▁ before words, unknown characters as bytes."""
    special = ["<unk>", "<s>", "</s>"]
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyz'.,!?"]
    bytes_ = [f"<0x{b:02X}>" for b in range(256)] if byte_fallback else []
    scored = [*((p, -1.0) for p in pieces), *((c, -5.0) for c in letters)]
    vocabulary = [*((p, 0.0) for p in special), *((b, -9.0) for b in bytes_), *scored]
    made = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=byte_fallback))
    made.normalizer = normalizers.Sequence([])
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
         decoders.Strip(" ", 1, 0)]
    )  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def single_bytes():
    """Every byte is a token, as in ByT5."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made)


TOKENIZERS = {
    "byte-level BPE": tiny.tokenizer(),
    "SentencePiece": unigram(["▁the", "▁key", "▁is", "▁red", "Ada", "Bob"]),
    "bytes": single_bytes(),
}


def encode(tokenizer, text):
    return encode_prompt(tokenizer, text, {}, set(tokenizer.all_special_ids))


def pieces(tokens, by):
    return [tokens.piece(span) for span in partition(tokens, by)]
