package router

import (
	"math"

	"github.com/nearcast/nearcast/router/placement"
)

// predictRTTs predicts the round trips from a caller to the sites that the
// caller did not measure. With m a site that was measured and d the distance
// between sites, the round trip to s is at least |m − d(m,s)| and at most
// m + d(m,s), as far as the network obeys the triangle inequality. The upper
// bound is the prediction: a site that did not answer while others did is more
// likely far than near. Its error is the difference to the lower bound, plus the
// error of the distance.
//
// For a caller that measured nothing, the router that was reached stands in, as
// if the caller had measured placement.AssumedNear to it.
func (t *siteTable) predictRTTs(sites []placement.Site, rtt map[string]float64) {
	type measured struct {
		site int
		ms   float64
	}
	from := make([]measured, 0, max(1, len(rtt)))
	for name, ms := range rtt {
		if i, ok := t.index[name]; ok {
			from = append(from, measured{i, ms})
		}
	}
	if len(rtt) == 0 && t.entry >= 0 {
		from = append(from, measured{t.entry, placement.AssumedNear})
	}
	if len(from) == len(sites) && len(rtt) > 0 {
		return // all sites were measured
	}
	type bound struct{ least, most, err float64 }
	bounds := make([]bound, len(sites))
	for i := range bounds {
		bounds[i].most = math.Inf(1)
	}
	for _, m := range from {
		for i, d := range t.row(m.site) {
			if math.IsNaN(d.ms) {
				continue
			}
			b := &bounds[i]
			if far := m.ms + d.ms; far < b.most {
				b.most, b.err = far, d.err
			}
			b.least = max(b.least, math.Abs(m.ms-d.ms)-d.err)
		}
	}
	for i := range sites {
		b := &bounds[i]
		if _, measured := rtt[sites[i].Name]; measured || math.IsInf(b.most, 1) || len(rtt) == 0 && i == t.entry {
			continue
		}
		sites[i].PredictedRTT = tenth(b.most)
		sites[i].PredictedError = tenth(max(0, b.most-b.least) + b.err)
	}
}

func tenth(ms float64) float64 { return math.Round(ms*10) / 10 }
