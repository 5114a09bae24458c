"""Errors as the command line and the window say them."""

from __future__ import annotations

import pickle

from engine.core.errors import InputError


def test_the_window_leaves_out_the_options_of_the_command_line() -> None:
    error = InputError("It {is} full.", advice="Take less{}, or stop{}.", options=[" (--less)", " with --stop"])
    for told in (error, pickle.loads(pickle.dumps(error))):
        assert str(told) == "It {is} full. Take less (--less), or stop with --stop."
        assert told.plain == "It {is} full. Take less, or stop." and told.what == "It {is} full."
    assert str(InputError("Gone.")) == InputError("Gone.").plain == "Gone."
    assert str(InputError("Gone.", advice="Look in {this}.")) == "Gone. Look in {this}."
