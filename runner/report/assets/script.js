// Makes the page answer: one cursor and one zoom for everything on the time axis, by pointer and by keys, and the
// theme. All values come from the tables below the plots, all text goes in as text.
"use strict";
const root = document.documentElement;
const make = (name, className) => {
  const made = document.createElement(name);
  if (className) made.className = className;
  return made;
};
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

// The theme: the system's, or what the reader chose.
const theme = document.getElementById("theme");
if (theme) {
  const words = { "": "as the system", light: "light", dark: "dark" };
  let kept = null;
  // Storage is refused to pages opened from some places; the choice lasts as long as the page, then.
  try { kept = localStorage.getItem("chaos-theme"); } catch { }
  const wear = (name) => {
    if (name) root.dataset.theme = name;
    else delete root.dataset.theme;
    theme.textContent = "Theme: " + words[name];
    try { localStorage.setItem("chaos-theme", name); } catch { }
  };
  if (kept in words) wear(kept);
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const order = ["", "light", "dark"];
    wear(order[(order.indexOf(root.dataset.theme ?? "") + 1) % order.length]);
  });
}

// What a list of names and values says, beside the pointer and to those who listen.
const heard = make("div", "heard");
heard.setAttribute("role", "status");
document.body.append(heard);
const listed = (pairs) => {
  const list = make("dl");
  for (const [name, value] of pairs) {
    const term = make("dt");
    const told = make("dd");
    term.textContent = name;
    told.textContent = value;
    list.append(term, told);
  }
  return list;
};
const spoken = (pairs, notes) => {
  heard.textContent = pairs.map(([name, value]) => name + " " + value).concat(notes).join(", ");
};
const nearest = (places, place) => {
  let low = 0;
  let high = places.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (places[middle] < place) low = middle + 1;
    else high = middle;
  }
  return low > 0 && place - places[low - 1] < places[low] - place ? low - 1 : low;
};
const read = (table) => {
  const rows = [...table.tBodies[0].rows];
  return { names: [...table.tHead.rows[0].cells].map((cell) => cell.textContent), rows, places: rows.map((row) => Number(row.dataset.x) / 1000) };
};
const beside = (tip, frame, x, y) => {
  tip.hidden = false;
  tip.style.left = clamp(x < frame.clientWidth / 2 ? x + 14 : x - tip.offsetWidth - 14, 0, Math.max(0, frame.clientWidth - tip.offsetWidth)) + "px";
  tip.style.top = clamp(y, 0, Math.max(0, frame.clientHeight - tip.offsetHeight)) + "px";
};

