"use strict";
// Shows the dialogues one page at a time. They are embedded as JSON, in chunks that are parsed on demand, and enter the
// document as text only: no markup is made from them.
const PAGE = 20;
const LARGEST_DIFF = 4e6; // cells of the table of common subsequences: some 2,000 by 2,000 words
const MINUS = "\u2212";
const byId = (id) => document.getElementById(id);
const parsed = (id) => JSON.parse(byId(id).textContent);
const make = (tag, className, ...children) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
};

const reader = parsed("reader-index");
const total = reader.ids.length;
const places = new Map(reader.ids.map((id, index) => [id, index]));
const chunks = new Map();
const example = (index) => {
  const number = Math.floor(index / reader.chunk);
  if (!chunks.has(number)) chunks.set(number, parsed("dialogues-" + number));
  return chunks.get(number)[index % reader.chunk];
};

const list = byId("dialogue-list");
const search = byId("search");
const order = byId("order");
const filter = byId("filter");
const keys = byId("keys");
const choices = { a: byId("system-a"), b: byId("system-b"), metric: byId("metric") };
const state = { indices: reader.ids.map((_, index) => index), page: 0, selected: -1 };
const chosen = (name, otherwise) => (choices[name] ? Number(choices[name].value) : otherwise);
const pair = () => ({ a: chosen("a", reader.pair[0]), b: chosen("b", reader.pair[1]), metric: chosen("metric", 0) });
const pages = () => Math.max(1, Math.ceil(state.indices.length / PAGE));

const score = (metric, system, index) => (reader.metrics.length ? reader.scores[metric][system][index] : null);
const written = (value, metric, signed) => {
  const { scale, digits } = reader.metrics[metric];
  const text = Math.abs(value * scale).toFixed(digits);
  const sign = Number(text) === 0 ? "" : value < 0 ? MINUS : signed ? "+" : "";
  return sign + text;
};
// What the reader sorts by: the difference of the two chosen systems, or the score of the only one.
const gap = (index, { a, b, metric }) =>
  reader.systems.length > 1 ? score(metric, a, index) - score(metric, b, index) : score(metric, 0, index);

// Returns, for both lists of words, which words are outside the longest common subsequence.
const unshared = (a, b) => {
  const marks = [a.map(() => true), b.map(() => true)];
  const share = (i, j) => { marks[0][i] = marks[1][j] = false; };
  let start = 0;
  let [endA, endB] = [a.length, b.length];
  for (; start < endA && start < endB && a[start] === b[start]; start++) share(start, start);
  for (; endA > start && endB > start && a[endA - 1] === b[endB - 1]; endA--, endB--) share(endA - 1, endB - 1);
  const [rows, columns] = [endA - start, endB - start];
  if (rows * columns > LARGEST_DIFF) return [null, null]; // no marks rather than false ones
  if (rows * columns === 0) return marks;
  const width = columns + 1;
  const longest = new Uint32Array((rows + 1) * width);
  for (let i = rows - 1; i >= 0; i--) {
    for (let j = columns - 1; j >= 0; j--) {
      longest[i * width + j] = a[start + i] === b[start + j]
        ? longest[(i + 1) * width + j + 1] + 1
        : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
    }
  }
  for (let i = 0, j = 0; i < rows && j < columns;) {
    if (a[start + i] === b[start + j]) share(start + i++, start + j++);
    else if (longest[(i + 1) * width + j] >= longest[i * width + j + 1]) i++;
    else j++;
  }
  return marks;
};

// Returns the text in pieces, with marked words in <mark> elements, adjacent ones joined.
const marked = (text, marks) => {
  const pieces = [];
  let [run, inside] = ["", false];
  const flush = () => { if (run) pieces.push(inside ? make("mark", "", run) : run); };
  let place = 0;
  for (const part of parts(text)) {
    const wanted = isSpace(part) ? inside && Boolean(marks[place]) : marks[place++];
    if (wanted !== inside) {
      flush();
      [run, inside] = ["", wanted];
    }
    run += part;
  }
  flush();
  return pieces;
};

// Words and the spaces between them; in scripts without spaces, each character with its marks is a word.
const UNSPACED = "\\p{sc=Han}\\p{sc=Hira}\\p{sc=Kana}\\p{sc=Thai}\\p{sc=Laoo}\\p{sc=Khmr}\\p{sc=Mymr}\\u30fc";
const PART = new RegExp(`\\s+|[${UNSPACED}]\\p{M}*|[^\\s${UNSPACED}]+`, "gu");
const parts = (text) => text.match(PART) || [];
const isSpace = (part) => /^\s/.test(part);
const words = (text) => parts(text).filter((part) => !isSpace(part));

