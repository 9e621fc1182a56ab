"""telling: only who listens is told, and only while it lasts."""

from __future__ import annotations

import threading

import pytest
import torch

from limelight.telling import Listener, listening, tell_progress, tell_stability, told


def test_nobody_listens_and_nothing_happens():
    tell_progress(1, 2)
    tell_stability(torch.ones(1))
    assert list(told(3)) == [1, 2, 3]


def test_a_listener_hears_until_the_body_ends_or_raises():
    heard = []
    listener = Listener(lambda done, count: heard.append((done, count)))
    with pytest.raises(KeyError), listening(listener):
        assert list(told(2)) == [1, 2]
        tell_stability(torch.ones(1))
        raise KeyError
    tell_progress(9, 9)
    assert heard == [(1, 2), (2, 2)]
    assert listener.stabilities == [torch.ones(1)]


def test_the_inner_listener_hears_alone():
    outer, inner = Listener(), Listener()
    with listening(outer):
        with listening(inner):
            tell_stability(torch.zeros(1))
        tell_stability(torch.ones(1))
    assert (len(inner.stabilities), len(outer.stabilities)) == (1, 1)


def test_another_thread_is_not_heard():
    listener = Listener()
    with listening(listener):
        thread = threading.Thread(target=tell_stability, args=(torch.ones(1),))
        thread.start()
        thread.join()
    assert listener.stabilities == []
