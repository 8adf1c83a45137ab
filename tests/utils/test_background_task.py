"""Work in a thread: begun once, waited for, and its error handed to who asks."""

from __future__ import annotations

from threading import Event

import pytest

from pcvr import PcvrError
from pcvr.utils.background_task import BackgroundTask


def test_its_result_is_handed_on() -> None:
    go_on = Event()
    job = BackgroundTask(lambda: go_on.wait(60), "sum")
    assert (job.running, job.finished) == (False, False)
    with pytest.raises(PcvrError, match="the sum has not been started"):
        job.result()
    job.start()
    assert (job.running, job.finished) == (True, False)
    with pytest.raises(PcvrError, match="this sum was started already: make another one"):
        job.start()
    with pytest.raises(PcvrError, match="the sum is not over: wait until it is over"):
        job.result(0)
    go_on.set()
    assert job.result(60) is True and job.result() is True
    assert (job.running, job.finished, job.error) == (False, True, None)


def test_nothing_is_a_result_too() -> None:
    job: BackgroundTask[None] = BackgroundTask(lambda: None)
    job.start()
    assert job.result(60) is None and job.finished


def test_what_goes_wrong_is_told_to_who_asks() -> None:
    job = BackgroundTask(lambda: 1 // 0)
    job.start()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            job.result(60)
    assert isinstance(job.error, ZeroDivisionError) and job.finished
