"""The foreground editor, driven with real mouse and key events."""

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QPalette, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from widgets.reconstruct.foreground_editor import ForegroundEditor

LEFT, RIGHT, MIDDLE = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton, Qt.MouseButton.MiddleButton
NONE, SHIFT, CONTROL = (
    Qt.KeyboardModifier.NoModifier,
    Qt.KeyboardModifier.ShiftModifier,
    Qt.KeyboardModifier.ControlModifier,
)


@pytest.fixture
def editor(qtbot):
    editor = ForegroundEditor()
    qtbot.addWidget(editor)
    editor.resize(620, 480)
    y, x = np.mgrid[0:300, 0:400]
    picture = np.stack([x % 256, y % 256, np.full_like(x, 90), np.full_like(x, 255)], axis=2).astype(np.uint8)
    editor.set_picture(picture)
    with qtbot.waitExposed(editor):
        editor.show()
    editor.activateWindow()
    editor.setFocus()
    qtbot.waitUntil(lambda: editor.canvas.hasFocus())
    return editor


@pytest.fixture
def emitted(editor):
    out = []
    editor.edited.connect(lambda box, strokes, points: out.append((box, strokes, points)))
    return out


def at(editor, x, y) -> QPoint:
    return editor.canvas.to_screen(QPointF(x, y)).toPoint()


def drag(editor, *points, button=LEFT, modifiers=NONE):
    spots = [at(editor, *point) for point in points]
    QTest.mousePress(editor.canvas, button, modifiers, spots[0])
    for spot in spots[1:]:
        QTest.mouseMove(editor.canvas, spot)
        QApplication.processEvents()
    QTest.mouseRelease(editor.canvas, button, modifiers, spots[-1])


