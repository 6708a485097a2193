// Reads plots out: pointer or arrow keys move a cursor, and the values come from the table below the plot.
"use strict";
for (const chart of document.querySelectorAll(".chart")) {
  const table = document.getElementById(chart.dataset.table);
  const frame = chart.querySelector(".frame");
  const cursor = chart.querySelector(".cursor");
  const tip = chart.querySelector(".tip");
  const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  const rows = [...table.tBodies[0].rows];
  const places = rows.map((row) => Number(row.dataset.x) / 1000);
  let at = 0;

  const show = (index) => {
    at = Math.max(0, Math.min(rows.length - 1, index));
    const list = document.createElement("dl");
    [...rows[at].cells].forEach((cell, column) => {
      const name = document.createElement("dt");
      const value = document.createElement("dd");
      name.textContent = names[column];
      value.textContent = cell.textContent;
      list.append(name, value);
    });
    tip.replaceChildren(list);
    tip.hidden = false;
    cursor.setAttribute("x1", places[at] * 100 + "%");
    cursor.setAttribute("x2", places[at] * 100 + "%");
    chart.classList.add("live");
    // Beside the cursor, on the side that has more room, and never outside.
    const left = frame.getBoundingClientRect().left - chart.getBoundingClientRect().left;
    const x = left + places[at] * frame.clientWidth;
    const beside = places[at] < 0.5 ? x + 14 : x - tip.offsetWidth - 14;
    tip.style.left = Math.max(0, Math.min(chart.clientWidth - tip.offsetWidth, beside)) + "px";
  };
  const hide = () => {
    tip.hidden = true;
    chart.classList.remove("live");
  };
  const nearest = (place) => {
    let low = 0;
    let high = places.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (places[middle] < place) low = middle + 1;
      else high = middle;
    }
    return low > 0 && place - places[low - 1] < places[low] - place ? low - 1 : low;
  };

  if (rows.length === 0) continue;
  chart.addEventListener("pointermove", (event) => {
    const box = frame.getBoundingClientRect();
    show(nearest((event.clientX - box.left) / box.width));
  });
  chart.addEventListener("pointerleave", hide);
  chart.addEventListener("blur", hide);
  chart.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: rows.length - 1 };
    if (event.key === "Escape") hide();
    if (!(event.key in moves)) return;
    event.preventDefault();
    show(moves[event.key]);
  });
}
