// Package web is the player: the pages on which a person finds an app, presses
// Play and holds it. Plain ES modules and CSS, embedded as they are; there is
// no build step, no framework, and nothing is fetched from elsewhere.
//
// # What is served where
//
//	GET /                 index.html   the apps one may play
//	GET /play/{app}       play.html    one app: Play, waiting, streaming, ended
//	GET /assets/...       assets/...   scripts, styles, icons, pictures
//
// The pages name their files by absolute path (/assets/js/play.js), so [FS] is
// served at the root of an origin, the app's id being read by the page from its
// own address. Each file should be revalidated on each use (Cache-Control:
// no-cache and an ETag), so that modules of two releases never meet in one page.
//
// The pages run under a policy that allows scripts and styles of their own
// origin only, without 'unsafe-inline'. Beacons and brains live on origins known at run
// time alone, and so do pictures: connect-src and img-src must allow them.
//
// # What the pages need of a router
//
//	GET  /v1/apps                   wire.AppsResponse
//	GET  /v1/sites                  wire.SitesResponse
//	POST /v1/probes                 wire.ProbeRequest → wire.ProbeResponse, where sites are many
//	POST /v1/sessions               wire.LaunchRequest → 201 wire.LaunchResponse
//	POST /v1/sessions/{id}/ticket   Authorization: Bearer ticket → wire.TicketRenewal
//	GET  beacon_url                 any 2xx; across origins it must send
//	                                Access-Control-Allow-Origin and should send
//	                                Timing-Allow-Origin, for truer numbers
//
// All of it across origins too: a page whose own origin is lost goes on at the
// routers of the other sites (SiteView.RouterURL). Of a brain it asks
// GET /healthz, where any answer will do.
//
// Errors are wire.Problem, whose title and detail the person reads.
//
// # Rooms
//
//	assets/js/home.js, play.js   the pages' entry points
//	assets/js/session.js         the state machine of a session: pure
//	assets/js/player.js          carries out what the state machine asks for
//	assets/js/race.js            which site is nearest
//	assets/js/survey.js          which sites to measure, where they are many
//	assets/js/watchdog.js        whether a picture still comes
//	assets/js/lifeline.js        whether the site is there, and leaving it if not
//	assets/js/verdict.js         the picture stopped: is it the site, or is it us
//	assets/js/routers.js         the routers of all sites; asking one after the other
//	assets/js/api.js             the router's REST interface
//	assets/js/signal.js          the WebSocket to a brain
//	assets/js/peer.js            the WebRTC peer connection to a seat
//	assets/js/stats.js           numbers out of getStats: pure
//	assets/js/words.js           every state, reason and code as a sentence: pure
//	assets/js/memory.js          what survives a reload of the page
//	assets/js/input/             hands to wire.Input
//	assets/js/screens/           what is shown at each stage
//	assets/js/ui/                icons, pictures and the distance line
//
// # For tests and benches
//
// play.html exposes window.nearcast: state (the phase, a string),
// firstFrameMS (Play pressed → first decoded frame, or null), marks (when each
// step was reached, in milliseconds after Play), seat (the id of the seat that
// is held, or ""), connected (whether the brain's WebSocket is open), site (the
// session's, or ""), candidates (of its launch), race (leader, results by site, decidedMS
// after the first beacon was asked, rounds, probed), moves (each loss of a site: from,
// to, and ms from the verdict to the new picture) and stats(), a promise of the
// overlay's numbers. The event "nearcast:firstframe" is dispatched on window.
package web

import (
	"embed"
	"io/fs"
)

//go:embed index.html play.html assets
var files embed.FS

// FS holds index.html, play.html and assets at its root.
var FS fs.FS = files
