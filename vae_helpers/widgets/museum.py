"""The diagnosing table of lesson 09: choose a chart, and look at it beside the healthy one."""

import io
from collections.abc import Mapping

import ipywidgets as w
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vae_helpers.plotting.museum import chart_height, draw_chart
from vae_helpers.widgets.base import picture_explorer
from vae_helpers.workbench import Chart


def chart_explorer(charts: Mapping[str, Chart], *, healthy: Chart | None = None, name: str = "charts") -> w.HBox:
    """Choose one of several charts; tick the box to see the healthy run below it.

    charts    {what is written on the wall: chart}; its static twin is `plotting.chart_sheet`
    healthy   the control, or None for none
    """
    wide = w.Layout(width="340px")
    # a slider, not a Dropdown: in JupyterLab the arrow keys change nothing on that one; the title is in the picture
    chosen = w.SelectionSlider(
        options=list(charts), description="chart", tooltip="which chart to look at", readout=False, layout=wide
    )
    controls: list[w.Widget] = [chosen]
    if healthy is not None:
        tip = "show the run that nothing is wrong with"
        controls.append(w.Checkbox(value=False, description="beside the healthy run", tooltip=tip, indent=False))

    def draw(title: str, beside: bool = False) -> bytes:
        shown = {title: charts[title]} | ({"the healthy run": healthy} if beside and healthy is not None else {})
        heights = [chart_height(chart) for chart in shown.values()]
        figure = Figure(figsize=(9.6, sum(heights)), layout="constrained")  # no pyplot: nothing stays open
        FigureCanvasAgg(figure)
        parts = figure.subfigures(len(shown), 1, height_ratios=heights, squeeze=False)[:, 0]
        for part, (label, chart) in zip(parts, shown.items(), strict=True):
            draw_chart(part, chart, label)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=80)
        return buffer.getvalue()

    def caption(title: str, beside: bool = False) -> str:
        return " · ".join(map(str, charts[title].readings))

    box = picture_explorer(name, controls, draw, caption)
    box.children[1].layout.width = "760px"
    return box
