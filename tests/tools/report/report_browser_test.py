#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""report_browser_test.py REPORT_PAGE: opens pages of profile_html in headless Chromium and uses them.

REPORT_PAGE is the program of make_page.cpp. With DECANT_SCREENSHOTS=FOLDER pictures of the pages are left there. Ends
with 77, which CTest counts as skipped, where Chromium, its driver or Selenium are missing.
"""

import base64
import copy
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

SKIPPED = 77
os.environ["no_proxy"] = "localhost,127.0.0.1"  # the driver listens here


def missing(what):
    print(f"skipped: {what} is missing (Debian: chromium, chromium-driver, python3-selenium)")
    sys.exit(SKIPPED)


try:
    from selenium import webdriver
    from selenium.common.exceptions import NoAlertPresentException, WebDriverException
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
except ImportError:
    missing("Selenium for Python")

import sample

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
PROGRAM = sys.argv[1] if len(sys.argv) > 1 else ""


def fixed(value, digits):
    return f"{value:,.{digits}f}".replace("-", "−")


def words(text):
    """Text as people read it: units stand behind spaces that don't break."""
    return " ".join(text.replace("\u00a0", " ").split())


class Page:
    folder = None
    driver = None

    @classmethod
    def start(cls, folder):
        cls.folder = pathlib.Path(folder)
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                         "--no-first-run", f"--user-data-dir={folder}/browser"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        try:
            cls.driver = webdriver.Chrome(service=Service(DRIVER), options=options)
        except WebDriverException as error:  # no localhost, no sandbox, no memory: nothing that decant could do wrong
            print(f"skipped: the browser doesn't start here: {error}")
            sys.exit(SKIPPED)

    @classmethod
    def make(cls, name, *documents):
        files = []
        for i, document in enumerate(documents):
            files.append(cls.folder / f"{name}-{i}.json")
            files[-1].write_text(json.dumps(document), encoding="utf-8")
        page = subprocess.run([PROGRAM, *files], stdout=subprocess.PIPE, check=True).stdout
        path = cls.folder / f"{name}.html"
        path.write_bytes(page)
        return path

    @classmethod
    def show(cls, path, width=1280, dark=False):
        cls.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False})
        cls.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
            "features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})
        cls.driver.get(path.as_uri())

    @classmethod
    def shoot(cls, name):
        target = os.environ.get("DECANT_SCREENSHOTS")
        if not target:
            return
        os.makedirs(target, exist_ok=True)
        size = cls.js("const e = document.documentElement; return [e.clientWidth, e.scrollHeight]")
        shot = cls.driver.execute_cdp_cmd("Page.captureScreenshot", {
            "captureBeyondViewport": True, "clip": {"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1}})
        pathlib.Path(target, f"{name}.png").write_bytes(base64.b64decode(shot["data"]))

    @classmethod
    def js(cls, script, *arguments):
        return cls.driver.execute_script(script, *arguments)


class ReportTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.report = sample.report()
        cls.single = Page.make("single", cls.report)
        cls.faster = sample.report(seed=2, pace=0.94, depths=(0, 1024, 8192))
        cls.comparison = sample.compare(cls.report, cls.faster)
        cls.compared = Page.make("compared", cls.report, cls.faster, cls.comparison)

    def setUp(self):
        Page.show(self.single)

    def tearDown(self):
        self.assertEqual([entry["message"] for entry in Page.driver.get_log("browser")], [], "the console is silent")

    def one(self, selector):
        found = Page.driver.find_elements(By.CSS_SELECTOR, selector)
        self.assertTrue(found, f"nothing matches {selector}")
        return found[0]

    def count(self, selector):
        return len(Page.driver.find_elements(By.CSS_SELECTOR, selector))

    def text(self, selector):
        return words(self.one(selector).get_attribute("textContent"))

    def tip(self):
        return words(self.one("#tip").text)

    def rows(self, table):
        """The cells of a table, which is opened if it's in details."""
        Page.js("for (const node of document.querySelectorAll('details')) node.open = true")
        self.one(f"#{table}")
        return [[words(cell) for cell in row] for row in Page.js(
            "return [...document.getElementById(arguments[0]).rows].map((row) => [...row.cells].map((cell) => cell.textContent))", table)]

    def hover(self, element, dx=0, dy=0):
        Page.js("arguments[0].scrollIntoView({block: 'center'})", element)
        ActionChains(Page.driver, duration=20).move_to_element_with_offset(element, dx, dy).perform()

    def focus(self, chart):
        plot = self.one(f"#{chart} .plot")
        Page.js("arguments[0].scrollIntoView({block: 'center'}); arguments[0].focus({focusVisible: true})", plot)
        return plot

    def choose(self, field, value):
        Page.js("arguments[0].click()", self.one(f"input[name={field}][value='{value}']"))

    def run_of(self, threads, depth, report=None):
        return next(run for run in (report or self.report)["runs"] if (run["threads"], run["depth"]) == (threads, depth))

    def test_sample_data_follows_the_schema(self):
        try:
            import jsonschema
        except ImportError:
            self.skipTest("jsonschema for Python is missing (Debian: python3-jsonschema)")
        schema = pathlib.Path(__file__).parents[3] / "tools" / "profile.schema.json"
        jsonschema.validate(self.report, json.loads(schema.read_text(encoding="utf-8")))

    def test_every_chart_is_there_and_says_what_it_shows(self):
        for chart in ("latency", "distribution", "layers-a", "contexts", "timeline", "memory", "first-token", "load"):
            with self.subTest(chart):
                drawing = self.one(f"#{chart} svg")
                self.assertEqual(drawing.get_attribute("role"), "img")
                self.assertGreater(len(drawing.get_attribute("aria-label")), 30)
                self.assertGreater(drawing.size["height"], 40)
                self.assertGreater(self.count(f"#{chart} svg path, #{chart} svg rect"), 2)
                self.assertEqual(self.count(f"#{chart} [tabindex='0']:not(.scroll)"), 1, "one tab stop")
        summary = words(self.one("#latency svg").get_attribute("aria-label"))
        self.assertIn(f"the median is {self.run_of(1, 0)['token']['ms_p50']:.2f} ms", summary)

    def test_memory_and_median_lines_stand_where_their_figures_say(self):
        run = self.run_of(1, 0)
        memory = run["token"]["bytes"] / run["bandwidth_gb_per_s"] / 1e6
        self.assertIn(f"memory alone {memory:.2f} ms", self.text("#latency .legend"))
        y = {name: float(self.one(f"#latency line.{name}").get_attribute("y1")) for name in ("memory", "median", "base")}
        shares = (y["base"] - y["memory"]) / (y["base"] - y["median"])
        self.assertAlmostEqual(shares, memory / run["token"]["ms_p50"], delta=0.01)
        self.assertEqual(self.count("#contexts path.line.memory"), 2, "one for each count of threads")
        self.assertEqual(self.count("#contexts path.point"), len(self.report["runs"]))
        self.assertEqual(self.count("#contexts path.point.chosen"), 1)

    def test_axes_have_round_ticks_and_units(self):
        for chart in ("latency", "distribution", "layers-a", "contexts", "timeline"):
            labels = Page.js("return [...document.querySelectorAll(arguments[0])].map((t) => t.textContent)", f"#{chart} .axis text")
            self.assertTrue(any(word in " ".join(labels) for word in ("milliseconds", "microseconds")), labels)
            numbers = [float(label.replace(",", "")) for label in labels if label.replace(",", "").replace(".", "").isdigit()]
            self.assertGreater(len(numbers), 3)
            for number in numbers:
                self.assertLessEqual(len(f"{number:.10g}".replace(".", "").strip("0")), 3, f"{number} is no round tick")

    def test_head_and_verdict_are_text(self):
        self.assertEqual(self.text("h1"), self.report["model"]["name"])
        self.assertIn(words(self.report["verdict"][0]), self.text(".head .verdict"))
        self.assertIn(self.report["machine"]["cpu"], self.text(".facts"))
        self.assertIn("L1 32 KiB, L2 1 MiB, L3 32 MiB", self.text(".facts"))
        self.assertIn(words(self.run_of(1, 0)["verdict"]["text"][1]), self.text("#run > .verdict"))
        self.assertIn(words(self.run_of(1, 0)["slowest"][2]["reason"]), self.text(".slowest"))

    def test_hovering_shows_the_figures_of_a_mark(self):
        run = self.run_of(1, 0)
        slow = run["slowest"][0]
        self.hover(self.one("#latency path.slow"))
        self.assertIn(f"round {slow['round']}, token {slow['token']}", self.tip())
        self.assertIn(f"{slow['ms']:.3f} ms", self.tip())
        self.assertIn(slow["reason"], self.tip())
        self.assertIn(slow["reason"], self.text("#live"))
        ops = run["layers"]["ops"]
        self.hover(Page.driver.find_elements(By.CSS_SELECTOR, "#layers-a rect.segment")[3 * len(ops) + ops.index("ffn_up")])
        self.assertIn("layer 3, ffn_up", self.tip())
        self.assertIn(f"{run['layers']['ns'][3][ops.index('ffn_up')] / 1000:.1f} µs", self.tip())
        bins = Page.js("return [...document.querySelectorAll('#distribution rect.bin')].map((r) => r.height.baseVal.value)")
        self.hover(Page.driver.find_elements(By.CSS_SELECTOR, "#distribution rect.bin")[bins.index(max(bins))])
        low, high = (float(word) for word in self.tip().split(" ms")[0].split(" to "))
        self.assertIn(f"tokens {sum(low <= ms < high for ms in run['itl_ms'])} (", self.tip().replace("\n", " "))
        self.hover(self.one("h1"))
        self.assertFalse(self.one("#tip").is_displayed(), "the tooltip goes with the pointer")

    def test_arrow_keys_walk_through_the_marks(self):
        run = self.run_of(1, 0)
        plot = self.focus("latency")
        self.assertIn(f"{run['itl_ms'][0]:.3f} ms", self.tip())
        plot.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
        self.assertIn("round 0, token 2", self.tip())
        self.assertIn(f"{run['itl_ms'][2]:.3f} ms", self.tip())
        plot.send_keys(Keys.ARROW_LEFT)
        self.assertIn("round 0, token 1", self.tip())
        self.assertIn(f"{run['itl_ms'][1]:.3f} ms", self.text("#live"))
        plot.send_keys(Keys.END)
        self.assertIn(f"{run['itl_ms'][-1]:.3f} ms", self.tip())
        plot.send_keys(Keys.HOME, Keys.ARROW_DOWN)
        first = min(slow["round"] * 64 + slow["token"] for slow in run["slowest"])
        self.assertIn(f"round {first // 64}, token {first % 64}", self.tip())
        plot.send_keys(Keys.ESCAPE)
        self.assertFalse(self.one("#tip").is_displayed())
        self.assertTrue(Page.js("return document.activeElement === arguments[0]", plot), "Escape keeps the focus")
        ops = run["layers"]["ops"]
        self.focus("layers-a").send_keys(Keys.ARROW_RIGHT, Keys.ARROW_UP)
        self.assertIn(f"layer 1, {ops[1]}", self.tip())
        self.assertIn(f"{run['layers']['ns'][1][1] / 1000:.1f} µs", self.tip())
        self.focus("contexts").send_keys(Keys.ARROW_DOWN)
        self.assertIn(f"{self.run_of(2, 0)['token']['ms_p50']:.3f} ms", self.tip())
        self.focus("memory")
        self.assertIn("weights", self.tip())
        self.assertIn("24.1 MB", self.tip())

    def test_focus_is_visible(self):
        self.focus("latency")
        self.assertEqual(Page.js("return getComputedStyle(document.activeElement).outlineStyle"), "solid")

    def test_theme(self):
        colours = "return [getComputedStyle(document.documentElement).backgroundColor, getComputedStyle(document.querySelector('#latency path.line')).stroke, getComputedStyle(document.body).color]"
        light = Page.js(colours)
        button = self.one("#theme")
        self.assertEqual(button.get_attribute("aria-pressed"), "false")
        button.click()
        self.assertEqual(button.get_attribute("aria-pressed"), "true")
        dark = Page.js(colours)
        for before, after in zip(light, dark):
            self.assertNotEqual(before, after)
        button.click()
        self.assertEqual(Page.js(colours), light)
        Page.show(self.single, dark=True)
        self.assertEqual(Page.js(colours), dark, "the system's choice is the first")
        self.assertEqual(self.one("#theme").get_attribute("aria-pressed"), "true")

    def test_text_has_contrast(self):
        for dark in (False, True):
            Page.show(self.compared, dark=dark)
            for selector in (".lede", ".note", ".facts dt", "caption", ".words .how", ".words .what", "svg .axis text", ".letter.a", ".letter.b"):
                with self.subTest(selector, dark=dark):
                    self.assertGreaterEqual(self.contrast(selector), 4.5)
        for dark in (False, True):
            Page.show(self.single, dark=dark)
            self.assertGreaterEqual(self.contrast("#timeline .span-text"), 4.5)

    def contrast(self, selector):
        self.one(selector)
        return Page.js("""
            const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
            const luminance = (colour) => {
              canvas.fillStyle = colour;
              canvas.fillRect(0, 0, 1, 1);
              const linear = [...canvas.getImageData(0, 0, 1, 1).data].map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
              return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
            };
            const grounds = (node) => node.matches('.span-text') ? [...document.querySelectorAll('.span')].filter((s) => !s.matches('.wait')).map((s) => getComputedStyle(s).fill)
                                                                 : [getComputedStyle(document.documentElement).backgroundColor];
            let least = 21;
            for (const node of document.querySelectorAll(arguments[0])) {
              const style = getComputedStyle(node);
              const ink = luminance(node instanceof SVGElement ? style.fill : style.color);
              for (const colour of new Set(grounds(node))) {
                const ground = luminance(colour);
                least = Math.min(least, (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05));
              }
            }
            return least""", selector)

    def test_chooser_changes_charts_and_tables(self):
        before = self.one("#latency path.line").get_attribute("d")
        self.choose("threads", 2)
        self.choose("depth", 4096)
        run = self.run_of(2, 4096)
        self.assertNotEqual(self.one("#latency path.line").get_attribute("d"), before)
        self.assertIn(f"{run['token']['ms_p50']:.2f} ms", self.text(".tiles"))
        self.assertIn(f"{run['token']['ms_p50']:.2f} ms", words(self.one("#latency svg").get_attribute("aria-label")))
        self.assertEqual(self.rows("operations-table")[-1][1], fixed(run["token"]["ms_typical"], 4))
        self.assertEqual(self.rows("latency-table-a")[1][-1], fixed(run["itl_ms"][0], 3))
        self.assertEqual(len(self.rows("workers-table-a")), 1 + 2)

    def test_operations_add_up_to_the_typical_token(self):
        for run in self.report["runs"]:
            self.choose("threads", run["threads"])
            self.choose("depth", run["depth"])
            rows = self.rows("operations-table")
            total = rows[-1]
            self.assertEqual(total[0], "total")
            self.assertEqual(total[1], fixed(run["token"]["ms_typical"], 4))
            self.assertEqual(total[2], "100.0 %")
            rate = sum(op["bytes"] for op in run["ops"]) / run["token"]["ms_typical"] / 1e6
            self.assertEqual(total[4:], [fixed(rate, 1), f"{100 * rate / run['bandwidth_gb_per_s']:.0f} %"])
            parts = [row for row in rows if row[0] in {**sample.WEIGHT, **sample.OTHER}]
            self.assertEqual(len(parts), len(run["ops"]) + len(run["other"]))
            self.assertAlmostEqual(sum(float(row[1]) for row in parts), run["token"]["ms_typical"], delta=0.0001 * len(parts))
            qkv = next(op for op in run["ops"] if op["name"] == "qkv")
            self.assertIn(["qkv", fixed(qkv["ns"] / 1e6, 4), f"{100 * qkv['share']:.1f} %", "6.50 MB", fixed(qkv["gb_per_s"], 1),
                           f"{100 * qkv['bandwidth_share']:.0f} %"], rows)

    def test_a_total_that_does_not_add_up_shows(self):
        report = copy.deepcopy(self.report)
        report["runs"][0]["ops"] = report["runs"][0]["ops"][:-1]
        Page.show(Page.make("short", report))
        head = self.run_of(1, 0)["ops"][-1]
        self.assertEqual(self.rows("operations-table")[-1][2], f"{100 * (1 - head['share']):.1f} %")

    def test_tables_hold_the_data(self):
        run = self.run_of(1, 0)
        latency = self.rows("latency-table-a")
        self.assertEqual([row[-1] for row in latency[1:]], [fixed(ms, 3) for ms in run["itl_ms"]])
        bins = self.rows("distribution-table")[1:]
        self.assertGreater(len(bins), 5)
        for row in bins[:-1]:
            low, high = (float(word) for word in row[0].split(" ms")[0].split(" to "))
            self.assertEqual(int(row[1]), sum(low <= ms < high for ms in run["itl_ms"]))
        self.assertEqual(sum(int(row[1]) for row in bins), len(run["itl_ms"]))
        layers = self.rows("layers-table-a")
        self.assertEqual(layers[1][1:-1], [fixed(ns / 1000, 1) for ns in run["layers"]["ns"][0]])
        runs = self.rows("runs-table")
        self.assertEqual([row[1] for row in runs[1:]], [fixed(one["token"]["ms_p50"], 3) for one in self.report["runs"]])
        spans = self.rows("timeline-table")
        self.assertEqual(spans[2][3:5], [fixed(run["timeline"]["lanes"][0]["spans"][1][key], 1) for key in ("start_us", "us")])
        memory = {row[0]: row[1] for row in self.rows("memory-table")[1:]}
        self.assertEqual(memory, {part["owner"]: fixed(part["bytes"], 0) for part in self.report["memory"]})
        self.assertEqual(self.rows("first-token-table")[1][1], fixed(run["ttft"]["ms_p50"], 3))
        self.assertEqual(self.rows("load-table")[1][1], "212.000")
        prompt = self.rows("prefill-table")
        self.assertEqual(prompt[-1][1], fixed(sum(part["ns"] for part in run["prefill"]["ops"] + run["prefill"]["other"]) / 1e6, 4))
        events = {row[0]: row[1] for row in self.rows("events-table")[1:]}
        self.assertEqual(events["page faults"], "0.21")
        self.assertIn("perf_event_paranoid is 4", self.text("#events-section"))
        self.assertEqual(self.count("table:not(:has(caption))"), 0)
        self.assertEqual(self.count("th:not([scope])"), 0)

    def test_timeline_zooms(self):
        self.choose("threads", 2)
        window = "#timeline .window"
        self.assertEqual(self.text(window), "the whole token")
        plot = self.focus("timeline")
        plot.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, "+", "+")
        span = self.run_of(2, 0)["timeline"]["lanes"][0]["spans"][2]
        self.assertIn(f"{span['name']}, layer {span['layer']}", self.tip())
        self.assertIn(f"{span['us']:.1f} µs", self.tip())
        end = max(s["start_us"] + s["us"] for s in self.run_of(2, 0)["timeline"]["lanes"][0]["spans"])
        low, high = (float(part.replace(",", "")) for part in self.text(window).split(" of ")[0].split(" to "))
        self.assertAlmostEqual(high - low, end / 4, delta=0.2)
        plot.send_keys(Keys.ARROW_DOWN)
        self.assertIn("thread 1", self.tip())
        plot.send_keys("0")
        self.assertEqual(self.text(window), "the whole token")
        ActionChains(Page.driver, duration=20).move_to_element_with_offset(plot, -200, -20).click_and_hold().move_by_offset(150, 0).release().perform()
        self.assertIn(" of ", self.text(window))
        Page.js("arguments[0].click()", self.one("#zoom-all"))
        self.assertEqual(self.text(window), "the whole token")
        Page.js("arguments[0].dispatchEvent(new WheelEvent('wheel', {deltaY: -240, clientX: 640, cancelable: true, bubbles: true}))", plot)
        self.assertIn(" of ", self.text(window), "the wheel zooms a chart that has the focus")
        self.assertGreater(self.count("#timeline .span.wait"), 0)

    def test_comparison(self):
        Page.show(self.compared)
        for chart, marks in (("latency", "path.line"), ("distribution", "rect.bin"), ("distribution", "path.curve"), ("contexts", "path.thick")):
            for tone in "ab":
                self.assertGreater(self.count(f"#{chart} {marks}.{tone}"), 0, (chart, tone))
        self.assertGreater(self.count("#layers-b rect.segment"), 100)
        median = self.comparison["runs"][0]["figures"][0]
        faster = [f"{100 * (1 - median[key]):.1f}" for key in ("ratio", "high", "low")]
        said = f"faster by {faster[0]} % ({faster[1]} to {faster[2]})"
        self.assertTrue(median["differs"])
        self.assertIn(f"median latency B is {said}", self.text("#words"))
        table = self.rows("comparison-table")
        self.assertIn(["median latency, ms", fixed(median["a"], 3), fixed(median["b"], 3), fixed(median["ratio"], 3),
                       f"{fixed(median['low'], 3)} to {fixed(median['high'], 3)}", said], table)
        p99 = self.comparison["runs"][0]["figures"][1]
        self.assertFalse(p99["differs"])
        self.assertIn("p99 of latency no difference beyond the noise", self.text("#words"))
        rate = self.comparison["runs"][0]["figures"][3]
        self.assertIn(f"tokens a second B is faster by {100 * (rate['ratio'] - 1):.1f} %", self.text("#words"))
        ops = self.rows("operations-table")
        a, b = (self.run_of(1, 0, report)["ops"][3]["ns"] / 1e6 for report in (self.report, self.faster))
        self.assertEqual(ops[1 + 1 + 3][:5], ["qkv", fixed(a, 4), fixed(b, 4), fixed(b - a, 4), fixed(b / a, 3)])
        self.assertEqual(ops[-1][2], fixed(self.run_of(1, 0, self.faster)["token"]["ms_typical"], 4))
        self.assertIn("Only B has 1 thread, after 8,192 tokens", self.text("#comparison-section"))
        self.assertIn("The kernels differ: avx512 and avx2", self.text("#comparison-section"))
        plot = self.focus("latency")
        plot.send_keys(Keys.HOME)
        for report in (self.report, self.faster):
            self.assertIn(f"{self.run_of(1, 0, report)['itl_ms'][0]:.3f} ms", self.tip())
        self.choose("depth", 8192)
        self.assertIn("Only B has this run.", self.text("#run"))
        self.assertEqual(self.count("#latency path.line.a"), 0)

    def test_slower_is_said_too(self):
        Page.show(Page.make("slower", self.faster, self.report, sample.compare(self.faster, self.report)))
        self.assertIn("median latency B is slower by", self.text("#words"))

    def test_hostile_text_is_inert(self):
        report = sample.hostile(self.report)
        path = Page.make("hostile", report, report, sample.hostile(self.comparison))
        self.assertEqual(path.read_bytes().count(b"</script"), 2, "of the data and of the page's own script")
        Page.show(path)
        with self.assertRaises(NoAlertPresentException):
            _ = Page.driver.switch_to.alert
        Page.js("for (const node of document.querySelectorAll('details')) node.open = true")
        for chart in ("latency", "layers-a", "timeline", "memory"):
            self.focus(chart)
        self.assertEqual(self.count("img, iframe, link, object, embed"), 0)
        self.assertEqual(self.count("script"), 2)
        self.assertIn(sample.HOSTILE, self.one("h1").get_attribute("textContent"))
        self.assertIn(sample.HOSTILE, self.one(".slowest").get_attribute("textContent"))
        self.assertIn(sample.HOSTILE, self.one("#memory-table").get_attribute("textContent"))
        self.assertIn(sample.HOSTILE, Page.driver.title)
        self.focus("memory")
        self.assertIn(sample.HOSTILE, self.one("#tip").get_attribute("textContent"))
        Page.show(path, width=400)
        self.assertLessEqual(Page.js("return document.documentElement.scrollWidth"), 400)

    def test_policy_stops_whatever_is_not_the_pages_own(self):
        Page.js("""const node = document.createElement('script');
                   node.textContent = 'window.broken = true';
                   document.body.append(node)""")
        self.assertIsNone(Page.js("return window.broken ?? null"))
        self.assertEqual(Page.driver.execute_async_script(
            "const done = arguments[0]; fetch('data:text/plain,x').then(() => done('fetched'), () => done('stopped'))"), "stopped")
        self.assertGreaterEqual(len(Page.driver.get_log("browser")), 2, "and says so")

    def test_nothing_is_fetched(self):
        for path in (self.single, self.compared):
            Page.show(path)
            self.assertEqual(Page.js("return performance.getEntriesByType('resource').map((entry) => entry.name)"), [])

    def test_narrow_pages_do_not_scroll_sideways(self):
        long = copy.deepcopy(self.report)
        long["model"]["path"] = long["model"]["name"] = "a" * 300
        for name, path in (("single", self.single), ("compared", self.compared), ("long", Page.make("wide", long))):
            with self.subTest(name):
                Page.show(path, width=400)
                self.assertLessEqual(Page.js("return document.documentElement.scrollWidth"), 400)
                Page.js("for (const node of document.querySelectorAll('details')) node.open = true")
                self.assertLessEqual(Page.js("return document.documentElement.scrollWidth"), 400)
        self.assertEqual(Page.js("return document.querySelectorAll('.scroll[tabindex]').length > 0"), True)

    def test_no_text_of_a_chart_is_cut(self):
        for path, width in ((self.single, 400), (self.single, 1280), (self.compared, 400), (self.compared, 700), (self.compared, 1280)):
            Page.show(path, width=width)
            self.check_texts(width)

    def check_texts(self, width):
        self.assertEqual(Page.js("""return [...document.querySelectorAll('svg')].flatMap((svg) => {
            const room = svg.getBoundingClientRect();
            return [...svg.querySelectorAll('text')].filter((text) => {
              const box = text.getBoundingClientRect();
              return box.left < room.left - 1 || box.right > room.right + 1 || box.top < room.top - 1 || box.bottom > room.bottom + 1;
            }).map((text) => text.textContent)})"""), [], f"at {width} pixels")

    def test_a_report_that_lacks_everything_is_shown(self):
        Page.show(Page.make("minimal", sample.minimal()))
        self.assertIn("5.00 ms", self.text(".tiles"))
        self.assertEqual(self.count("figure, section, fieldset"), 0)
        Page.show(Page.make("emptier", {"version": 1, "runs": []}))
        self.assertEqual(self.count("h1"), 1)
        for missing_part in ("token", "layers", "timeline", "itl_ms", "slowest", "histogram", "workers", "events", "verdict", "prefill", "ttft", "ops", "other"):
            with self.subTest(missing_part):
                report = sample.report(threads=(1,), depths=(0,), n_layers=4)
                report["runs"][0][missing_part] = None
                Page.show(Page.make("lacks", report, report, self.comparison))
                self.assertGreater(self.count("figure"), 3)

    def test_a_long_run_stays_quick_and_says_how_it_is_drawn(self):
        report = sample.report(threads=(2,), depths=(0,), n_tokens=2500, repeat=4)
        Page.show(Page.make("long", report))
        itl = report["runs"][0]["itl_ms"]
        self.assertIn("10,000 tokens: each column of pixels shows the least and the greatest", self.text("#latency .note"))
        self.assertLess(Page.js("return document.getElementsByTagName('*').length"), 6000)
        self.focus("latency").send_keys(Keys.HOME)
        first, last = (int(word.replace(",", "")) for word in (self.tip().split()[i] for i in (1, 3)))
        self.assertEqual(first, 0)
        self.assertGreater(last, 5)
        part = itl[first:last + 1]
        self.assertIn(f"{min(part):.3f} to {max(part):.3f} ms", self.tip())
        column = self.one("#latency path.range").get_attribute("d").split("M")[1]
        low, high = float(column.split(" ")[1].split("V")[0]) - 0.5, float(column.split("V")[1]) + 0.5
        base, median = (float(self.one(f"#latency line.{name}").get_attribute("y1")) for name in ("base", "median"))
        per_ms = (base - median) / report["runs"][0]["token"]["ms_p50"]
        self.assertAlmostEqual(base - low, per_ms * min(part), delta=1)
        self.assertAlmostEqual(base - high, per_ms * max(part), delta=1)
        rows = self.rows("latency-table-a")
        self.assertEqual(sum(int(row[1]) for row in rows[1:]), 10000)
        self.assertEqual(max(float(row[-1]) for row in rows[1:]), round(max(itl), 3))
        self.assertEqual(self.count("fieldset"), 0, "one run needs no chooser")

    def test_screenshots(self):
        if not os.environ.get("DECANT_SCREENSHOTS"):
            self.skipTest("DECANT_SCREENSHOTS names no folder")
        for name, path in (("single", self.single), ("compared", self.compared)):
            for width in (1280, 400):
                for dark in (False, True):
                    Page.show(path, width, dark)
                    Page.shoot(f"{name}-{width}-{'dark' if dark else 'light'}")


def main():
    if not CHROMIUM:
        missing("Chromium")
    if not DRIVER:
        missing("Chromium's driver")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Page.start(folder)
        try:
            result = unittest.main(argv=[sys.argv[0], *sys.argv[2:]], exit=False, verbosity=1).result
        finally:
            Page.driver.quit()
    return 0 if result.wasSuccessful() and result.testsRun > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
