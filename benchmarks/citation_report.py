"""From records of cases to thresholds, and to how well cited sets are the right ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from citation_cases import FAMILIES
from citation_records import Record
from citation_rivals import PLAYED
from scipy.stats import beta, spearmanr
from sklearn.metrics import roc_auc_score

from hf_attrib.results.passages import THRESHOLDS

#: Of answers that no passage supports; that there are no more is said so surely.
_FALSE, _SURE = 0.05, 0.95
_GRID = [round(0.25 * k, 2) for k in range(1, 33)]
_DRAWS = 2000
#: Who is cited in a case at a threshold.
Cites: TypeAlias = Callable[[Record, float], frozenset[int]]
Records: TypeAlias = Sequence[Record]
#: A number for each passage of a case.
Score: TypeAlias = Callable[[Record], list[float]]


def kept(record: Record) -> bool:
    """Whether the model would say it: a case whose answer it does not take from its facts is none.

    Where nothing supports the answer, it is forced whatever the model would say.
    """
    return not record.supported or record.least > 0.5


def at_most(false: int, cases: int) -> float:
    """Return the rate that false citations are below with 95 % confidence (Clopper, Pearson)."""
    return 1.0 if false == cases else float(beta.ppf(_SURE, false + 1, cases - false))


def calibrated(cites: Cites, none: Records, grid: Sequence[float]) -> tuple[float, int]:
    """Return the smallest threshold from which on false citations are surely few, and how many.

    Args:
        cites: who is cited.
        none: cases without support.
        grid: thresholds, growing.
    """
    found = (float("inf"), 0)
    for threshold in reversed(grid):
        false = sum(bool(cites(record, threshold)) for record in none)
        if at_most(false, len(none)) > _FALSE:
            break
        found = threshold, false
    return found


def reported(
    records: Sequence[tuple[str, Record]], mode: str, known: Mapping[str, float]
) -> dict[str, Any]:
    """Return the threshold of ours, how well it does, and how rivals do where all subsets were run.

    Args:
        records: what the model says, and the split of each case.
        mode: how passages were taken away.
        known: thresholds of each way that cases of another model found, for a model without cases
            to find them; ours is the default one of the mode then.
    """
    none = [r for split, r in records if split == "calibration"]
    held = [r for split, r in records if split == "held-out"]
    use = [r for r in held if kept(r)]
    threshold, false = calibrated(_ours, none, _GRID) if none else (THRESHOLDS[mode], 0)
    found: dict[str, Any] = {
        "threshold": threshold,
        "calibrated on": len(none),
        "false there": false,
        "dropped": len(held) - len(use),
        "families": {
            family: _family(some, threshold)
            for family in FAMILIES
            if (some := [r for r in held if r.family == family])
        },
        "all": _summary(_ours, threshold, use),
    }
    looked_into = any(r.scores for _, r in records)
    if looked_into or known:
        some, held = ([r for r in of if _asked(r, looked_into)] for of in (none, use))
        found["rivals"] = _rivals(some, held, known)
    return found


def _ours(record: Record, threshold: float) -> frozenset[int]:
    return record.cited(threshold)


def _asked(record: Record, looked_into: bool) -> bool:
    """Whether all subsets were run, and rivals that look into the model did, if any did."""
    return len(record.subsets) == 1 << record.count and bool(record.scores) == looked_into


def _rivals(none: Records, use: Records, known: Mapping[str, float]) -> dict[str, Any]:
    """Return how each way does by a threshold of its own, all found on the same cases."""
    ways: dict[str, Score] = dict(PLAYED)
    for name in use[0].scores:
        ways[name] = lambda record, name=name: record.scores[name]  # type: ignore[misc]
    threshold = known.get("hf_attrib") or calibrated(_ours, none, _GRID)[0]
    own = _counts(_ours, threshold, use)
    ranks = _ranks(lambda r: r.shapley, lambda r: r.most_lost, use)
    found = {"hf_attrib": _summary(_ours, threshold, use) | ranks | {"calibrated on": len(none)}}
    for name, score in ways.items():
        scores = {id(r): score(r) for r in (*none, *use)}

        def of(record: Record, scores: Any = scores) -> list[float]:
            return scores[id(record)]  # type: ignore[no-any-return]

        def cites(record: Record, least: float, of: Any = of) -> frozenset[int]:
            return frozenset(i for i, s in enumerate(of(record)) if s > least)

        grid = sorted({max(of(r)) for r in none})
        least = known[name] if known else calibrated(cites, none, grid)[0]
        found[name] = _summary(cites, least, use) | _ranks(of, lambda r, of=of: max(of(r)), use)
        found[name]["ours better by"] = _difference(own, _counts(cites, least, use))
    return found


def _ranks(score: Score, support: Callable[[Record], float], use: Records) -> dict[str, float]:
    """Return what needs no threshold, of scores [n] and of how much support they tell.

    *top*: how often the highest score is that of a passage to be cited; *auroc*: how surely a
    supported answer has more support than one that is not; *drop*: nats that the answer loses
    without the passage that scores highest; *lds*: the rank correlation of sums of scores with what
    the answer keeps, over all subsets, and *ceiling* that of the additive scores that fit best.
    """
    some = [r for r in use if r.supported]
    best = [int(np.argmax(score(r))) for r in some]
    tables = [r.table for r in some]
    lost = [table.drop([i]) for table, i in zip(tables, best, strict=True)]
    kept_total = [(t.subsets.double().numpy(), t.values.sum(1).numpy()) for t in tables]
    fitted = [np.linalg.lstsq(np.c_[k, np.ones(len(k))], v)[0][:-1] for k, v in kept_total]
    lds, ceiling = (
        np.mean(
            [_agreement(k @ np.array(s), v) for s, (k, v) in zip(every, kept_total, strict=True)]
        )
        for every in ([score(r) for r in some], fitted)
    )
    return {
        "top": float(np.mean([i in r.gold for i, r in zip(best, some, strict=True)])),
        "auroc": float(roc_auc_score([r.supported for r in use], [support(r) for r in use])),
        "drop": float(np.mean(lost)),
        "lds": float(lds),
        "ceiling": float(ceiling),
    }


def _agreement(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """Return the rank correlation, 0 where one of them is the same everywhere."""
    return 0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else float(spearmanr(a, b).statistic)


def _family(every: Records, threshold: float) -> dict[str, Any]:
    """Return how well sets are cited, and ranks of all cases: what is forced has a source, too."""
    some = [r for r in every if kept(r)]
    sets = [(r.cited(threshold), frozenset(r.gold)) for r in some]
    alone = [
        frozenset(i for i, d in enumerate(r.table.leave_one_out().tolist()) if d >= threshold)
        for r in some
    ]
    first = [int(np.argmax(r.shapley)) in r.gold for r in every]
    return _summary(_ours, threshold, some) | {
        "cases": len(some),
        "exact": sum(a == b for a, b in sets),
        "leave-one-out": sum(a == frozenset(r.gold) for a, r in zip(alone, some, strict=True)),
        "all of gold": sum(a >= b for a, b in sets),
        "first": sum(first),
        "ranked": len(first),
        "any": sum(bool(a) for a, _ in sets),
    }


def _counts(cites: Cites, threshold: float, use: Records) -> np.ndarray[Any, Any]:
    """Return hits, citations, and gold of each supported case, [C, 3]."""
    sets = [(cites(r, threshold), frozenset(r.gold)) for r in use if r.supported]
    return np.array([[len(a & b), len(a), len(b)] for a, b in sets]).reshape(-1, 3)


def _f1(counts: np.ndarray[Any, Any]) -> Any:
    hit, said, gold = np.moveaxis(counts.sum(-2), -1, 0)
    return 2 * hit / np.maximum(said + gold, 1)


def _summary(cites: Cites, threshold: float, use: Records) -> dict[str, Any]:
    """Return F1 over supported cases, with its interval, and false citations of the others."""
    counts, none = _counts(cites, threshold, use), [r for r in use if not r.supported]
    hit, said, gold = counts.sum(0).tolist()
    false = sum(bool(cites(r, threshold)) for r in none)
    return {
        "threshold": threshold,
        "precision": hit / said if said else None,
        "recall": hit / gold if gold else None,
        "f1": float(_f1(counts)) if len(counts) else None,
        "interval": _interval(_f1(_drawn(counts))) if len(counts) else None,
        "false": false / len(none) if none else None,
    }


def _drawn(counts: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return counts of cases that are drawn again and again, [draws, C, ...]."""
    draw = np.random.default_rng(0)
    return counts[draw.integers(len(counts), size=(_DRAWS, len(counts)))]


