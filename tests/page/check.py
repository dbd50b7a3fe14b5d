"""Checks the page of a running ingestor in a real browser, for scripts/check_page.

    check.py small ADDRESS STAGING PICTURES CHROMIUM AXE     what is shown equals what is so; hostile names; accessibility
    check.py many ADDRESS PID PICTURES CHROMIUM              100,000 files wait; then the ingestor is killed
    check.py picture ADDRESS PICTURES CHROMIUM               a picture for the documents

An exception, and exit code 1, if a check fails.
"""

import json
import os
import re
import signal
import sys
import tempfile
import time
import urllib.request

from browser import Browser

WAIT_SECONDS = 30
DANGEROUS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
HOSTILE = [
    b"<img src=x onerror=window.broken=1>.csv",
    b"\"><script>window.broken=1<&#47;script>.csv",
    b"'quotes' and \\ and &amp;.csv",
    "bidi \u202egnp.csv\u2066.csv".encode(),
    b"a line\nand \x1b[31ma colour.csv",
    b"not utf-8 \xff\xfe.csv",
    b" blanks   at  both ends .csv ",
    b"__proto__",
    b"long-" + b"n" * 246 + b".csv",
]


def visible(text):
    """What the page shows for a name: as the program does in text."""
    if not DANGEROUS.search(text) and '"' not in text:
        return text
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
    escape = lambda c: escapes.get(c) or (f"\\u{ord(c):04x}" if DANGEROUS.match(c) else c)
    return '"' + "".join(map(escape, text)) + '"'


def get(address, path):
    with urllib.request.urlopen(f"http://{address}{path}", timeout=WAIT_SECONDS) as answer:
        return json.load(answer)


def until(what, condition):
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)


def equal(what, found, expected):
    assert found == expected, f"{what}: {found!r}, expected {expected!r}"


def stage(staging, name, content):
    """A file that is there as a whole."""
    hidden = os.path.join(os.fsencode(staging), b".new")
    with open(hidden, "wb") as file:
        file.write(content)
    os.rename(hidden, os.path.join(os.fsencode(staging), name))


# The rows of a table: for each cell its text, without the notes.
ROWS = """((table) => [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) =>
    [...cell.children].filter((part) => part.className !== "note").map((part) => part.textContent).join(" "))))"""


def rows(tab, table):
    return tab.eval(f"{ROWS}({table})")


def table_of(kind):
    return f"document.getElementById('{kind}-title').closest('section').querySelector('table')"


def is_clean(tab, address):
    equal("complaints of the browser", tab.complaints(), [])
    equal("blocked by the policy", tab.eval("window.blocked"), [])
    elsewhere = [url for url in tab.requests() if not url.startswith(f"http://{address}/") and url != "about:blank"]
    equal("requests elsewhere", elsewhere, [])


def opened(browser, address, watched=True):
    tab = browser.tab()
    if watched:
        note = "window.blocked = []; addEventListener('securitypolicyviolation', (e) => blocked.push(e.blockedURI + e.violatedDirective))"
        tab.send("Page.addScriptToEvaluateOnNewDocument", {"source": note})
    else:
        tab.send("Page.setBypassCSP", {"enabled": True})
    tab.size(1200, 900)
    tab.open(f"http://{address}/")
    tab.wait("document.getElementById('state').textContent.startsWith('Running')", "the state")
    return tab


def shown_equals_what_is_so(tab, address):
    waiting = rows(tab, "document.getElementById('waiting-table')")
    names = sorted(row[0] for row in waiting)
    expected = [visible(name.decode("utf-8", "replace")) for name in [*HOSTILE, b"open.csv"]]
    equal("what waits", names, sorted(expected))
    for name, why, _ in waiting:
        equal(f"why {name} waits", why, "WAITING open for writing" if name == "open.csv" else "WAITING larger than --max-size")
    for kind, expected in [
        ("ingested", ["a.csv", "b.csv"]),
        ("duplicates", ["again.csv"]),
        ("quarantined", ["bad.csv"]),
        ("failures", [visible(name.decode("utf-8", "replace")) for name in HOSTILE]),
    ]:
        equal(kind, sorted(row[0] for row in rows(tab, table_of(kind))), sorted(expected))
    equal("the duplicate", rows(tab, table_of("duplicates"))[0][1].rsplit("/", 1)[1], "a.csv")
    assert rows(tab, table_of("quarantined"))[0][1].startswith("malformed "), "the quarantine's reason"
    status = get(address, "/api/v1/status")
    figures = tab.eval("Object.fromEntries([...document.querySelectorAll('#figures div')].map((d) => [d.firstChild.textContent, d.querySelector('span').textContent]))")
    told = {"Ingested": 2, "Duplicates": 1, "Failures": len(HOSTILE) + 1, "Quarantined": 1, "Held": len(HOSTILE) + 1}
    equal("figures", {key: figures[key] for key in told}, {key: str(value) for key, value in told.items()})
    label = tab.eval("document.getElementById('files-chart').getAttribute('aria-label')")
    assert "2 files in all" in label, label
    equal("bars", tab.eval("document.querySelectorAll('#files-chart rect').length"), len(status["minutes"]))
    equal("a table of the minutes", tab.eval("document.getElementById('hour').tBodies[0].rows.length"), len(status["minutes"]))
    disk = tab.eval("document.getElementById('disk').textContent")
    assert "Free for input" in disk and "Journal" in disk and "–" not in disk.split("Last scan")[0], disk
    assert tab.eval("document.getElementById('consumers').hidden"), "consumers are shown, and there are none"
    assert status["version"] in tab.eval("document.getElementById('about').textContent")


