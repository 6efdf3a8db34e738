"""What tests of pages have in common: giving files, finding their rows again, and what every page must be like."""

from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import FINISH_MS

PHONE = {"width": 375, "height": 812}


def choose(page: Page, files: list[Path]) -> None:
    """Give files to the page as a person does: by its button and the browser's chooser."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose files").click()
    chooser.value.set_files(files)


def row(page: Page, name: str) -> Locator:
    return page.locator("#rows .row").filter(has=page.locator(".row-name", has_text=name))


def finished(page: Page, name: str) -> Locator:
    found = row(page, name)
    expect(found).to_have_attribute("data-state", "finished", timeout=FINISH_MS)
    return found


def variant(photo: Path, place: Path, name: str) -> Path:
    """The same picture in other bytes, so that the service has not seen it yet."""
    copy = place / name
    copy.write_bytes(photo.read_bytes() + name.encode())
    return copy


def assert_no_sideways_scroll(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def assert_accessible(page: Page) -> None:
    """What can be checked by rule: names of controls, texts of images, one first heading, no id twice."""
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("input, select, textarea, button, a[href]")].filter((element) => {
            if (element.hidden || element.closest("[aria-hidden=true], template")) return false;
            const labels = [...(element.labels ?? [])].map((label) => label.textContent).join("");
            const images = [...element.querySelectorAll("img")].map((image) => image.alt).join("");
            return !(element.getAttribute("aria-label") || (labels + element.textContent + images).trim());
        }).map((element) => element.outerHTML)"""
    )
    assert nameless == []
    assert page.evaluate("[...document.images].filter((image) => !image.hasAttribute('alt')).length") == 0
    assert page.locator("h1").count() == 1
    assert page.evaluate("document.documentElement.lang") == "en"
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((element) => element.id)")
    assert sorted(set(ids)) == sorted(ids)
    assert page.locator("script:not([src]):not([type='application/json'])").count() == 0
