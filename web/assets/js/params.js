// params.js: what the page's address sets of a public app's parameters:
// /play/viewer?param.model=car. The router checks them.

const PREFIX = 'param.';

// paramsOf reads a location's search: an object of strings by name, or null where none
// is set. Of a name that is there twice, the last value counts.
export function paramsOf(search) {
  const params = {};
  for (const [name, value] of new URLSearchParams(search)) {
    if (name.startsWith(PREFIX)) params[name.slice(PREFIX.length)] = value;
  }
  return Object.keys(params).length > 0 ? params : null;
}
