package router

import (
	"github.com/nearcast/nearcast/internal/trace"
	"github.com/nearcast/nearcast/internal/wire"
)

// maxTracedSites is how many sites a span of a launch names.
const maxTracedSites = 12

// tracePlaced notes where a session was placed, and why there.
func tracePlaced(span *trace.Span, entry string, out *wire.LaunchResponse) {
	if !span.Recorded() {
		return
	}
	span.Set("app", out.App)
	span.Set("site", out.Site)
	span.Set("entry", entry)
	span.Set("verdict", out.Candidates[0].Reason)
	span.Set("rtt_source", string(out.RTTSource))
	others := make([]string, 0, maxTracedSites)
	for _, c := range out.Candidates[1:min(len(out.Candidates), 1+maxTracedSites)] {
		others = append(others, c.Site+": "+c.Reason)
	}
	span.SetList("other_sites", others)
}
