// brains.js: which brains a launch names, and what to say where they or the picture fail.

export function brainsOf(launch) {
  // Others of the same site come before other sites.
  const spares = launch.spare_brain_urls ?? [];
  const runners = (launch.candidates ?? []).filter((c) => c.brain_url && !c.excluded).map((c) => c.brain_url);
  return [...new Set([launch.brain_url, ...spares, ...runners])];
}

// siteOf is the site of a brain.
export const siteOf = (launch, url) => launch.candidates?.find((c) => c.brain_url === url)?.site ?? launch.site;

// Where the person's network may be at fault, check says that a page can tell.
export const noBrain = () => ({
  type: 'about:blank', status: 0, check: true, own: 'no-brain', title: 'The site does not answer',
  detail: 'It answered a moment ago. Try again: another site may have a place.',
});

export const noMedia = () => ({
  type: 'about:blank', status: 0, check: true, own: 'no-media', title: 'No video arrives',
  detail: 'Your network seems to let no video through, neither by UDP nor by TCP. Try another network, or switch off your VPN. Check your network to see what it lets through.',
});