def names_do_nothing(tab):
    equal("a name ran", tab.eval("window.broken"), None)
    equal("elements made of names", tab.eval("document.querySelectorAll('img, iframe, object').length + document.scripts.length"), 1)
    shown = tab.eval("[...document.querySelectorAll('.name')].map((n) => n.textContent).join('')")
    assert not DANGEROUS.search(shown), "a character that reorders or controls text"
    assert tab.eval("document.body.textContent").count("not UTF-8") >= 1


def keyboard(tab, wanted):
    """Tab from the top: the ids that get the focus, each of them visibly."""
    tab.eval("document.activeElement.blur(); scrollTo(0, 0)")
    reached = []
    for _ in range(40):
        tab.key("Tab", 9)
        element = tab.eval("(e => [e.id || e.className || e.textContent, e.tagName, getComputedStyle(e).outlineStyle])(document.activeElement)")
        if element[1] == "BODY":
            break
        assert element[2] != "none", f"no visible focus on {element}"
        reached.append(element[0])
    missing = [one for one in wanted if one not in reached]
    equal("not reached by Tab", missing, [])
    order = [reached.index(one) for one in wanted]
    equal("the order of Tab", order, sorted(order))


def refreshing_disturbs_nothing(tab, staging, address):
    tab.size(1200, 500)
    tab.eval("document.getElementById('name').focus()")
    tab.type("a")
    tab.wait(f"{table_of('ingested')}.tBodies[0].rows.length === 1", "the filter to apply to what was ingested")
    tab.wait("document.getElementById('range').textContent.includes('match')", "the filter to apply to what waits")
    tab.eval("document.getElementById('name').setSelectionRange(0, 1); scrollTo(0, 120)")
    before = tab.eval("[scrollY, document.activeElement.id, document.activeElement.selectionEnd]")
    equal("before", before, [120, "name", 1])
    stage(staging, b"later-a.csv", b"x,y\n1,2\n")
    tab.wait(f"{table_of('ingested')}.tBodies[0].rows.length === 2", "a refresh")
    equal("after a refresh", tab.eval("[scrollY, document.activeElement.id, document.activeElement.selectionEnd]"), before)
    tab.eval("document.getElementById('name').select()")
    tab.key("Backspace", 8)
    tab.wait(f"{table_of('ingested')}.tBodies[0].rows.length === 3", "the filter to go")
    hide = "Object.defineProperty(document, 'hidden', {{ value: {}, configurable: true }}); document.dispatchEvent(new Event('visibilitychange'))"
    tab.eval(hide.format("true"))
    time.sleep(0.5)
    count = len(tab.requests())
    time.sleep(3.5)
    equal("requests of a page that is hidden", len(tab.requests()) - count, 0)
    tab.eval(hide.format("false"))
    until("requests of a page that is shown again", lambda: len(tab.requests()) > count)


def pictures(tab, directory, name):
    for width, what in [(1200, "desktop"), (360, "phone")]:
        tab.size(width, 900)
        for scheme in ("light", "dark"):
            tab.scheme(scheme)
            tab.picture(f"{directory}/{name}-{what}-{scheme}.png")
        wide = tab.eval("document.documentElement.scrollWidth")
        assert wide <= width, f"{what}: {wide} px wide"
    tab.scheme("light")


def accessible(browser, address, axe):
    tab = opened(browser, address, watched=False)
    with open(axe, encoding="utf-8") as source:
        tab.eval(source.read() + "; null")
    for width in (1200, 360):
        tab.size(width, 900)
        for scheme in ("light", "dark"):
            tab.scheme(scheme)
            found = tab.eval("axe.run().then((r) => r.violations.map((v) => v.id + ': ' + v.nodes.map((n) => n.target + ' ' + n.failureSummary).slice(0, 3)))")
            equal(f"axe-core, {width} px, {scheme}", found, [])


