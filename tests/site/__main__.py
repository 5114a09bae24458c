"""`python -m tests.site`: the site for people who want to look at it in their browser."""

from __future__ import annotations

import argparse
import contextlib
import signal

from tests.site.server import ModelSite, SiteModel

_FAULTS = (
    *("page_missing", "page_busy", "page_error", "removed", "captcha", "no_button", "hang", "crash_tab", "alert"),
    *("forbidden", "busy", "throttled", "broken", "truncated", "expired", "html", "empty", "silent", "file_error"),
)


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tests.site", description="Serve a site of 3D models on loopback.")
    parser.add_argument("--models", type=int, default=6, metavar="N", help="models without faults (default 6)")
    parser.add_argument("--size", type=int, default=200_000, metavar="BYTES", help="size of their files")
    parser.add_argument("--faults", action="store_true", help="also a model for each fault")
    parser.add_argument("--design", choices=("classic", "modern"), default="classic")
    parser.add_argument("--banner", action="store_true", help="a banner about cookies")
    parser.add_argument(
        "--lazy", type=float, default=0.0, metavar="S", help="seconds until the download's button comes"
    )
    parser.add_argument("--login", action="store_true", help="downloads need a login")
    parser.add_argument("--second-factor", action="store_true", help="a login needs a code as well")
    parser.add_argument("--session-pages", type=int, metavar="N", help="pages after which a login is lost")
    given = parser.parse_args()
    licences = ("by", "cc0", "by-sa", "by-nc", None)
    formats = ("fbx", "gltf", "glb")
    models = [
        SiteModel(n, size=given.size, licence=licences[n % len(licences)], formats=formats) for n in range(given.models)
    ]
    if given.faults:
        first = len(models)
        models += [SiteModel(first + n, fault=fault, formats=formats) for n, fault in enumerate(_FAULTS)]
        models.append(SiteModel(len(models), tags=("architecture", "NoAI"), formats=formats))
        models.append(SiteModel(len(models), downloadable=False))
    site = ModelSite(
        models,
        design=given.design,
        banner=given.banner,
        lazy=given.lazy,
        login=given.login or given.second_factor,
        second_factor=given.second_factor,
        session_pages=given.session_pages,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with site, contextlib.suppress(KeyboardInterrupt):
        print(f"{site.url}  log in as {site.user} with {site.password!r}; code {site.code}; token {site.token}")
        for model in models:
            what = model.fault or ("NoAI" if "NoAI" in model.tags else "" if model.downloadable else "not downloadable")
            print(f"{site.page(model)}  {what}".rstrip(), flush=True)
        site.closing.wait()


if __name__ == "__main__":
    main()
