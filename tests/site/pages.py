"""What a browser gets from the site: pages in two designs, which scripts of their own build after they have loaded.

Names of elements, attributes and classes of the `classic` design are those that real model sites use; the `modern`
one has the generated classes, the roles and the test marks of newer pages. Nothing comes from elsewhere.
"""

from __future__ import annotations

import html
import json
from typing import Any

_CC = "http://creativecommons.org/licenses"
LICENCES = {
    "cc0": ("CC0 Public Domain", "CC0 1.0", "http://creativecommons.org/publicdomain/zero/1.0/"),
    "by": ("CC Attribution", "CC BY 4.0", f"{_CC}/by/4.0/"),
    "by-sa": ("CC Attribution-ShareAlike", "CC BY-SA 4.0", f"{_CC}/by-sa/4.0/"),
    "by-nd": ("CC Attribution-NoDerivs", "CC BY-ND 4.0", f"{_CC}/by-nd/4.0/"),
    "by-nc": ("CC Attribution-NonCommercial", "CC BY-NC 4.0", f"{_CC}/by-nc/4.0/"),
    "by-nc-sa": ("CC Attribution-NonCommercial-ShareAlike", "CC BY-NC-SA 4.0", f"{_CC}/by-nc-sa/4.0/"),
    "by-nc-nd": ("CC Attribution-NonCommercial-NoDerivs", "CC BY-NC-ND 4.0", f"{_CC}/by-nc-nd/4.0/"),
    "free-st": ("Free Standard", "Free Standard", "/licenses"),
    "st": ("Standard", "Standard", "/licenses"),
    "ed": ("Editorial", "Editorial", "/licenses"),
}
"""By short name: the name in the classic design and the API, the one in the modern design, the address."""


def model_page(design: str, boot: dict[str, Any], model: dict[str, Any]) -> str:
    """The page of a model; `boot` is what the scripts are told, `model` what the site says of it."""
    author, licence = model["user"], model["license"]
    linked = {
        "@context": "https://schema.org",
        "@type": "3DModel",
        "name": model["name"],
        "author": {"@type": "Person", "name": author["displayName"], "url": author["profileUrl"]},
        "mainEntityOfPage": model["viewerUrl"],
        "datePublished": model["publishedAt"],
    }
    head = [
        _meta("property", "og:title", f"{model['name']} - 3D model by {author['displayName']}"),
        _meta("property", "og:url", model["viewerUrl"]),
        f'<link rel="canonical" href="{html.escape(model["viewerUrl"])}">',
    ]
    if model["noAi"]:
        head.append(_meta("name", "robots", "noai, noimageai"))
    body = ""
    if design == "classic":
        prefetched = html.escape(json.dumps({f"/i/models/{model['uid']}": model}))
        body = (
            '<div class="dom-data-container" id="js-dom-data-prefetched-data" style="display: none">'
            f"<!--{prefetched}--></div>"
        )
    else:
        linked["keywords"] = [tag["name"] for tag in model["tags"]]
        linked["isAccessibleForFree"] = model["isDownloadable"]
        if licence is not None:
            linked["license"] = licence["url"]
    head.append(f'<script type="application/ld+json">{_script_json(linked)}</script>')
    title = f"{model['name']} - Download Free 3D model by {author['displayName']} (@{author['username']})"
    return _page(design, "model", title, boot, head="".join(head), body=body)


def home_page(design: str, boot: dict[str, Any]) -> str:
    """The first page: models, and the user's menu for who is logged in."""
    return _page(design, "home", "The best 3D viewer on the web", boot)


def login_page(design: str, boot: dict[str, Any]) -> str:
    """User name and password."""
    return _page(design, "login", "Login" if design == "classic" else "Sign in", boot)


def sign_in_page(kind: str, following: str) -> str:
    """Where another company lets its users in; see `ModelSite.sign_in`."""
    fields = ['<input name="email" type="email" aria-label="Email">', '<input name="password" type="password">']
    shown = {"whole": "".join(fields), "steps": fields[0], "button": "".join(fields)}.get(kind)
    form = (
        f'<form method="post">{shown}<input name="next" type="hidden" value="{following}"><button>Go on</button></form>'
    )
    return f"<!DOCTYPE html><title>Forge Accounts</title><body>{form if shown else '<p>One moment, please.</p>'}</body>"


def code_page(design: str, boot: dict[str, Any]) -> str:
    """The second factor: a code of six digits."""
    return _page(design, "code", "Two-factor authentication", boot)


def message_page(design: str, boot: dict[str, Any], heading: str, text: str) -> str:
    """A page that only says something: of a model that is gone, or an error."""
    return _page(design, "message", heading, boot | {"heading": heading, "text": text})


def captcha_page(design: str, uid: str) -> str:
    """The check that a person sits there: a box to tick, or, in the modern design, a word to copy."""
    if design == "classic":
        return _fill(_TICK, UID=uid)
    return _fill(_WORD, UID=uid)


CAPTCHA_WORD = "steeple"


def crash_page() -> str:
    """Ends the process that renders it."""
    return _CRASH