const board = document.getElementById("board");
if (board) {
  const from = Number(board.dataset.fromMs) / 1000;
  const length = Number(board.dataset.toMs) / 1000 - from;
  const table = document.getElementById("values");
  const { names, rows, places } = table ? read(table) : { names: [], rows: [], places: [] };
  const charts = [...board.querySelectorAll(".chart[data-first]")];
  const marks = [...board.querySelectorAll("svg.mark")].map((mark) => {
    const start = parseFloat(mark.getAttribute("x")) / 100;
    const width = mark.classList.contains("instant") ? 0 : parseFloat(mark.getAttribute("width")) / 100;
    return { mark, start, end: start + width, text: mark.querySelector("text"), words: mark.querySelector("title").textContent };
  });
  const cursor = board.appendChild(make("div", "cursor"));
  const chosen = board.appendChild(make("div", "chosen"));
  const tip = board.appendChild(make("div", "tip"));
  cursor.hidden = chosen.hidden = tip.hidden = true;
  const shown = document.getElementById("shown");
  const axes = [...board.querySelectorAll(".ticks")].map((axis) => ({ axis, whole: [...axis.childNodes] }));
  // The part that is seen: where it begins and how long it is, as shares of the whole.
  let start = 0;
  let share = 1;
  let at = 0;
  let anchor = null;
  // Closer than 20 ms there is nothing to see.
  const closest = Math.min(1, Math.max(0.02 / length, 0.001));

  const view = () => board.querySelector(".view");
  const left = () => view().getBoundingClientRect().left - board.getBoundingClientRect().left - board.clientLeft;
  const seen = (place) => (place - start) / share;
  const clock = (seconds, step) => {
    const digits = step >= 1 ? 0 : step >= 0.1 ? 1 : step >= 0.01 ? 2 : 3;
    if (length < 120) return seconds.toFixed(digits) + " s";
    const whole = Math.floor(seconds + 1e-9);
    const rest = digits ? (seconds - whole).toFixed(digits).slice(1) : "";
    const two = (number) => String(number).padStart(2, "0");
    return (whole >= 3600 ? Math.floor(whole / 3600) + ":" + two(Math.floor(whole / 60) % 60) : Math.floor(whole / 60)) + ":" + two(whole % 60) + rest;
  };
  const ticks = () => {
    const steps = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400];
    const room = Math.max(2, Math.floor(view().clientWidth / 90));
    const step = steps.find((step) => (length * share) / step <= room) ?? length * share;
    for (const { axis, whole } of axes) {
      if (share === 1) {
        axis.replaceChildren(...whole);
        continue;
      }
      const line = whole[0];
      const labels = [];
      for (let tick = Math.ceil((from + start * length) / step); tick * step <= from + (start + share) * length; tick++) {
        const label = document.createElementNS("http://www.w3.org/2000/svg", "text");
        const place = (tick * step - from) / length;
        label.setAttribute("class", seen(place) > 0.96 ? "x last" : seen(place) < 0.03 ? "x first" : "x");
        label.setAttribute("x", place * 100 + "%");
        label.setAttribute("y", "17");
        label.textContent = clock(tick * step, step);
        labels.push(label);
      }
      axis.replaceChildren(line, ...labels);
    }
  };
  const place = () => {
    const width = view().clientWidth;
    const line = (element, where) => { element.style.left = left() + seen(where) * width + "px"; };
    cursor.hidden = tip.hidden;
    if (places.length) line(cursor, places[at]);
    if (!cursor.hidden) cursor.hidden = seen(places[at]) < 0 || seen(places[at]) > 1;
    chosen.hidden = anchor === null;
    if (anchor !== null) {
      const [low, high] = anchor.map((where) => clamp(seen(where), 0, 1)).sort((one, other) => one - other);
      chosen.style.left = left() + low * width + "px";
      chosen.style.width = (high - low) * width + "px";
    }
  };
  const zoom = (low, high) => {
    share = clamp(high - low, closest, 1);
    start = clamp((low + high - share) / 2, 0, 1 - share);
    if (share > 0.9999) { start = 0; share = 1; }
    board.style.setProperty("--zoom", 1 / share);
    board.style.setProperty("--from", start);
    const width = view().clientWidth / share;
    // A label whose mark begins to the left of what is seen comes along.
    for (const { mark, start: begin, end, text } of marks) {
      if (text && !mark.classList.contains("instant")) text.setAttribute("x", begin < start && end > start ? (start - begin) * width + 6 : 6);
    }
    ticks();
    place();
    const whole = share === 1;
    const step = share * length > 20 ? 1 : 0.001;
    shown.textContent = whole ? "" : clock(from + start * length, step) + " to " + clock(from + (start + share) * length, step);
    for (const button of tools.querySelectorAll("button")) {
      const is = button.dataset.do === "whole" ? whole : button.dataset.a !== undefined && !whole && Math.abs(button.dataset.a / 1000 - start) < 1e-3 && Math.abs(button.dataset.b / 1000 - start - share) < 1e-3;
      if (button.dataset.do === "whole" || button.dataset.a !== undefined) button.setAttribute("aria-pressed", String(is));
    }
  };
  const move = {
    whole: () => zoom(0, 1),
    in: () => around(0.5),
    out: () => around(2),
    back: () => zoom(start - share / 2, start + share / 2),
    on: () => zoom(start + share / 2, start + share * 1.5),
  };
  // About the cursor where it is in sight, else about the middle.
  const around = (factor) => {
    const inside = !cursor.hidden && places.length && seen(places[at]) >= 0 && seen(places[at]) <= 1;
    const pivot = inside ? places[at] : start + share / 2;
    const next = clamp(share * factor, closest, 1);
    const low = clamp(pivot - (next * (pivot - start)) / share, 0, 1 - next);
    zoom(low, low + next);
  };

  // The values of a plot at the cursor, and what was going on.
  const told = (chart, cell) => {
    const cells = rows[at].cells;
    const pairs = [[names[0], cells[0].textContent], [names[1], cells[1].textContent]];
    const first = Number(chart.dataset.first);
    for (let column = first; column < first + Number(chart.dataset.columns); column++) pairs.push([names[column], cells[column].textContent]);
    if (chart.dataset.cells) {
      const [low, beyond, decade] = chart.dataset.cells.split(" ").map(Number);
      const counts = rows[at].dataset.heat.trim().split(" ");
      const index = clamp(cell, 0, beyond - low - 1);
      const edge = (number) => {
        const ms = 0.001 * 10 ** ((low + number) / decade);
        return ms >= 1000 ? (ms / 1000).toPrecision(3) + " s" : ms >= 1 ? ms.toPrecision(3) + " ms" : (ms * 1000).toPrecision(3) + " µs";
      };
      pairs.push([edge(index) + " to " + edge(index + 1), counts[index] + (counts[index] === "1" ? " request" : " requests")]);
    }
    const half = 0.5 / Math.max(1, rows.length) + 1e-9;
    const notes = marks.filter(({ mark, start: begin, end }) => !/ (phase|broken|quiet)/.test(" " + mark.className.baseVal) && begin <= places[at] + half && end >= places[at] - half);
    return [pairs, notes.slice(0, 5).map(({ words }) => words)];
  };
  let cellOf = 0;
  const show = (index, chart, aloud, y) => {
    if (!rows.length) return;
    at = clamp(index, 0, rows.length - 1);
    const [pairs, notes] = told(chart, cellOf);
    tip.replaceChildren(listed(pairs));
    for (const note of notes) {
      const line = make("p");
      line.textContent = note;
      tip.append(line);
    }
    beside(tip, board, left() + seen(places[at]) * view().clientWidth, y ?? chart.offsetTop);
    place();
    if (aloud) spoken(pairs, notes);
  };
  const hide = () => {
    tip.hidden = true;
    place();
  };

  let drag = null;
  const where = (event) => {
    const box = view().getBoundingClientRect();
    return start + clamp((event.clientX - box.left) / box.width, 0, 1) * share;
  };
  board.addEventListener("pointermove", (event) => {
    if (drag !== null) {
      anchor = [drag, where(event)];
      place();
    }
    const chart = event.target.closest?.(".chart[data-first]");
    const mark = event.target.closest?.("svg.mark");
    const box = board.getBoundingClientRect();
    if (chart) {
      const frame = chart.querySelector(".time").getBoundingClientRect();
      const [low, beyond] = (chart.dataset.cells ?? "0 1").split(" ").map(Number);
      cellOf = Math.floor((1 - (event.clientY - frame.top) / frame.height) * (beyond - low));
      show(nearest(places, where(event)), chart, false, event.clientY - box.top + 16);
    } else if (mark) {
      const line = make("div");
      line.textContent = mark.querySelector("title").textContent;
      tip.replaceChildren(line);
      beside(tip, board, event.clientX - box.left, event.clientY - box.top + 16);
      cursor.hidden = true;
    } else hide();
  });
  board.addEventListener("pointerleave", hide);
  board.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !event.target.closest?.(".view")) return;
    drag = where(event);
    anchor = null;
    board.setPointerCapture?.(event.pointerId);
  });
  const release = () => {
    const picked = anchor;
    const dragged = drag !== null;
    drag = anchor = null;
    // A click that trembles is no selection.
    if (dragged && picked && Math.abs(picked[0] - picked[1]) * view().clientWidth > 5 * share) zoom(Math.min(...picked), Math.max(...picked));
    else place();
  };
  board.addEventListener("pointerup", release);
  board.addEventListener("pointercancel", () => { drag = anchor = null; place(); });
  board.addEventListener("dblclick", move.whole);
  for (const chart of charts) {
    chart.addEventListener("focus", () => { if (chart.matches(":focus-visible")) show(at, chart, true); });
    chart.addEventListener("blur", hide);
    chart.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const before = at;
      const inSight = (index) => clamp(index, nearest(places, start), nearest(places, start + share));
      const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: inSight(0), End: inSight(rows.length - 1), PageUp: at - 10, PageDown: at + 10 };
      const others = {
        "+": move.in, "=": move.in, "-": move.out, 0: move.whole,
        Enter: () => { if (anchor) { const [low, high] = anchor; anchor = null; zoom(Math.min(low, high), Math.max(low, high)); } },
        Escape: () => { if (anchor) { anchor = null; place(); } else { move.whole(); hide(); } },
      };
      if (chart.dataset.cells && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
        const [low, beyond] = chart.dataset.cells.split(" ").map(Number);
        cellOf = clamp(cellOf + (event.key === "ArrowUp" ? 1 : -1), 0, beyond - low - 1);
        event.preventDefault();
        show(at, chart, true);
      } else if (event.key in moves) {
        event.preventDefault();
        const next = clamp(moves[event.key], 0, rows.length - 1);
        anchor = event.shiftKey ? [anchor ? anchor[0] : places[before], places[next]] : null;
        // The cursor takes what is seen along.
        if (places[next] < start || places[next] > start + share) zoom(places[next] - share / 2, places[next] + share / 2);
        show(next, chart, true);
      } else if (event.key in others) {
        event.preventDefault();
        others[event.key]();
        if (!tip.hidden) show(at, chart, false);
      }
    });
  }
  const tools = document.getElementById("tools");
  tools.hidden = false;
  document.getElementById("how").hidden = rows.length === 0;
  tools.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.a !== undefined) zoom(button.dataset.a / 1000, button.dataset.b / 1000);
    else move[button.dataset.do]();
  });
  // Evidence leads to its stretch of the timeline, with some of what is around it.
  for (const link of document.querySelectorAll("a[data-a]")) {
    link.addEventListener("click", () => {
      const [low, high] = [link.dataset.a / 1000, link.dataset.b / 1000];
      const around = Math.max((high - low) / 4, 0.01);
      zoom(clamp(low - around, 0, 1), clamp(high + around, 0, 1));
      anchor = high > low ? [low, high] : null;
      place();
    });
  }
  addEventListener("resize", () => zoom(start, start + share));
  zoom(0, 1);
}

