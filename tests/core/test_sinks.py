"""Sinks: they hear all records, and neither block nor end a run."""

from __future__ import annotations

import threading
import time
import types

import pytest
import xarray as xr

from reluscope import Lab, hookimpl
from reluscope.context import Record
from reluscope.registry import PluginWarning
from reluscope.sinks import Sinks


def lab_with(listener) -> Lab:
    module = types.ModuleType("sink")
    module.reluscope_record = hookimpl(listener)
    return Lab([module])


def record(number: int) -> Record:
    return Record("run.nc", "epoch", {"seed": number}, xr.Dataset())


def send(listen, count: int, **options) -> None:
    with Sinks(lab_with(listen), **options) as sinks:
        for number in range(count):
            sinks.send(record(number))


def test_records_arrive_in_order_on_another_thread():
    heard = []

    def listen(record):
        heard.append((record.point["seed"], threading.current_thread().name))

    send(listen, 50)
    assert heard == [(number, "reluscope-sinks") for number in range(50)]


def test_an_error_in_a_sink_is_one_warning_that_names_it():
    calls = []

    def listen(record):
        calls.append(record)
        raise ValueError("no dashboard")

    with pytest.warns(PluginWarning, match="plugin 'sink'.*ValueError: no dashboard") as caught:
        send(listen, 5)
    assert len(caught) == 1
    assert len(calls) == 1


def test_a_sink_that_hangs_does_not_hold_the_run_up():
    release = threading.Event()

    def listen(record):
        release.wait(60)

    started = time.monotonic()
    with pytest.warns(PluginWarning, match="could not keep up and missed"):
        send(listen, 10, capacity=2, patience=0.1)
    assert time.monotonic() - started < 30
    release.set()


def test_without_sinks_there_is_no_thread():
    before = threading.active_count()
    with Sinks(Lab([])) as sinks:
        sinks.send(record(0))
        assert threading.active_count() == before