def _page(design: str, kind: str, title: str, boot: dict[str, Any], head: str = "", body: str = "") -> str:
    classic = design == "classic"
    return _fill(
        _SHELL,
        TITLE=html.escape(f"{title} - Sketchfab" if classic else f"{title} | Sketchfab"),
        HEAD=head,
        STYLE=_CLASSIC_STYLE if classic else _MODERN_STYLE,
        BODY=body,
        BOOT=_script_json(boot | {"kind": kind}),
        SCRIPT=_COMMON_SCRIPT + (_CLASSIC_SCRIPT if classic else _MODERN_SCRIPT),
    )


def _fill(template: str, **values: str) -> str:
    for name, value in values.items():
        template = template.replace(f"@@{name}@@", value)
    return template


def _meta(kind: str, name: str, content: str) -> str:
    return f'<meta {kind}="{name}" content="{html.escape(content)}">'


def _script_json(value: dict[str, Any]) -> str:
    return json.dumps(value).replace("</", "<\\/")


_SHELL = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>@@TITLE@@</title>
@@HEAD@@
<style>@@STYLE@@</style>
</head>
<body>
@@BODY@@
<div id="root"></div>
<script id="boot" type="application/json">@@BOOT@@</script>
<script>@@SCRIPT@@</script>
</body>
</html>
"""

_COMMON_SCRIPT = r"""
"use strict";
const boot = JSON.parse(document.getElementById("boot").textContent);
const root = document.getElementById("root");

function h(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

function cube(size) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 100");
  svg.setAttribute("width", size);
  svg.setAttribute("height", size);
  svg.setAttribute("aria-hidden", "true");
  for (const [points, fill] of [
    ["50,10 88,30 50,50 12,30", "#cfd6dd"],
    ["12,30 50,50 50,92 12,72", "#8f9aa6"],
    ["88,30 50,50 50,92 88,72", "#6d7884"],
  ]) {
    const face = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
    face.setAttribute("points", points);
    face.setAttribute("fill", fill);
    svg.append(face);
  }
  return svg;
}

const noAiNotice = "This model may not be used in datasets for, in the development of, or as inputs to generative AI " +
  "programs.";

function bytes(count) {
  return count >= 1e6 ? `${(count / 1e6).toFixed(1)} MB` : `${Math.max(1, Math.round(count / 1000))} kB`;
}

const loginAddress = () => "/login?next=" + encodeURIComponent(location.pathname);

// The button comes late. What comes first does nothing yet: soon after a click, or else by itself, a new one takes its
// place.
function placeLate(place, make) {
  if (!boot.lazy) {
    place.prepend(make(true));
    return;
  }
  setTimeout(() => {
    const dead = make(false);
    place.prepend(dead);
    const replace = () => { if (dead.isConnected) dead.replaceWith(make(true)); };
    dead.addEventListener("click", () => setTimeout(replace, 150));
    setTimeout(replace, 2000);
  }, boot.lazy * 1000);
}

// A way to the download that no reader of the page can tell from an ornament.
function mute(open) {
  const canvas = h("canvas", { width: 44, height: 44, style: "cursor: pointer", onclick: open });
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#1caad9";
  pen.fillRect(0, 0, 44, 44);
  pen.fillStyle = "#fff";
  pen.fillRect(20, 8, 4, 18);
  pen.beginPath();
  pen.moveTo(12, 24);
  pen.lineTo(32, 24);
  pen.lineTo(22, 36);
  pen.fill();
  return h("div", { class: "x-7f3a" }, canvas);
}
"""

_CLASSIC_SCRIPT = r"""
function header() {
  const right = boot.user
    ? h("div", { class: "header-user user-dropdown", "data-selenium": "user-menu" },
        h("a", { class: "user-dropdown__trigger", href: "/mason", title: boot.user },
          h("span", { class: "avatar" }, boot.user[0].toUpperCase()), h("span", { class: "username" }, boot.user)),
        h("a", { class: "skfb-link", "data-selenium": "logout", href: "/logout" }, "Logout"))
    : h("div", { class: "header-user" },
        h("a", { class: "button btn-ninja btn-medium skfb-link", "data-selenium": "login", href: loginAddress() },
          "Login"),
        h("a", { class: "button btn-primary btn-medium", "data-selenium": "signup", href: "/signup" }, "Sign Up"));
  return h("header", { class: "c-header header" },
    h("a", { class: "logo", href: "/" }, cube(26), "Sketchfab"),
    h("nav", { class: "c-header__nav" }, h("a", { href: "/" }, "Explore"), h("a", { href: "/store" }, "Buy 3D models"),
      h("a", { href: "/apps" }, "Download our app")),
    right);
}

