from __future__ import annotations

import threading
from queue import SimpleQueue

from airflow_provider_trigger.cancel.workers import Threads


def test_work_is_done_in_as_many_threads_as_there_are() -> None:
    threads = Threads(3, name="of-a-test")
    done: SimpleQueue[str] = SimpleQueue()
    together = threading.Barrier(3, timeout=10)

    def work() -> None:
        together.wait()
        done.put(threading.current_thread().name)

    for _ in range(3):
        threads.begin(work)
    assert sorted(done.get(timeout=10) for _ in range(3)) == ["of-a-test-0", "of-a-test-1", "of-a-test-2"]
    threads.close()


def test_they_end_after_what_was_begun_before() -> None:
    threads = Threads(2, name="of-another-test")
    mine = [one for one in threading.enumerate() if one.name.startswith("of-another-test")]
    assert len(mine) == 2
    assert all(one.daemon for one in mine)  # they hold up no end of the process
    done: SimpleQueue[int] = SimpleQueue()
    for number in range(10):
        threads.begin(lambda number=number: done.put(number))  # type: ignore[misc]
    threads.close()
    for one in mine:
        one.join(timeout=10)
    assert not any(one.is_alive() for one in mine)
    assert sorted(done.get(timeout=10) for _ in range(10)) == list(range(10))