// Returns a paragraph whose direction follows its letters.
const paragraph = (...children) => {
  const element = make("p", "", ...children);
  element.dir = "auto";
  return element;
};

const line = (text) => {
  const speaker = /^[^\s:：][^:：]{0,39}(?::(?=\s|$)|：)/.exec(text);
  return speaker ? paragraph(make("b", "", speaker[0]), text.slice(speaker[0].length)) : paragraph(text);
};

const outputBox = (index, system, output, marks) => {
  const { metric } = pair();
  const [text, ...notes] = output;
  const value = score(metric, system, index);
  const heading = make("h4", "", make("span", "", reader.systems[system]));
  if (value !== null) heading.append(make("span", "score", written(value, metric, false)));
  const box = make("div", "output series-" + (system % 7), heading);
  if (text.trim()) box.append(paragraph(...(marks ? marked(text, marks) : [text])));
  else box.append(make("p", "empty", "nothing"));
  if (notes.length) box.append(make("p", "notes", notes.join(", ")));
  return box;
};

const heading = (index, id) => {
  const link = make("a", "", id || "(no id)");
  link.href = "#id=" + encodeURIComponent(id);
  const parts = [link];
  if (reader.systems.length > 1 && reader.metrics.length) {
    const { a, b, metric } = pair();
    const what = ` ${reader.metrics[metric].title} (${reader.systems[a]} ${MINUS} ${reader.systems[b]})`;
    parts.push(make("span", "gap", make("b", "", written(gap(index, pair()), metric, true)), what));
  }
  const copy = make("button", "copy", "Copy link");
  copy.type = "button";
  copy.setAttribute("aria-label", "Copy the link to " + id);
  copy.addEventListener("click", async () => {
    select(index, false);
    try {
      await navigator.clipboard.writeText(location.href);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Copy it from the address bar";
    }
    copy.setAttribute("aria-label", copy.textContent);
    setTimeout(() => {
      copy.textContent = "Copy link";
      copy.setAttribute("aria-label", "Copy the link to " + id);
    }, 2000);
  });
  return make("div", "heading", make("h3", "", ...parts), copy);
};

const article = (index) => {
  const [id, dialogue, references, outputs] = example(index);
  const { a, b } = pair();
  const [marksA, marksB] = a === b ? [null, null] : unshared(words(outputs[a][0]), words(outputs[b][0]));
  const element = make("article", dialogue ? "" : "bare", heading(index, id));
  element.tabIndex = -1;
  element.dataset.index = index;
  element.setAttribute("aria-label", id || "(no id)");
  if (dialogue) {
    const turns = make("div", "dialogue", ...dialogue.split("\n").map(line));
    turns.tabIndex = 0;
    turns.setAttribute("role", "group");
    turns.setAttribute("aria-label", "Dialogue " + id);
    element.append(turns);
  }
  const title = make("h4", "", make("span", "", references.length > 1 ? "References" : "Reference"));
  if (a !== b && !marksA) element.append(make("p", "note long", "These two summaries are too long to mark their differences."));
  const boxes = outputs.map((output, place) => outputBox(index, place, output, place === a ? marksA : place === b ? marksB : null));
  element.append(make("div", "outputs", make("div", "output references", title, ...references.map((text) => paragraph(text))), ...boxes));
  return element;
};

const show = (page) => {
  state.page = Math.min(Math.max(0, page), pages() - 1);
  const start = state.page * PAGE;
  const shown = state.indices.slice(start, start + PAGE);
  list.replaceChildren(...shown.map(article));
  const of = state.indices.length < total ? `${state.indices.length} found of ${total}` : total;
  byId("shown").textContent = shown.length ? `Dialogues ${start + 1}\u2013${start + shown.length} of ${of}` : `None of ${total} dialogues matches.`;
  byId("page").value = state.page + 1;
  byId("page").max = pages();
  byId("pages").textContent = "of " + pages();
  document.querySelectorAll("[data-step]").forEach((button) => {
    const target = state.page + Number(button.dataset.step);
    button.setAttribute("aria-disabled", String(target < 0 || target >= pages())); // keeps the focus, unlike disabled
  });
  mark();
};

const turn = (by) => {
  if (state.page + by < 0 || state.page + by >= pages()) return;
  show(state.page + by);
  if (list.contains(document.activeElement) || document.activeElement === document.body) list.focus({ preventScroll: true });
  list.scrollIntoView({ block: "start" });
};

