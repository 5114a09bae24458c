"""What a page shows, in one question: a script finds everything by its selectors and says how the page fares."""

from __future__ import annotations

import contextlib
import html
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

from engine.crawling.browser import selectors
from engine.crawling.browser.driver import Browser
from engine.crawling.lists import Page
from engine.crawling.rights import Rights, forbids_ai, licence_key, tags_of
from engine.crawling.sketchfab import read_model

_TOOLS = r"""
const shown = (node) => {
  if (!node.getClientRects) return false;
  const box = node.getBoundingClientRect();
  if (box.width * box.height < 16) return false;
  return node.checkVisibility ? node.checkVisibility({visibilityProperty: true}) : true;
};
const tidy = (text) => (text || "").replace(/\s+/g, " ").trim();
const all = (selector) => {
  try {
    const [, kind, rest] = selector.match(/^(text|heading|words):(.*)$/s) || [null, "", selector];
    if (kind === "words") {
      return new RegExp(rest, "i").test(document.body ? document.body.innerText : "") ? [document.body] : [];
    }
    if (kind === "heading") {
      const like = new RegExp(rest, "i");
      if (like.test(tidy(document.title))) return [document.body || document.documentElement];
      return [...document.querySelectorAll("h1, h2")].filter((node) => like.test(tidy(node.textContent)));
    }
    if (kind === "text") {
      const like = new RegExp(rest, "i");
      return [...document.querySelectorAll("a, button, [role=button], input[type=submit]")].filter((node) =>
        [node.innerText, node.value, node.getAttribute("aria-label"), node.title].some((s) => like.test(tidy(s))));
    }
    if (selector.startsWith("/")) {
      const found = document.evaluate(selector, document, null, XPathResult.ORDERED_NODE_SNAPSHOT_TYPE, null);
      return Array.from({length: found.snapshotLength}, (_, n) => found.snapshotItem(n));
    }
    return [...document.querySelectorAll(selector)];
  } catch (error) {
    return [];
  }
};
const usable = (node) => shown(node) && !node.disabled && node.getAttribute("aria-disabled") !== "true";
const first = (list) => {
  for (const selector of list) {
    const node = all(selector).find(usable);
    if (node) return node;
  }
  return null;
};
"""

_LOOK = (
    _TOOLS
    + r"""
const [table, choices, marks, formats] = arguments;
const navigation = performance.getEntriesByType("navigation")[0];
const found = {}, texts = {};
for (const [name, list] of Object.entries(table)) {
  const node = first(list);
  if (!node) continue;
  found[name] = node;
  texts[name] = tidy(node.innerText).slice(0, 300);
}
// What is said has to hold words; an empty box waits for them.
for (const name of ["login_error", "notice"]) if (name in texts && !texts[name]) delete found[name];
const every = (text) => {
  const words = (text || "").toLowerCase().split(/[^a-z0-9]+/);
  return formats.filter((format) => words.includes(format));
};
const named = (text) => every(text)[0] || "";
// innerText joins what stands side by side.
const spaced = (node) => {
  const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode()) found.push(walker.currentNode.data);
  return found.join(" ");
};
const offered = [];
const isChoice = (node) => /download/i.test(tidy(node.innerText) + " " + (node.getAttribute("aria-label") || ""));
if (found.chooser) {
  const nodes = [...found.chooser.querySelectorAll(choices)].filter((node) => usable(node) && isChoice(node));
  for (const node of nodes) {
    let format = "", about = "";
    for (let at = node; at && at !== found.chooser; at = at.parentElement) {
      // Of what is around several choices, as the files of one format, only what is said once tells of them all.
      if (at !== node && nodes.some((other) => other !== node && at.contains(other))) {
        const said = every(at.innerText);
        if (said.length === 1) format = format || said[0];
        if (said.length) break;
        continue;
      }
      const said = marks.map((mark) => at.getAttribute(mark) || "");
      for (const one of said) format = format || named(one);
      format = format || named(at.innerText);
      about = [...said, spaced(at), about].join(" ");
    }
    offered.push({format, node, text: tidy(about).slice(0, 500)});
  }
}
return {url: location.href, ready: document.readyState, origin: performance.timeOrigin, width: innerWidth,
  status: navigation ? navigation.responseStatus || 0 : 0, title: tidy(document.title), found, texts, offered};
"""
)

