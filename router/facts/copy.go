package facts

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"

	"github.com/nearcast/nearcast/internal/wire"
)

// What one site may have. A router follows hundreds of sites, and none of them may use
// up its memory.
const (
	// MaxText is the longest answer, in bytes, after it was uncompressed.
	MaxText = 1 << 20
	// MaxApps is the largest number of a site's apps.
	MaxApps = 1000
	// maxSize is what the apps of a site may take in all, in bytes.
	maxSize = 2 << 20
	// maxInstances is the largest number of its brains, and of its routers.
	maxInstances = 64
	maxDistances = 2000
	// maxName is the longest id and version, and maxURL the longest URL.
	maxName = 256
	maxURL  = 2048
	// maxList is the most that a list of names in the site's record may have.
	maxList = 64
	// maxCount is the largest number of seats or people, and of milliseconds of a time.
	maxCount = 1 << 20
	maxMS    = 7 * 24 * 3600 * 1000
)

// ErrUnknownVersion is With's error where the changes are those since another version.
var ErrUnknownVersion = errors.New("the changes are those since another version")

// Read reads what a router of a site answered, and bounds it. It drops instances that
// nobody could connect to.
func Read(site string, text []byte) (wire.SiteFacts, error) {
	var f wire.SiteFacts
	if len(text) > MaxText {
		return f, fmt.Errorf("read facts of %s: they are longer than %d bytes", site, MaxText)
	}
	if err := countApps(text); err != nil {
		return f, fmt.Errorf("read facts of %s: %w", site, err)
	}
	if err := json.Unmarshal(text, &f); err != nil {
		return wire.SiteFacts{}, fmt.Errorf("read facts of %s: %w", site, err)
	}
	switch {
	case f.Site != site:
		return wire.SiteFacts{}, fmt.Errorf("read facts of %s: the router tells of %.64q", site, f.Site)
	case f.Version == "" || len(f.Version) > maxName || len(f.Since) > maxName:
		return wire.SiteFacts{}, fmt.Errorf("read facts of %s: they have no version, or one that is too long", site)
	case len(f.Apps) > MaxApps || len(f.GoneApps) > MaxApps || len(f.Distances) > maxDistances:
		return wire.SiteFacts{}, fmt.Errorf("read facts of %s: it tells of too much", site)
	case len(f.Brains) > maxInstances || len(f.Routers) > maxInstances:
		return wire.SiteFacts{}, fmt.Errorf("read facts of %s: it has more than %d brains or routers", site, maxInstances)
	case !shortList(f.Info.Residency) || !shortList(f.Info.GPU):
		return wire.SiteFacts{}, fmt.Errorf("read facts of %s: its record is too long", site)
	}
	for id, app := range f.Apps {
		if id == "" || len(id) > maxName || app.ID != id {
			return wire.SiteFacts{}, fmt.Errorf("read facts of %s: an app has the ids %.64q and %.64q", site, id, app.ID)
		}
		app.Capacity = bounded(app.Capacity)
		f.Apps[id] = app
	}
	f.Info.Site = site
	f.Brains, f.Routers = usable(site, f.Brains, "ws", "wss"), usable(site, f.Routers, "http", "https")
	maps.DeleteFunc(f.Distances, func(to string, d wire.Distance) bool {
		return len(to) > maxName || !d.Measured || d.Untrusted != "" || !(d.RTTMS > 0) || d.RTTMS > wire.MaxRTTMS || !(d.ErrorMS >= 0) || d.ErrorMS > wire.MaxRTTMS
	})
	return f, nil
}

// countApps refuses lists that are too long before they are decoded: a short text can
// make a large list of empty values.
func countApps(text []byte) error {
	if n := bytes.Count(text, []byte("{")); n > 8*MaxApps {
		return fmt.Errorf("it has %d objects, and that is too many", n)
	}
	return nil
}

func shortList(list []string) bool {
	return len(list) <= maxList && !slices.ContainsFunc(list, func(s string) bool { return len(s) > maxName })
}

// usable are the instances that somebody could connect to.
func usable(site string, list []wire.Instance, schemes ...string) []wire.Instance {
	out := make([]wire.Instance, 0, len(list))
	for _, in := range list {
		u, err := url.Parse(in.URL)
		if err != nil || len(in.URL) > maxURL || len(in.ID) > maxName || u.Host == "" || u.User != nil || !slices.Contains(schemes, u.Scheme) {
			continue
		}
		if in.Room != wire.RoomBusy && in.Room != wire.RoomFull {
			in.Room = wire.RoomEnough
		}
		out = append(out, wire.Instance{ID: in.ID, Site: site, URL: in.URL, Healthy: in.Healthy, Room: in.Room})
	}
	return out
}

func bounded(c wire.Capacity) wire.Capacity {
	for _, n := range []*int{&c.Idle, &c.Busy, &c.Starting, &c.Queued, &c.Warm, &c.Max} {
		*n = min(max(*n, 0), maxCount)
	}
	for _, ms := range []*int64{&c.ColdStartMS, &c.SessionMS} {
		*ms = min(max(*ms, 0), maxMS)
	}
	return c
}

// Copy is what is known of another site. It does not change.
type Copy struct {
	Version         string
	Apps            map[string]wire.App
	Brains, Routers []wire.Instance
	Info            wire.SiteInfo
	size            int
}

// With is the copy after an answer that Read has read.
func (c *Copy) With(f wire.SiteFacts) (*Copy, error) {
	next := &Copy{Version: f.Version, Brains: f.Brains, Routers: f.Routers, Info: f.Info}
	switch {
	case f.Since == "":
		next.Apps = make(map[string]wire.App, len(f.Apps))
	case c == nil || f.Since != c.Version:
		return nil, ErrUnknownVersion
	case len(f.Apps)+len(f.GoneApps) == 0:
		next.Apps, next.size = c.Apps, c.size
		return next, nil
	default:
		next.Apps, next.size = maps.Clone(c.Apps), c.size
	}
	for _, id := range f.GoneApps {
		if was, ok := next.Apps[id]; ok {
			next.size -= size(was)
			delete(next.Apps, id)
		}
	}
	for id, app := range f.Apps {
		if was, ok := next.Apps[id]; ok {
			next.size -= size(was)
			app = sharing(app, was)
		}
		next.Apps[id] = app
		next.size += size(app)
	}
	if len(next.Apps) > MaxApps || next.size > maxSize {
		return nil, fmt.Errorf("keep facts of %s: %d apps of %d bytes are more than a site may have", f.Site, len(next.Apps), next.size)
	}
	return next, nil
}

// size is about what an app takes in memory.
func size(app wire.App) int {
	n := 256 + 2*len(app.ID) + len(app.Title) + len(app.Description) + len(app.Picture) + len(app.Capacity.Failing) + len(app.Display.Pointer) + len(app.Access)
	for _, p := range app.Params {
		n += 64 + len(p.Name) + len(p.Pattern) + len(p.Default)
	}
	return n
}

// sharing is an app with the memory of what it was before, where nothing but its
// capacity changed.
func sharing(app, was wire.App) wire.App {
	if app.Title == was.Title && app.Description == was.Description && app.Picture == was.Picture && slices.Equal(app.Params, was.Params) {
		app.ID, app.Title, app.Description, app.Picture, app.Params = was.ID, was.Title, was.Description, was.Picture, was.Params
	}
	return app
}
