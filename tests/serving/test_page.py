"""The page at `/` in a real browser (Debian's chromium and chromium-driver), on a real server."""

import shutil

import pytest
from selenium.common.exceptions import NoSuchElementException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from amusd import Client, SamplingParams
from tests.serving.conftest import KEY
from tests.serving.test_server import wait_until_free

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
ORIGINS = ("accepted", "own", "foreseen")
WAIT_SECONDS_MAX = 60

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="needs a browser and its driver (Debian: apt-get install chromium chromium-driver)",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with Chrome(options=options, service=ChromeService(DRIVER)) as driver:
        driver.set_script_timeout(WAIT_SECONDS_MAX)
        yield driver


@pytest.fixture
def page(browser, server):
    """The page, freshly loaded, with the key filled in; at its end the browser has nothing to complain of."""
    browser.get_log("browser")
    browser.get(server.http)
    fill(browser, key=KEY)
    yield browser
    errors = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert [message for message in errors if "status of 4" not in message] == []


def element(page, name):
    return page.find_element(By.ID, name)


def fill(page, **values):
    for name, value in values.items():
        element(page, name).clear()
        element(page, name).send_keys(str(value))


def until(page, what):
    return WebDriverWait(page, WAIT_SECONDS_MAX, poll_frequency=0.02).until(lambda _: what())


def is_idle(page):
    return element(page, "go").text == "Write"


def write(page, **values):
    """Fill in, press, and wait for the end."""
    fill(page, **values)
    element(page, "go").click()
    until(page, lambda: is_idle(page))


def written(page):
    """Every piece of the answer with who wrote it, the prompt left out."""
    spans = page.execute_script(
        "return [...document.querySelectorAll('#text span')].map(e => [e.className, e.textContent])"
    )
    assert spans[0][0] == "prompt"
    return spans[1:]


def pixels(page):
    """How many of each colour the timeline has, as `r,g,b`."""
    return page.execute_script("""
        const canvas = document.getElementById("timeline"), found = {};
        if (!canvas.width) return found;
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        for (let at = 0; at < data.length; at += 4)
          if (data[at + 3] == 255) {
            const name = data.slice(at, at + 3).join(", ");
            found[name] = (found[name] || 0) + 1;
          }
        return found;""")


def colour(page, origin):
    """As the legend has it, `r, g, b`."""
    of_legend = page.find_element(By.CSS_SELECTOR, f"h2 .{origin}")
    return of_legend.value_of_css_property("color").removeprefix("rgba(").rsplit(", ", 1)[0]


def test_text_arrives_in_the_colours_of_who_wrote_it_above_timeline_and_tree(page, server, held_out):
    prompt = held_out[0].rstrip("\n")
    fill(page, prompt=prompt, tokens=600, temperature=0.7)
    element(page, "go").click()
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, "#text .own, #text .accepted"))
    assert not is_idle(page), "text is shown while it is written"
    until(page, lambda: len(page.find_elements(By.CSS_SELECTOR, "#tree text")) > 2)
    assert page.find_elements(By.CSS_SELECTOR, "#tree path")
    until(page, lambda: is_idle(page))
    seen = {origin for origin, _ in written(page)}
    assert {"accepted", "own"} <= seen <= set(ORIGINS)
    assert len({colour(page, origin) for origin in ORIGINS}) == 3
    until(page, lambda: {colour(page, "own"), colour(page, "accepted")} <= pixels(page).keys())
    assert "tokens per second" in element(page, "metrics").text
    assert element(page, "error").text == ""


def test_the_text_is_the_target_s_own(page, server, held_out):
    prompt = held_out[0].rstrip("\n").replace("\t", " ")
    with Client(server.grpc, token=KEY) as client:
        [alone] = client.generate(prompt, SamplingParams(temperature=0, max_tokens=120), speculative=False)
    write(page, prompt=prompt, tokens=120, temperature=0)
    assert "".join(text for _, text in written(page)) == alone.text


def test_a_correction_that_was_foreseen_has_a_colour_of_its_own(page):
    page.execute_script("show([['x', 'foreseen']])")
    [span] = page.find_elements(By.CSS_SELECTOR, "#text .foreseen")
    assert span.text == "x"
    assert colour(page, "foreseen") in span.value_of_css_property("color")


def test_without_drafts_everything_is_the_target_s(page):
    element(page, "speculative").click()
    write(page, tokens=16)
    assert {origin for origin, _ in written(page)} == {"own"}
    assert "tokens per second" in element(page, "metrics").text


def test_an_error_is_shown_and_gone_with_the_next_answer(page):
    page.execute_script("document.getElementById('prompt').value = 'class '.repeat(2100)")
    write(page)
    assert "prompt" in element(page, "error").text
    write(page, key="wrong", prompt="class A:", tokens=4)
    assert "key" in element(page, "error").text
    assert page.find_elements(By.CSS_SELECTOR, "#text span") == []
    write(page, key=KEY)
    assert not element(page, "error").is_displayed()
    assert written(page)


def test_the_button_stops_what_is_written(page, server):
    fill(page, prompt="class A:", tokens=1900, temperature=1)
    element(page, "go").click()
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, "#text .own"))
    element(page, "go").click()
    until(page, lambda: is_idle(page))
    with Client(server.grpc, token=KEY) as client:
        wait_until_free(client)
    assert element(page, "error").text == ""


def test_nothing_is_loaded_from_elsewhere(page, server):
    write(page, tokens=4)
    found = page.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert found
    assert all(name.startswith((server.http, "data:")) for name in found)
    with pytest.raises(NoSuchElementException):
        page.find_element(By.CSS_SELECTOR, "[src], link[href^=http]")
