package router

import (
	"net/url"
	"slices"
	"strings"

	"github.com/nearcast/nearcast/internal/wire"
)

// brainsOf are the WebSocket URLs of the brains of a site that people may be sent to:
// those that have the most room of all that are healthy.
//
// Among equals one is drawn at random, and not the emptiest one. All routers of all sites
// learn of room with the same delay; if each sent everybody to the emptiest brain, that
// one would get the whole crowd of the next second. Classes have room for many more
// people than come within the delay, so what is random spreads well enough. For the same
// reason, a brain that is busy still gets people where no brain of its site has enough.
func brainsOf(list []wire.Instance) []string {
	var best []string
	least := roomless + 1
	for _, b := range list {
		u := connectURL(b.URL)
		if !b.Healthy || u == "" {
			continue
		}
		switch class := crowded(b.Room); {
		case class < least:
			best, least = append(best[:0], u), class
		case class == least:
			best = append(best, u)
		}
	}
	return best
}

const roomless = 2

// crowded orders classes of room, the emptiest first. An unknown class comes from a newer
// brain, which has some room.
func crowded(room wire.Room) int {
	switch room {
	case wire.RoomEnough:
		return 0
	case wire.RoomFull:
		return roomless
	default:
		return 1
	}
}

// brain picks one of a site's brains with the most room at random, so that they share
// the load. It is empty where there is none.
func (t *siteTable) brain(i int, chance func() float64) string {
	switch of := t.sites[i].brains; len(of) {
	case 0:
		return ""
	case 1:
		return of[0]
	default:
		return of[min(int(chance()*float64(len(of))), len(of)-1)]
	}
}

// maxSpares is how many other brains of a site a launch names: a page tries one after the
// other, and asks the router again before it has tried many.
const maxSpares = 2

// spares are other brains of a site than the one that was picked.
func (t *siteTable) spares(i int, picked string) []string {
	var out []string
	of := t.sites[i].brains
	first := slices.Index(of, picked)
	for n := 1; n < len(of) && len(out) < maxSpares; n++ { // from the next one on, so that each is as often the first
		if u := of[(first+n)%len(of)]; u != picked && !slices.Contains(out, u) {
			out = append(out, u)
		}
	}
	return out
}

// connectPath is the WebSocket of a brain.
const connectPath = "/v1/connect"

// connectURL is the WebSocket of a brain. Its registered URL may lack the path.
func connectURL(base string) string {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return ""
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = connectPath
	}
	return u.String()
}
