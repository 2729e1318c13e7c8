// Elements, numbers and times. Text is always put in as text, so nothing that a job says is ever read as HTML.

/** An element: attributes (`class`, `onclick`, ...; false and null: none), then children. */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same, in a picture. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Puts new children into a node, and the focus back to the one with the same `data-key`. */
export function replace(node, ...children) {
  const focused = node.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  node.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  if (focused === undefined) return;
  const again = [...node.querySelectorAll("[data-key]")].find((one) => one.dataset.key === focused);
  if (again) again.focus({ preventScroll: true });
}

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** 1,234,567 */
export const number = (value) => whole.format(value);

/** 1.2M, from 100,000 up */
export const brief = (value) => (Math.abs(value) < 100000 ? number(value) : short.format(value));

/** What may be parts of one: 0.25, 12.5, 1,003 */
export const parts = (value) => (value < 10 ? String(Number(value.toPrecision(3))) : brief(Number(value.toFixed(1))));

/** A rate: 0, 0.25, 12, 1,003 */
export const rate = (value) => (value < 10 ? String(Number(value.toFixed(2))) : number(Math.round(value)));

/** 64 KiB */
export function bytes(value) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (value >= 1024 && at < units.length - 1) {
    value /= 1024;
    at += 1;
  }
  return `${at === 0 || value >= 10 ? number(Math.round(value)) : value.toFixed(1)} ${units[at]}`;
}

/** A time, in the browser's time zone: 2030-12-31 23:59:59 */
export function moment(text) {
  const time = new Date(text);
  const two = (value) => String(value).padStart(2, "0");
  const day = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
  return `${day} ${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}

/** How long ago: 5 s, 12 min, 3 h, 4 d */
export function age(text) {
  const seconds = Math.max(0, (Date.now() - new Date(text).getTime()) / 1000);
  if (seconds < 100) return `${Math.round(seconds)} s`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

/** A time as an element: how long ago, and exactly when on hovering. */
export const since = (text) => h("time", { datetime: text, title: moment(text) }, age(text));

/** 1 job, 2 jobs */
export const count = (many, noun) => `${number(many)} ${noun}${many === 1 ? "" : "s"}`;

let toastTimer = 0;

/** Says something at the bottom of the page, for a while. */
export function say(text) {
  const toast = document.getElementById("toast");
  toast.textContent = text;
  toast.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => toast.classList.remove("shown"), 6000);
}
