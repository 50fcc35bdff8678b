"""Each of the models trained together ends by itself."""

import pytest

from tests.training.vectorized.factories import assert_same_training, chosen, fit, trainers
from vaelab.training import collapse
from vaelab.training.progress import EpochReport, NonFiniteLossError, Progress
from vaelab.training.vectorized import VectorizedTrainer


def test_early_stopping_is_each_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collapse, "GRACE_STEPS", 0)
    settings = [
        chosen(3, epochs=12, early_stopping_epochs=patience, learning_rate=rate)
        for patience, rate in ((1, 0.1), (3, 0.03), (None, 3e-3))
    ]
    alone, together = trainers(settings), trainers(settings)
    ended = [number for number, _ in VectorizedTrainer(together).fit(lambda number, report: None)]
    epochs = [trainer.fit(show_progress=False).epoch for trainer in alone]
    assert [trainer.progress.epoch for trainer in together] == epochs
    assert len(set(epochs)) > 1
    assert ended == sorted(range(3), key=lambda number: epochs[number])


def test_what_drops_out_leaves_the_others_as_they_were() -> None:
    settings = [chosen(n) for n in (9, 2, 5)]
    alone, together = trainers(settings), trainers(settings)
    error = RuntimeError("given up")

    def give_up(number: int, report: EpochReport) -> None:
        if number == 0 and report.epoch == 2:
            raise error

    outcomes = dict(VectorizedTrainer(together).fit(give_up))
    assert outcomes[0] is error
    assert together[0].progress.epoch == 2
    assert list(outcomes) == [0, 1, 2]
    for one, other in list(zip(together, alone, strict=True))[1:]:
        other.fit(show_progress=False)
        assert_same_training(one, other)


# The second one's loss is infinite: at the first step, or after some of a warm-up.
WEIGHTS = ((3, 1.0), (5, 1e38), (5, 1.0))


@pytest.mark.parametrize("warmup", [0, 3])
def test_a_loss_that_is_not_finite_ends_its_own_training_only(warmup: int) -> None:
    settings = [chosen(n, kl_weight=w, kl_warmup_epochs=warmup) for n, w in WEIGHTS]
    alone, together = trainers(settings), trainers(settings)
    outcomes = fit(together)
    with pytest.raises(NonFiniteLossError) as expected:
        alone[1].fit(show_progress=False)
    failed = outcomes.pop(1)
    assert isinstance(failed, NonFiniteLossError)
    assert str(failed) == str(expected.value)
    assert failed.images == expected.value.images
    for number, outcome in outcomes.items():
        assert isinstance(outcome, Progress)
        alone[number].fit(show_progress=False)
        assert_same_training(together[number], alone[number])


def test_an_interruption_goes_through() -> None:
    def interrupt(number: int, report: EpochReport) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(VectorizedTrainer(trainers([chosen(2), chosen(3)])).fit(interrupt))
