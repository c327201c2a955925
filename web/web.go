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
// The pages name their files by absolute path (/assets/js/play.js), so a router
// serves them at the root of its origin. [Handler] does all of it, with
// revalidation by content hash and the [ContentSecurityPolicy]; a router that
// has its own way of serving files takes [FS] instead:
//
//	e.GET("/", echo.WrapHandler(web.Handler()))
//	e.GET("/play/*", echo.WrapHandler(web.Handler()))
//	e.GET("/assets/*", echo.WrapHandler(web.Handler()))
//
// # What the pages need of a router
//
//	GET  /v1/apps                   wire.AppsResponse
//	GET  /v1/sites                  wire.SitesResponse
//	POST /v1/sessions               wire.LaunchRequest → 201 wire.LaunchResponse
//	POST /v1/sessions/{id}/ticket   Authorization: Bearer ticket → wire.TicketRenewal
//	GET  beacon_url                 any 2xx; across origins it must send
//	                                Access-Control-Allow-Origin and should send
//	                                Timing-Allow-Origin, for truer numbers
//
// Errors are wire.Problem, whose title and detail the person reads.
//
// # Rooms
//
//	assets/js/home.js, play.js   the pages' entry points
//	assets/js/session.js         the state machine of a session: pure
//	assets/js/player.js          carries out what the state machine asks for
//	assets/js/race.js            which site is nearest
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
// step was reached, in milliseconds after Play) and stats(), a promise of the
// overlay's numbers. The event "nearcast:firstframe" is dispatched on window.
package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
)

//go:embed index.html play.html assets
var files embed.FS

// FS holds index.html, play.html and assets at its root.
var FS fs.FS = files

// ContentSecurityPolicy is what the pages were written to run under: only their
// own scripts and styles. Beacons and brains live on origins known at run time
// alone, and so do pictures.
const ContentSecurityPolicy = "default-src 'self'; script-src 'self'; style-src 'self'; " +
	"img-src 'self' data: http: https:; media-src 'self' blob: mediastream:; " +
	"connect-src 'self' http: https: ws: wss:; object-src 'none'; base-uri 'none'; " +
	"form-action 'none'; frame-ancestors 'self'"

// file is an embedded file with what its response needs.
type file struct {
	body, etag, contentType string
}

// Handler serves the pages under the paths of the package comment.
//
// Files are revalidated by their hash on each use: a page never mixes the
// modules of two releases for longer than one reload, and an unchanged module
// costs a 304.
func Handler() http.Handler {
	served := map[string]file{}
	err := fs.WalkDir(FS, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := fs.ReadFile(FS, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		served["/"+name] = file{
			body:        string(body),
			etag:        `"` + hex.EncodeToString(sum[:12]) + `"`,
			contentType: contentType(name),
		}
		return nil
	})
	if err != nil {
		panic("web: the embedded files cannot be read: " + err.Error())
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, ok := fileFor(r.URL.Path)
		f, found := served[name]
		if !ok || !found {
			http.NotFound(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "use GET", http.StatusMethodNotAllowed)
			return
		}
		h := w.Header()
		h.Set("Content-Type", f.contentType)
		h.Set("ETag", f.etag)
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		if strings.HasSuffix(name, ".html") {
			h.Set("Content-Security-Policy", ContentSecurityPolicy)
		}
		if r.Header.Get("If-None-Match") == f.etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		if r.Method == http.MethodGet {
			_, _ = w.Write([]byte(f.body)) // the person went away: nothing to do about it
		}
	})
}

// fileFor maps a URL path to a file's name in FS, with a slash before it.
func fileFor(urlPath string) (string, bool) {
	app, isPlay := strings.CutPrefix(urlPath, "/play/")
	switch {
	case urlPath == "/" || urlPath == "/index.html":
		return "/index.html", true
	case isPlay:
		// One segment, the app's id: the page reads it from its own address.
		return "/play.html", app != "" && !strings.Contains(strings.TrimSuffix(app, "/"), "/")
	case urlPath == "/favicon.ico":
		return "/assets/favicon.svg", true
	case strings.HasPrefix(urlPath, "/assets/"):
		return path.Clean(urlPath), true
	}
	return "", false
}

// contentType does not ask the machine's MIME tables for what the pages depend
// on: a module served as text/plain does not run.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t
	}
	return "application/octet-stream"
}
