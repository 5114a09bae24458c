"""Licences, what is left out for rights, and credits."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from engine.core.errors import InputError
from engine.crawling import Policy, Rights, Skipped, licence_key, parse_licences, read_rights, tally, write_credits
from engine.crawling.rights import forbids_ai, meta_of, write_rights


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("by", "by"),
        ("CC Attribution", "by"),
        ("CC BY 4.0", "by"),
        ("CC-BY-SA", "by-sa"),
        ("CC Attribution-ShareAlike", "by-sa"),
        ("Creative Commons Attribution-NonCommercial-NoDerivatives", "by-nc-nd"),
        ("CC0", "cc0"),
        ("CC0 1.0 Universal", "cc0"),
        ("CC0 Public Domain", "cc0"),
        ("Free Standard", "free-st"),
        ("Editorial", "ed"),
        ("My own terms", "my-own-terms"),
    ],
)
def test_licences_are_known_however_they_are_written(text: str, key: str) -> None:
    assert licence_key(text) == key


def test_licences_of_the_command_line() -> None:
    assert parse_licences("cc0, BY,by-sa,by") == ("cc0", "by", "by-sa")
    assert parse_licences("any") == ()
    with pytest.raises(InputError, match="gpl is not known"):
        parse_licences("cc0,gpl")


@pytest.mark.parametrize("tag", ["NoAI", "noai", "No-AI", "no ai", "NoGenAI", "noaitraining"])
def test_noai_models_are_never_taken(tag: str) -> None:
    with pytest.raises(Skipped, match="NoAI") as skip:
        Policy(licences=()).check(Rights(licence="cc0", tags=("church", tag)))
    assert skip.value.kind == "noai"


@pytest.mark.parametrize("tag", ["CreatedWithAI", "createdwithai", "created-with-ai", "Made with AI", "ai-generated"])
def test_what_ai_has_made_is_taken_only_where_it_is_wanted(tag: str) -> None:
    rights = Rights(licence="by", tags=("church", tag))
    with pytest.raises(Skipped, match="made with generative AI") as skip:
        Policy().check(rights)
    assert skip.value.kind == "created-with-ai"
    Policy(created_with_ai=True).check(rights)
    with pytest.raises(Skipped, match="NoAI"):
        Policy(created_with_ai=True).check(Rights(licence="by", tags=(tag, "NoAI")))
    Policy().check(Rights(licence="by", tags=("ai", "airport", "created with airbrush")))


@pytest.mark.parametrize(
    ("head", "forbids"),
    [
        ('<meta name="robots" content="noai, noimageai">', True),
        ('<META CONTENT="NOAI" NAME="ROBOTS"/>', True),
        ('<meta name="robots" content="noai"><meta name="robots" content="max-image-preview:large">', True),
        ('<meta name="robots" content="max-snippet:-1,noimageai">', True),
        ('<meta name="noai" content="">', True),
        ('<meta name="robots" content="noindex, nofollow">', False),
        ('<meta property="og:title" content="noai"><p>noai</p>', False),
        ("", False),
    ],
)
def test_what_a_page_forbids_in_its_head(head: str, forbids: bool) -> None:
    assert forbids_ai(meta_of(f"<!DOCTYPE html><html><head>{head}</head>")) is forbids


def test_what_the_policy_leaves_out() -> None:
    policy = Policy(("cc0", "by"))
    policy.check(Rights(licence="by", tags=("nokia", "noaib")))
    Policy(()).check(Rights())
    for rights, kind, text in (
        (Rights(licence="by", downloadable=False), "not-downloadable", "does not offer"),
        (Rights(licence="by-nc"), "licence", "CC Attribution-NonCommercial"),
        (Rights(), "licence", "no stated licence"),
    ):
        with pytest.raises(Skipped, match=text) as skip:
            policy.check(rights)
        assert skip.value.kind == kind


def test_credits(tmp_path: Path) -> None:
    for name, rights in (
        ("a", Rights("Nave", "Anna", "https://x/anna", "by", source_url="https://x/a")),
        ("b", Rights('=HYPERLINK("x")', "@Ben", licence="cc0", source_url="https://x/b")),
    ):
        (tmp_path / f"{name}.glb").write_bytes(b"glb")
        write_rights(tmp_path / f"{name}.json", rights, {"collected": "2026-01-01"})
    (tmp_path / "unknown.glb").write_bytes(b"glb")
    (tmp_path / "torn.glb").write_bytes(b"glb")
    (tmp_path / "torn.json").write_text("{")
    assert write_credits(tmp_path) == 2
    with (tmp_path / "CREDITS.csv").open(encoding="utf-8-sig", newline="") as file:
        first, second = csv.DictReader(file)
    assert first["credit"] == (
        '"Nave" by Anna, https://x/a, CC Attribution https://creativecommons.org/licenses/by/4.0/'
    )
    assert second["title"].startswith("'=")
    assert second["author"] == "'@Ben"
    assert tally(tmp_path) == {"by": 1, "cc0": 1}
    kept = read_rights(tmp_path / "a.json")
    assert kept is not None and kept["licence_name"] == "CC Attribution" and kept["collected"] == "2026-01-01"
