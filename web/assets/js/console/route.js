// route.js: which page of the console an address means. Pure.
//
//	read('#sessions/s-1')          // {page: 'sessions', key: 's-1', query: {}}
//	read('#sessions?site=eu-west-1') // {page: 'sessions', key: '', query: {site: 'eu-west-1'}}
//	write('apps', 'eu-west-1/viewer') // '#apps/eu-west-1/viewer'

export const PAGES = ['sites', 'apps', 'nodes', 'sessions', 'log'];

export function read(hash) {
  const [path, search = ''] = hash.replace(/^#/, '').split('?');
  const [page, ...parts] = path.split('/');
  const query = Object.fromEntries(new URLSearchParams(search));
  if (!PAGES.includes(page)) return { page: 'sites', key: '', query: {} };
  try {
    return { page, key: parts.map(decodeURIComponent).join('/'), query };
  } catch {
    return { page, key: '', query };
  }
}

export function write(page, key = '', query = {}) {
  const search = new URLSearchParams(Object.entries(query).filter(([, value]) => value)).toString();
  const path = key.split('/').map(encodeURIComponent).join('/');
  return `#${page}${key && `/${path}`}${search && `?${search}`}`;
}
