import json
import runpy
import shutil
from pathlib import Path

import pytest

from summtune.base.files import read_json, write_json, write_jsonl
from summtune.report import write_compare_report, write_run_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = (
    "</script><script>taken = 1</script><img src=x onerror='taken = 1'> \"quoted\" <!-- {{ 7 * 7 }} "
    "${taken = 1} nul\x00 rtl\u202eend"
)
HARMLESS = HOSTILE.replace("\x00", "␀").replace("\u202e", "⟨U+202E⟩")

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "report_page.py"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser):
    """Open a page and return it; any error or external request of the page fails the test at its end."""
    contexts, complaints, requests = [], [], []

    def open_page(path, fragment="", **emulated):
        context = browser.new_context(**emulated)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri() + fragment)
        page.wait_for_selector("#dialogue-list article")
        assert {url.split("#")[0] for url in requests} == {path.as_uri()}
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert len(requests) == len([url for url in requests if url.startswith("file:")])


@pytest.fixture
def story(compare_dir, tmp_path):
    """Write a comparison of 45 dialogues, three pages of the reader, with scores that differ."""
    folder = compare_dir(n=45)
    rows = [{"id": f"test_{i}", "rouge1": i * 17 % 45 / 50, "rouge2": 0.1, "rougeL": i / 50} for i in range(45)]
    write_jsonl(tmp_path / "lora" / "per_example.jsonl", rows)
    return write_compare_report(folder)


def ids(page):
    return page.locator("article h3 a").all_inner_texts()


def status(page):
    return page.locator("#shown").inner_text()


def search(page, text, found):
    page.fill("#search", text)
    playwright.expect(page.locator("article")).to_have_count(found)


def says(page, text):
    playwright.expect(page.locator("#shown")).to_have_text(text)


def gaps(page):
    return [float(text.replace("−", "-")) for text in page.locator(".gap b").all_inner_texts()]


def test_the_page_opens_without_errors_and_draws_its_charts(story, opened):
    page = opened(story)
    scores = page.locator("[aria-label^='Bar chart'] svg")
    assert scores.count() == 1
    colours = scores.evaluate("e => [...e.querySelectorAll('path')].map((path) => path.style.fill)")
    assert [len([c for c in colours if f"--series-{place}" in c]) for place in (0, 1)] == [4, 4]  # bars and legend
    assert page.locator("[aria-label^='Small charts'] svg").count() == 1
    assert page.locator("[aria-label^='Loss over'] svg").count() == 1
    assert page.locator("svg").evaluate_all("all => all.every((e) => e.getBoundingClientRect().width > 300)")
    assert {"lead-3 (floor)", "human agreement (ceiling)", "ROUGE-2"} <= set(scores.locator("text").all_text_contents())


def test_the_reader_shows_references_and_every_systems_summary(story, opened):
    page = opened(story)
    assert status(page) == "Dialogues 1–20 of 45"
    article = page.locator("article").nth(2)
    assert article.locator(".output h4 span:first-child").all_inner_texts() == ["References", "Original", "LoRA"]
    assert article.locator(".references p").all_inner_texts() == ["they meet at noon on day 2", "a meeting on day 2"]
    assert article.locator(".dialogue b").all_inner_texts() == ["#Person1#:", "#Person2#:"]
    assert article.locator(".score").count() == 2
    assert page.locator("article").nth(1).locator(".notes").first.inner_text() == "cut at max_new_tokens"


