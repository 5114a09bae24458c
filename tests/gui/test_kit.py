"""The pieces that tabs share: actions, places, logs."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QPushButton, QTableView, QVBoxLayout, QWidget

from widgets.kit.actions import ELSEWHERE, OWN, TABLE, WINDOW, Action, Actions
from widgets.kit.buttons import IconButton
from widgets.kit.details import LogView
from widgets.kit.path_field import PlaceField


def test_an_action_is_a_button_a_key_a_line_of_the_menu_and_of_the_sheet(qtbot) -> None:
    done: list[str] = []

    def action(name: str, *more: str, **words: object) -> Action:
        return Action(name, lambda: done.append(name), *more, **words)  # type: ignore[arg-type]

    acts = Actions(
        [
            action("start", "Start", "Begin the work", "Ctrl+R", sheet="start"),
            action("stop", "Stop", "End it", "X", OWN, sheet=", stop", fits=lambda row: row == "working"),
            action("pause", key="Space", where=TABLE),
            action("up", key="Alt+Up", sheet="row", shown="Alt+Up Down"),
            action("open", key="Ctrl+O", where=WINDOW),
            action("enlarge", "Larger", key="Return", where=ELSEWHERE, menu="Enlarge", sheet="; enlarge"),
        ]
    )
    page, table, other = QWidget(), QTableView(), QPushButton("other")
    column = QVBoxLayout(page)
    button, icon = acts.button("start"), acts.dress(IconButton("cancel", ""), "stop")
    named = acts.dress(QPushButton("Go"), "start")
    for part in (table, other, button, icon, named):
        column.addWidget(part)
    acts.bind(page, table, other)
    qtbot.addWidget(page)
    page.show()
    page.activateWindow()
    qtbot.waitUntil(page.isActiveWindow)
    assert button.text() == "Start" and named.text() == "Go" and not icon.text()
    assert button.toolTip() == named.toolTip() == "Begin the work (Ctrl+R)" and icon.accessibleName() == "End it (X)"
    button.click()
    named.click()
    icon.click()
    assert done == ["start", "start", "stop"]
    done.clear()
    for widget in (table, other, button):
        widget.setFocus()
        qtbot.keyClick(widget, Qt.Key.Key_R, Qt.KeyboardModifier.ControlModifier)
        qtbot.keyClick(widget, Qt.Key.Key_X)
    table.setFocus()
    qtbot.keyClick(table, Qt.Key.Key_Space)
    qtbot.keyClick(table, Qt.Key.Key_O, Qt.KeyboardModifier.ControlModifier)  # the window's, which passes it on
    assert done == ["start", "stop", "start", "stop", "start", "pause"]
    assert acts.run("open") and done[-1] == "open" and not acts.run("close")
    menu = acts.menu(page, ("enlarge", "", "stop"), "waiting")
    entries = [(entry.text(), entry.isEnabled()) for entry in menu.actions() if not entry.isSeparator()]
    assert entries == [("Enlarge\tReturn", True), ("Stop\tX", False)] and menu.actions()[1].isSeparator()
    assert acts.sheet() == [("Ctrl+R  X", "start, stop"), ("Alt+Up Down  Return", "row; enlarge")]


def test_a_place_is_wanted_before_it_is_shown(qtbot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    field, wanted = PlaceField("No folder yet", "Where things go", "Folder"), []
    qtbot.addWidget(field)
    field.chosen.connect(wanted.append)
    field.set_path(tmp_path)
    field.edit.editingFinished.emit()  # nothing else was typed
    field.edit.setText(f" {tmp_path / 'typed'} ")
    field.edit.editingFinished.emit()
    assert wanted == [tmp_path / "typed"] and field.path == tmp_path
    asked: list[str] = []
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *found: asked.append(found[2]) or "/chosen")
    assert field.ask("/begin") == "/chosen" and asked == [str(tmp_path)]
    field.set_path(None)
    field.ask("/begin")
    assert asked[-1] == "/begin" and wanted[1:] == [Path("/chosen")] * 2
    field.setEnabled(False)
    assert field.ask("/begin") == "" and len(asked) == 2


def test_a_log_follows_its_end_unless_one_reads_further_up(qtbot) -> None:
    log = LogView("Log", "Nothing yet")
    qtbot.addWidget(log)
    log.resize(300, 100)
    log.show()
    log.setPlainText("\n".join(map(str, range(100))))
    bar = log.verticalScrollBar()
    log.to_end()
    log.keep_place(lambda: log.appendPlainText("the end"))
    assert bar.value() == bar.maximum() > 0
    bar.setValue(5)
    log.keep_place(lambda: log.appendPlainText("more"))
    assert bar.value() == 5
