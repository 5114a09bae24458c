"""Collecting models with a real browser, as a person would: Selenium with Chrome or Chromium."""

from engine.crawling.browser.account import Account, find_account, store_account
from engine.crawling.browser.downloader import BrowserDownloader
from engine.crawling.browser.driver import BrowserLimits, BrowserPaths, find_browser

__all__ = [
    "Account",
    "BrowserDownloader",
    "BrowserLimits",
    "BrowserPaths",
    "find_account",
    "find_browser",
    "store_account",
]