// Plots with an axis of their own.
for (const chart of document.querySelectorAll(".chart[data-table]")) {
  const { names, rows, places } = read(document.getElementById(chart.dataset.table));
  if (!rows.length) continue;
  const view = chart.querySelector(".view");
  const cursor = chart.appendChild(make("div", "cursor"));
  const tip = chart.appendChild(make("div", "tip"));
  cursor.hidden = tip.hidden = true;
  let at = 0;
  const show = (index, aloud, y) => {
    at = clamp(index, 0, rows.length - 1);
    const pairs = [...rows[at].cells].map((cell, column) => [names[column], cell.textContent]);
    tip.replaceChildren(listed(pairs));
    const left = view.getBoundingClientRect().left - chart.getBoundingClientRect().left - chart.clientLeft;
    const x = left + places[at] * view.clientWidth;
    cursor.hidden = false;
    cursor.style.left = x + "px";
    beside(tip, chart, x, y ?? 8);
    if (aloud) spoken(pairs, []);
  };
  const hide = () => { cursor.hidden = tip.hidden = true; };
  chart.addEventListener("pointermove", (event) => {
    const box = view.getBoundingClientRect();
    show(nearest(places, (event.clientX - box.left) / box.width), false, event.clientY - chart.getBoundingClientRect().top + 16);
  });
  chart.addEventListener("pointerleave", hide);
  chart.addEventListener("blur", hide);
  chart.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: rows.length - 1 };
    if (event.key === "Escape") hide();
    if (!(event.key in moves) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    show(moves[event.key], true);
  });
}