function banner() {
  if (!boot.banner || document.cookie.includes("OptanonAlertBoxClosed=")) return;
  setTimeout(() => {
    const close = () => {
      document.cookie = "OptanonAlertBoxClosed=" + new Date().toISOString() + "; path=/; max-age=31536000";
      sdk.remove();
    };
    const sdk = h("div", { id: "onetrust-consent-sdk" },
      h("div", { class: "onetrust-pc-dark-filter ot-fade-in" }),
      h("div", { id: "onetrust-banner-sdk", class: "otFlat bottom vertical-align-content", role: "dialog",
                 "aria-modal": "true", "aria-label": "Privacy" },
        h("div", { id: "onetrust-policy" }, h("h2", { id: "onetrust-policy-title" }, "We value your privacy"),
          h("div", { id: "onetrust-policy-text" }, "By clicking \u201cAccept All Cookies\u201d, you agree to the " +
            "storing of cookies on your device to enhance site navigation, analyze site usage, and assist in our " +
            "marketing efforts.")),
        h("div", { id: "onetrust-button-group" },
          h("button", { id: "onetrust-pc-btn-handler", onclick: () => {} }, "Cookies Settings"),
          h("button", { id: "onetrust-reject-all-handler", onclick: close }, "Reject All"),
          h("button", { id: "onetrust-accept-btn-handler", onclick: close }, "Accept All Cookies"))));
    document.body.append(sdk);
  }, 150);
}

function card(other) {
  return h("div", { class: "card card-model" },
    h("a", { class: "card-model__thumbnail-link", href: other.url, title: other.name }, cube(96)),
    h("div", { class: "card__footer" }, h("a", { class: "model-name__label", href: other.url }, other.name),
      h("span", { class: "card-model__feature --downloads help", title: "Download available" }, "\u2913")));
}

function openDownload(model) {
  if (boot.login && !boot.user) {
    location.href = loginAddress();
    return;
  }
  const row = ([kind, file, texture]) => {
    const original = !["glb", "gltf", "usdz"].includes(kind);
    const button = h("button", { type: "button",
      class: `button btn-large ${original ? "btn-primary button-source" : "btn-secondary button-extra"}`,
      onclick: () => fetchFile(model, kind, texture) }, "Download");
    return h("div", { class: "AUfL6oST" },
      h("div", { class: "H6stunQl" }, h("div", {}, `${original ? "Original" : "Converted"} format (${kind})`),
        texture ? h("span", {}, `${texture / 1024}k textures, 12k triangles`) : null,
        h("span", { class: "c-download__size" }, bytes(file.size))), button);
  };
  const rows = Object.entries(model.archives).flatMap(([kind, file]) =>
    kind === "glb" && model.textures.length ? model.textures.map((size) => [kind, file, size]) : [[kind, file]]);
  const isOriginal = ([kind]) => !["glb", "gltf", "usdz"].includes(kind);
  const section = (heading, chosen) => chosen.length
    ? h("div", { class: "W5rDe9MN" }, h("div", { class: "c-download__subtitle" }, heading), chosen.map(row)) : null;
  const licence = model.license;
  const close = () => container.remove();
  const container = h("div", { class: "popup-container" },
    h("article", { class: "c-popup --download", "data-element": "popup" },
      h("a", { class: "c-popup__close", "data-selenium": "close-popup", "aria-label": "Close popup", onclick: close },
        "\u00d7"),
      h("div", { class: "c-download__title" },
        h("h1", { class: "c-download__title-text" }, "Download ", h("span", {}, model.name))),
      licence ? h("div", { class: "c-download__licence-box" }, h("h2", {}, "License"),
        h("p", {}, h("a", { class: "skfb-link", href: licence.url }, licence.label)),
        h("p", { class: "NTUZeMcY" }, `"${model.name}" (${model.viewerUrl}) by ${model.user.displayName} is licensed ` +
          `under ${licence.label}.`)) : null,
      h("div", { class: "c-download__links" },
        section("Original format", rows.filter(isOriginal)),
        section("Available download formats", rows.filter((entry) => !isOriginal(entry))))));
  document.body.append(container);
}

async function fetchFile(model, kind, texture) {
  const size = texture ? `&textureMaxResolution=${texture}` : "";
  const answer = await fetch(`/i/archives/latest?archiveType=${kind}&model=${model.uid}${size}`);
  if (answer.status === 401) {
    location.href = loginAddress();
  } else if (!answer.ok) {
    const text = (await answer.json()).detail;
    document.body.append(h("div", { class: "c-notification --error", role: "alert" }, text));
  } else {
    location.href = (await answer.json()).url;
  }
}