def wheel(editor, x, y, delta, modifiers=NONE):
    spot = QPointF(at(editor, x, y))
    event = QWheelEvent(
        spot,
        QPointF(editor.canvas.mapToGlobal(spot.toPoint())),
        QPoint(),
        QPoint(0, delta),
        Qt.MouseButton.NoButton,
        modifiers,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(editor.canvas, event)


def test_the_whole_picture_is_shown_and_follows_the_window(editor, qtbot):
    for size in ((620, 480), (300, 260)):
        editor.resize(*size)
        qtbot.waitUntil(lambda size=size: editor.width() == size[0])
        QApplication.processEvents()
        corners = at(editor, 0, 0), at(editor, 400, 300)
        assert editor.canvas.rect().contains(corners[0]) and editor.canvas.rect().contains(corners[1])
        assert corners[1].x() - corners[0].x() > 0.8 * editor.canvas.width() or (
            corners[1].y() - corners[0].y() > 0.8 * editor.canvas.height()
        )


def test_a_box_is_drawn_moved_and_resized(editor, emitted):
    drag(editor, (50, 40), (120, 90), (200, 180))
    assert editor.box() == pytest.approx((50, 40, 200, 180), abs=1)
    assert len(emitted) == 1 and emitted[0][0] == editor.box() and emitted[0][1] is None
    drag(editor, (120, 100), (150, 120))
    assert editor.box() == pytest.approx((80, 60, 230, 200), abs=2)
    drag(editor, (230, 200), (300, 250))
    assert editor.box() == pytest.approx((80, 60, 300, 250), abs=3)
    drag(editor, (80, 155), (20, 155))
    assert editor.box() == pytest.approx((20, 60, 300, 250), abs=4)
    drag(editor, (150, 150), (900, 900))
    assert editor.box()[2:] == (400, 300)
    assert len(emitted) == 5


def test_a_box_is_drawn_backwards_and_kept_inside_the_picture(editor):
    drag(editor, (250, 200), (100, 100), (-50, -30))
    assert editor.box() == pytest.approx((0, 0, 250, 200), abs=1)


def test_a_click_draws_no_box(editor, emitted):
    QTest.mouseClick(editor.canvas, LEFT, NONE, at(editor, 100, 100))
    assert editor.box() is None and not emitted


def test_strokes_add_and_remove(editor, emitted):
    QTest.keyClick(editor.canvas, Qt.Key.Key_A)
    drag(editor, (50, 50), (100, 50), (150, 50))
    QTest.keyClick(editor.canvas, Qt.Key.Key_R)
    drag(editor, (50, 200), (150, 200))
    strokes = editor.strokes()
    assert strokes.shape == (300, 400) and strokes.dtype == np.uint8
    assert strokes[50, 100] == 1 and strokes[200, 100] == 2 and strokes[120, 100] == 0
    assert set(np.unique(strokes)) == {0, 1, 2}
    assert (strokes[:, 100] == 1).sum() == pytest.approx(12, abs=2)
    assert len(emitted) == 2 and np.array_equal(emitted[-1][1], strokes)


@pytest.mark.parametrize(("button", "modifiers"), [(RIGHT, NONE), (LEFT, SHIFT)])
def test_right_button_and_shift_paint_the_other_label(editor, button, modifiers):
    editor.set_tool("add")
    drag(editor, (50, 50), (150, 50), button=button, modifiers=modifiers)
    assert editor.strokes()[50, 100] == 2
    editor.set_tool("remove")
    drag(editor, (50, 150), (150, 150), button=button, modifiers=modifiers)
    assert editor.strokes()[150, 100] == 1


def test_a_click_paints_a_dot_and_later_strokes_lie_above(editor):
    editor.set_tool("add")
    QTest.mouseClick(editor.canvas, LEFT, NONE, at(editor, 100, 100))
    assert editor.strokes()[100, 100] == 1
    QTest.mouseClick(editor.canvas, RIGHT, NONE, at(editor, 100, 100))
    assert editor.strokes()[100, 100] == 2 and not (editor.strokes() == 1).any()


def test_undo_and_redo_everything(editor, emitted):
    drag(editor, (50, 40), (200, 180))
    editor.set_tool("add")
    for i in range(30):
        drag(editor, (20 + 10 * i, 220), (25 + 10 * i, 240))
    QTest.mouseClick(editor.reset_button, LEFT)
    assert editor.box() is None and editor.strokes() is None and not editor.reset_button.isEnabled()
    QTest.keyClick(editor.canvas, Qt.Key.Key_Z, CONTROL)
    box, strokes = editor.box(), editor.strokes()
    assert box is not None and (strokes == 1).any()
    for _ in range(31):
        QTest.keyClick(editor.canvas, Qt.Key.Key_Z, CONTROL)
    assert editor.box() is None and editor.strokes() is None and not editor.undo_button.isEnabled()
    count = len(emitted)
    QTest.keyClick(editor.canvas, Qt.Key.Key_Z, CONTROL)
    assert len(emitted) == count
    for _ in range(31):
        QTest.keyClick(editor.canvas, Qt.Key.Key_Z, CONTROL | SHIFT)
    assert editor.box() == box and np.array_equal(editor.strokes(), strokes)
    assert editor.redo_button.isEnabled()
    drag(editor, (20, 20), (30, 30))
    assert not editor.redo_button.isEnabled()


def test_delete_removes_the_box_alone(editor):
    drag(editor, (50, 40), (200, 180))
    editor.set_tool("add")
    drag(editor, (20, 20), (30, 30))
    QTest.keyClick(editor.canvas, Qt.Key.Key_Delete)
    assert editor.box() is None and editor.strokes() is not None


def test_escape_gives_a_drag_up(editor, emitted):
    QTest.mousePress(editor.canvas, LEFT, NONE, at(editor, 50, 50))
    QTest.mouseMove(editor.canvas, at(editor, 150, 150))
    QTest.keyClick(editor.canvas, Qt.Key.Key_Escape)
    QTest.mouseRelease(editor.canvas, LEFT, NONE, at(editor, 150, 150))
    assert editor.box() is None and not emitted


def test_zoom_keeps_the_point_under_the_pointer_and_0_fits(editor):
    spot = at(editor, 300, 100)
    wheel(editor, 300, 100, 480)
    assert (at(editor, 300, 100) - spot).manhattanLength() <= 2
    assert at(editor, 400, 0).x() > editor.canvas.width()
    drag(editor, (280, 90), (310, 120))
    assert editor.box() == pytest.approx((280, 90, 310, 120), abs=1)
    QTest.keyClick(editor.canvas, Qt.Key.Key_0)
    assert editor.canvas.rect().contains(at(editor, 400, 300))


def test_pan_with_the_middle_button_or_space(editor, emitted):
    wheel(editor, 200, 150, 360)
    before = at(editor, 200, 150)
    drag(editor, (200, 150), (180, 140), button=MIDDLE)
    moved = at(editor, 200, 150) - before
    assert moved.x() < -10 and moved.y() < -5
    QTest.keyPress(editor.canvas, Qt.Key.Key_Space)
    drag(editor, (200, 150), (220, 160))
    QTest.keyRelease(editor.canvas, Qt.Key.Key_Space)
    assert (at(editor, 200, 150) - before).manhattanLength() <= 4
    assert editor.box() is None and not emitted


def test_brush_size_by_keys_and_wheel(editor):
    def painted(y: int) -> int:
        drag(editor, (100, y), (200, y))
        return int((editor.strokes()[y - 45 : y + 45, 150] > 0).sum())

    editor.set_tool("add")
    usual = painted(50)
    for _ in range(4):
        QTest.keyClick(editor.canvas, Qt.Key.Key_BracketRight)
    wide = painted(150)
    wheel(editor, 200, 150, -120 * 12, CONTROL)
    narrow = painted(250)
    assert narrow < usual < wide
    assert editor.canvas.rect().contains(at(editor, 400, 300))


def test_another_picture_starts_afresh_or_with_its_own_edits(editor, emitted):
    drag(editor, (50, 40), (200, 180))
    editor.set_tool("add")
    drag(editor, (50, 50), (150, 50))
    box, strokes = editor.box(), editor.strokes()
    editor.set_picture(np.full((500, 200, 4), 255, np.uint8))
    assert editor.box() is None and editor.strokes() is None and not editor.undo_button.isEnabled()
    editor.set_picture(np.full((300, 400, 4), 255, np.uint8), box, strokes)
    assert editor.box() == box and np.array_equal(editor.strokes(), strokes)
    QTest.keyClick(editor.canvas, Qt.Key.Key_Backspace, CONTROL)
    assert editor.box() is None and editor.strokes() is None
    QTest.keyClick(editor.canvas, Qt.Key.Key_Z, CONTROL)
    assert editor.box() == box and np.array_equal(editor.strokes(), strokes)


@pytest.mark.parametrize("dark", [True, False])
def test_the_mask_fades_the_background(editor, dark):
    palette = QPalette()
    palette.setColor(QPalette.ColorRole.Base, QColor("#1c1f25" if dark else "#ffffff"))
    editor.canvas.setPalette(palette)
    editor.set_picture(np.tile(np.array([200, 40, 40, 255], np.uint8), (300, 400, 1)))
    mask = np.zeros((300, 400), np.float32)
    mask[:, :200] = 1.0
    editor.set_mask(mask)
    image = editor.canvas.grab().toImage()
    ratio = image.devicePixelRatio()
    object_spot, background_spot = at(editor, 100, 150) * ratio, at(editor, 300, 150) * ratio
    kept, faded = image.pixelColor(object_spot), image.pixelColor(background_spot)
    assert kept.red() == pytest.approx(200, abs=3) and kept.green() == pytest.approx(40, abs=3)
    assert kept.saturation() > 2 * faded.saturation() or faded.lightness() < 60
    assert (faded.lightness() < 100) == dark


def click(editor, x, y, button=LEFT, modifiers=NONE):
    QTest.mouseClick(editor.canvas, button, modifiers, at(editor, x, y))


def test_clicks_set_points_where_they_are_allowed(editor, emitted):
    click(editor, 100, 100)
    click(editor, 100, 100, RIGHT)
    assert editor.points() == () and not emitted
    editor.allow_points(True)
    click(editor, 100, 100)
    click(editor, 300, 50, RIGHT)
    click(editor, 200, 250, LEFT, SHIFT)
    assert [add for _, _, add in editor.points()] == [True, False, False]
    places = [place for x, y, _ in editor.points() for place in (x, y)]
    assert places == pytest.approx([100, 100, 300, 50, 200, 250], abs=1)
    assert len(emitted) == 3 and emitted[-1] == (None, None, editor.points())
    editor.set_tool("add")
    click(editor, 50, 50)
    assert len(editor.points()) == 3 and editor.strokes()[50, 50] == 1


def test_points_and_the_box_do_not_hinder_each_other(editor):
    editor.allow_points(True)
    drag(editor, (50, 40), (120, 90), (200, 180))
    box = editor.box()
    assert box == pytest.approx((50, 40, 200, 180), abs=1) and editor.points() == ()
    click(editor, 120, 100)
    assert editor.box() == box and len(editor.points()) == 1
    drag(editor, (120, 100), (130, 110), (120, 100))  # a drag that comes back is no click
    assert editor.box() == box and len(editor.points()) == 1
    click(editor, 200, 180)  # the corner's handle
    drag(editor, (300, 100), (350, 150), button=RIGHT)
    assert editor.box() == box and len(editor.points()) == 1
    drag(editor, (60, 60), (80, 70))
    assert editor.box() == pytest.approx((70, 50, 220, 190), abs=2) and len(editor.points()) == 1
    QTest.keyClick(editor.canvas, Qt.Key.Key_Delete)
    assert editor.box() is None and len(editor.points()) == 1


@pytest.mark.parametrize("button", [LEFT, RIGHT])
def test_a_click_on_a_point_takes_it_away(editor, button):
    editor.allow_points(True)
    click(editor, 100, 100)
    click(editor, 300, 50, RIGHT)
    click(editor, 101, 99, button)
    assert len(editor.points()) == 1 and not editor.points()[0][2]


def test_points_are_undone_with_everything_else(editor):
    editor.allow_points(True)
    click(editor, 100, 100)
    drag(editor, (50, 40), (200, 180))
    click(editor, 300, 50, RIGHT)
    points = editor.points()
    QTest.mouseClick(editor.reset_button, LEFT)
    assert editor.points() == () and editor.box() is None and not editor.reset_button.isEnabled()
    QTest.keyClick(editor.canvas, Qt.Key.Key_Z, CONTROL)
    assert editor.points() == points and editor.box() is not None
    for count in (1, 1, 0):
        QTest.keyClick(editor.canvas, Qt.Key.Key_Z, CONTROL)
        assert len(editor.points()) == count
    assert editor.box() is None
    for _ in range(3):
        QTest.keyClick(editor.canvas, Qt.Key.Key_Z, CONTROL | SHIFT)
    assert editor.points() == points


def test_clicks_beside_the_picture_set_no_point(editor, emitted):
    editor.allow_points(True)
    wheel(editor, 200, 150, -360)
    click(editor, -20, 100)
    click(editor, 200, 320, RIGHT)
    assert editor.points() == () and not emitted


def test_points_are_drawn_while_they_are_allowed_and_kept_while_not(editor):
    points = ((100.0, 100.0, True), (300.0, 50.0, False))
    editor.set_picture(np.full((300, 400, 4), 255, np.uint8), None, None, points)
    editor.allow_points(True)
    assert editor.points() == points and editor.reset_button.isEnabled() and not editor.undo_button.isEnabled()

    def colour(x, y):
        image = editor.canvas.grab().toImage()
        return image.pixelColor((at(editor, x, y) + QPoint(4, 3)) * image.devicePixelRatio())

    added, removed = colour(100, 100), colour(300, 50)
    assert added.green() > added.red() + 50 and removed.red() > removed.green() + 50
    editor.allow_points(False)
    assert colour(100, 100) == colour(300, 50) == QColor("white")
    assert editor.points() == points and not editor.reset_button.isEnabled()


def test_a_hint_stands_on_the_picture_until_there_is_a_prompt(editor):
    plain = editor.canvas.grab().toImage()
    editor.allow_points(True)
    assert editor.canvas.grab().toImage() != plain
    click(editor, 100, 100)
    QTest.mouseMove(editor.canvas, at(editor, 20, 20))
    foot = editor.canvas.rect().adjusted(0, editor.canvas.height() * 3 // 4, 0, 0)
    assert editor.canvas.grab(foot).toImage() == plain.copy(foot)


def test_the_tip_says_what_a_click_does(editor):
    assert "click" not in editor.tool_buttons["box"].toolTip()
    editor.allow_points(True)
    tip = editor.tool_buttons["box"].toolTip()
    assert "click points" in tip and "Shift" in tip and "(B)" in tip


def test_tool_buttons_name_their_keys(editor):
    for name, key in (("box", "(B)"), ("add", "(A)"), ("remove", "(R)")):
        button = editor.tool_buttons[name]
        assert key in button.toolTip()
        QTest.mouseClick(button, LEFT)
        assert [n for n, b in editor.tool_buttons.items() if b.isChecked()] == [name]
    assert "(0)" in editor.fit_button.toolTip() and "Ctrl+Z" in editor.undo_button.toolTip()
    QTest.keyClick(editor.canvas, Qt.Key.Key_B)
    assert editor.tool_buttons["box"].isChecked()


def test_without_a_picture_nothing_happens(qtbot):
    editor = ForegroundEditor()
    qtbot.addWidget(editor)
    editor.show()
    drag(editor, (5, 5), (50, 50))
    wheel(editor, 5, 5, 120)
    editor.set_mask(np.ones((4, 4), np.float32))
    assert editor.box() is None and editor.strokes() is None
