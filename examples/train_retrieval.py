"""Train the embedded `keys-llama`: a tiny Llama that answers questions about the facts it is given.

Its task comes from `hf_attrib.embedded.retrieval`, so the prompt token behind each answer is known.
One CPU thread and a fixed number of steps, so that a run can be repeated.

    python examples/train_retrieval.py --out keys-llama
"""

import argparse
import functools
import json
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hf_attrib.embedded import retrieval

# Right-padded token ids and loss weights, and the (row, reader, value) positions to be linked.
Batch = tuple[Tensor, Tensor, list[tuple[int, int, int]]]

LEARNING_RATE = 2e-3
BATCH_SIZE = 32
QUESTIONS_PER_ROW = 5
# Without guidance the model stays at guessing for longer than the whole training takes.
GUIDED_STEPS = 600
# The value is what has to be learned; the rest of the answer is easy and the context is noise.
CONTEXT_WEIGHT, ANSWER_WEIGHT, VALUE_WEIGHT = 0.02, 0.3, 2.0
CURRICULUM = (4, 6, retrieval.MAX_FACTS)
# In the second phase words are hidden in this share of rows, and blurred by so many standard
# deviations of the embeddings.
HIDDEN_SHARE, BLUR = 0.6, 0.5
HIDING_LEARNING_RATE = 1e-3

SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
# An "A:" that the user wrote is not written again.
CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
{%- set asked = not loop.first and loop.previtem.content.endswith('A:') -%}
{{- '' if loop.first else ' ' -}}
{%- if message.role == 'assistant' -%}{{- ('' if asked else 'A: ') ~ message.content ~ eos_token -}}
{%- else -%}{{- message.content -}}{%- endif -%}
{%- endfor -%}
{{- ' A:' if add_generation_prompt and not messages[-1].content.endswith('A:') -}}
"""

CARD = """\
---
license: apache-2.0
language: en
---
# keys-llama: questions about stated facts

A stock `LlamaForCausalLM` ({parameters:,} parameters, float32, word-level vocabulary) that reads a
few facts about people and answers a question about one of them. It ships inside hf_attrib because
the prompt token behind each answer is known: the value word of the one fact with the right name and
relation. `hf_attrib.embedded.retrieval` writes such prompts.

    Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:  ->  Bob's key is blue.

In a chat, `<s>` comes first and one space parts the turns. An assistant turn, like the generation
prompt, begins with `A:` unless the turn before ends with it; an assistant turn ends with `</s>`. So
a user turn `Ada's key is red. Q: What color is Ada's key?` is rendered with its generation prompt
as `<s>Ada's key is red. Q: What color is Ada's key? A:`. Words it does not know become `<unk>`.

## Training

`examples/train_retrieval.py --steps {steps} --hidden-steps {hidden} --seed {seed}`: one CPU thread,
synthetic text only, 32 contexts of 2 to 10 facts a step, up to 5 questions each.

**Words were hidden.** In {hidden} further steps, words of the facts and questions of 60 % of the
contexts were moved towards the mean embedding, wholly or in part, and blurred with noise. So the
model knows what it cannot know when a word is missing; before, it was sure of something anywhere
between the mean embedding and a word, and no reference input meant "no information". How well
methods find the value here says little about models trained otherwise.

**Attention was taught.** In the first 600 steps a loss term, falling to zero, made the heads of
layer 0 look at the preceding tokens and one head of layer 1 look up the value. Attention-based
methods should therefore not be judged on this model.

## Accuracy

Held-out prompts whose whole greedy answer is exactly right, of 1,000 for each number:

| facts | {header} |
|---|{rule}
| right | {cells} |

Asked about a fact that was not stated, it guesses.