def _difference(own: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> list[float]:
    """Return the interval of how much F1 is better, on the same cases."""
    both = _drawn(np.concatenate([own, other], 1))
    return _interval(_f1(both[..., :3]) - _f1(both[..., 3:]))


def _interval(values: Any) -> list[float]:
    low, high = np.quantile(values, [(1 - _SURE) / 2, (1 + _SURE) / 2]).tolist()
    return [low, high]


def table(report: Mapping[str, Any], model: str) -> str:
    """Write what was found on the cases that are reported."""
    modes = report["modes"]
    said = ", ".join(
        f"{of['threshold']:g} nats ({mode}: {of['false there']} of {of['calibrated on']} false)"
        for mode, of in modes.items()
        if of["calibrated on"]
    )
    found = (
        "Thresholds, the smallest at which with 95 % confidence at most 5 % of answers without\n"
        f"support have a citation: {said}."
    )
    default = "Thresholds are the defaults of the package, which cases of another model found."
    lines = [
        f"Cited sets of answers of {model}, on cases that did not find the threshold.",
        "*Exact*: the cited set is the planted one; *leave-one-out*: it would be, by passages",
        "whose own drop reaches the threshold; *cited*: answers that cite anything; *first*: the",
        "highest score is that of a passage to be cited, also where the model would not say the",
        "answer, so that these are all cases. Intervals are 95 %, by drawing cases.",
        "",
        found if said else default,
        "",
        "| mode | family | cases | exact | leave-one-out | precision | recall | F1 | cited "
        "| first |",
        "|---|---|--:|--:|--:|--:|--:|---|--:|--:|",
    ]
    for mode, of in modes.items():
        for family, row in of["families"].items():
            first = f"{row['first']} of {row['ranked']}" if family != "no support" else ""
            cited = f"{row['any'] / row['cases']:.1%}" if row["cases"] else ""
            numbers = [row["cases"], row["exact"], row["leave-one-out"], *_cells(row)[:3]]
            cells = [mode, family, *numbers, cited, first]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    dropped = ", ".join(f"{of['dropped']} ({mode})" for mode, of in modes.items())
    lines += ["", f"Left out, as the model would not say the answer: {dropped}."]
    for mode, of in modes.items():
        lines += _contest(mode, of["rivals"]) if "rivals" in of else []
    return "\n".join(lines) + "\n"


def _contest(mode: str, rivals: Mapping[str, Any]) -> list[str]:
    """Write how rivals do on the same cases, of up to 6 passages, in the same rows at most."""
    count = rivals["hf_attrib"]["calibrated on"]
    found = f"found in the same way on the same {count} cases without support"
    lines = [
        "",
        f"Mode {mode}, cases of up to 6 passages, of which all subsets are run. Each way cites",
        "passages whose score is above a threshold of its own,",
        f"{found if count else 'the one that cases of keys-llama found'}, higher than the default.",
        "*False*: answers without support that have a citation; *better*: by how much the F1 of",
        "hf_attrib is higher, on the same cases. Without a threshold: *first*, the highest score",
        "is that of a passage to be cited; *AUROC* of whether there is support, by the highest",
        "score (of hf_attrib by the odds that go with any set of passages); *drop*, nats that are",
        "lost without the passage that scores highest; *LDS*, the rank correlation of summed",
        "scores with the answer's log-probability over all subsets, of which the additive scores",
        f"that fit it best reach {rivals['hf_attrib']['ceiling']:.3f}; ContextCite fits log-odds.",
        "",
        "| way | threshold | precision | recall | F1 | false | better | first | AUROC | drop "
        "| LDS |",
        "|---|--:|--:|--:|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, row in rivals.items():
        better = row.get("ours better by")
        end = f"{better[0]:+.3f} to {better[1]:+.3f}" if better else ""
        ranks = f"{row['top']:.1%}", *(f"{row[key]:.3f}" for key in ("auroc", "drop", "lds"))
        cells = [name, f"{row['threshold']:.2f}", *_cells(row)[:3], f"{row['false']:.1%}", end]
        lines.append(f"| {' | '.join([*cells, *ranks])} |")
    return lines


def _cells(row: Mapping[str, Any]) -> list[str]:
    """Return precision, recall and F1 with its interval; nothing where there is no gold."""
    if row["recall"] is None:
        return ["", "", ""]
    precision = "" if row["precision"] is None else f"{row['precision']:.3f}"
    low, high = row["interval"]
    return [precision, f"{row['recall']:.3f}", f"{row['f1']:.3f} ({low:.3f} to {high:.3f})"]
