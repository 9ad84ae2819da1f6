"""The saved view "backslide verdicts" of MLflow's runs table.

The state is MLflow's own and not documented (named views exist since 3.15); a browser test
opens it, and `docs/saved-view.json` shows it as published.
"""

import json
from typing import Final

from backslide.contract import Metric, Tag

_WIDTHS: Final = {
    f"tags.`{Tag.VERDICT}`": 130,
    f"tags.`{Tag.HEALTH}`": 125,
    f"metrics.`{Metric.ERROR_DELTA}`": 165,
    f"tags.`{Tag.FINDINGS}`": 240,
    f"tags.`{Tag.CAUSE}`": 130,
    f"tags.`{Tag.SUMMARY}`": 520,
}
STATE: Final = json.dumps(
    {
        "searchFilter": "",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(_WIDTHS),
        "columnOrder": list(_WIDTHS),
        "columnWidths": _WIDTHS,
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runsHiddenMode": "FIRST_10_RUNS",
        "viewMaximized": True,
        "runListHidden": False,
        "isAccordionReordered": False,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "autoRefreshEnabled": True,
        "globalLineChartConfig": {
            "xAxisKey": "step",
            "lineSmoothness": 0,
            "selectedXAxisMetricKey": "",
        },
    }
)
