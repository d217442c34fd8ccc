"use strict";
// Filters and orders the dialogues; without it the page shows them all, in the order of the file.
const list = document.getElementById("readings");
const search = document.getElementById("search");
const order = document.getElementById("order");
const shown = document.getElementById("shown");
if (list && search) {
  const articles = Array.from(list.children);
  const texts = articles.map((article) => article.textContent.toLowerCase());
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    articles.forEach((article, index) => {
      const found = words.every((word) => texts[index].includes(word));
      article.hidden = !found;
      count += found ? 1 : 0;
    });
    shown.textContent = words.length ? count + " of " + articles.length + " shown" : "";
  };
  const sort = () => {
    const sign = { file: 0, low: 1, high: -1 }[order.value];
    const sorted = sign ? [...articles].sort((a, b) => sign * (a.dataset.order - b.dataset.order)) : articles;
    list.append(...sorted);
  };
  search.addEventListener("input", filter);
  if (order) order.addEventListener("change", sort);
  document.getElementById("controls").hidden = false;
}