_RIGHTS = (
    _TOOLS
    + r"""
const [table, tags, prefetched] = arguments;
const found = {links: {}, texts: {}, meta: {}, tags: [], linked: [], prefetched: []};
for (const [name, list] of Object.entries(table)) {
  const node = first(list);
  if (!node) continue;
  found.texts[name] = tidy(node.innerText).slice(0, 300);
  if (node.href) found.links[name] = String(node.href);
}
for (const node of document.querySelectorAll("meta")) {
  const name = (node.name || node.getAttribute("property") || "").toLowerCase();
  if (name) found.meta[name] = name in found.meta ? `${found.meta[name]}, ${node.content}` : node.content;
}
for (const selector of tags) {
  const nodes = all(selector);
  if (nodes.length) {
    found.tags = nodes.map((node) => tidy(node.textContent));
    break;
  }
}
const linked = (node) => node.textContent.slice(0, 2e6);
found.linked = [...document.querySelectorAll("script[type='application/ld+json']")].map(linked);
for (const selector of prefetched) {
  for (const node of document.querySelectorAll(selector)) {
    const inner = [...node.childNodes].find((child) => child.nodeType === Node.COMMENT_NODE) || node;
    found.prefetched.push((inner.data || inner.textContent || "").slice(0, 2e6));
  }
}
return found;
"""
)

_COPY = r"""
const copy = document.documentElement.cloneNode(true);
for (const node of copy.querySelectorAll("input, textarea")) {
  node.removeAttribute("value");
  if (node.tagName === "TEXTAREA") node.textContent = "";
}
return [copy.outerHTML.slice(0, 5e6), document.querySelector("input[type='password']") !== null];
"""


_PIXELS = re.compile(r"texture\w*resolution\W+(\d{3,5})\b|\b(\d{3,5}) ?(?:px|x ?\d{3,5})\b", re.IGNORECASE)
_THOUSANDS = re.compile(r"(?<![\w.,])(1|2|4|8|16) ?k\b(?! ?(?:tri|fac|vert|poly|view|down))", re.IGNORECASE)


@dataclass(frozen=True)
class Choice:
    """A format that the page offers."""

    format: str
    """Empty if it does not say."""
    element: Any
    text: str
    """What its row and its marks say."""

    @property
    def texture(self) -> int:
        """Pixels of the side of its largest texture; 0 if it does not say."""
        if (said := _PIXELS.search(self.text)) is not None:
            return int(said[1] or said[2])
        return 1024 * int(short[1]) if (short := _THOUSANDS.search(self.text)) is not None else 0