// The text of a dialogue with its references and summaries, in lower case; built at the first search.
const texts = [];
const textOf = (index) => {
  texts[index] ??= example(index).flat(2).join("\n").toLowerCase();
  return texts[index];
};

const arrange = () => {
  const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const among = filter && filter.value ? new Set(reader.checks[filter.value]) : null;
  const fits = (index) => (!among || among.has(reader.ids[index])) && wanted.every((word) => textOf(index).includes(word));
  state.indices = reader.ids.map((_, index) => index);
  if (among || wanted.length) state.indices = state.indices.filter(fits);
  const direction = { file: 0, loss: 1, win: -1 }[order ? order.value : "file"];
  const sign = direction * (reader.metrics.length ? reader.metrics[pair().metric].better : 1);
  if (sign) {
    const chosenPair = pair();
    const gaps = new Map(state.indices.map((index) => [index, gap(index, chosenPair)]));
    state.indices.sort((one, other) => sign * (gaps.get(one) - gaps.get(other)) || one - other);
  }
  show(0);
};

const mark = () => {
  for (const element of list.children) {
    if (Number(element.dataset.index) === state.selected) element.setAttribute("aria-current", "true");
    else element.removeAttribute("aria-current");
  }
};

const select = (index, focus) => {
  state.selected = index;
  mark();
  try {
    history.replaceState(null, "", "#id=" + encodeURIComponent(reader.ids[index]));
  } catch { /* a preview without an address, or too many steps per second */ }
  const element = list.querySelector('[data-index="' + index + '"]');
  if (!focus || !element) return;
  element.focus({ preventScroll: true });
  element.scrollIntoView({ block: "start" });
};

const goTo = (place) => {
  if (place < 0 || place >= state.indices.length) return;
  const page = Math.floor(place / PAGE);
  if (page !== state.page) show(page);
  select(state.indices[place], true);
};

const step = (by) => {
  const place = state.indices.indexOf(state.selected);
  const onPage = place >= 0 && Math.floor(place / PAGE) === state.page;
  goTo(onPage ? place + by : state.page * PAGE);
};

const openLink = () => {
  if (!location.hash.startsWith("#id=")) return;
  let id = location.hash.slice(4);
  try {
    id = decodeURIComponent(id);
  } catch { /* not written by this page: use it unchanged */ }
  const index = places.get(id);
  if (index === undefined) {
    byId("shown").textContent = "The dialogue " + id + " is not on this page.";
    byId("reader").scrollIntoView();
    return;
  }
  if (!state.indices.includes(index)) {
    search.value = "";
    if (filter) filter.value = "";
    arrange();
  }
  goTo(state.indices.indexOf(index));
};

// ---- keys and controls

const moves = { j: () => step(1), ArrowRight: () => step(1), k: () => step(-1), ArrowLeft: () => step(-1), n: () => turn(1), p: () => turn(-1) };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const typing = event.target.closest("input:not([type=checkbox]), select");
  if (event.key === "Escape" && (typing || search.value)) {
    if (search.value) {
      search.value = "";
      arrange();
    }
    if (typing) typing.blur();
  } else if (typing || !keys.checked || (event.key.startsWith("Arrow") && (event.shiftKey || event.target.closest(".scroll, pre")))) {
    return;
  } else if (event.key === "/") {
    search.focus();
    search.select();
  } else if (Object.hasOwn(moves, event.key)) {
    moves[event.key]();
  } else {
    return;
  }
  event.preventDefault();
});

let waiting = 0;
search.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(arrange, 120);
});
[order, filter, ...Object.values(choices)].filter(Boolean).forEach((control) => control.addEventListener("change", arrange));
byId("page").addEventListener("change", (event) => show(Math.floor(Number(event.target.value) || 1) - 1));
document.querySelectorAll("[data-step]").forEach((button) => button.addEventListener("click", () => turn(Number(button.dataset.step))));
window.addEventListener("hashchange", openLink);
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#id="]');
  if (link && link.hash === location.hash) openLink(); // the browser sends no event for a link to the current address
});
document.querySelectorAll("[data-rows]").forEach((button) => button.addEventListener("click", () => {
  const row = byId(button.getAttribute("aria-controls"));
  row.hidden = !row.hidden;
  button.setAttribute("aria-expanded", String(!row.hidden));
}));
document.querySelectorAll("[data-closed]").forEach((row) => { row.hidden = true; });
document.querySelectorAll("[data-scripted]").forEach((part) => { part.hidden = false; });
show(0);
openLink();
