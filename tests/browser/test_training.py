"""The pages of trainings: start one, follow it, look at what came of it, try the model."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from shared.jobs import new_job_id
from shared.runs import ClassScores, ClassTable, Epoch, RunRequest, TrainingRun
from shared.trainings import StoredDataset, TrainingRequest, TrainingResult
from tests.browser.conftest import OpenContext, Screenshot, Watch
from tests.browser.pages import PHONE, assert_accessible, assert_no_sideways_scroll
from tests.conftest import Live
from tests.tiny_training import SIDE, squares

pytestmark = [pytest.mark.browser, pytest.mark.stack]

TRAINED_MS = 150_000


@pytest.fixture(scope="module")
def live(training_service: Live) -> Live:
    """The service with a trainer."""
    return training_service


def fill_form(page: Page, archive: bytes, epochs: int) -> None:
    page.goto("/")
    page.get_by_role("link", name="Train").click()
    page.get_by_label("Data, as a zip file").set_input_files(
        {"name": "Red & Blue.zip", "mimeType": "application/zip", "buffer": archive}
    )
    expect(page.get_by_label("Name of the model")).to_have_value("red-blue")
    page.get_by_label("Epochs", exact=True).fill(str(epochs))
    page.get_by_text("More options").click()
    page.get_by_label("Side of the input").fill(str(SIDE))
    page.get_by_label("Images of a step").fill("4")
    page.get_by_label("Go on from").select_option("tiny")


def test_from_a_zip_file_to_a_model_that_can_be_tried(page: Page, screenshot: Screenshot) -> None:
    fill_form(page, squares(24, broken=True), epochs=12)
    screenshot(page, "train-form")
    assert_accessible(page)
    page.get_by_role("button", name="Train", exact=True).click()
    page.wait_for_url("**/train/*")
    expect(page.locator("#now-title")).to_contain_text("of 12", timeout=TRAINED_MS)
    expect(page.get_by_text("box_empty")).to_be_visible()
    screenshot(page, "training-runs")
    expect(page.get_by_role("heading", name="How good it is")).to_be_visible(timeout=TRAINED_MS)
    expect(page.locator("#state")).to_have_text("finished")
    expect(page.get_by_role("img", name="Loss, epoch 12")).to_be_visible()
    expect(page.get_by_role("img", name="On pictures to choose by")).to_be_visible()
    expect(page.get_by_role("link", name="red-blue.weights")).to_be_visible()
    assert_accessible(page)
    screenshot(page, "training-finished")
    page.get_by_role("link", name="Try it").click()
    expect(page.get_by_label("Model", exact=True)).to_have_value("red-blue")

    page.goto("/train")
    page.get_by_role("link", name="red-blue").first.click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_label("Its model, too").check()
    page.get_by_label("Its data, too").check()
    page.get_by_role("dialog").get_by_role("button", name="Delete").press("Enter")
    page.wait_for_url("**/train")
    expect(page.get_by_role("link", name="red-blue")).to_have_count(0)


def test_a_training_is_canceled_by_keyboard(page: Page) -> None:
    fill_form(page, squares(24), epochs=90_000)
    page.get_by_label("Epochs", exact=True).press("Enter")
    page.wait_for_url("**/train/*")
    page.get_by_role("button", name="Cancel").press("Enter")
    expect(page.locator("#state")).to_have_text("canceled", timeout=30_000)
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)


def test_what_is_wrong_is_said_on_the_form(page: Page, watch: Watch) -> None:
    watch.expected.append("409")
    fill_form(page, squares(4), epochs=1)
    page.get_by_label("Name of the model").fill("tiny")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("There is a model called 'tiny' already, or one in the making.")
    expect(page.get_by_role("button", name="Train", exact=True)).to_be_enabled()
    page.goto("/train")
    page.get_by_label("Name of the model").fill("x")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("zip file")
    page.get_by_label("Tell pictures apart").check()
    page.get_by_text("More options").click()
    expect(page.get_by_label("Go on from")).to_be_hidden()
    expect(page.get_by_label("Only these classes")).to_be_visible()


def a_classifier(folder: Path, *, check_only: bool = False) -> str:
    """A finished training of a classifier, as its trainer would have left it in storage."""
    now, training_id = datetime.now(UTC), new_job_id()
    labels = ("apple", "banana", "a class with a rather long name")
    confusion = ((9, 1, 0), (2, 7, 1), (0, 0, 10))
    epochs = tuple(
        Epoch(
            epoch=number,
            epochs=20,
            losses={"objects": 1 / number, "boxes": 1 / number, "loss": 2 / number},
            metrics={"accuracy": 1 - 0.8 / number, "f1": 0.9 - 0.8 / number, "loss": 2 / number}
            if number < 20
            else None,
            learning_rate=1e-3,
            seconds=2.5,
        )
        for number in range(1, 21)
    )
    scores = {label: ClassScores(precision=0.8, recall=0.9, f1=0.85, support=10) for label in labels}
    run = TrainingRun(
        kind="classification",
        name="fruit",
        labels=labels,
        files={},
        history=epochs,
        best=epochs[14],
        ending="stopped early",
        held_out={"accuracy": 26 / 30, "f1": 0.86, "loss": 0.4},
        table=ClassTable(labels=labels, confusion=confusion, per_class=scores, accuracy=26 / 30),
    )
    request = TrainingRequest(
        id=training_id,
        run=RunRequest(kind="classification", name="fruit", epochs=20),
        data=StoredDataset(name="fruit", key="datasets/fruit/", filename="fruit"),
        check_only=check_only,
        created_at=now,
    )
    result = TrainingResult(
        request=request,
        run=run,
        images={"train": 200, "test": 30},
        notes=("From scratch.",),
        device="CPU",
        started_at=now,
        finished_at=now,
    )
    report = {
        "kind": "classification",
        "format": "a folder a class",
        "usable": True,
        "images": 230,
        "empty_images": 0,
        "classes": [{"label": label, "images": 77, "objects": 77} for label in labels],
        "given_split": {},
        "problem_counts": {},
        "problems": [],
    }
    target = folder / "trainings" / training_id
    target.mkdir(parents=True)
    (target / "report.json").write_text(json.dumps(report))
    (target / "result.json").write_text(result.model_dump_json())
    return training_id


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_classifier_shows_its_confusion_on_a_phone(
    open_context: OpenContext, live: Live, screenshot: Screenshot, scheme: str
) -> None:
    training_id = a_classifier(live.data_dir / "storage")
    page = open_context(viewport=PHONE, color_scheme=scheme).new_page()
    page.goto(f"/train/{training_id}")
    row = page.get_by_role("region", name="Confusion matrix").get_by_role("row", name="banana")
    expect(row.get_by_role("cell")).to_have_text(["2", "7", "1"])
    expect(page.locator("#result").get_by_text("86.7 %")).to_be_visible()
    expect(page.get_by_role("region", name="By class").get_by_role("row")).to_have_count(4)
    expect(page.get_by_text("From scratch.")).to_be_visible()
    loss = page.locator(".chart").filter(has=page.get_by_role("img", name="Loss, epoch 20"))
    expect(loss.locator(".key")).to_have_text([re.compile(f"^{name} ") for name in ("loss", "boxes", "objects")])
    expect(page.get_by_role("img", name="On pictures to choose by, epoch 20")).to_be_visible()
    assert_no_sideways_scroll(page)
    assert_accessible(page)
    screenshot(page, f"training-classifier-{scheme}")
    page.goto("/train")
    assert_no_sideways_scroll(page)
    screenshot(page, f"train-phone-{scheme}")


def test_from_a_check_to_the_form_with_its_data(page: Page, live: Live, screenshot: Screenshot) -> None:
    storage = live.data_dir / "storage"
    (storage / "datasets" / "fruit").mkdir(parents=True, exist_ok=True)
    (storage / "datasets" / "fruit" / "a.txt").write_text("x")
    page.goto(f"/train/{a_classifier(storage, check_only=True)}")
    page.get_by_role("link", name="Train with these data").click()
    expect(page.get_by_label("or data that are here already")).to_have_value("fruit")
    expect(page.get_by_label("Name of the model")).to_have_value("fruit")
    expect(page.get_by_label("Epochs", exact=True)).to_have_value("20")
    expect(page.get_by_label("Tell pictures apart")).to_be_checked()
    expect(page.get_by_label("Only these classes")).to_be_enabled()
    expect(page.locator("#epochs-note")).to_contain_text("Left empty: 30.")
    page.get_by_label("Outline things").check()
    expect(page.locator("#epochs-note")).to_contain_text("Left empty: 100.")
    page.get_by_text("What must lie in it").click()
    expect(page.get_by_text("PedMasks/NAME_mask.png")).to_be_visible()
    assert_accessible(page)
    screenshot(page, "train-after-check")
