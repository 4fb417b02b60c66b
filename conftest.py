"""For `pytest --nbval-lax notebooks/solutions`: what nbval does not compare. Everything for the ordinary tests is in tests/."""


def pytest_collectstart(collector) -> None:
    """Notebooks only: warnings (stderr) and HTML are never stored, so they cannot be compared."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare = {*collector.skip_compare, "stderr", "text/html"}
