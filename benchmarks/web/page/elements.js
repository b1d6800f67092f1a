// Elements of the page, made of texts: nothing that a file or a browser says becomes markup.

/** An element with attributes and children, which are elements or texts. */
export function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for what is drawn. */
export function shape(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** The element of an id. */
export function byId(id) {
  return document.getElementById(id);
}

/** Show an element with a text, or hide it where the text is empty. */
export function say(id, text) {
  byId(id).textContent = text;
  byId(id).hidden = !text;
}