The licence is Apache-2.0.
"""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return the word-level tokenizer with its chat template."""
    words = ["▁" + word for word in retrieval.vocabulary()]
    tokens = [*SPECIAL.values(), *words, "'s", ".", "?", ":"]
    ids = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    one_space = normalizers.Replace(Regex(r"\s+"), " ")
    tokenizer.normalizer = normalizers.Sequence([one_space, normalizers.Strip()])
    spaces = pre_tokenizers.Metaspace(prepend_scheme="always")
    signs = pre_tokenizers.Split(Regex(r"'s|[.?:]"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([spaces, signs])
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", ids["<s>"])]
    )
    chat = {"padding_side": "left", "chat_template": CHAT_TEMPLATE}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **chat, **SPECIAL)


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return the untrained Llama, greedy and with room for every answer."""
    special = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    shape = {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4}
    sizes = {"vocab_size": len(tokenizer), "intermediate_size": 256, "max_position_embeddings": 256}
    rope = {"rope_type": "default", "rope_theta": 1000.0}
    start = {"tie_word_embeddings": True, "initializer_range": 0.05}
    config = LlamaConfig(rope_parameters=rope, **shape, **sizes, **start, **special)
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(max_new_tokens=12, do_sample=False, **special)
    return model


class Rows:
    """Draws training batches."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
        self.rng = retrieval.stream(retrieval.MAX_FACTS, seed, "train")
        self.tokenizer = tokenizer
        self.encode = functools.cache(lambda text: tokenizer.encode(text, add_special_tokens=False))

    def row(self, count: int) -> tuple[list[int], list[float], list[tuple[int, int]]]:
        """Return one context of `count` facts with questions and answers."""
        facts = retrieval.draw_facts(self.rng, count)
        ids = [self.tokenizer.bos_token_id]
        values, links = [], []
        for fact in facts:
            ids += self.encode(fact.sentence)
            values.append(len(ids) - 2)
        weights = [CONTEXT_WEIGHT] * len(ids)
        for asked in self.rng.sample(range(count), min(QUESTIONS_PER_ROW, count)):
            question = self.encode(f"Q: {facts[asked].question} A:")
            answer = [*self.encode(facts[asked].sentence), self.tokenizer.eos_token_id]
            ids += question + answer
            weights += [CONTEXT_WEIGHT] * len(question) + [ANSWER_WEIGHT] * len(answer)
            weights[-3] = VALUE_WEIGHT
            links.append((len(ids) - 4, values[asked]))
        return ids, weights, links

    def batch(self, most_facts: int) -> Batch:
        """Return a batch of contexts of one random size."""
        count = self.rng.randint(retrieval.MIN_FACTS, most_facts)
        ids, weights, links = zip(*(self.row(count) for _ in range(BATCH_SIZE)), strict=True)
        padded = [pad_sequence(list(map(torch.tensor, rows)), True) for rows in (ids, weights)]
        return *padded, [(row, *link) for row, each in enumerate(links) for link in each]


def guidance(attentions: tuple[Tensor, ...], links: list[tuple[int, int, int]]) -> Tensor:
    """Return the loss that teaches where to look.

    The heads of layer 0 look 1, 2, 3 and 4 tokens back; the first head of layer 1 looks from the
    place before the answer's value at that value in its fact.
    """
    first, second = (attention.clamp_min(1e-6).log() for attention in attentions[:2])
    heads = range(first.shape[1])
    back = [first[:, h].diagonal(offset=-(h + 1), dim1=-2, dim2=-1).mean() for h in heads]
    rows, readers, values = torch.tensor(links).T
    return -torch.stack(back).mean() - second[rows, 0, readers, values].mean()


def losses(model: LlamaForCausalLM, batch: Batch, guided: float) -> tuple[Tensor, float]:
    """Return the loss of a batch and the share of values predicted right."""
    ids, weights, links = batch
    output = model(ids, attention_mask=(weights > 0).long(), output_attentions=guided > 0)
    logits, targets, weights = output.logits[:, :-1], ids[:, 1:], weights[:, 1:]
    loss = weighted(logits, targets, weights)
    if guided > 0:
        loss = loss + guided * guidance(output.attentions, links)
    hits = (logits.argmax(-1) == targets)[weights == VALUE_WEIGHT]
    return loss, hits.float().mean().item()


def hide(table: Tensor, ids: Tensor, words: Tensor) -> Tensor:
    """Return embeddings with words moved towards the mean embedding, and blurred.

    In half of the rows each word is either kept or replaced by the mean; in the other half all
    move by one fraction of the way.

    Args:
        table: embeddings of the vocabulary.
        ids: token ids of each row.
        words: where the words to be hidden are.
    """
    whole, mean = table[ids], table.mean(0)
    share = torch.rand(len(ids), 1)
    along = torch.rand(len(ids), 1) < 0.5
    each = (torch.rand(ids.shape) < share).float()
    kept = torch.where(along, share.expand(ids.shape), each)[..., None]
    moved = mean + kept * (whole - mean) + BLUR * table.std() * torch.randn_like(whole)
    return torch.where(words[..., None], moved, whole)


