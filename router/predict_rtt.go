package router

import (
	"math"

	"github.com/nearcast/nearcast/router/placement"
)

// known is a site that the caller's distance to is known.
type known struct {
	site int
	ms   float64
}

// predict fills in what can be said of the way from a caller to the sites she
// did not measure. With m a site she measured and d the distance between sites,
// the way to s is at least |m − d(m,s)| and at most m + d(m,s), as far as the
// network respects triangles. The most is what is predicted, since a site that
// did not answer while others did is rather far than near; how much more it is
// than the least, and how uncertain the distance is, is its error.
//
// Of a caller who measured nothing only the router is known that she reached:
// it stands for her, as if she had measured placement.AssumedNear to it.
func (w *world) predict(sites []placement.Site, rtt map[string]float64) {
	from := make([]known, 0, max(1, len(rtt)))
	for name, ms := range rtt {
		if i, ok := w.index[name]; ok {
			from = append(from, known{i, ms})
		}
	}
	if len(rtt) == 0 && w.entry >= 0 {
		from = append(from, known{w.entry, placement.AssumedNear})
	}
	if len(from) == len(sites) && len(rtt) > 0 {
		return // nothing is left to predict
	}
	type bound struct{ least, most, off float64 }
	bounds := make([]bound, len(sites))
	for i := range bounds {
		bounds[i].most = math.Inf(1)
	}
	for _, k := range from {
		for i, d := range w.row(k.site) {
			if math.IsNaN(d.ms) {
				continue
			}
			b := &bounds[i]
			if far := k.ms + d.ms; far < b.most {
				b.most, b.off = far, d.off
			}
			b.least = max(b.least, math.Abs(k.ms-d.ms)-d.off)
		}
	}
	for i := range sites {
		b := &bounds[i]
		if _, measured := rtt[sites[i].Name]; measured || math.IsInf(b.most, 1) || len(rtt) == 0 && i == w.entry {
			continue
		}
		sites[i].PredictedRTT = tenth(b.most)
		sites[i].PredictedError = tenth(max(0, b.most-b.least) + b.off)
	}
}

func tenth(ms float64) float64 { return math.Round(ms*10) / 10 }
