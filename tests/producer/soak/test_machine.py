import os
import threading

from producer.soak import machine


def test_this_process_has_used_time_and_memory() -> None:
    pid = os.getpid()
    assert 0 < machine.main_thread_sec(pid) <= machine.cpu_sec(pid) + 0.1 <= machine.machine_sec()
    assert 10 < machine.rss_mb(pid) < 100_000
    assert 1 <= machine.cores() <= (os.cpu_count() or 1)


def test_another_thread_is_not_the_main_thread() -> None:
    pid = os.getpid()
    before = machine.cpu_sec(pid) - machine.main_thread_sec(pid)

    def work() -> None:
        while machine.cpu_sec(pid) - machine.main_thread_sec(pid) < before + 0.1:
            sum(range(10_000))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
