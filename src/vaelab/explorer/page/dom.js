// Small helpers for elements. Text from data is only ever set as text.

export const find = (selector, within = document) => within.querySelector(selector);

/** Make an element with properties and children; strings become text. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("aria-") || name === "for" || name === "role")
      made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

export const button = (text, onclick) => element("button", { type: "button", onclick }, text);

/** Write a number with so many significant digits and a real minus sign. */
export function formatNumber(value, digits = 3) {
  const text =
    Math.abs(value) >= 1000 ? value.toFixed(0) : Number(value.toPrecision(digits)).toString();
  return text.replace("-", "\u2212");
}

/** Fill a select with options; values are their indices. */
export function fillSelect(select, names) {
  select.replaceChildren(...names.map((name, index) => new Option(name, String(index))));
}

export const prefersReducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
