"""The model of what ranks exchange, and the command that predicts steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnnx.distributed.plan import Exchange, main, predicted


def test_latency_and_bandwidth_make_the_seconds_of_a_step() -> None:
    """10 us a message and 1 GB/s: 2 meetings of 2 messages, and a sum of 4 messages and 1.5 times 1 MB."""
    exchange = Exchange(10e-6, 1e-9)
    assert exchange.of_step(1, 1_000_000) == 0
    assert exchange.of_step(4, 1_000_000) == pytest.approx(40e-6 + 40e-6 + 1.5e-3)
    assert exchange.of_step(5, 1_000_000) == pytest.approx(60e-6 + 60e-6 + 1.6e-3)
    again = Exchange.of_points(4, exchange.meeting(4), exchange.total(4, 1_000_000), 1_000_000)
    assert (again.latency, again.per_byte) == pytest.approx((10e-6, 1e-9))
    steps = predicted(lambda rows: 1e-3 * rows, exchange, 1_000_000, 100, 6)
    assert [(step.ranks, step.rows) for step in steps] == [(1, 100), (2, 50), (4, 25), (6, 17)]
    assert steps[2].seconds == pytest.approx(25e-3 + 1.58e-3)


def test_the_command_with_a_network_that_is_given(small_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(small_model), "--batch", "8", "--timesteps", "5", "--ranks", "4"]
    assert main([*words, "--latency", "1000", "--bandwidth", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "gradients of 0.00 MB; latency 1000.0 us, 1.00 GB/s"
    exchanged = [float(line.split()[3]) for line in lines[2:]]
    assert exchanged == pytest.approx([0, 4, 8], abs=1e-2) and lines[4].split()[:2] == ["4", "2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--batch", "0"], "--batch, --ranks and --timesteps must be at least 1"),
        (["--batch", "8", "--latency", "1"], "give --latency and --bandwidth, or neither"),
        (["--batch", "8", "--latency", "1", "--bandwidth", "0"], "--bandwidth positive"),
        (["--batch", "8", "--latency", "1", "--bandwidth", "1"], "give --timesteps, its input has shape"),
    ],
)
def test_words_that_do_not_fit(
    small_model: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(small_model), *words])
    assert ended.value.code == 2 and said in capsys.readouterr().err
