"""The small-data test: is it the code, the optimizer, the model's size, or the data?"""

from backslide.smalldata.protocol import small_data_test
from backslide.smalldata.verdict import ADVICE, Kind, SmallDataVerdict

__all__ = ["ADVICE", "Kind", "SmallDataVerdict", "small_data_test"]
