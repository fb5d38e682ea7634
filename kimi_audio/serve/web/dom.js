/** Small helpers for the document. */

/** @param {string} selector @returns {any} the one element */
export function $(selector) {
  return document.querySelector(selector);
}

/** Make an element. @param {string} name @param {object} properties @param {...(Node|string)} children */
export function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** Set the text, and touch the document only where it changes, so that screen readers do not repeat it. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Offer a text as a file. */
export function saveFile(name, content, type = "text/plain") {
  const address = URL.createObjectURL(new Blob([content], { type }));
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

/** Make a list of tabs work with the mouse and the arrow keys. */
export function tabs(list, onChange) {
  const all = [...list.querySelectorAll("[role=tab]")];
  const select = (tab, isFocused) => {
    for (const one of all) {
      const isSelected = one === tab;
      one.setAttribute("aria-selected", String(isSelected));
      one.tabIndex = isSelected ? 0 : -1;
      document.getElementById(one.getAttribute("aria-controls")).hidden = !isSelected;
    }
    if (isFocused) tab.focus();
    onChange(tab.getAttribute("aria-controls"));
  };
  for (const [index, tab] of all.entries()) {
    tab.addEventListener("click", () => select(tab, false));
    tab.addEventListener("keydown", ({ key }) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
      if (step) select(all[(index + step + all.length) % all.length], true);
    });
  }
}
