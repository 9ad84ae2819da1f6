/* Shows the numbers of a column under the pointer; everything can be read without it. */
(() => {
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  document.body.append(tip);
  document.addEventListener("pointermove", (event) => {
    const picture = event.target instanceof Element && event.target.closest("svg[data-hover]");
    tip.hidden = true;
    if (!picture) return;
    const [ends, ...columns] = picture.dataset.hover.split("|");
    const [left, right] = ends.split(" ").map(Number);
    const box = picture.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * picture.viewBox.baseVal.width;
    const share = (x - left) / (right - left);
    if (!(share >= 0 && share <= 1)) return;
    tip.textContent = columns[Math.min(columns.length - 1, Math.floor(share * columns.length))];
    tip.hidden = false;
    const beside = event.clientX + tip.offsetWidth + 20 < innerWidth;
    tip.style.left = event.clientX + (beside ? 14 : -14 - tip.offsetWidth) + "px";
    tip.style.top = Math.max(4, event.clientY - 34) + "px";
  });
})();
