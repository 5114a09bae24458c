"""Collecting 3D models from the web: lists, records, rights, downloads, and the crawl that joins them.

`Crawl(pages, folder, downloader, options).run(progress, cancel)` is the whole of it; a `Downloader` brings one model.
"""

from engine.crawling.downloader import (
    AccessDenied,
    CrawlStopped,
    Download,
    Downloader,
    PageFailed,
    PageTrouble,
)
from engine.crawling.lists import BadLine, Page, PageList, parse_list, parse_page, read_list
from engine.crawling.records import Failure, Records, Skip
from engine.crawling.rights import (
    DEFAULT_LICENCES,
    LICENCES,
    Policy,
    Rights,
    Skipped,
    licence_key,
    parse_licences,
    read_rights,
    tally,
    write_credits,
)
from engine.crawling.runner import Crawl, Options, PageState, Totals

__all__ = [
    "DEFAULT_LICENCES",
    "LICENCES",
    "AccessDenied",
    "BadLine",
    "Crawl",
    "CrawlStopped",
    "Download",
    "Downloader",
    "Failure",
    "Options",
    "Page",
    "PageFailed",
    "PageList",
    "PageState",
    "PageTrouble",
    "Policy",
    "Records",
    "Rights",
    "Skip",
    "Skipped",
    "Totals",
    "licence_key",
    "parse_licences",
    "parse_list",
    "parse_page",
    "read_list",
    "read_rights",
    "tally",
    "write_credits",
]