function showModel() {
  const kept = document.getElementById("js-dom-data-prefetched-data").firstChild.data;
  const area = h("textarea");
  area.innerHTML = kept;
  const model = Object.values(JSON.parse(area.value))[0];
  const licence = model.license;
  const action = "button btn-textified btn-medium c-model-actions__button";
  const actions = h("div", { class: "c-model-actions" },
    h("button", { class: `${action} --embed`, type: "button" }, "Embed"),
    h("button", { class: `${action} --share`, type: "button" }, "Share"),
    h("button", { class: `${action} --report`, type: "button" }, "Report"));
  const open = () => openDownload(model);
  root.append(header(), h("main", { class: "main model-page", role: "main" },
    h("div", { class: "model-page__left" },
      h("div", { class: "viewer c-viewer" }, cube("42%")),
      h("h1", { class: "model-name" }, h("span", { class: "model-name__label", itemprop: "name" }, model.name),
        h("span", { class: "model-name__type" }, "3D Model")),
      h("div", { class: "model-meta-row owner" }, h("span", { class: "avatar" }, "A"),
        h("a", { class: "username-wording user-name__link", href: "/mason", rel: "author" },
          h("span", { class: "username-wrapper", itemprop: "name" }, model.user.displayName)),
        h("button", { class: "button btn-textified btn-small --follow", type: "button" }, "Follow")),
      actions,
      h("section", { class: "model-meta-row stats" },
        h("span", { class: "downloads help" }, h("span", { class: "count" }, "1.2k"),
          h("span", { class: "tooltip tooltip-down" }, " Downloads")),
        h("span", { class: "views help" }, h("span", { class: "count" }, "9.8k"),
          h("span", { class: "tooltip tooltip-down" }, " Views"))),
      h("section", { class: "model-meta-row description" },
        h("div", { class: "C_9eTPtA markdown-rendered-content" }, h("p", {}, model.description))),
      licence ? h("section", { class: "model-meta-row license" }, h("span", { class: "label" }, "License: "),
        h("a", { class: "skfb-link license-name", href: licence.url, rel: "license noopener", target: "_blank" },
          licence.label),
        h("a", { class: "skfb-link", href: "/licenses" }, "Learn more")) : null,
      model.noAi ? h("section", { class: "model-meta-row noai" }, h("strong", {}, "NoAI: "), noAiNotice) : null,
      model.createdWithAi ? h("section", { class: "model-meta-row createdwithai" }, "Created with AI") : null,
      h("section", { class: "model-meta-row publication" }, "Published 9 months ago",
        h("div", { class: "tooltip tooltip-down" }, "Jan 2nd 2026")),
      h("ul", { class: "tags" }, model.tags.map((tag) =>
        h("li", {}, h("a", { class: "tag", href: `/tags/${tag.slug}` }, tag.name))))),
    h("aside", { class: "model-page__right" }, h("h2", {}, "Suggested 3D models"), boot.others.map(card))));
  if (boot.noButton) actions.prepend(mute(open));
  else if (model.isDownloadable) placeLate(actions, (live) => h("button", {
    class: `${action} --download`, type: "button",
    "data-selenium": "open-download-popup", title: "Download Free 3D Model", ...(live ? { onclick: open } : {}),
  }, h("i", { class: "fa fa-download", "aria-hidden": "true" }, "\u2913 "), h("span", {}, "Download 3D Model")));
}

function showHome() {
  root.append(header(), h("main", { class: "main home" }, h("h1", {}, "Explore 3D models"),
    h("div", { class: "grid" }, boot.others.map(card))));
}

function field(label, attributes) {
  return h("div", { class: "form-row" }, h("label", { class: "form-label", for: attributes.id }, label),
    h("input", { class: "form-input", required: "", ...attributes }));
}

function form(heading, action, fields, button) {
  root.append(header(), h("main", { class: "main login-page" }, h("div", { class: "c-login" }, h("h1", {}, heading),
    h("form", { class: "form", method: "post", action },
      h("input", { type: "hidden", name: "csrfmiddlewaretoken", value: boot.csrf }),
      h("input", { type: "hidden", name: "next", value: boot.next }),
      boot.error ? h("div", { class: "form-error errorlist", role: "alert" }, boot.error) : null,
      fields,
      h("button", { class: "button btn-primary btn-large form-button", type: "submit",
        "data-selenium": "submit-button" }, button)))));
}

function show() {
  if (boot.kind === "model") showModel();
  else if (boot.kind === "home") showHome();
  else if (boot.kind === "login") form("Log in to Sketchfab", "/login", [
    field("Email", { type: "email", name: "email", id: "email", autocomplete: "username" }),
    field("Password", { type: "password", name: "password", id: "password", autocomplete: "current-password" }),
  ], "Log in");
  else if (boot.kind === "code") form("Two-factor authentication", "/login/code", [
    h("p", {}, "Enter the 6-digit code that your authenticator app shows."),
    field("Authentication code", { type: "text", name: "otp_token", id: "otp_token", inputmode: "numeric",
      maxlength: "6", autocomplete: "one-time-code" }),
  ], "Verify");
  else root.append(header(), h("main", { class: "main error-page" }, cube(120), h("h1", {}, boot.heading),
    h("p", {}, boot.text), h("a", { class: "skfb-link", href: "/" }, "Back to the home page")));
  banner();
  if (boot.alert) setTimeout(() => alert("Your browser is not supported by the viewer any more."), 50);
}