@dataclass(frozen=True)
class View:
    """A page at a moment."""

    url: str
    ready: str
    """`loading`, `interactive` or `complete`."""
    origin: float
    """Tells documents from each other."""
    width: int
    status: int
    """Of HTTP; 0 if unknown."""
    title: str
    found: dict[str, Any] = field(default_factory=dict)
    """Elements, by their names in `selectors.PAGE`."""
    texts: dict[str, str] = field(default_factory=dict)
    offered: tuple[Choice, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether this is the browser's own page for one that did not come."""
        return self.url.startswith("chrome-error:")

    @property
    def blank(self) -> bool:
        """Whether no page has come yet."""
        return self.url in ("", "about:blank") or self.url.startswith("data:")


def look(browser: Browser) -> View | None:
    """The page now; None if it does not answer."""
    found = browser.ask(_LOOK, selectors.PAGE, selectors.CHOICES, list(selectors.FORMAT_MARKS), list(selectors.FORMATS))
    if not isinstance(found, dict):
        return None
    offered = tuple(Choice(entry["format"], entry["node"], entry["text"]) for entry in found.pop("offered"))
    return View(**found, offered=offered)


def copy_of(browser: Browser) -> tuple[str, bool]:
    """The page's HTML without what fields hold, and whether it asks for a password."""
    found = browser.ask(_COPY)
    return (str(found[0]), bool(found[1])) if isinstance(found, list) else ("", True)


def read_page(browser: Browser, page: Page) -> Rights | None:
    """The rights that a page states; None if it does not answer."""
    found = browser.ask(_RIGHTS, selectors.RIGHTS, list(selectors.TAGS), list(selectors.PREFETCHED))
    return rights_of(found, page) if isinstance(found, dict) else None


def rights_of(found: dict[str, Any], page: Page) -> Rights:
    """The rights from all that a page says: data in it for its scripts, linked data, what is to be seen.

    What forbids something counts wherever it stands.
    """
    model = next((m for text in found["prefetched"] if (m := _prefetched(text, page.key)) is not None), None)
    known = read_model(model, page.url) if model is not None else Rights(source_url=page.url)
    linked = next((one for text in found["linked"] if (one := _linked(text)) is not None), {})
    texts, links, meta = found["texts"], found["links"], found["meta"]
    author = linked.get("author") or linked.get("creator") or {}
    author = author[0] if isinstance(author, list) and author else author
    author = author if isinstance(author, dict) else {"name": author}
    address = known.licence_url or _text(linked.get("license")) or links.get("licence", "")
    keywords = linked.get("keywords") or ()
    keywords = keywords.split(",") if isinstance(keywords, str) else keywords
    tags = [tag.strip().lstrip("#") for tag in (*known.tags, *tags_of(keywords), *found["tags"])]
    if "noai" in texts or forbids_ai(meta) or (model or {}).get("noAi") is True:
        tags.append("NoAI")
    if "created_with_ai" in texts or (model or {}).get("createdWithAi") is True:
        tags.append("CreatedWithAI")
    free = linked.get("isAccessibleForFree")
    return Rights(
        title=known.title or _text(linked.get("name")) or texts.get("title", ""),
        author=known.author or _text(author.get("name")) or texts.get("author", ""),
        author_url=known.author_url or _text(author.get("url")) or links.get("author", ""),
        licence=known.licence or _licence(address) or licence_key(texts.get("licence", "")),
        licence_url=urljoin(page.url, address) if address else "",
        tags=tuple(dict.fromkeys(tag for tag in tags if tag)),
        source_url=known.source_url or page.url,
        published=known.published or _text(linked.get("datePublished")),
        downloadable=(known.downloadable or "isDownloadable" not in (model or {}))
        and free not in (False, "False", "false"),
        extra=known.extra,
    )


def _prefetched(text: str, key: str) -> dict[str, Any] | None:
    """What the page's own data say of its model."""
    found: Any = None
    for plain in (text, html.unescape(text)):
        with contextlib.suppress(ValueError):
            found = found or json.loads(plain)
    if not isinstance(found, dict):
        return None
    entries = [value for name, value in found.items() if key in name] + [found]
    return next((e for e in entries if isinstance(e, dict) and str(e.get("uid", "")).lower() == key), None)


def _linked(text: str) -> dict[str, Any] | None:
    """The linked data that describe a model."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    entries = found if isinstance(found, list) else found.get("@graph", [found]) if isinstance(found, dict) else []
    kinds = ("3dmodel", "creativework", "mediaobject", "product")
    return next((e for e in entries if isinstance(e, dict) and str(e.get("@type", "")).lower() in kinds), None)


def _licence(address: str) -> str:
    """Short name of the licence at an address; empty if it tells none."""
    path = urlsplit(address).path.lower()
    if "/publicdomain/zero" in path:
        return "cc0"
    found = re.search(r"/licenses/(by(?:-[a-z]+)*)(?:/|$)", path)
    return licence_key(found[1]) if found else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
