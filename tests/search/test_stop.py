import os
import signal
import subprocess
import sys
import textwrap

import pytest

from search.stop import Interrupted, Stop


def test_signal_after_the_stop_starts_no_watchdog_and_is_given_back():
    before = signal.getsignal(signal.SIGTERM)
    with Stop("bye") as stop:
        stop.done()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop._watchdog is None
        with pytest.raises(Interrupted, match="SIGTERM"):
            stop.check()
    assert signal.getsignal(signal.SIGTERM) is before


def test_handlers_put_in_place_by_others_are_taken_back():
    with Stop("bye") as stop:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stop.listen()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted):
            stop.check()


@pytest.mark.parametrize(("stuck_after", "second", "code"), [(0.3, False, 75), (60, True, 143)])
def test_process_that_hangs_ends_by_itself_and_at_once_at_a_second_signal(stuck_after, second, code):
    program = f"""
        import os, signal, time
        from search import stop
        stop.STUCK_AFTER_S, stop.SAME_SIGNAL_S = {stuck_after}, 0.1
        with stop.Stop("Continue with: resume") as s:
            s.last_words = lambda name: print("recorded", name, flush=True)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)
            if {second}:
                os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=20)
    assert run.returncode == code
    assert ("recorded SIGTERM" in run.stdout) != second
    assert ("Continue with: resume" in run.stderr) != second
