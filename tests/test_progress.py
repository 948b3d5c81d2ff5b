"""Progress as a log shows it: plain lines, now and then."""

import io

from daemon.progress import Seldom


def test_a_borrowed_bar_becomes_a_plain_line_now_and_then():
    now, log = [0.0], io.StringIO()
    bar = Seldom(log, lambda: now[0])
    bar.write("Downloading data from https://example.org/weights.h5\n")
    for done in range(25):
        now[0] += 1.0
        bar.write("\x08" * 30 + f"\r\x1b[1m{done}/25\x1b[0m \x1b[32m━━━━\x1b[0m {25 - done}s")
    assert log.getvalue().splitlines() == [
        "Downloading data from https://example.org/weights.h5",
        "9/25 ━━━━ 16s",
        "19/25 ━━━━ 6s",
    ]
