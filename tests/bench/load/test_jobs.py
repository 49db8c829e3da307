"""The mix: every prompt, temperature and length has its share."""

from collections import Counter

from amusd.bench.load.jobs import mixed_jobs, staggered


def test_every_prompt_has_its_turn_before_one_comes_again():
    jobs = mixed_jobs(15, prompts=5, temperatures=(0.0, 1.0), tokens_max=8, seed=1)
    turns = [[job.prompt for job in jobs[start : start + 5]] for start in (0, 5, 10)]
    assert all(sorted(turn) == list(range(5)) for turn in turns)
    assert turns[0] != turns[1]


def test_temperatures_take_turns_and_lengths_go_from_half_to_the_whole():
    jobs = mixed_jobs(400, prompts=5, temperatures=(0.0, 1.0), tokens_max=9, seed=1)
    assert Counter(job.temperature for job in jobs) == {0.0: 200, 1.0: 200}
    assert {job.tokens for job in jobs} == {5, 6, 7, 8, 9}


def test_no_two_jobs_have_the_same_noise_and_a_seed_is_one_mix():
    jobs = mixed_jobs(50, prompts=3, temperatures=(1.0,), tokens_max=8, seed=9)
    assert len({job.seed for job in jobs}) == 50
    assert jobs == mixed_jobs(50, prompts=3, temperatures=(1.0,), tokens_max=8, seed=9)
    assert jobs[0].params.ignore_eos
    assert jobs[0].params.max_tokens == jobs[0].tokens


def test_the_first_of_a_closed_loop_are_cut_by_different_shares_and_all_jobs_follow():
    jobs = mixed_jobs(3, prompts=3, temperatures=(0.0,), tokens_max=20, seed=1)
    order = staggered(jobs, 4)
    assert [index for index, _ in order] == [0, 1, 2, 0, 0, 1, 2]
    assert [job for _, job in order[4:]] == jobs
    assert [job.tokens for _, job in order[:4]] == [
        -(-jobs[index].tokens * share // 4) for index, share in ((0, 1), (1, 2), (2, 3), (0, 4))
    ]
