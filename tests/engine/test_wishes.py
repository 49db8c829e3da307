"""The wishes of a request, through whole engines."""

from contextlib import closing

import pytest

from amusd import InputError, SamplingParams

GREEDY = SamplingParams(temperature=0, max_tokens=24, ignore_eos=True)


def depth(output):
    """The longest chain of it that one pass verified."""
    return sum(map(bool, output.metrics.depth_verified))


def test_a_cap_is_kept_in_every_pass_beside_requests_without_one(synchronous, held_out):
    prompts = [held_out[0]] * 4
    free, capped, without, off = synchronous.generate(
        prompts, GREEDY, num_speculative_tokens=[None, 1, 0, None], speculative=[True, True, True, False]
    )
    assert depth(free) == 3, "as many as the engine takes"
    assert depth(capped) == 1
    assert capped.metrics.accepted > 0
    for output in (without, off):
        assert (output.metrics.verified, output.metrics.passes) == (0, 24)
    assert free.token_ids == capped.token_ids == without.token_ids == off.token_ids


def test_a_stream_has_wishes_too_and_those_that_cannot_be_are_named(synchronous, held_out):
    *_, last = synchronous.stream(held_out[0], GREEDY, num_speculative_tokens=2)
    assert depth(last.finished) == 2
    with pytest.raises(InputError, match="deadline_seconds: 0: give a finite number above 0"):
        synchronous.stream(held_out[0], GREEDY, deadline_seconds=0)
    with pytest.raises(InputError, match="priority: 2 of them: give one value, or 3"):
        synchronous.generate(held_out[:3], GREEDY, priority=[1, 2])


def test_a_deadline_reaches_the_decision_how_much_is_verified(inprocess, held_out, monkeypatch):
    policy = inprocess._engine._launcher._target._engine._policy
    found = []

    def recording(reaches, weights=None):
        found.append(dict(weights or {}))
        return type(policy).widths(policy, reaches, weights)

    monkeypatch.setattr(policy, "widths", recording)
    long = SamplingParams(temperature=0, max_tokens=1500, ignore_eos=True)

    def weights_of(**wishes):
        """Those of the first passes."""
        found.clear()
        with closing(inprocess.stream(held_out[0], long, **wishes)) as chunks:
            for count, _ in enumerate(chunks):
                if count >= 8:
                    break
        return [value for weights in found for value in weights.values()]

    assert weights_of() == []
    # One of these is too short for 1500 tokens and long enough for some passes, however fast the machine is.
    late = [value for seconds in (0.25, 1.0, 4.0, 16.0) for value in weights_of(deadline_seconds=seconds)]
    assert late and max(late) > 1.0
