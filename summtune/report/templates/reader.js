"use strict";
// Filters and orders the dialogues; without it the page shows them all, in the order of the file.
const list = document.getElementById("readings");
const search = document.getElementById("search");
const order = document.getElementById("order");
const shown = document.getElementById("shown");
if (list && search) {
  const articles = Array.from(list.children);
  // Ids, dialogues, summaries and notes, but not the scores: a search for "3" means a text with a 3.
  const text = (article) => Array.from(article.querySelectorAll("h3, p"), (part) => part.textContent).join("\n");
  const texts = articles.map((article) => text(article).toLowerCase());
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
