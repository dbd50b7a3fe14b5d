"""A headless Chromium, driven through its own protocol (CDP) over a pipe: nothing but Python is needed for it."""

import base64
import json
import os
import queue
import subprocess
import threading
import time

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--lang=en",
    "--force-device-scale-factor=1", "--remote-debugging-pipe",
]
ANSWER_SECONDS = 30


class Browser:
    """The process. It has a profile of its own, in an empty directory."""

    def __init__(self, program, profile, log):
        to_browser, self.out = os.pipe()
        self.incoming, from_browser = os.pipe()

        def place():
            # The protocol is on these two.
            os.dup2(to_browser, 3)
            os.dup2(from_browser, 4)

        arguments = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, close_fds=False, preexec_fn=place)
        os.close(to_browser)
        os.close(from_browser)
        self.number, self.answers, self.tabs = 0, {}, {}
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        pending = b""
        while piece := os.read(self.incoming, 1 << 20):
            pending += piece
            *messages, pending = pending.split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    self.answers[message["id"]].put(message)
                elif message.get("sessionId") in self.tabs:
                    self.tabs[message["sessionId"]].events.append(message)

    def send(self, method, params=None, session=None):
        self.number += 1
        answer = self.answers[self.number] = queue.Queue()
        message = {"id": self.number, "method": method, "params": params or {}}
        if session:
            message["sessionId"] = session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        message = answer.get(timeout=ANSWER_SECONDS)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']}")
        return message["result"]

    def tab(self):
        target = self.send("Target.createTarget", {"url": "about:blank"})["targetId"]
        return Tab(self, self.send("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"])

    def end(self):
        try:
            self.send("Browser.close")
        except (OSError, RuntimeError, queue.Empty):
            self.process.kill()
        self.process.wait(timeout=ANSWER_SECONDS)


class Tab:
    """A page, and what happened in it."""

    def __init__(self, browser, session):
        self.browser, self.session, self.events = browser, session, []
        browser.tabs[session] = self
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method, params=None):
        return self.browser.send(method, params, self.session)

    def open(self, url):
        self.send("Page.navigate", {"url": url})
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'", "the page to load")

    def eval(self, code):
        """The value of an expression; a promise is waited for."""
        result = self.send("Runtime.evaluate", {"expression": code, "returnByValue": True, "awaitPromise": True})
        if "exceptionDetails" in result:
            raise AssertionError(f"{code}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait(self, code, what, seconds=ANSWER_SECONDS):
        end = time.monotonic() + seconds
        while not (value := self.eval(code)):
            if time.monotonic() > end:
                raise AssertionError(f"waited in vain for {what}: {code}")
            time.sleep(0.05)
        return value

    def size(self, width, height):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.send("Emulation.setDeviceMetricsOverride", metrics)

    def scheme(self, name):
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.send("Emulation.setEmulatedMedia", {"features": features})

    def key(self, key, code, shift=False, text=None):
        event = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        down = {**event, "type": "keyDown"}
        if text:
            down["text"] = text
        self.send("Input.dispatchKeyEvent", down)
        self.send("Input.dispatchKeyEvent", {**event, "type": "keyUp"})

    def type(self, text):
        self.send("Input.insertText", {"text": text})

    def picture(self, path, whole=True):
        data = self.send("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": whole})["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))

    def requests(self):
        return [event["params"]["request"]["url"] for event in self.events if event["method"] == "Network.requestWillBeSent"]

    def complaints(self):
        """Errors and warnings on the console, exceptions, and what the browser has blocked."""
        told = []
        for event in list(self.events):
            params = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                told.append(str(params["exceptionDetails"]))
            elif event["method"] == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                told.append(str(params["args"]))
            elif event["method"] == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                told.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        return told
