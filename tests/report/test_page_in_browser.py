import shutil
import subprocess

import pytest

from summtune.report import write_compare_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
FLAGS += " --disable-component-update --disable-sync"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


def after_scripts(path, tmp_path):
    """Return the page as it stands once its scripts have run."""
    command = [CHROMIUM, *FLAGS.split(), f"--user-data-dir={tmp_path / 'browser'}", "--dump-dom", path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def test_the_pages_own_script_runs_and_no_other(compare_dir, tmp_path):
    hostile = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
    path = write_compare_report(compare_dir(prediction=hostile, dialogue=hostile))
    text = after_scripts(path, tmp_path)
    assert '<div id="controls">' in text  # the reader's script has shown its search box
    assert "<title>compare: Original vs LoRA" in text


def test_searching_hides_what_does_not_match(compare_dir, tmp_path):
    path = write_compare_report(compare_dir())
    page = path.read_text(encoding="utf-8")
    typed = 'search.value = "DAY 3 noon"; search.dispatchEvent(new Event("input")); order.value = "high";'
    typed += ' order.dispatchEvent(new Event("change"));'
    # The policy allows the page's own script alone, so what plays the reader goes without the policy.
    page = page.replace("Content-Security-Policy", "X-None").replace("</body>", f"<script>{typed}</script></body>")
    path.write_text(page, encoding="utf-8")
    text = after_scripts(path, tmp_path)
    assert "1 of 6 shown" in text
    assert text.count("hidden=") == 5
