// Search and filters above each table of samples: without scripts they stay hidden and all rows are shown.
for (const bar of document.querySelectorAll("[role=search]")) {
  const rows = [...bar.nextElementSibling.tBodies[0].rows];
  const show = () => {
    const words = bar.querySelector("input").value.toLowerCase().split(/\s+/);
    const chosen = [...bar.querySelectorAll("select")];
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const fits = chosen.every((select) => !select.value || row.dataset[select.name] === select.value);
      row.hidden = !(fits && words.every((word) => text.includes(word)));
      shown += !row.hidden;
    }
    bar.querySelector("output").value = `${shown} of ${rows.length}`;
  };
  bar.addEventListener("input", show);
  bar.hidden = false;
  show();
}
