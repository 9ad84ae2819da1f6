"""Numbers and names as people say them."""

import pytest

from backslide_detector.wording import count, figure, magnitude, module_title


@pytest.mark.parametrize(
    ("said", "right"),
    [
        (count(1, "class", "classes"), "1 class"),
        (count(2, "class", "classes"), "2 classes"),
        (count(0, "run"), "0 runs"),
        (count(10_000, "example"), "10,000 examples"),
        (figure(2_183.4), "2,180"),
        (figure(0.2549), "0.255"),
        (figure(1e9), "1e+09"),
        (magnitude(9.7e6), "10,000,000"),
        (magnitude(0.031), "0.03"),
        (magnitude(float("inf")), "more than a billion"),
        (module_title("5", "ReLU"), "layer 5 (ReLU)"),
        (module_title("1.0", ""), "layer 1.0"),
        (module_title("body.0", "ReLU"), "body.0"),
    ],
)
def test_numbers_and_names(said, right):
    assert said == right
