"""The pages in Debian's Chromium: no report of its policy, no scroll bar, every key, with and without scripts."""

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import browser
import pytest
from seen import TOML, live
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait
from visitor import Site, settings_of
from wait import LONG

PAGES = (
    *("/", "/?wall", "/incidents", "/deliveries", "/channels", "/organizations/render-farm?range=30d"),
    *("/organizations/research", "/organizations/web", "/organizations/archive?range=1y&by=week"),
)


@pytest.fixture
async def seen(tmp_path: Any) -> AsyncIterator[Site]:
    if not browser.is_there():
        print(browser.ABSENT, file=sys.__stderr__)
        pytest.skip(browser.ABSENT)
    settings = settings_of(tmp_path, f"sqlite:///{tmp_path}/seen.db", base=TOML)
    live(settings, datetime.now(UTC), days=12)
    async with Site(settings).serve() as site:
        site.now = datetime.now(UTC)
        yield site


async def test_every_page_holds_its_policy_and_its_width(seen: Site) -> None:
    address = f"http://127.0.0.1:{seen.port}"
    await asyncio.to_thread(_look_at_all, address)
    await asyncio.to_thread(_without_scripts, address)


def _look_at_all(address: str) -> None:
    with browser.browser() as driver:
        for width, dark in ((1280, False), (390, True)):
            browser.look(driver, width=width, dark=dark)
            for path in PAGES:
                driver.get(address + path)
                assert _overflow(driver) <= 0, (path, width)
                assert browser.complaints(driver) == [], (path, width)
        browser.look(driver, width=1280)
        _interact(driver, address)
        assert browser.complaints(driver) == []


def _interact(driver: Any, address: str) -> None:
    def until(condition: Any) -> None:
        WebDriverWait(driver, LONG).until(lambda _: condition())

    def press(*keys: str) -> None:
        driver.switch_to.active_element.send_keys(*keys)

    driver.get(f"{address}/")
    press("/")
    until(lambda: driver.switch_to.active_element.get_attribute("name") == "q")
    press("lab", Keys.ENTER)
    until(lambda: "q=lab" in driver.current_url)
    copied = driver.current_url
    assert len(driver.find_elements(By.CSS_SELECTOR, "tbody tr")) == 1
    driver.find_element(By.LINK_TEXT, "lab").click()
    until(lambda: "/organizations/lab" in driver.current_url)
    until(lambda: driver.find_elements(By.CSS_SELECTOR, ".uplot canvas"))
    assert not driver.find_element(By.CSS_SELECTOR, "svg.chart").is_displayed()
    press("3")
    until(lambda: "range=30d" in driver.current_url)
    until(lambda: driver.find_elements(By.CSS_SELECTOR, ".uplot canvas"))
    press(Keys.ARROW_LEFT)
    until(lambda: "credits" in driver.find_element(By.CSS_SELECTOR, ".u-legend").text)
    press("?")
    until(lambda: driver.find_element(By.CSS_SELECTOR, "dialog.keys").is_displayed())
    press(Keys.ESCAPE)
    before = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    driver.find_element(By.CSS_SELECTOR, "button.theme").click()
    assert driver.execute_script("return getComputedStyle(document.body).backgroundColor") != before
    driver.back()
    driver.back()
    until(lambda: driver.current_url == copied)
    driver.get(copied)
    assert len(driver.find_elements(By.CSS_SELECTOR, "tbody tr")) == 1


def _without_scripts(address: str) -> None:
    with browser.browser(scripts=False) as driver:
        browser.look(driver, width=1280)
        for path in PAGES:
            driver.get(address + path)
            assert browser.complaints(driver) == [], path
        driver.get(f"{address}/organizations/render-farm?range=30d")
        assert driver.find_element(By.CSS_SELECTOR, "svg.chart").is_displayed()
        driver.find_element(By.LINK_TEXT, "7 d").click()
        assert driver.find_element(By.CSS_SELECTOR, ".ranges a[aria-current]").text == "7 d"


async def test_a_page_says_when_the_monitor_does_not_answer_any_more(tmp_path: Any) -> None:
    if not browser.is_there():
        pytest.skip(browser.ABSENT)
    toml = TOML.replace('every = "1h"', 'every = "10s"').replace(
        "[poll]", '[rules]\nstale_after = "1h"\n[poll]\ndeadline = "5s"'
    )
    settings = settings_of(tmp_path, f"sqlite:///{tmp_path}/seen.db", base=toml)
    live(settings, datetime.now(UTC), count=3, days=2)
    site = Site(settings, now=datetime.now(UTC))
    served = site.serve()
    await served.__aenter__()
    opened = browser.browser()
    driver = await asyncio.to_thread(opened.__enter__)
    try:
        await asyncio.to_thread(driver.get, f"http://127.0.0.1:{site.port}/")
        await served.__aexit__(None, None, None)
        await asyncio.to_thread(_until_stale, driver)
    finally:
        await asyncio.to_thread(opened.__exit__, None, None, None)


def _until_stale(driver: Any) -> None:
    WebDriverWait(driver, LONG).until(lambda _: driver.find_element(By.CSS_SELECTOR, ".stale").is_displayed())


def _overflow(driver: Any) -> int:
    return int(
        driver.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    )
