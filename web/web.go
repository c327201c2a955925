// Package web is the player: the pages where a person finds an app, presses Play
// and holds it. Plain ES modules and CSS, embedded as they are: no build step, no
// framework, and nothing is fetched from other places.
//
//	http.FileServerFS(web.FS) // serves /, /play.html and /assets/
//
// Each module begins with a comment that says what it is for; home.js, play.js, check.js and
// console.js are the pages' entry points, and element.js is that of other people's pages:
//
//	element.js   <nearcast-player>: attributes, events, methods (docs/EMBED.md)
//	shell.js     one player as it is seen, in the element's shadow root; hands.js what is done with it
//	player.js    one session: carries out what session.js decides
//	later.js     what no session begins with; input/ has what few sessions need
//	style/       the style of the shadow root, as text; language.js and words/ all that it says
//	console/     the operators' pages; console/model.js what they know, console/verdict.js why it is slow
//
// Nothing of a player is global to its document, since a page may have several. session.js,
// stats.js, words.js, check/findings.js and half of console/ are pure. web/packages makes npm packages of them.
//
// # What is served where
//
//	GET /                 index.html   the list of apps
//	GET /play/{app}       play.html    one app: a player, and nothing else
//	GET /check            check.html   what the person's network lets through; ?site= names a site
//	GET /assets/...       assets/...   scripts, styles, icons, pictures
//	GET /console          console.html the operators' pages (docs/CONSOLE.md). Not a router's: the console's service has them
//
// The pages name their files by absolute path (/assets/js/play.js), so [FS] is
// served at the root of an origin; the page reads the app's id from its own
// address. Each file should be revalidated on each use (Cache-Control:
// no-cache and an ETag), so that a page does not load modules of two releases. A page that was loaded
// before an update may still fetch a later module (import()) of the new release: what those
// import from the modules of the first screen keeps its name and meaning from one release to the next.
//
// The pages work under a content security policy that allows scripts and styles
// of their own origin only, without 'unsafe-inline'. The origins of beacons, brains
// and pictures are known at run time only: connect-src and img-src must allow them.
//
// # What the pages need of a router
//
//	GET  /v1/apps                   wire.AppsResponse
//	GET  /v1/apps/{app}             wire.AppView
//	GET  /v1/sites                  wire.SitesResponse
//	POST /v1/probes                 wire.ProbeRequest → wire.ProbeResponse, where sites are many
//	POST /v1/sessions               wire.LaunchRequest → 201 wire.LaunchResponse
//	POST /v1/sessions/{id}/ticket   Authorization: Bearer ticket → wire.TicketRenewal
//	POST /login/token, /login/out   wire.PersonToken; by the cookie of a login, of the page's own router alone
//	GET  /login                     to the login provider, and back to /play/{app}
//	GET  /healthz                   any answer: the router can be reached
//	GET  beacon_url                 any 2xx; across origins it must send
//	                                Access-Control-Allow-Origin and should send
//	                                Timing-Allow-Origin, for truer numbers
//
// All of it across origins too: a page whose own origin is lost continues at the
// routers of the other sites (SiteView.RouterURL). It asks a brain for GET /healthz,
// where any answer counts, and check.html asks it for GET /v1/network (wire.Network).
//
// A signed app's launch token comes in the fragment, /play/{app}#token=…, which
// browsers send to nobody. The page takes it out of the address, and sends it as
// Authorization: Bearer with GET /v1/apps/{app} and POST /v1/sessions. login.js gets a login token where
// the app asks for a login, which is sent as that is; only our own page can (docs/API.md).
//
// Errors are wire.Problem, whose title and detail the person reads.
//
// console.html needs a console's service at its own origin: internal/wire/console.go. It works under
// default-src 'none' with scripts, styles, pictures and connections of its own origin.
//
// # For tests and benches
//
// What a player shows is in its shadow root; internal/testkit/browser looks there (Deep).
//
// check.html says at #check that it is at work (aria-busy), and what came of it at .verdict
// (data-kind).
//
// console.html exposes window.nearcastConsole: model (what it knows) and page (which is shown).
//
// play.html exposes window.nearcast: state (the phase, a string),
// firstFrameMS (Play pressed → first decoded frame, or null), marks (when each
// step was reached, in milliseconds after Play; assets/js/marks.js), playedAt (when Play was
// pressed, in milliseconds since 1970), prepared (whether a seat is, and its
// connection is up, before Play), seat (the id of the seat that
// is held, or ""), connected (whether the brain's WebSocket is open), site (the
// session's, or ""), restarts (each search for another way to the seat that found one, in
// ms), candidates (of its launch), race (leader, results by site, decidedMS
// after the first beacon was asked, rounds, probed), moves (each loss of a site: from,
// to, and ms from the verdict to the new picture) and stats(), a promise of the
// overlay's numbers. The event "nearcast:firstframe" is dispatched on window.
package web

import (
	"embed"
	"io/fs"
)

//go:embed index.html play.html check.html console.html assets
var files embed.FS

// FS holds index.html, play.html, check.html, console.html and assets at its root.
var FS fs.FS = files
