"""What ``kimi-audio bench`` measures is what it says it measures."""

import json

import pytest
import torch
from typer.testing import CliRunner

from kimi_audio.answers import StreamChunk
from kimi_audio.bench import machine, talk
from kimi_audio.bench.parts import decode, fill, step_bytes
from kimi_audio.bench.shapes import SHAPES, random_lm
from kimi_audio.bench.talk import Talk, summary
from kimi_audio.cli import app
from kimi_audio.core.units import OUTPUT_RATE_HZ
from kimi_audio.lm.cache import KVCache
from kimi_audio.lm.quantize import quantize_lm

CPU = torch.device("cpu")


@pytest.fixture
def lm():
    return random_lm(SHAPES["tiny"], CPU, torch.float32)


def chunks(clock, *arrivals):
    """A reply whose pieces of half a second come at given times."""
    for now_s, is_last in zip(arrivals, [False] * (len(arrivals) - 1) + [True], strict=True):
        clock.append(now_s)
        yield StreamChunk("word ", torch.zeros(OUTPUT_RATE_HZ // 2), is_last, "stop" if is_last else None)


@pytest.mark.parametrize(
    ("arrivals", "gaps_s"),
    [((0.2, 0.6, 1.1), 0.0), ((0.2, 0.9, 1.0), 0.2), ((0.2, 0.9, 1.6), 0.4), ((0.5, 3.0), 2.0)],
)
def test_gaps_are_what_playback_waits_for(monkeypatch, arrivals, gaps_s):
    clock = [0.0]
    monkeypatch.setattr(talk.time, "perf_counter", lambda: clock[-1])
    found = Talk.of(chunks(clock, *arrivals))
    assert found.gaps_s == pytest.approx(gaps_s)
    assert (found.first_text_s, found.first_sound_s) == (arrivals[0], arrivals[0])
    assert found.sound_s == len(arrivals) / 2
    assert found.total_s == arrivals[-1]


def test_silent_replies_do_not_count():
    spoken, silent = (Talk(0.1, sound, 0.1, 0.0, 1.0, 1.0) for sound in (0.4, 0.0))
    found = summary([spoken, silent, silent])
    assert found["replies"] == 1
    assert found["first_sound_p95_s"] == pytest.approx(0.4)


def test_a_step_reads_every_matrix_but_the_embedding_once_and_every_cache(lm):
    config = lm.config
    read = sum(p.numel() for name, p in lm.named_parameters() if "embed_tokens" not in name and "adaptor" not in name)
    row = (config.num_layers + config.num_audio_layers) * 2 * config.num_kv_heads * config.head_size
    assert step_bytes(lm, 10, requests=3) == 4 * (read + 3 * 10 * row)
    assert step_bytes(quantize_lm(lm, "int8"), 0) < 4 * read // 2


def test_requests_of_a_batch_are_computed_alike(lm):
    def likeliest(size):
        caches = [(fill(KVCache(), lm.config, 20, CPU, torch.float32), 20) for _ in range(size)]
        return decode(lm, caches)

    with torch.inference_mode():
        assert len(likeliest(4)) == 4
        assert torch.equal(likeliest(4)[:1], likeliest(1))


def test_the_first_of_the_repeats_warms_up(monkeypatch):
    ticks = iter([0.0, 90.0, 90.0, 91.0, 91.0, 93.0, 93.0, 96.0])
    monkeypatch.setattr(machine, "now_s", lambda _: next(ticks))
    assert machine.seconds(lambda: None, CPU, 3) == 2.0


def test_a_shape_is_measured_and_written(tmp_path, monkeypatch):
    monkeypatch.setattr("kimi_audio.bench.talk.REPLY_STEPS", 30)
    monkeypatch.setattr("kimi_audio.bench.parts.BATCHES", (1, 2))
    monkeypatch.setitem(machine.READ_BYTES, "cpu", 2**20)
    options = ["--shape", "tiny", "--device", "cpu", "--repeats", "1", "--out", str(tmp_path), "--json"]
    outcome = CliRunner().invoke(app, ["bench", *options, "--format", "float32", "--format", "int4"])
    assert outcome.exit_code == 0, outcome.stderr
    results = json.loads((tmp_path / "tiny.json").read_text())
    assert json.loads(outcome.stdout) == results
    assert list(results["lm"]) == ["float32", "int4"]
    assert [batch["requests"] for batch in results["lm"]["int4"]["batches"]] == [1, 2]
    assert results["talk"]["replies"] == 1
    assert 0 < results["talk"]["first_text_p50_s"] < results["talk"]["first_sound_p50_s"]
    page = (tmp_path / "tiny.md").read_text()
    assert "| int4 |" in page
    assert "first sound, p50 / p95" in page


def test_formats_that_do_not_exist_are_told_before_anything_is_measured(tmp_path):
    outcome = CliRunner().invoke(app, ["bench", "--shape", "7b", "--format", "int3", "--out", str(tmp_path / "x")])
    assert outcome.exit_code == 1
    assert "there is no format 'int3'; use float32, bfloat16, int8, int4" in outcome.stderr
    assert not (tmp_path / "x").exists()