addEventListener("load", () => setTimeout(show, 30));
"""

_MODERN_SCRIPT = r"""
function header() {
  const right = boot.user
    ? h("button", { class: "css-1q8w3e", type: "button", "aria-label": "Account menu", "aria-haspopup": "menu",
        "data-testid": "account-menu" }, boot.user)
    : h("a", { class: "css-9k2lm1 css-btn", href: loginAddress(), "data-testid": "sign-in" }, "Sign in");
  return h("header", { class: "css-hd0z11" },
    h("a", { class: "css-lg7t22", href: "/", "aria-label": "Home" }, cube(28)),
    h("input", { class: "css-s3ar4h", type: "search", placeholder: "Search 3D models", "aria-label": "Search" }),
    h("a", { class: "css-nav001", href: "/apps" }, "Download the app"), right);
}

function banner() {
  if (!boot.banner || localStorage.getItem("consent")) return;
  setTimeout(() => {
    const close = (choice) => () => {
      localStorage.setItem("consent", choice);
      cover.remove();
    };
    const cover = h("div", { class: "css-c0v3r1", "data-testid": "consent-layer" },
      h("div", { class: "css-c0n5nt", role: "dialog", "aria-modal": "true", "aria-labelledby": "consent-title" },
        h("h2", { id: "consent-title" }, "This site uses cookies"),
        h("p", {}, "We and our partners store information on your device, such as cookies, to run the site."),
        h("div", { class: "css-r0w001" },
          h("button", { class: "css-btn css-ghost", type: "button", onclick: close("necessary") }, "Only necessary"),
          h("button", { class: "css-btn css-prim4r", type: "button", "data-testid": "consent-accept",
            onclick: close("all") }, "Accept all"))));
    document.body.append(cover);
  }, 200);
}

function card(other) {
  return h("a", { class: "css-c4rd01", href: other.url }, cube(84), h("span", {}, other.name));
}

function dialog(label, ...content) {
  const close = () => cover.remove();
  const cover = h("div", { class: "css-c0v3r1" },
    h("div", { class: "css-d14l0g", role: "dialog", "aria-modal": "true", "aria-label": label },
      h("button", { class: "css-x0x0x0", type: "button", "aria-label": "Close", onclick: close }, "\u2715"),
      h("h2", {}, label), content));
  document.body.append(cover);
}

function openDownload(model) {
  if (boot.login && !boot.user) {
    dialog("Sign in to download", h("p", {}, "Free downloads need an account."),
      h("a", { class: "css-btn css-prim4r", href: loginAddress(), "data-testid": "sign-in-to-download" }, "Sign in"));
    return;
  }
  const known = ["glb", "gltf", "usdz"];
  // What is offered with textures of several sizes stands below the name of its format.
  const sized = (size) => h("li", {}, h("span", {}, `${size} x ${size}`),
    h("a", { class: "css-btn css-prim4r", role: "button",
      href: `/i/models/${model.uid}/files/glb?textureMaxResolution=${size}` }, "Download"));
  const sizes = () => h("section", {}, h("h3", {}, "GLB"),
    h("ul", { class: "css-f0rm4t" }, model.textures.map(sized)));
  const several = model.textures.length > 0 && "glb" in model.archives;
  const kinds = Object.entries(model.archives).filter(([kind]) => kind !== "glb" || !several);
  dialog("Choose a format", several ? sizes() : null, h("ul", { class: "css-f0rm4t" }, kinds.map(([kind, file]) =>
    h("li", { class: "css-r0w002", "data-format": kind },
      h("span", { class: "css-n4m3" }, kind === "gltf" ? "glTF" : kind.toUpperCase()),
      h("span", { class: "css-muted" },
        `${known.includes(kind) ? "Converted" : "Original"} \u00b7 ${bytes(file.size)}`),
      h("a", { class: "css-btn css-prim4r", role: "button", href: `/i/models/${model.uid}/files/${kind}`,
        "aria-label": `Download ${kind === "gltf" ? "glTF" : kind.toUpperCase()}` }, "Download")))));
}

async function showModel() {
  const model = await (await fetch(boot.model)).json();
  const licence = model.license;
  const open = () => openDownload(model);
  const place = h("div", { class: "css-4ct10n", "data-testid": "model-actions" },
    h("button", { class: "css-btn css-ghost", type: "button", "aria-label": "Like" }, "\u2661 214"),
    h("button", { class: "css-btn css-ghost", type: "button" }, "Share"));
  root.append(header(), h("div", { class: "css-l4y0ut" },
    h("div", { class: "css-v13w3r", "data-testid": "viewer" }, cube("38%")),
    h("aside", { class: "css-p4n3l1", "data-testid": "model-panel" },
      h("h1", { class: "css-t1tl31", "data-testid": "model-title" }, model.name),
      h("p", { class: "css-by0001" }, "by ",
        h("a", { href: "/mason", "data-testid": "model-author" }, model.user.displayName)),
      place,
      h("p", { class: "css-muted" }, model.description),
      h("dl", { class: "css-f4ct51" },
        licence ? [h("dt", {}, "License"), h("dd", { "data-testid": "model-license" },
          h("a", { href: licence.url, rel: "license" }, boot.licenceName))] : null,
        h("dt", {}, "Triangles"), h("dd", {}, model.faceCount.toLocaleString("en")),
        h("dt", {}, "Downloads"), h("dd", {}, "1,204"),
        h("dt", {}, "Published"), h("dd", {}, h("time", { datetime: model.publishedAt }, "2 January 2026"))),
      model.noAi ? h("p", { class: "css-n0a100", "data-testid": "noai-notice" }, "NoAI: ", noAiNotice) : null,
      model.createdWithAi ? h("p", {}, h("a", { href: "/tags/createdwithai" }, "Created with AI")) : null,
      h("div", { class: "css-t4g500", "data-testid": "model-tags" }, model.tags.map((tag) =>
        h("a", { class: "css-t4g501", href: `/tags/${tag.slug}` }, `#${tag.name}`))),
      h("h2", { class: "css-h2h2h2" }, "More like this"), h("div", { class: "css-gr1d01" }, boot.others.map(card)))));
  if (boot.noButton) place.prepend(mute(open));
  else if (model.isDownloadable) placeLate(place, (live) => h("button", {
    class: "css-btn css-prim4r", type: "button", "data-testid": "model-download", "aria-haspopup": "dialog",
    "aria-label": `Download ${model.name}`, ...(live ? { onclick: open } : {}),
  }, "Download for free"));
}