def test_words_that_only_one_of_two_systems_wrote_are_marked(compare_dir, opened, tmp_path):
    folder = compare_dir()
    rows = [json.loads(row) for row in (tmp_path / "lora" / "predictions.jsonl").read_text("utf-8").splitlines()]
    rows[0]["prediction"] = "so they may meet at five at  the office"
    (tmp_path / "lora" / "predictions.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    page = opened(write_compare_report(folder))
    outputs = page.locator("article").first.locator(".output")
    assert outputs.nth(1).locator("mark").all_inner_texts() == []  # it wrote "they meet at"
    assert outputs.nth(2).locator("mark").all_text_contents() == ["so", "may", "five at  the office"]
    page.select_option("#system-b", "1")
    assert page.locator("article").first.locator("mark").count() == 0


def test_characters_are_marked_in_scripts_without_spaces(compare_dir, opened, tmp_path):
    folder = compare_dir()
    for name, text in (("zero_shot", "顾客问订单，星期五到。"), ("lora", "顾客问 iPhone 订单，星期一到。")):
        file = tmp_path / name / "predictions.jsonl"
        rows = [json.loads(row) for row in file.read_text("utf-8").splitlines()]
        rows[0] |= {"prediction": text, "dialogue": "客服：您好。"}
        file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    article = opened(write_compare_report(folder)).locator("article").first
    assert article.locator(".output").nth(1).locator("mark").all_text_contents() == ["五"]
    assert article.locator(".output").nth(2).locator("mark").all_text_contents() == ["iPhone", "一"]
    assert article.locator(".dialogue b").all_inner_texts() == ["客服："]


def test_search_finds_in_ids_dialogues_references_and_summaries(story, opened):
    page = opened(story)
    for wanted, found in (("DAY 31", ["test_31"]), ("test_7", ["test_7"]), ("a meeting on day 12", ["test_12"])):
        page.fill("#search", wanted)
        playwright.expect(page.locator("article h3 a")).to_have_text(found)
        assert status(page) == "Dialogues 1–1 of 1 found of 45"
    search(page, "noon zebra", 0)
    assert status(page) == "None of 45 dialogues matches."
    search(page, "", 20)


def test_dialogues_are_sorted_by_win_and_loss_between_two_chosen_systems(story, opened):
    page = opened(story)
    page.select_option("#order", "win")
    wins = gaps(page)
    assert wins == sorted(wins, reverse=True)
    assert "ROUGE-1 (LoRA − Original)" in page.locator(".gap").first.inner_text()
    first = ids(page)
    page.select_option("#order", "loss")
    losses = gaps(page)
    assert losses == sorted(losses)
    assert losses[0] < wins[0]
    page.select_option("#system-a", "0")
    page.select_option("#system-b", "1")
    assert gaps(page) == [-value for value in wins]
    assert ids(page) == first
    page.select_option("#metric", "2")
    assert "ROUGE-L (Original − LoRA)" in page.locator(".gap").first.inner_text()
    page.select_option("#order", "file")
    assert ids(page) == [f"test_{i}" for i in range(20)]


def test_pages_are_turned_by_button_and_number(story, opened):
    page = opened(story)
    previous, following = (page.get_by_role("button", name=name).first for name in ("Previous page", "Next page"))
    assert previous.get_attribute("aria-disabled") == "true"
    following.click()
    assert status(page) == "Dialogues 21–40 of 45"
    page.fill("#page", "3")
    page.press("#page", "Enter")
    assert ids(page) == [f"test_{i}" for i in range(40, 45)]
    assert following.get_attribute("aria-disabled") == "true"
    following.focus()
    page.keyboard.press("Enter")
    assert status(page) == "Dialogues 41–45 of 45"
    assert page.evaluate("document.activeElement.textContent") == "Next page"
    page.fill("#page", "99")
    page.press("#page", "Tab")
    assert status(page) == "Dialogues 41–45 of 45"
    assert page.input_value("#page") == "3"


def test_keys_move_through_dialogues_pages_and_search(story, opened):
    page = opened(story)
    current = page.locator("article[aria-current] h3 a")
    page.keyboard.press("j")
    assert current.inner_text() == "test_0"
    assert page.evaluate("document.activeElement.dataset.index") == "0"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert current.inner_text() == "test_1"
    page.keyboard.press("n")
    assert status(page) == "Dialogues 21–40 of 45"
    page.keyboard.press("j")
    assert current.inner_text() == "test_20"
    page.keyboard.press("k")
    assert current.inner_text() == "test_19"
    assert status(page) == "Dialogues 1–20 of 45"
    page.keyboard.press("n")
    page.keyboard.press("p")
    page.keyboard.press("p")
    assert status(page) == "Dialogues 1–20 of 45"
    page.keyboard.press("/")
    page.keyboard.type("njk/")
    says(page, "None of 45 dialogues matches.")
    assert page.input_value("#search") == "njk/"
    page.keyboard.press("Escape")
    assert page.input_value("#search") == ""
    assert status(page) == "Dialogues 1–20 of 45"
    assert page.evaluate("document.activeElement.id") != "search"


def test_keys_can_be_switched_off(story, opened):
    page = opened(story)
    page.uncheck("#keys")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("n")
    assert status(page) == "Dialogues 1–20 of 45"


def test_a_link_opens_its_dialogue_even_after_a_reload(story, opened):
    page = opened(story, "#id=test_42")
    current = page.locator("article[aria-current] h3 a")
    assert current.inner_text() == "test_42"
    assert page.locator("article[aria-current]").evaluate("e => e.getBoundingClientRect().top < innerHeight")
    page.keyboard.press("j")
    page.reload()
    page.wait_for_selector("article[aria-current]")
    assert current.inner_text() == "test_43"
    page.evaluate("location.hash = '#id=nobody'")
    says(page, "The dialogue nobody is not on this page.")
    page.evaluate("location.hash = '#id=%E0%A4%A'")
    says(page, "The dialogue %E0%A4%A is not on this page.")


def test_a_link_to_a_dialogue_hidden_by_the_search_clears_the_search(story, opened):
    page = opened(story)
    search(page, "day 31", 1)
    page.evaluate("location.hash = '#id=test_3'")
    page.wait_for_selector("article[aria-current]")
    assert page.locator("article[aria-current] h3 a").inner_text() == "test_3"
    assert page.input_value("#search") == ""


def test_the_link_of_a_dialogue_can_be_copied(story, opened):
    page = opened(story, permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the link to test_5").click()
    playwright.expect(page.locator(".copy", has_text="Copied")).to_have_count(1)
    assert page.evaluate("navigator.clipboard.readText()") == story.as_uri() + "#id=test_5"


def test_checks_expand_and_link_to_the_reader(story, opened):
    page = opened(story)
    button = page.get_by_role("button", name="Names that the dialogue lacks")
    assert button.get_attribute("aria-expanded") == "false"
    link = page.locator("tr.more a[href='#id=test_2']").first
    assert not link.is_visible()
    button.click()
    assert button.get_attribute("aria-expanded") == "true"
    for _ in range(2):  # the second time the address is already that
        link.click()
        assert page.locator("article[aria-current] h3 a").inner_text() == "test_2"
        page.evaluate("scrollTo(0, 0)")
    page.select_option("#filter", label="examples: Outputs at the length cap")
    assert ids(page) == ["test_1", "test_3"]


def test_hostile_text_is_shown_and_does_not_run(compare_dir, opened, tmp_path):
    folder = compare_dir(
        names=(HOSTILE, "LoRA"), id="__proto__", dialogue=f"A: {HOSTILE}", prediction=HOSTILE, references=(HOSTILE,)
    )
    metrics = read_json(tmp_path / "lora" / "metrics.json")
    metrics["diagnostics"]["checks"]["names"]["examples"] = [{"id": "__proto__", "found": HOSTILE}]
    write_json(tmp_path / "lora" / "metrics.json", metrics)
    (tmp_path / "lora" / "recipe.yaml").write_text(HOSTILE, encoding="utf-8")
    page = opened(write_compare_report(folder), "#id=__proto__")
    article = page.locator("article[aria-current]")
    assert article.locator("h3 a").inner_text() == "__proto__"
    assert article.locator(".dialogue p").text_content() == f"A: {HARMLESS}"
    assert article.locator(".output p").all_text_contents() == [HARMLESS, HARMLESS, HARMLESS]
    assert page.locator(".more li", has_text="__proto__").first.text_content() == f"__proto__ {HARMLESS}"
    assert page.evaluate("typeof taken") == "undefined"
    assert page.locator("img").count() == 0
    assert page.evaluate("Object.getPrototypeOf({}) === Object.prototype")
    search(page, "7 * 7", 1)


def test_the_reader_of_a_single_system_sorts_by_score(run_dir, opened):
    page = opened(write_run_report(run_dir("lora", kind="train", n=21, words=6)))
    assert page.locator("#system-a").count() == 0
    assert page.locator("mark").count() == 0
    page.select_option("#order", "loss")
    scores = [float(text) for text in page.locator(".score").all_inner_texts()]
    assert scores == sorted(scores)
    page.select_option("#order", "win")
    scores = [float(text) for text in page.locator(".score").all_inner_texts()]
    assert scores == sorted(scores, reverse=True)


def test_a_large_page_contains_every_dialogue_and_draws_one_page_of_them(opened, tmp_path):
    write_inputs = runpy.run_path(str(BENCHMARK))["write_inputs"]
    path = write_compare_report(write_inputs(tmp_path, 1000, 5))
    assert path.stat().st_size < 3_000_000
    page = opened(path)
    assert status(page) == "Dialogues 1–20 of 1000"
    assert page.locator("article").count() == 20
    assert page.locator("script[id^=dialogues-]").count() == 10
    assert page.locator("*").count() < 4_000
    last = page.evaluate("JSON.parse(document.getElementById('dialogues-9').textContent)[99]")
    assert (last[0], len(last[2]), len(last[3])) == ("test_999", 3, 5)
    page.fill("#search", last[3][4][0][:60])
    playwright.expect(page.locator("article h3 a")).to_have_text(["test_999"])
    page.fill("#search", "")
    page.select_option("#order", "win")
    playwright.expect(page.locator("article")).to_have_count(20)
    assert gaps(page) == sorted(gaps(page), reverse=True)


def test_the_benchmark_times_a_search_and_a_sort_of_the_page(browser, tmp_path):
    benchmark = runpy.run_path(str(BENCHMARK))
    path = write_compare_report(benchmark["write_inputs"](tmp_path, 50, 3))
    times = benchmark["measure"](browser, path, "Person1")
    assert all(seconds > 0 for seconds in times.values())
    assert {"first_dialogue_shown", "search", "sort", "last_page"} < times.keys()


def background(page):
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_the_page_has_dark_light_and_print_styles(story, opened):
    light, dark = (opened(story, color_scheme=scheme) for scheme in ("light", "dark"))
    assert background(light) == "rgb(255, 255, 255)"
    assert background(dark) == "rgb(20, 23, 26)"
    ink = "e => getComputedStyle(e).fill"
    assert light.locator("svg text").first.evaluate(ink) != dark.locator("svg text").first.evaluate(ink)
    dark.emulate_media(media="print", color_scheme="dark")
    assert background(dark) == "rgb(255, 255, 255)"
    assert not dark.locator("#controls").is_visible()
    assert dark.locator("article").first.is_visible()


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_the_page_is_not_wider_than_the_window(story, opened, width):
    page = opened(story, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_javascript_everything_but_the_dialogues_is_shown(story, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(story.as_uri())
    assert page.locator("noscript p").is_visible()
    assert not page.locator("#controls").is_visible()
    assert page.locator("tr.more").first.is_visible()
    context.close()
