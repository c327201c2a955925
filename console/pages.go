package console

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"bytes"
)

// page serves the console's page to everybody: it holds nothing, and asks who it is that looks.
func (c *Console) page(rw http.ResponseWriter, r *http.Request) { c.file(rw, r, "console.html") }

func (c *Console) asset(rw http.ResponseWriter, r *http.Request) {
	c.file(rw, r, strings.TrimPrefix(path.Clean(r.URL.Path), "/"))
}

// types are those of the files that the page has.
var types = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
	".svg": "image/svg+xml", ".json": "application/json", ".webp": "image/webp", ".png": "image/png", ".jpg": "image/jpeg", ".avif": "image/avif", ".woff2": "font/woff2",
}

// file serves a file of the web directory. It is revalidated at each use, so that a page never has
// modules of two releases.
func (c *Console) file(rw http.ResponseWriter, r *http.Request, name string) {
	kind := types[path.Ext(name)]
	if kind == "" || !fs.ValidPath(name) {
		http.NotFound(rw, r)
		return
	}
	text, err := fs.ReadFile(c.cfg.Web, name)
	if err != nil {
		http.NotFound(rw, r)
		return
	}
	sum := sha256.Sum256(text)
	h := rw.Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", `"`+hex.EncodeToString(sum[:12])+`"`)
	http.ServeContent(rw, r, name, time.Time{}, bytes.NewReader(text))
}
