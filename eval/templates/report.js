"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const make = (tag, name, text) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  document.documentElement.classList.add("js");

  // ---- values under the cursor
  const tip = $("tip");
  for (const svg of document.querySelectorAll("svg[data-chart]")) {
    const data = JSON.parse(svg.dataset.chart), cursor = svg.querySelector(".cursor");
    const hide = () => { tip.hidden = true; cursor.classList.remove("on"); };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect(), width = svg.viewBox.baseVal.width;
      const x = ((event.clientX - box.left) * width) / box.width;
      let best = data.at[0];
      for (const row of data.at) if (Math.abs(row[1] - x) < Math.abs(best[1] - x)) best = row;
      cursor.setAttribute("x1", best[1]);
      cursor.setAttribute("x2", best[1]);
      cursor.classList.add("on");
      tip.replaceChildren(make("div", "", `${data.x} ${best[0]}`));
      for (const [name, colour, text] of best[2]) {
        const line = make("div");
        line.append(make("span", `dot ${colour}`), `${name}: ${text}`);
        tip.append(line);
      }
      tip.hidden = false;
      const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
      tip.style.left = `${Math.max(8, left)}px`;
      tip.style.top = `${Math.max(8, event.clientY - tip.offsetHeight - 14)}px`;
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("pointercancel", hide);
  }

  // ---- tables that are sorted by a click on a column's name
  const valueOf = (cell) => {
    const text = cell.dataset.value ?? cell.textContent.trim(), found = parseFloat(text.replace(/[,\s]/g, ""));
    return Number.isNaN(found) ? text.toLowerCase() : found;
  };
  const compare = (a, b) => (typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1);
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0], given = [...body.rows];
    for (const [column, head] of heads.entries()) {
      if (head.hasAttribute("data-fixed")) continue;
      const button = make("button", "sort", head.textContent);
      button.type = "button";
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort"), next = now === "descending" ? "ascending" : now === "ascending" ? "" : "descending";
        for (const other of heads) other.removeAttribute("aria-sort");
        if (next) head.setAttribute("aria-sort", next);
        const rows = [...given], sign = next === "descending" ? -1 : 1;
        if (next) rows.sort((a, b) => {
          const fixed = b.classList.contains("total") - a.classList.contains("total");
          return fixed || sign * compare(valueOf(a.cells[column]), valueOf(b.cells[column]));
        });
        body.replaceChildren(...rows);
      });
    }
  }

  // ---- the episodes
  const block = $("index");
  if (!block || !$("filters")) return;
  const index = JSON.parse(block.textContent);
  const [KEY, STEP, TASK, KIND, STATE, END, TURNS, REWARD, MARKS, LOOPS, REPEATS, LEVEL, SCORE, TOKENS] = Array(14).keys();
  const place = new Map(index.rows.map((row, number) => [row[KEY], number]));
  const ofTask = new Map();
  for (const row of index.rows) {
    if (!ofTask.has(row[TASK])) ofTask.set(row[TASK], []);
    ofTask.get(row[TASK]).push(row);
  }
  const words = (text) => text.replaceAll("_", " ");
  const when = (step) => (step < 0 ? "while learning" : index.steps.length < 2 ? "judged" : step === 0 ? "before training" : `after step ${step}`);
  const unpacked = new Map();

  async function unpack(number) {
    const packed = atob($(`piece-${number}`).textContent), bytes = new Uint8Array(packed.length);
    for (let at = 0; at < packed.length; at++) bytes[at] = packed.charCodeAt(at);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }
  async function piece(number) {
    if (unpacked.has(number)) return unpacked.get(number);
    const found = await unpack(number);
    unpacked.set(number, found);
    if (unpacked.size > 30) unpacked.delete(unpacked.keys().next().value);
    return found;
  }

  // ---- the texts that are searched: piece by piece, kept in lower case as far as there is room
  const MAX_HELD = 6e7, AHEAD = 3, SLICE = 25, SHOW_EVERY = 300; // characters, pieces, milliseconds twice
  const texts = new Map();
  let held = 0, full = false;
  const textOf = (episode) => {
    const parts = [episode.task, episode.kind, episode.failure, episode.first];
    for (const turn of episode.turns) parts.push(turn.a, turn.t, turn.r, turn.s, turn.p);
    return parts.filter(Boolean).join("\n").toLowerCase();
  };

  function textsOf(number) {
    let found = texts.get(number);
    if (!found) {
      found = unpack(number).then((episodes) => episodes.map(textOf));
      texts.set(number, found);
      found.then((list) => {
        const size = list.reduce((sum, text) => sum + text.length, 0);
        full ||= held + size > MAX_HELD;
        if (full) texts.delete(number);
        else held += size;
      }, () => texts.delete(number));
    }
    return found;
  }
  const idle = () => new Promise((go) => (window.requestIdleCallback ? requestIdleCallback(() => go()) : setTimeout(go, 50)));
  let readingAhead = false;
  async function readAhead() {
    if (readingAhead) return;
    readingAhead = true;
    for (let number = 0; number * index.piece < index.rows.length && !full; number++) {
      if (texts.has(number)) continue;
      await idle();
      await textsOf(number);
    }
  }

  const form = $("filters"), list = $("list"), PAGE = 50;
  const short = (text) => (String(text).length > 40 ? `${String(text).slice(0, 39)}…` : text);
  const options = (name, entries) => {
    form.elements[name].append(new Option("all", ""));
    for (const [value, text] of entries) form.elements[name].append(new Option(short(text), value));
    if (entries.length < 2) form.elements[name].closest("label").hidden = true;
  };
  options("step", index.steps.map((step) => [step, when(step)]));
  options("state", index.states.map((name, number) => [number, name]));
  options("kind", index.kinds.map((name, number) => [number, words(name) || "(none)"]));
  options("level", index.levels.map((name, number) => [number, name || "(none)"]).sort((a, b) => (a[1] < b[1] ? -1 : 1)));
  options("end", index.ends.map((name, number) => [number, words(name)]));
  form.hidden = false;

  let shown = [], limit = PAGE, asked = 0;
  function fits(row) {
    const value = (name) => form.elements[name].value;
    const marks = value("marks");
    return (
      (!value("step") || row[STEP] === Number(value("step"))) && (!value("state") || row[STATE] === Number(value("state"))) &&
      (!value("kind") || row[KIND] === Number(value("kind"))) && (!value("end") || row[END] === Number(value("end"))) &&
      (!value("level") || row[LEVEL] === Number(value("level"))) &&
      (!marks || row[{ marked: MARKS, loops: LOOPS, repeats: REPEATS }[marks]] > 0)
    );
  }
  const failed = (error) => { $("count").textContent = `The episodes could not be unpacked here: ${error.message}`; };
  /* Rows whose text holds what is looked for, shown as they are found; null where another question was asked meanwhile. */
  async function search(rows, text, turn) {
    const wanted = new Map(), found = [];
    for (const row of rows) {
      const number = Math.floor(place.get(row[KEY]) / index.piece);
      if (!wanted.has(number)) wanted.set(number, []);
      wanted.get(number).push(row);
    }
    const numbers = [...wanted.keys()];
    let since = performance.now(), told = since, drawn = -1;
    for (const [at, number] of numbers.entries()) {
      for (const next of numbers.slice(at, at + AHEAD)) textsOf(next);
      const list = await textsOf(number);
      if (turn !== asked) return null;
      for (const row of wanted.get(number)) if (list[place.get(row[KEY]) % index.piece].includes(text)) found.push(row);
      const now = performance.now();
      if (now - told > SHOW_EVERY) {
        told = now;
        shown = found;
        if (drawn < limit && drawn !== found.length) draw();
        drawn = found.length;
        $("count").textContent = `searching: ${found.length.toLocaleString("en")} found in ${Math.floor((100 * at) / numbers.length)} %`;
      }
      if (now - since > SLICE) {
        await new Promise((go) => setTimeout(go));
        if (turn !== asked) return null;
        since = performance.now();
      }
    }
    return found;
  }
  async function filter() {
    const turn = ++asked, text = form.elements.text.value.trim().toLowerCase();
    limit = PAGE;
    let rows = index.rows.filter(fits);
    if (text) rows = await search(rows, text, turn);
    if (turn !== asked) return;
    shown = ordered(rows);
    draw();
  }
  function ordered(rows) {
    const by = form.elements.order.value;
    if (!by) return rows;
    if (by === "task") return [...rows].sort((a, b) => (a[TASK] < b[TASK] ? -1 : a[TASK] > b[TASK] ? 1 : 0));
    return [...rows].sort((a, b) => b[Number(by)] - a[Number(by)]);
  }
  function draw() {
    const won = index.states.indexOf("won"), failed = index.states.indexOf("failed");
    const successes = shown.filter((row) => row[STATE] === won).length;
    const failures = shown.filter((row) => row[STATE] === failed).length;
    $("count").textContent = `${shown.length.toLocaleString("en")} of ${index.rows.length.toLocaleString("en")} episodes; ` +
      `${successes.toLocaleString("en")} won` + (failures ? `; ${failures} failed by infrastructure` : "");
    list.replaceChildren(...shown.slice(0, limit).map((row) => {
      const item = make("li"), link = make("a");
      link.href = `#episode-${row[KEY]}`;
      const id = make("span", "id", row[TASK]);
      if (index.kinds[row[KIND]]) id.append(make("small", "", words(index.kinds[row[KIND]])));
      const state = index.states[row[STATE]];
      link.append(
        make("span", `state ${state}`, state), id,
        make("span", "dim", index.steps.length > 1 ? when(row[STEP]) : `${row[TOKENS].toLocaleString("en")} tokens`),
        make("span", "dim", `${row[TURNS]} turns`), make("span", "dim", words(index.ends[row[END]])),
      );
      item.append(link);
      return item;
    }));
    $("more").hidden = shown.length <= limit;
  }
  $("more").addEventListener("click", () => { limit += 4 * PAGE; draw(); });
  let waiting;
  form.addEventListener("input", (event) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => filter().catch(failed), event.target.name === "text" ? 150 : 0);
  });
  /* A number of a table leads to the episodes that it counts. */
  const lists = { kind: index.kinds, state: index.states, end: index.ends, level: index.levels };
  for (const link of document.querySelectorAll("a[data-filter]")) {
    link.addEventListener("click", () => {
      const wanted = JSON.parse(link.dataset.filter);
      for (const element of form.elements) if (element.name) element.value = "";
      if (index.steps.length > 1) form.elements.step.value = String(Math.max(...index.steps));
      for (const [name, value] of Object.entries(wanted)) {
        const at = lists[name] ? lists[name].indexOf(value) : value;
        form.elements[name].value = String(at);
      }
      filter().catch(failed);
    });
  }
  form.elements.text.addEventListener("focus", () => readAhead().catch(() => {}));
  form.addEventListener("submit", (event) => event.preventDefault());

  // ---- one episode
  const reader = $("reader"), body = $("reader-body");
  let open = null;
  function turnOf(turn) {
    if (turn.gap) return make("li", "gap", `${turn.gap} turns are left out here; they are in the trajectory file.`);
    const item = make("li", turn.x ? "turn marked" : "turn"), did = make("div", "did");
    did.append(make("span", "n", turn.n), make("code", "", turn.a || "(no action)"));
    for (const mark of turn.x || []) did.append(make("mark", mark, mark));
    if (turn.k) did.append(make("mark", "", turn.k));
    if (turn.i) did.append(make("mark", "", `${turn.i} images seen`));
    if (turn.w) did.append(make("span", "reward", `reward ${turn.w}`));
    if (turn.u) did.append(make("span", "used", turn.u));
    item.append(did);
    if (turn.t !== undefined) {
      const thought = make("details", "thought");
      thought.open = true;
      thought.append(make("summary", "", "thought apart from the reply"), make("p", "said", turn.t));
      item.append(thought);
    }
    if (turn.r !== undefined) item.append(make("p", "said", turn.r));
    if (turn.p !== undefined) {
      const report = make("p", "said report");
      report.append(make("b", "", "report "), turn.p);
      item.append(report);
    }
    if (turn.c) {
      const choice = make("details");
      choice.append(make("summary", "", "what could be done"), make("p", "saw", turn.c));
      did.append(choice);
    }
    if (turn.s) item.append(make("p", "saw", turn.s));
    return item;
  }
  async function read(key) {
    const number = place.get(key);
    if (number === undefined) return missing(key);
    open = key;
    const row = index.rows[number];
    const episode = (await piece(Math.floor(number / index.piece)))[number % index.piece];
    if (open !== key) return;
    $("reader-title").textContent = episode.task;
    const facts = $("reader-facts");
    facts.replaceChildren(make("span", `state ${episode.state}`, episode.state));
    const told = [index.steps.length > 1 && when(row[STEP]), words(episode.kind), index.levels[row[LEVEL]] && `difficulty ${index.levels[row[LEVEL]]}`, `${episode.num_turns} turns`, `ended: ${words(episode.ended)}`,
      `score ${row[SCORE]}`,
      row[REWARD] !== row[SCORE] && `reward ${row[REWARD]}`, episode.used];
    facts.append(` · ${told.filter(Boolean).join(" · ")}`);
    const first = make("li", "first"), turns = make("ol", "turns");
    first.append(make("p", "saw", episode.first));
    turns.append(first, ...episode.turns.map(turnOf));
    body.replaceChildren(...(episode.failure ? [make("p", "failure", episode.failure)] : []), turns);
    const others = ofTask.get(row[TASK]), next = others[(others.indexOf(row) + 1) % others.length];
    $("other").hidden = others.length < 2;
    $("other").textContent = index.steps.length > 1 && next[STEP] !== row[STEP]
      ? `same task, ${when(next[STEP])}` : `same task, ${others.indexOf(next) + 1} of ${others.length}`;
    $("other").dataset.key = next[KEY];
    if (!reader.open) reader.showModal();
    reader.scrollTop = 0;
  }
  function missing(key) {
    open = null;
    $("reader-title").textContent = `Episode ${key}`;
    $("reader-facts").textContent = key.startsWith("t")
      ? "It is one of those that the run learned from; they are in the folder trajectories."
      : "It is not in this page, which holds only so many; it is in the trajectory files.";
    body.replaceChildren();
    $("other").hidden = true;
    if (!reader.open) reader.showModal();
  }
  const visit = (key) => { history.replaceState(null, "", `#episode-${key}`); read(key).catch(failed); };
  const follow = () => {
    const match = /^#episode-([\w-]+)$/.exec(location.hash);
    if (match) read(match[1]).catch(failed);
    else if (reader.open) reader.close();
  };
  addEventListener("hashchange", follow);
  reader.addEventListener("close", () => {
    open = null;
    if (location.hash.startsWith("#episode-")) history.replaceState(null, "", "#episodes");
  });
  reader.addEventListener("click", (event) => { if (event.target === reader) reader.close(); });
  $("shut").addEventListener("click", () => reader.close());
  $("other").addEventListener("click", () => visit($("other").dataset.key));
  const step = (by) => {
    const at = shown.findIndex((row) => row[KEY] === open), next = shown[at + by];
    if (next) visit(next[KEY]);
  };
  for (const button of reader.querySelectorAll("[data-go]")) button.addEventListener("click", () => step(Number(button.dataset.go)));
  reader.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });

  filter().catch(failed);
  follow();
})();