function showHome() {
  root.append(header(), h("main", { class: "css-h0m301" }, h("h1", {}, "3D models for everyone"),
    h("div", { class: "css-gr1d01" }, boot.others.map(card))));
}

function form(heading, action, fields, button) {
  const error = h("p", { class: "css-3rr0r1", role: "alert", "data-testid": "form-error" });
  const send = async (event) => {
    event.preventDefault();
    error.textContent = "";
    const answer = await fetch(action, { method: "POST", body: new URLSearchParams(new FormData(event.target)),
      headers: { "X-CSRFToken": boot.csrf, "Accept": "application/json" } });
    const said = await answer.json();
    if (said.redirect) location.href = said.redirect;
    else error.textContent = said.detail;
  };
  root.append(header(), h("main", { class: "css-l0g1n1" },
    h("form", { class: "css-d14l0g", onsubmit: send }, h("h1", {}, heading),
      h("input", { type: "hidden", name: "next", value: boot.next }), fields, error,
      h("button", { class: "css-btn css-prim4r", type: "submit", "data-testid": "sign-in-submit" }, button))));
}

function field(label, attributes) {
  return h("label", { class: "css-f13ld1" }, h("span", {}, label), h("input", { required: "", ...attributes }));
}

async function show() {
  if (boot.kind === "model") await showModel();
  else if (boot.kind === "home") showHome();
  else if (boot.kind === "login") form("Sign in", "/login", [
    field("Username or email", { type: "text", name: "username", autocomplete: "username" }),
    field("Password", { type: "password", name: "password", autocomplete: "current-password" }),
  ], "Continue");
  else if (boot.kind === "code") form("Check that it is you", "/login/code", [
    h("p", {}, "We sent a verification code to your email."),
    field("Verification code", { type: "text", name: "code", inputmode: "numeric", autocomplete: "one-time-code" }),
  ], "Continue");
  else root.append(header(), h("main", { class: "css-m3ss4g" }, h("h1", {}, boot.heading), h("p", {}, boot.text),
    h("a", { class: "css-btn css-ghost", href: "/" }, "Go home")));
  banner();
  if (boot.alert) setTimeout(() => alert("Your browser is not supported by the viewer any more."), 50);
}

