"""Packing changes the cost of training and nothing else."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kimi_audio.core.config import LMConfig
from kimi_audio.core.sequence import AudioTokens, Batch, Sequence, collate, pack
from kimi_audio.data.packing import pack_rows
from kimi_audio.data.tasks import TASKS, Layout, TaskSegment
from kimi_audio.lm.model import AudioLM
from kimi_audio.train.losses import lm_loss, row_loss

TEXT_IDS, FEATURES = 20, 4
CONFIG = LMConfig.tiny(
    vocab_size=TEXT_IDS + 10,
    audio_offset=TEXT_IDS,
    pad_id=0,
    hidden_size=8,
    intermediate_size=12,
    max_positions=64,
    delay_tokens=2,
    adaptor_input_size=FEATURES,
    initializer_range=0.5,  # large, so that attention matters
)
LAYOUT = Layout(1, TEXT_IDS, CONFIG.delay_tokens)


@pytest.fixture(scope="module")
def model() -> AudioLM:
    """A small LLM in double precision, where equal means equal."""
    model = AudioLM(CONFIG).double()
    model.reset_parameters(torch.Generator().manual_seed(0))
    return model


def document(task: str, segments: int, seed: int) -> Sequence:
    draw = torch.Generator().manual_seed(seed)

    def size() -> int:
        return int(torch.randint(1, 5, (), generator=draw))

    def segment() -> TaskSegment:
        codes = torch.randint(0, 10, (size(),), generator=draw)
        features = torch.randn(len(codes), FEATURES, generator=draw, dtype=torch.double)
        return TaskSegment(
            AudioTokens(codes, features), tuple(torch.randint(2, TEXT_IDS, (size(),), generator=draw).tolist())
        )

    return TASKS[task].build([segment() for _ in range(segments)], LAYOUT)


def losses_and_gradients(model: AudioLM, batches: Iterable[Batch]) -> dict[str, Tensor]:
    """Return summed losses, the numbers of learned ids, and the gradients of the summed losses."""
    model.zero_grad()
    found: dict[str, Tensor] = {}
    for batch in batches:
        loss = lm_loss(model, batch)
        (loss.text.total + loss.audio.total).backward()
        for name, row in {"text": loss.text, "audio": loss.audio}.items():
            found[name] = found.get(name, 0) + row.total.detach()
            found[name + " ids"] = found.get(name + " ids", 0) + row.count
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return found | gradients


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name in found.keys() | expected.keys():
        # A module without work has no gradient on one side and zeros on the other.
        some = found.get(name, expected.get(name))
        assert some is not None
        nothing = torch.zeros_like(some)
        torch.testing.assert_close(found.get(name, nothing), expected.get(name, nothing), rtol=1e-5, atol=1e-6)


documents = st.lists(
    st.tuples(st.sampled_from(list(TASKS)), st.integers(2, 4), st.integers(0, 999)), min_size=2, max_size=6
)


@settings(max_examples=8)
@given(documents, st.integers(0, 5))
def test_losses_and_gradients_are_those_of_the_documents_alone(
    model: AudioLM, given_documents: list[tuple[str, int, int]], filling: int
):
    sequences = [document(*values) for values in given_documents]
    alone = losses_and_gradients(model, (collate([sequence], CONFIG.pad_id) for sequence in sequences))
    limit = max(60, *map(len, sequences))
    rows = [[sequences[number] for number in row] for row in pack_rows([len(s) for s in sequences], limit)]
    packed = pack(rows, CONFIG.pad_id, limit + filling)
    assert_equal(losses_and_gradients(model, [packed]), alone)
    assert_equal(losses_and_gradients(model, [collate(sequences, CONFIG.pad_id)]), alone)


def test_a_document_that_saw_its_neighbour_would_be_noticed(model: AudioLM):
    sequences = [document("asr", 3, 0), document("tts", 3, 1)]
    alone = losses_and_gradients(model, (collate([sequence], CONFIG.pad_id) for sequence in sequences))
    leaking = replace(pack([sequences], CONFIG.pad_id), attention_mask=None)
    with pytest.raises(AssertionError):
        assert_equal(losses_and_gradients(model, [leaking]), alone)


def test_every_task_contributes(model: AudioLM):
    for task in TASKS:
        found = losses_and_gradients(model, [collate([document(task, 4, 0)], CONFIG.pad_id)])
        learned = {name for name in ("text", "audio") if found[name + " ids"]}
        expected = {"text": {"text"}, "asr": {"text"}, "audio-to-text": {"text"}}.get(task, {"audio"})
        assert learned == ({"text", "audio"} if task.endswith("and-text") else expected)


@pytest.mark.parametrize(("tasks", "through"), [(("asr", "tts", "text", "tts"), 2), (("asr", "text"), 1)])
def test_rows_without_codes_to_learn_skip_the_audio_branch(model: AudioLM, tasks: tuple[str, ...], through: int):
    batch = collate([document(task, 3, seed) for seed, task in enumerate(tasks)], CONFIG.pad_id)
    rows = []
    with model.model.mimo_layers[0].register_forward_hook(lambda _module, inputs, _output: rows.append(len(inputs[0]))):
        found = losses_and_gradients(model, [batch])
    assert rows == [through]
    model.zero_grad()
    hidden = model.model(batch)
    text = row_loss(hidden.text, model.lm_head, batch.text_ids, batch.text_loss)
    audio = row_loss(hidden.audio, model.mimo_output, batch.audio_ids, batch.audio_loss)
    (text.total + audio.total).backward()
    expected = {name: p.grad for name, p in model.named_parameters()}
    assert_equal({name: found[name] for name in expected}, expected)
