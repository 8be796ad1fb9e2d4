"""Learns one class: draws, learns, lets new draws contradict, and at last draws what the proof is held against."""
from __future__ import annotations

import copy
import dataclasses
import random
import signal
import time
from typing import Any, Callable, Iterator

from .classes import load
from .coverage import stuck
from .learner import Learner
from .observe import Observed
from .schema import Schema, differences
from .subject import Subject, Traced
from .symbols import Recorder

FIRST, PROOFS, MAX_SAMPLES = 6, 6, 60


class Late(BaseException):
    """The time for one class is over."""


@dataclasses.dataclass
class Result:
    name: str
    module: str
    model_type: str = ""
    config_class: str = ""
    status: str = "failed"          # learned, partly, drawn, failed
    reason: str = ""
    samples: int = 0
    seconds: float = 0.0
    drawn: int = 0
    rejected: int = 0
    frozen: list[str] = dataclasses.field(default_factory=list)
    refused: list[str] = dataclasses.field(default_factory=list)  # keys of which the class knows one value only
    problems: list[str] = dataclasses.field(default_factory=list)
    schema: dict | None = None
    default: dict[str, Any] = dataclasses.field(default_factory=dict)
    undeclared: list[str] = dataclasses.field(default_factory=list)
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    aliases: dict[str, str] = dataclasses.field(default_factory=dict)
    prefix: str = ""
    tolerate: dict[str, list[str]] = dataclasses.field(default_factory=dict)


def generate(module: str, name: str, seconds: float, may_use: Callable[[str], bool], seeds: dict[str, list[dict]], only_draw: bool = False, seed: int = 0) -> tuple[Result, list[dict]]:
    """Returns the result and the proof draws: config as drawn, config.json as written, and what transformers saves.

    With only_draw nothing is learned: the class is described by hand, or is proven anew with the draws of another seed.
    """
    res, started = Result(name, module), time.process_time()

    def late(*_: object) -> None:
        raise Late

    signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, seconds * 2)
    draws: list[dict] = []
    try:
        s, r = _subject(res, may_use, seeds)
        if only_draw:
            _draw(res, draws, s, r, seed)
        else:
            _learn(res, draws, s, r, seconds, started)
    except Late:
        res.reason = res.reason or "time"
    except Exception as e:
        res.reason = f"{type(e).__name__}: {str(e)[:200]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        res.seconds = round(time.process_time() - started, 1)
    return res, draws


# What a model is built upon where its config says nothing and must: one of the types that it may be.
_BACKBONES = {"backbone_config": {"model_type": "resnet", "out_features": ["stage2", "stage3", "stage4"]}}


def _subject(res: Result, may_use: Callable[[str], bool], seeds: dict[str, list[dict]]) -> tuple[Subject, random.Random]:
    """A subject whose default config can be built, or that of the first seed that can."""
    Recorder.reset()
    r = random.Random(f"{res.name} 1")
    errors = []
    config = load(res.module, res.name).config_class
    res.model_type, res.config_class = config.model_type, config.__name__
    backbones = [{k: v for k, v in _BACKBONES.items() if k in config.sub_configs}]
    bases = [None, *seeds.get(config.model_type, ()), *[x for x in backbones if x]]
    if any(k in config.sub_configs and getattr(_default(config), k, None) is None for k in (bases[1] or {} if len(bases) > 1 else {})):
        bases = bases[1:]  # the first seed has a part that the default config is without
    for base in bases:
        try:
            s = Subject(res.module, res.name, may_use, base, seeds.get(config.model_type, ()))
            s.start()
            return s, r
        except Exception as e:
            errors.append(f"{type(e).__name__}: {str(e)[:160]}")
    raise ValueError(f"no usable config: {errors[0]}")


def _default(config: type) -> Any:
    try:
        return config()
    except Exception:
        return None


def _draw(res: Result, draws: list[dict], s: Subject, r: random.Random, seed: int) -> None:
    s.vary_features()
    seen = [x.flat for turn in range(2 * FIRST) if (x := s.draw(r, turn))]
    s.couple()
    if names := stuck(s.frozen(seen)):
        varied, res.refused = s.thaw(names[:12], r)
        seen += [x.flat for x in varied]
    for draw, flat in _proofs(s, f"{res.name} drawn {seed or ''}".strip()):
        draws.append(draw)
        seen.append(flat)
    res.reason = "" if len(draws) == PROOFS else f"{len(draws)} draws accepted"
    _settle(res, draws, s, seen)
    res.status = "failed" if res.reason else "drawn"


