"""What is looked for on a page: the one place to change when a site changes its looks.

Each thing has several selectors, and the first that a visible element fits is taken. A selector is CSS, or XPath
(`//...`), or a regular expression without regard to case: `text:` over what links and buttons say, `heading:` over the
title and the headings, `words:` over all visible text.
"""

from __future__ import annotations

PAGE: dict[str, tuple[str, ...]] = {
    # Cookie banners: no is taken for an answer where it is one click away.
    "consent": (
        "#onetrust-reject-all-handler",
        "#CybotCookiebotDialogBodyButtonDecline",
        "[data-testid='consent-accept']",
        "#onetrust-accept-btn-handler",
        "text:^(reject all|decline( all)?|(only )?(necessary|essential)( cookies)?( only)?)$",
        "text:^(accept|allow)( all)?( cookies)?$",
    ),
    # The button of a model's page.
    "download": (
        "[data-selenium='open-download-popup']",
        ".c-model-actions__button.--download",
        "[data-testid='model-download']",
        "//button[contains(normalize-space(.), 'Download 3D Model')]",
        r"text:^\W*(download (free )?3d model|download for free|free download)$",
    ),
    # The dialog with the formats; what is in it, `CHOICES` and `FORMAT_MARKS` say.
    "chooser": (
        ".c-popup.--download",
        "//*[@role='dialog'][.//*[@data-format]]",
        "//*[contains(@class, 'popup') or contains(@class, 'modal') or @role='dialog']"
        "[.//*[self::a or self::button][normalize-space(.)='Download']]",
    ),
    "login_link": (
        "[data-testid='sign-in-to-download']",
        "//*[@role='dialog' or contains(@class, 'popup')]//a[contains(@href, '/login') or contains(@href, '/signin')]",
        "//*[@role='dialog']//button[normalize-space(.)='Log in' or normalize-space(.)='Sign in']",
    ),
    "user_field": (
        "form input[autocomplete='username']",
        "form input[type='email']",
        "form input[name='username']",
        "form input[name='email']",
        "//form[.//input[@type='password']]//input[@type='text']",
    ),
    "password_field": ("input[autocomplete='current-password']", "input[type='password']"),
    "login_button": (
        "form [data-selenium='submit-button']",
        "[data-testid='sign-in-submit']",
        "//form[.//input[@type='password']]//button[@type='submit']",
        "//form[.//input[@type='password']]//input[@type='submit']",
        "text:^(log ?in|sign ?in)$",
    ),
    "login_error": ("form .form-error", "[data-testid='form-error']", "form .errorlist", "form [role='alert']"),
    # A page for signing in, of whatever kind.
    "sign_in": (r"heading:^(log ?in|sign ?in|sign ?on)( (to|with|at|into)\b.*)?$",),
    "code_field": (
        "input[autocomplete='one-time-code']",
        "input[name='otp_token']",
        "input[name='code'][inputmode='numeric']",
        "//form[.//*[contains(., 'uthentication code') or contains(., 'erification code')]]//input[@type='text']",
    ),
    "captcha": (
        "#challenge-form",
        ".cf-turnstile",
        "[data-testid='captcha']",
        "#captcha-form",
        "iframe[src*='challenges.cloudflare.com']",
        "iframe[src*='recaptcha'][src*='bframe']",
        "iframe[src*='hcaptcha.com']",
        ".g-recaptcha",
        ".h-captcha",
        r"heading:^(just a moment|are you a robot|security check|verify (that )?you are human)",
    ),
    "removed": (
        r"heading:model (is no longer available|has been (removed|deleted))",
        r"heading:^(page|model) not found",
    ),
    # What the site says after a click.
    "notice": (".c-notification.--error", "[data-testid='toast-error']", "body > [role='alert']"),
}

CHOICES = "a, button, [role='button']"
"""Within the chooser: what a format is asked for with, if it says so or is marked so."""

FORMAT_MARKS = ("data-format", "data-type", "href", "aria-label")
"""Attributes that may name the format, of the choice or of what is around it; else the text around it does."""

FORMATS = ("glb", "gltf", "usdz", "fbx", "obj", "blend", "stl", "dae", "ply", "3ds", "abc", "max", "ma", "mb", "c4d")
"""Names of formats that are known when they are seen. The first two are taken, the best first."""

RIGHTS: dict[str, tuple[str, ...]] = {
    "title": (".model-name__label", "[data-testid='model-title']", "main h1", "h1"),
    "author": ("a.user-name__link", "[data-testid='model-author']", "a[rel~='author']"),
    "licence": (
        ".license a[rel~='license']",
        "[data-testid='model-license'] a",
        "a[rel~='license']",
        ".license a.license-name",
        "//*[starts-with(normalize-space(.), 'License')]//a[contains(@href, 'licenses')]",
    ),
    "noai": (
        ".model-meta-row.noai",
        "[data-testid='noai-notice']",
        "words:may not be used in datasets for, in the development of, or as inputs to generative AI",
    ),
    "created_with_ai": (
        ".model-meta-row.createdwithai",
        "[data-testid='created-with-ai-notice']",
        "text:^#?created ?with ?ai$",
    ),
}
TAGS = (".tags a.tag", "[data-testid='model-tags'] a", "main a[href^='/tags/']")
"""All elements that fit the first of these that any fits."""
PREFETCHED = ("#js-dom-data-prefetched-data",)
"""Elements whose comment or text is JSON of what the site's API says of the model."""