addEventListener("load", () => setTimeout(show, 30));
"""

_CLASSIC_STYLE = """
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.5 "Open Sans", Arial, sans-serif; color: #333; background: #f7f7f7; }
a { color: #1caad9; text-decoration: none; }
.c-header { display: flex; align-items: center; gap: 26px; height: 54px; padding: 0 24px; background: #fff;
  border-bottom: 1px solid #e3e3e3; }
.logo { display: flex; align-items: center; gap: 8px; color: #333; font-weight: 600; font-size: 18px; }
.c-header__nav { display: flex; gap: 20px; flex: 1; }
.header-user, .user-dropdown__trigger { display: flex; align-items: center; gap: 12px; }
.avatar { display: inline-flex; width: 30px; height: 30px; border-radius: 50%; background: #1caad9; color: #fff;
  align-items: center; justify-content: center; }
.button { border: 1px solid #d0d0d0; background: #fff; color: #555; padding: 6px 14px; border-radius: 4px;
  font: inherit; cursor: pointer; }
.btn-primary { background: #1caad9; border-color: #1caad9; color: #fff; }
.main { max-width: 1240px; margin: 0 auto; padding: 20px; }
.model-page { display: flex; gap: 24px; }
.model-page__left { flex: 1; min-width: 0; }
.model-page__right { width: 260px; }
.viewer { height: 430px; display: flex; align-items: center; justify-content: center; border-radius: 4px;
  background: radial-gradient(#5a6470, #23282e); }
.model-name { display: flex; align-items: baseline; gap: 12px; margin: 16px 0 6px; font-size: 24px; }
.model-name__type { font-size: 12px; text-transform: uppercase; color: #999; font-weight: 400; }
.model-meta-row { margin: 10px 0; display: flex; gap: 10px; align-items: center; flex-wrap: wrap; }
.noai { display: block; }
.c-model-actions { display: flex; gap: 8px; min-height: 40px; align-items: center; }
.c-model-actions__button.--download { color: #1caad9; border-color: #1caad9; }
.tags { display: flex; gap: 8px; list-style: none; padding: 0; }
.tag { background: #e7e7e7; color: #555; padding: 2px 10px; border-radius: 12px; }
.tooltip { color: #999; }
.card { background: #fff; border: 1px solid #e3e3e3; border-radius: 4px; margin-bottom: 12px; text-align: center;
  padding: 10px; }
.card__footer { display: flex; justify-content: space-between; text-align: left; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 14px; }
.popup-container { position: fixed; inset: 0; background: rgba(0, 0, 0, .6); display: flex; align-items: center;
  justify-content: center; z-index: 50; }
.c-popup { position: relative; width: 620px; background: #fff; border-radius: 4px; padding: 24px 30px; }
.c-popup__close { position: absolute; top: 10px; right: 16px; font-size: 26px; cursor: pointer; color: #888; }
.c-download__title-text { font-size: 20px; margin: 0 0 12px; }
.c-download__licence-box { background: #f4f4f4; padding: 4px 16px; }
.c-download__licence-box h2 { font-size: 14px; margin: 8px 0; }
.c-download__licence-box p { margin: 8px 0; overflow-wrap: anywhere; }
.c-download__subtitle { margin: 16px 0 4px; font-weight: 600; }
.AUfL6oST { display: flex; justify-content: space-between; align-items: center; padding: 8px 0;
  border-top: 1px solid #eee; }
.c-download__size { color: #999; font-size: 13px; }
.btn-secondary { border-color: #1caad9; color: #1caad9; }
.c-notification { position: fixed; top: 70px; left: 50%; transform: translateX(-50%); background: #d9534f; color: #fff;
  padding: 10px 20px; border-radius: 4px; z-index: 60; }
.c-login { max-width: 400px; margin: 40px auto; background: #fff; border: 1px solid #e3e3e3; padding: 10px 30px 30px; }
.form-row { margin-bottom: 14px; }
.form-label { display: block; margin-bottom: 4px; }
.form-input { width: 100%; padding: 8px; font: inherit; border: 1px solid #ccc; border-radius: 4px; }
.form-error { background: #fbe3e3; color: #a33; padding: 8px 12px; margin-bottom: 14px; }
.error-page { text-align: center; padding-top: 80px; }
.onetrust-pc-dark-filter { position: fixed; inset: 0; background: rgba(0, 0, 0, .5); z-index: 90; }
#onetrust-banner-sdk { position: fixed; left: 0; right: 0; bottom: 0; background: #fff; padding: 20px 30px; z-index: 91;
  display: flex; gap: 30px; align-items: center; }
#onetrust-policy-title { font-size: 17px; margin: 0 0 6px; }
#onetrust-button-group { display: flex; gap: 10px; flex-shrink: 0; }
#onetrust-button-group button { padding: 10px 16px; font: inherit; border: 1px solid #1caad9; background: #fff;
  color: #1caad9; border-radius: 3px; cursor: pointer; }
#onetrust-button-group #onetrust-accept-btn-handler { background: #1caad9; color: #fff; }
"""

_MODERN_STYLE = """
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.5 Inter, "Helvetica Neue", Arial, sans-serif; color: #e8e8ec; background: #101014; }
a { color: #26bbff; text-decoration: none; }
.css-hd0z11 { display: flex; gap: 24px; align-items: center; padding: 0 28px; height: 64px; background: #18181c; }
.css-s3ar4h { flex: 1; max-width: 460px; padding: 10px 18px; border: 0; border-radius: 20px; background: #2a2a30;
  color: inherit; }
.css-nav001 { margin-left: auto; color: #b8b8c0; }
.css-1q8w3e { border: 0; border-radius: 18px; padding: 8px 18px; background: #2a2a30; color: inherit; font: inherit; }
.css-btn { display: inline-block; border: 0; border-radius: 8px; padding: 10px 16px; font: inherit; font-weight: 600;
  cursor: pointer; background: #2a2a30; color: #e8e8ec; white-space: nowrap; }
.css-prim4r { background: #26bbff; color: #101014; }
.css-l4y0ut { display: flex; min-height: calc(100vh - 64px); }
.css-v13w3r { flex: 1; display: flex; align-items: center; justify-content: center;
  background: radial-gradient(#34343e, #101014); }
.css-p4n3l1 { width: 430px; padding: 24px; background: #18181c; }
.css-t1tl31 { margin: 0; font-size: 28px; }
.css-by0001 { margin: 4px 0 18px; color: #b8b8c0; }
.css-4ct10n { display: flex; gap: 10px; min-height: 44px; }
.css-muted { color: #b8b8c0; }
.css-f4ct51 { display: grid; grid-template-columns: 110px 1fr; gap: 8px; border-top: 1px solid #2a2a30;
  padding-top: 14px; }
.css-f4ct51 dt { color: #8a8a94; }
.css-f4ct51 dd { margin: 0; }
.css-n0a100 { border: 1px solid #4a4a52; border-radius: 8px; padding: 10px 14px; }
.css-t4g500 { display: flex; gap: 8px; flex-wrap: wrap; }
.css-t4g501 { background: #2a2a30; color: #e8e8ec; padding: 4px 12px; border-radius: 14px; }
.css-gr1d01 { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px; }
.css-c4rd01 { display: flex; flex-direction: column; align-items: center; gap: 6px; background: #202026; color: inherit;
  border-radius: 8px; padding: 14px; }
.css-h0m301 { padding: 24px 28px; }
.css-c0v3r1 { position: fixed; inset: 0; background: rgba(0, 0, 0, .7); display: flex; align-items: center;
  justify-content: center; z-index: 40; }
.css-c0n5nt, .css-d14l0g { position: relative; width: 520px; max-width: 92vw; background: #202026; border-radius: 14px;
  padding: 28px; }
.css-r0w001 { display: flex; gap: 12px; justify-content: flex-end; }
.css-x0x0x0 { position: absolute; top: 18px; right: 18px; border: 0; background: none; color: inherit; font-size: 18px;
  cursor: pointer; }
.css-f0rm4t { list-style: none; padding: 0; }
.css-r0w002 { display: flex; align-items: center; gap: 16px; padding: 10px 0; border-top: 1px solid #34343c; }
.css-n4m3 { font-weight: 700; width: 60px; }
.css-r0w002 .css-btn { margin-left: auto; }
.css-l0g1n1, .css-m3ss4g { display: flex; flex-direction: column; align-items: center; padding-top: 90px; }
.css-f13ld1 { display: block; margin-bottom: 16px; }
.css-f13ld1 input { width: 100%; padding: 10px; border-radius: 8px; border: 1px solid #4a4a52; background: #101014;
  color: inherit; font: inherit; }
.css-3rr0r1 { color: #ff6b6b; min-height: 1.5em; }
"""

_TICK = """<!DOCTYPE html>
<html lang="en-US">
<head>
<meta charset="utf-8">
<meta name="robots" content="noindex,nofollow">
<link rel="icon" href="data:,">
<title>Just a moment...</title>
<style>
body { font: 17px/1.5 Arial, sans-serif; color: #313131; max-width: 760px; margin: 8rem auto; padding: 0 1rem; }
.cf-turnstile { border: 1px solid #ddd; width: 300px; padding: 20px; display: flex; gap: 12px; align-items: center; }
.cf-turnstile input { width: 24px; height: 24px; }
</style>
</head>
<body class="no-js">
<div class="main-wrapper" role="main">
<h1 class="zone-name-title">sketchfab.com</h1>
<p id="challenge-title">Verify you are human by completing the action below.</p>
<div id="root"></div>
<p id="challenge-body-text">sketchfab.com needs to review the security of your connection before proceeding.</p>
</div>
<script>
"use strict";
addEventListener("load", () => {
  document.getElementById("root").innerHTML = '<form id="challenge-form"><label class="cf-turnstile">' +
    '<input type="checkbox" id="challenge-check"><span>Verify you are human</span></label></form>';
  document.getElementById("challenge-check").addEventListener("change", async () => {
    await fetch("/cdn-cgi/challenge-platform/@@UID@@", { method: "POST" });
    location.reload();
  });
});
</script>
</body>
</html>
"""

_WORD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<link rel="icon" href="data:,">
<title>Security check</title>
<style>
body { font: 16px/1.5 Arial, sans-serif; background: #101014; color: #e8e8ec; display: flex; flex-direction: column;
  align-items: center; padding-top: 110px; }
b { font: 30px/2 Georgia, serif; letter-spacing: 8px; transform: skewX(-12deg); }
input, button { font: inherit; padding: 8px 14px; margin: 0 4px; }
</style>
</head>
<body>
<h1>Are you a robot?</h1>
<p>Too many pages were asked for from your network. Type the word to go on.</p>
<b aria-hidden="true">s t e e p l e</b>
<form id="captcha-form" data-testid="captcha">
<label>The word: <input name="answer" autocomplete="off"></label>
<button type="submit">Continue</button>
</form>
<p id="said" role="alert"></p>
<script>
"use strict";
document.getElementById("captcha-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = new URLSearchParams(new FormData(event.target));
  const answer = await fetch("/cdn-cgi/challenge-platform/@@UID@@", { method: "POST", body });
  if (answer.ok) location.reload();
  else document.getElementById("said").textContent = "That is not the word.";
});
</script>
</body>
</html>
"""

_CRASH = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><link rel="icon" href="data:,"><title>Building</title></head>
<body>
<div id="root"></div>
<script>
"use strict";
// No reader of selectors has the stack for one of this depth.
addEventListener("load", () => setTimeout(() => {
  document.querySelector(":is(".repeat(100000) + "a" + ")".repeat(100000));
}, 50));
</script>
</body>
</html>
"""
