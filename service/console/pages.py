"""The pages in the order in which the navigation shows them."""

from typing import NamedTuple


class NavigationEntry(NamedTuple):
    path: str
    label: str


PAGES: tuple[NavigationEntry, ...] = (
    NavigationEntry("/console", "Overview"),
    NavigationEntry("/console/people", "People"),
    NavigationEntry("/console/performance", "Performance"),
    NavigationEntry("/console/experiments", "Experiments"),
    NavigationEntry("/console/market", "Market"),
    NavigationEntry("/console/plug-ins", "Plug-ins"),
    NavigationEntry("/console/bundles", "Bundles"),
)


def current(path: str) -> str | None:
    """The path of the page that `path` is or lies under; None for none. The overview is only itself."""
    under = [page.path for page in PAGES if path == page.path or (page.path != "/console" and path.startswith(f"{page.path}/"))]
    return max(under, key=len, default=None)
