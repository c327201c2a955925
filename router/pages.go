package router

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/nearcast/nearcast/internal/wire"
)

// pages serves the files of a web directory, each with an ETag of its content.
type pages struct {
	fsys fs.FS

	mu   sync.Mutex
	tags map[string]tag // by file name
}

// tag is the ETag of a file.
type tag struct {
	etag     string
	size     int64
	modified time.Time // zero in an embedded file system, whose files do not change
}

func newPages(fsys fs.FS) *pages { return &pages{fsys: fsys, tags: map[string]tag{}} }

func (r *Router) page(name string) echo.HandlerFunc {
	return func(c echo.Context) error { return r.pages.serve(c, name) }
}

// getFile serves any other file of the web directory.
func (r *Router) getFile(c echo.Context) error {
	return r.pages.serve(c, strings.TrimPrefix(path.Clean(c.Request().URL.Path), "/"))
}

func (p *pages) serve(c echo.Context, name string) error {
	// Hidden files and Go sources are not pages.
	if !fs.ValidPath(name) || strings.HasPrefix(name, ".") || strings.Contains(name, "/.") || path.Ext(name) == ".go" {
		return echo.ErrNotFound
	}
	f, err := p.fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return echo.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("open page: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("open page: %w", err)
	}
	if !info.Mode().IsRegular() {
		return problem(wire.ProblemNotFound, "", "This is a directory; request a file in it.")
	}
	content, ok := f.(io.ReadSeeker)
	if !ok {
		all, err := io.ReadAll(f)
		if err != nil {
			return fmt.Errorf("read page: %w", err)
		}
		content = bytes.NewReader(all)
	}
	etag, err := p.etag(name, info, content)
	if err != nil {
		return fmt.Errorf("read page: %w", err)
	}
	h := c.Response().Header()
	if t := contentType(name); t != "" {
		h.Set(echo.HeaderContentType, t)
	}
	h.Set("ETag", etag)
	h.Set(echo.HeaderCacheControl, cacheControl(name))
	http.ServeContent(c.Response(), c.Request(), name, time.Time{}, content)
	return nil
}

func (p *pages) etag(name string, info fs.FileInfo, content io.ReadSeeker) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t, ok := p.tags[name]; ok && t.size == info.Size() && t.modified.Equal(info.ModTime()) {
		return t.etag, nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, content); err != nil {
		return "", err
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	t := tag{`"` + hex.EncodeToString(sum.Sum(nil)[:12]) + `"`, info.Size(), info.ModTime()}
	p.tags[name] = t
	return t.etag, nil
}

// contentType depends only on the name: the table of the system may lack types
// that pages need.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js", ".mjs":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".json", ".map":
		return "application/json"
	case ".webmanifest":
		return "application/manifest+json"
	case ".woff2":
		return "font/woff2"
	}
	return mime.TypeByExtension(path.Ext(name))
}

// cacheControl makes browsers revalidate pages and scripts each time, at the price
// of a 304: a page must not load modules of two releases at once (package web says
// what holds for those that it fetches after an update). Pictures may be old.
func cacheControl(name string) string {
	switch path.Ext(name) {
	case ".html", ".js", ".mjs", ".css", ".json":
		return "no-cache"
	}
	return "public, max-age=86400"
}