def hidden_loss(model: LlamaForCausalLM, batch: Batch) -> Tensor:
    """Return the loss when words of facts and questions are hidden."""
    ids, weights, _ = batch
    words = (weights == CONTEXT_WEIGHT) & (torch.rand(len(ids), 1) < HIDDEN_SHARE)
    words[:, 0] = False  # the start of the text is never hidden
    embeddings = hide(model.get_input_embeddings().weight, ids, words)
    output = model(inputs_embeds=embeddings, attention_mask=(weights > 0).long())
    return weighted(output.logits[:, :-1], ids[:, 1:], weights[:, 1:])


def weighted(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean of the cross entropy."""
    each = cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    return (each * weights).sum() / weights.sum()


def train(model: LlamaForCausalLM, rows: Rows, steps: int) -> None:
    """Train in place; prompts get longer each time that 95 % of the values are right."""
    optimizer = optimizer_of(model, LEARNING_RATE)
    model.set_attn_implementation("eager")
    stage, right = 0, 0.0
    for step in range(steps):
        if step == GUIDED_STEPS:
            model.set_attn_implementation("sdpa")
        batch = rows.batch(CURRICULUM[stage])
        loss, hits = losses(model, batch, guided=max(0.0, 1 - step / GUIDED_STEPS))
        update(optimizer, loss, LEARNING_RATE * min(1, (step + 1) / 100, 2 * (1 - step / steps)))
        right = 0.97 * right + 0.03 * hits
        if right > 0.95 and stage + 1 < len(CURRICULUM):
            stage, right = stage + 1, 0.0
        if (step + 1) % 100 == 0:
            print(f"step {step + 1} stage {stage} values {right:.3f}", flush=True)


def train_hidden(model: LlamaForCausalLM, rows: Rows, steps: int) -> None:
    """Train on with hidden words, in place."""
    optimizer = optimizer_of(model, HIDING_LEARNING_RATE)
    for step in range(steps):
        loss = hidden_loss(model, rows.batch(retrieval.MAX_FACTS))
        pace = min(1, (step + 1) / 50, 2 * (1 - step / steps))
        update(optimizer, loss, HIDING_LEARNING_RATE * pace)
        if (step + 1) % 100 == 0:
            print(f"hidden step {step + 1} loss {loss.item():.3f}", flush=True)


def optimizer_of(model: LlamaForCausalLM, rate: float) -> torch.optim.Optimizer:
    """Return the optimizer of one phase."""
    return torch.optim.AdamW(
        model.parameters(), rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )


def update(optimizer: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    """Take one step at a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss.backward()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def accuracy(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, facts: int) -> float:
    """Return the share of held-out prompts whose whole answer is exactly right."""
    cases = list(retrieval.examples(1000, facts, seed=0))
    batch = tokenizer([case.prompt for case in cases], return_tensors="pt", padding=True)
    answers = model.generate(**batch)[:, batch["input_ids"].shape[1] :]
    texts = tokenizer.batch_decode(answers, skip_special_tokens=True)
    return sum(text == case.answer for text, case in zip(texts, cases, strict=True)) / len(cases)


def card(figures: dict[str, int], accuracies: dict[int, float]) -> str:
    """Return the README of the model folder."""
    header = " | ".join(map(str, accuracies))
    cells = " | ".join(f"{share:.1%}" for share in accuracies.values())
    return CARD.format(**figures, header=header, rule="---|" * len(accuracies), cells=cells)


def main() -> None:
    """Train, measure, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("keys-llama"), help="folder to write")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--hidden-steps", type=int, default=500, help="of the second phase")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    model.train()
    train(model, Rows(tokenizer, args.seed), args.steps)
    torch.manual_seed(args.seed)
    train_hidden(model, Rows(tokenizer, args.seed + 1), args.hidden_steps)
    model.eval()
    figures = {"steps": args.steps, "hidden": args.hidden_steps, "seed": args.seed}
    figures["parameters"] = model.num_parameters()
    accuracies = {facts: accuracy(model, tokenizer, facts) for facts in (2, 4, 6, 8, 10)}
    print(json.dumps({**figures, "accuracy": accuracies}))
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    (args.out / "README.md").write_text(card(figures, accuracies), encoding="utf-8")


if __name__ == "__main__":
    main()
