// Makes elements of the page from text, so that text from files or browsers is never markup.

/** Make an HTML element with attributes and children (elements or texts). */
export function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** Make an SVG element with attributes and children. */
export function shape(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** The element with an id. */
export function byId(id) {
  return document.getElementById(id);
}

/** Show a text in an element, or hide the element if the text is empty. */
export function showText(id, text) {
  byId(id).textContent = text;
  byId(id).hidden = !text;
}
