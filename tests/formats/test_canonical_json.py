"""Canonical JSON: the text whose SHA-256 stands for parameters and inputs."""

from __future__ import annotations

import enum
import hashlib
import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymflow_zarr.errors import UnsupportedDataError
from kymflow_zarr.formats.canonical_json import canonical_json, sha256_of_json


class Method(enum.Enum):
    RADON = "radon"


def text(value: Any) -> str:
    return canonical_json(value, where="params")


# From RFC 8785, appendix B, and section 3.2.3; the last three are this format's addition.
@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (5e-324, "5e-324"),
        (-5e-324, "-5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (9007199254740992.0, "9007199254740992"),
        (295147905179352830000.0, "295147905179352830000"),
        (9.999999999999997e22, "9.999999999999997e+22"),
        (1e23, "1e+23"),
        (999999999999999700000.0, "999999999999999700000"),
        (1e21, "1e+21"),
        (9.999999999999997e-7, "9.999999999999997e-7"),
        (0.000001, "0.000001"),
        (333333333.33333329, "333333333.3333333"),
        (4.5, "4.5"),
        (2e-3, "0.002"),
        (1424953923781206.2, "1424953923781206.2"),
        (2**53, "9007199254740992"),
        (2**53 + 1, "9007199254740993"),
        (1730000000000000001, "1730000000000000001"),
    ],
)
def test_numbers_are_written_as_the_standard_says(value: float, written: str) -> None:
    assert text(value) == written


def test_keys_are_sorted_by_utf16_and_text_is_escaped_as_the_standard_says() -> None:
    value = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "\xf6": 7}
    order = [value[key] for key in json.loads(text(value))]
    assert order == [2, 4, 6, 7, 1, 5, 3]
    assert text('\u20ac$\x0f\nA\'B"\\"/') == '"\u20ac$\\u000f\\nA\'B\\"\\\\\\"/"'


def test_the_documented_hashes_hold() -> None:
    assert text({"window": 16, "method": "radon"}) == '{"method":"radon","window":16}'
    for value, digest in (
        ({}, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"),
        ({"window": 16}, "fc6e86f4b9c4431ef9bbb9cee3104472667beea0137fe292a39c3ed39141ff35"),
    ):
        assert sha256_of_json(value, where="params") == digest
        assert hashlib.sha256(text(value).encode()).hexdigest() == digest


def test_equal_parameters_have_one_hash_whatever_type_and_order_they_have() -> None:
    assert text({"a": 1, "b": [1, 2]}) == text({"b": (1.0, np.int16(2)), "a": np.uint8(1)})
    assert text({"m": Method.RADON, "x": np.float64(0.25)}) == text({"x": 0.25, "m": "radon"})
    assert text(np.array([[1, 2], [3, 4]])) == "[[1,2],[3,4]]"
    assert text([np.bool_(True), np.str_("a"), None]) == '[true,"a",null]'
    assert text(True) != text(1)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"when": object()}, "params.when"),
        ({"a": [1, {"b": math.nan}]}, "params.a[1].b"),
        ({"a": math.inf}, "params.a"),
        ({"a": {1: 2}}, "params.a"),
        ({"a": "\ud800"}, "params.a"),
        ({"a": 1 + 2j}, "params.a"),
        ({"a": np.longdouble("0.1")}, "params.a"),
    ],
)
def test_parameters_that_cannot_be_hashed_are_refused_by_name(value: Any, place: str) -> None:
    with pytest.raises(UnsupportedDataError, match="has no canonical JSON") as caught:
        text(value)
    assert place in str(caught.value)


def test_what_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(UnsupportedDataError, match="levels deep"):
        text(endless)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_comes_back_from_its_text(value: float) -> None:
    written = text(value)
    assert float(written) == value
    assert struct.pack("d", float(written) + 0.0) == struct.pack("d", value + 0.0)
    assert not written.endswith(".0")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])), inner
    ),
    max_leaves=10,
)  # fmt: skip


@given(JSON)
def test_the_text_is_json_and_its_own_canonical_form(value: Any) -> None:
    assert text(json.loads(text(value))) == text(value)
