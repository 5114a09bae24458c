"""The Crawl tab: a list of pages, the crawl over them while it runs, and what it has brought."""

from widgets.crawl.details import PageDetails
from widgets.crawl.setup_panel import SearchRequest
from widgets.crawl.tab import CrawlTab, Opened

__all__ = ["CrawlTab", "Opened", "PageDetails", "SearchRequest"]