def _learn(res: Result, draws: list[dict], s: Subject, r: random.Random, seconds: float, started: float) -> None:
    samples: list[Traced] = []
    seen_draws: list[dict] = []
    spent = lambda: time.process_time() - started
    for turn in range(FIRST):
        seen = s.draw(r, turn)
        if seen is not None:
            samples.append(seen)
            s.extend()
        if spent() > seconds and samples:
            break
    if not samples:
        raise ValueError(f"no accepted config: {s.errors.most_common(1)}")
    if tall := s.tall():
        samples.append(tall)
    s.couple()
    turn = 0
    for attempt in range(4):
        schema, turn, bad = _agree(s, r, samples, turn, lambda: spent() > seconds * 1.5)
        if attempt == 0 and not bad and (names := stuck(s.frozen(seen_draws + [x.flat for x in samples]))):
            varied, res.refused = s.thaw(names[:12], r)
            seen_draws += [x.flat for x in varied]
            if contradict := [x for x in varied if differences(schema, x)]:
                samples += contradict
                schema, turn, bad = _agree(s, r, samples, turn, lambda: spent() > seconds * 1.5)
        draws[:], wrong = [], []
        for draw, flat in _proofs(s, f"{res.name} proof {attempt}"):
            draws.append(draw)
            seen_draws.append(flat)
            for keys in (flat, s.as_written(draw["written"], flat)) if len(draws) % 2 else (flat,):
                seen = s.try_trace(keys)
                if seen is not None and (d := differences(schema, seen)):
                    wrong.append(seen)
                    bad = d
        if not wrong or spent() > seconds * 1.5:
            break
        samples += wrong  # a failed proof becomes data; the next one is drawn afresh
    agreed = not bad
    if not agreed:
        res.reason = "; ".join(bad[:3])
    res.samples, res.problems = len(samples), schema.problems[:6]
    res.schema = dataclasses.asdict(schema)
    res.tolerate = samples[0].observed.tolerate
    accepted = len(draws)
    _settle(res, draws, s, seen_draws + [x.flat for x in samples])
    res.status = "learned" if agreed and accepted == PROOFS else "partly"
    if res.status == "partly" and not res.reason:
        res.reason = "; ".join(schema.problems[:2]) or f"{accepted} draws accepted"


def _settle(res: Result, draws: list[dict], s: Subject, seen: list[dict]) -> None:
    """Adds the config that says nothing to the draws, if the class can be built of it, and what was seen of the keys to the result."""
    if built := s.real_default():
        observed, written = built
        raw = {"model_type": s.config_class.model_type}
        if (labels := s.config_class().num_labels) != 2:
            raw["num_labels"] = labels  # every file says so: its absence means 2
        draws.append(_drawn(s, {}, raw, written, observed))
        seen = [*seen, s.declared]
    res.default, res.undeclared, res.arguments, res.aliases = s.default, sorted(s.sampler.undeclared), s.arguments, s.aliases
    res.frozen = [k for k in s.frozen(seen) if k not in res.refused]
    res.drawn, res.rejected = s.drawn, s.rejected
    res.prefix = s.cls.base_model_prefix or ""


def _proofs(s: Subject, seed: str) -> Iterator[tuple[dict, dict]]:
    """Random draws and their keys."""
    r = random.Random(seed)
    accepted = tries = 0
    while accepted < PROOFS and tries < 2 * PROOFS:
        draw, flat = _proof(s, r, r.randrange(1000) if tries % 2 else None)
        tries += 1
        if draw is not None:
            accepted += 1
            yield draw, flat


def _agree(s: Subject, r: random.Random, samples: list[Traced], turn: int, late: Callable[[], bool]) -> tuple[Schema, int, list[str]]:
    """Learns until enough new draws in a row agree; each that does not becomes a sample. Returns the schema and the last contradiction."""
    schema = Learner(samples, Recorder.guards, Recorder.bounds).learn()
    streak, bad = 0, ["no draw agreed yet"]
    while len(samples) < MAX_SAMPLES and not late():
        turn += 1
        seen = s.draw(r, turn)
        if seen is None:
            continue
        bad = differences(schema, seen)
        if bad:
            samples.append(seen)
            schema, streak = Learner(samples, Recorder.guards, Recorder.bounds).learn(), 0
            continue
        streak += 1
        if streak >= min(16, max(8, len(s.sampler.discrete()))):
            break
    return schema, turn, bad


def _proof(s: Subject, r: random.Random, turn: int | None) -> tuple[dict | None, dict]:
    """One fresh draw built without symbols. Of the keys that have their default, half are left out of the raw config, if they have the same default
    in a part."""
    flat = {**s.propose(r, turn), **s.arguments}  # what is proven is the class as it stands in a checkpoint
    flat = {k: flat[k] for k in s.default}
    built = s.try_real(flat)
    if built is None:
        s.rejected += 1
        seen = s.repair(flat, r)
        built = s.try_real(seen.flat) if seen is not None else None
        if built is None:
            return None, flat
        flat = seen.flat
    observed, written = built
    kept = {k for k, v in flat.items() if repr(v) != repr(s.declared.get(k)) or k in s.parents or r.random() < 0.5}
    keys, arguments = s.split(flat)
    raw: dict[str, Any] = {"model_type": s.config_class.model_type, **copy.deepcopy(s.fixed)}
    for k, v in keys.items():
        if k in s.sampler.undeclared and v is None or k not in kept:
            continue
        at = raw
        *parents, last = k.split(".")
        for p in parents:
            at = at.setdefault(p, {})
        at[last] = v
    _sub_types(raw, s.base)
    if other := s.reread(raw, arguments, written):
        observed, written = other
    return _drawn(s, arguments, raw, written, observed), flat


def _drawn(s: Subject, arguments: dict, raw: dict, written: dict, o: Observed) -> dict:
    return {"class": s.name, "arguments": arguments, "raw": raw, "written": written, "native": o.native, "save": o.save, "ties": o.ties}


def _sub_types(raw: dict, base: Any) -> None:
    for k in base.sub_configs:
        v = getattr(base, k, None)
        if hasattr(v, "sub_configs"):
            _sub_types(raw.setdefault(k, {}), v)
            raw[k]["model_type"] = v.model_type
