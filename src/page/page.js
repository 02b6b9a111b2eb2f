// Refreshes the page while it is visible, and filters while the user types.
// Without this script, the form and a reload do the same.
"use strict";

(() => {
  /** Minimum milliseconds between two refreshes. */
  const PERIOD = 5000;
  /** The pause after a slow refresh is this many times its duration, so that a slow phone stays usable. */
  const PAUSE = 10;
  /** Timeout of a refresh in milliseconds. */
  const TIMEOUT = 15000;
  /** Milliseconds without a keystroke after which the filter applies. */
  const TYPING = 150;

  const form = document.getElementById("filter");
  const list = document.getElementById("list");
  const search = document.getElementById("q");
  const pause = document.getElementById("pause");
  const state = document.getElementById("state");

  let paused = false;
  /** Why the newest refresh failed, if it did. Stays while paused, because the page is still old. */
  let problem = "";
  let wait = PERIOD;
  let running = null;
  let timer = 0;

  function schedule(milliseconds) {
    clearTimeout(timer);
    if (!paused && !document.hidden) {
      timer = setTimeout(refresh, milliseconds);
    }
  }

  /** Requests the page at the current address; `filtered` if the address has just changed. */
  async function refresh(filtered) {
    clearTimeout(timer);
    const began = performance.now();
    running?.abort();
    const mine = new AbortController();
    running = mine;
    const timeout = setTimeout(() => mine.abort(), TIMEOUT);
    let fresh = null;
    let found = "No answer";
    try {
      // Not location.href: it may contain a user name, which fetch rejects.
      const address = location.origin + location.pathname + location.search;
      const response = await fetch(address, { cache: "no-store", signal: mine.signal });
      const text = await response.text();
      found = response.ok ? "Another page" : `HTTP ${response.status}`;
      fresh = response.ok ? new DOMParser().parseFromString(text, "text/html") : null;
    } catch {
      // No response, or a timeout: reported below.
    }
    clearTimeout(timeout);
    if (mine !== running) {
      return;
    }
    // A proxy's sign-in page is a response, but not our page.
    if (fresh?.getElementById("verdict")) {
      update(fresh, filtered === true);
      wait = Math.max(PERIOD, PAUSE * (performance.now() - began));
      problem = "";
    } else {
      problem = `${found} since ${document.getElementById("as-of")?.textContent ?? "the start"}: this is old`;
    }
    say();
    schedule(wait);
  }

  function say() {
    document.body.classList.toggle("old", problem !== "");
    state.classList.toggle("old", problem !== "");
    state.classList.toggle("told", problem !== "" || paused);
    const text = problem || (paused ? "paused" : `every ${Math.round(wait / 1000)} s`);
    if (state.textContent !== text) {
      state.textContent = text;
    }
  }

  function update(fresh, filtered) {
    const focus = document.activeElement;
    const place = filtered ? null : findPlace();
    for (const old of document.querySelectorAll(".live")) {
      const now = fresh.getElementById(old.id);
      if (now) {
        const value = old.value;
        morph(old, now);
        if (value !== undefined) {
          old.value = value;
        }
      }
    }
    document.title = fresh.title;
    if (focus?.isConnected && focus !== document.activeElement) {
      focus.focus({ preventScroll: true });
    }
    if (place?.element.isConnected) {
      window.scrollBy(0, place.element.getBoundingClientRect().top - place.top);
    } else if (filtered) {
      // Show the first match.
      const top = list.offsetTop - form.offsetHeight;
      if (window.scrollY > top) {
        window.scrollTo(0, top);
      }
    }
  }

  /** The row that must not move on the screen: the focused one, or else the first visible one. */
  function findPlace() {
    const edge = form.getBoundingClientRect().bottom;
    const inSight = (row) => {
      const { top, bottom } = row.getBoundingClientRect();
      return bottom > edge && top < window.innerHeight;
    };
    const focused = document.activeElement?.closest("[data-key]");
    let element = focused && inSight(focused) ? focused : null;
    if (!element && window.scrollY > 0) {
      element = [...list.querySelectorAll("[data-key]")].find(inSight) ?? null;
    }
    return element && { element, top: element.getBoundingClientRect().top };
  }

  /** Makes `old` equal to `fresh`, but keeps nodes where possible: they hold selection, focus and opened rows. */
  function morph(old, fresh) {
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && name !== "open") {
        old.removeAttribute(name);
      }
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) {
        old.setAttribute(name, value);
      }
    }
    const keyed = new Map();
    for (const child of old.children) {
      if (child.dataset.key !== undefined) {
        keyed.set(child.dataset.key, child);
      }
    }
    let at = old.firstChild;
    for (const next of [...fresh.childNodes]) {
      const key = next.dataset?.key;
      const same = key === undefined ? alike(at, next) && at : keyed.get(key);
      if (!same) {
        old.insertBefore(document.importNode(next, true), at);
        continue;
      }
      if (same === at) {
        at = at.nextSibling;
      } else {
        old.insertBefore(same, at);
      }
      if (same.nodeType === Node.ELEMENT_NODE) {
        morph(same, next);
      } else if (same.data !== next.data) {
        same.data = next.data;
      }
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  }

  function alike(old, fresh) {
    return old !== null && old.nodeName === fresh.nodeName && old.dataset?.key === undefined;
  }

  /** Writes the form's values into the address, so that a reload or a link shows the same. */
  function filter() {
    const given = [...new FormData(form)].filter(([, value]) => value !== "");
    const query = new URLSearchParams(given).toString();
    history.replaceState(null, "", location.pathname + (query && `?${query}`));
    refresh(true);
  }

  let typing = 0;
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(filter, TYPING);
  });
  form.addEventListener("change", (event) => {
    if (event.target !== search) {
      filter();
    }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typing);
    filter();
  });
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Resume" : "Pause";
    say();
    if (paused) {
      clearTimeout(timer);
      // A response in flight would still change the page.
      running?.abort();
      running = null;
    } else {
      refresh();
    }
  });
  document.addEventListener("keydown", (event) => {
    const writes = event.target.closest?.("input, select, textarea");
    if (event.key === "/" && !writes && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      search.select();
    }
  });
  // A hidden page is not refreshed; it is refreshed at once when it becomes visible again.
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : schedule(0)));
  window.addEventListener("pageshow", (event) => event.persisted && schedule(0));

  form.querySelector("button[type=submit]").hidden = true;
  document.getElementById("refresh").hidden = false;
  say();
  schedule(PERIOD);
})();