def without_scripts(browser, address):
    tab = browser.tab()
    tab.send("Emulation.setScriptExecutionDisabled", {"value": True})
    tab.send("Page.navigate", {"url": f"http://{address}/"})
    until("a page without scripts", lambda: "api/v1/recent" in tab.eval("document.querySelector('noscript')?.innerHTML || ''"))


def small(address, staging, directory, chromium, axe):
    stage(staging, b"a.csv", b"a,b\n1,2\n")
    until("a.csv", lambda: get(address, "/api/v1/status")["files"] == 1)
    for name, content in [(b"b.csv", b"a,b\n3,4\n"), (b"again.csv", b"a,b\n1,2\n"), (b"bad.csv", b"a,b\n1,2,3\n")]:
        stage(staging, name, content)
    writer = open(os.path.join(staging, "open.csv"), "wb")
    writer.write(b"a,b\n")
    writer.flush()
    for name in HOSTILE:
        stage(staging, name, b"x" * 2000)

    def is_so():
        events = get(address, "/api/v1/recent")
        counts = {kind: len(events[kind]) for kind in events}
        held = get(address, "/api/v1/status")["stages"]["held"]
        return held == len(HOSTILE) + 1 and counts == {"ingested": 2, "duplicates": 1, "failures": len(HOSTILE), "quarantined": 1}

    until("the files to be where they belong", is_so)
    with tempfile.TemporaryDirectory() as profile, open(f"{directory}/chromium.log", "wb") as log:
        browser = Browser(chromium, profile, log)
        try:
            tab = opened(browser, address)
            tab.wait(f"document.getElementById('waiting-table').tBodies[0].rows.length === {len(HOSTILE) + 1}", "what waits")
            shown_equals_what_is_so(tab, address)
            names_do_nothing(tab)
            keyboard(tab, ["skip", "name", "The same as a table", "Status"])
            pictures(tab, directory, "small")
            refreshing_disturbs_nothing(tab, staging, address)
            is_clean(tab, address)
            if axe:
                accessible(browser, address, axe)
            without_scripts(browser, address)
        finally:
            browser.end()
    writer.close()


def many(address, pid, directory, chromium):
    until("100,000 files", lambda: get(address, "/api/v1/waiting?limit=1")["known"] == 100_000)
    with tempfile.TemporaryDirectory() as profile, open(f"{directory}/chromium.log", "ab") as log:
        browser = Browser(chromium, profile, log)
        try:
            tab = opened(browser, address)
            tab.wait("document.getElementById('waiting-table').tBodies[0].rows.length === 50", "the first page")
            first = rows(tab, "document.getElementById('waiting-table')")
            # It came before the others.
            equal("the first row", first[0][:2], ["the-oldest.csv", "WAITING not stable yet"])
            equal("the range", tab.eval("document.getElementById('range').textContent"), "1 to 50 of 100,000")
            keyboard(tab, ["name", "first", "previous", "next"])
            tab.eval("document.getElementById('next').focus()")
            tab.key("Enter", 13, text="\r")
            tab.wait("document.getElementById('range').textContent === '51 to 100 of 100,000'", "the second page")
            equal("the focus", tab.eval("document.activeElement.id"), "next")
            equal("said aloud", tab.eval("document.getElementById('spoken').textContent"), "51 to 100 of 100,000")
            second = rows(tab, "document.getElementById('waiting-table')")
            equal("files on both pages", {row[0] for row in first} & {row[0] for row in second}, set())
            tab.eval("document.getElementById('name').focus()")
            tab.type("FILE-099999")
            tab.wait("document.getElementById('waiting-table').tBodies[0].rows.length === 1", "the one that matches")
            equal("the match", rows(tab, "document.getElementById('waiting-table')")[0][0], "file-099999.csv")
            tab.eval("document.getElementById('name').select()")
            tab.key("Backspace", 8)
            tab.wait("document.getElementById('waiting-table').tBodies[0].rows.length === 50", "all of them again")
            pictures(tab, directory, "many")
            is_clean(tab, address)
            os.kill(pid, signal.SIGKILL)
            tab.wait("document.getElementById('alert').textContent.includes('has not answered since')", "a word about the end")
            assert "What is shown is from" in tab.eval("document.getElementById('alert').textContent")
            tab.picture(f"{directory}/killed.png")
        finally:
            browser.end()


def picture(address, directory, chromium):
    with tempfile.TemporaryDirectory() as profile, open(f"{directory}/chromium.log", "ab") as log:
        browser = Browser(chromium, profile, log)
        try:
            tab = opened(browser, address)
            # The rate now is known after the second refresh.
            time.sleep(7)
            tab.picture(f"{directory}/picture.png", whole=False)
        finally:
            browser.end()


if __name__ == "__main__":
    what, arguments = sys.argv[1], sys.argv[2:]
    if what == "small":
        small(*arguments)
    elif what == "many":
        many(arguments[0], int(arguments[1]), *arguments[2:])
    else:
        picture(*arguments)
