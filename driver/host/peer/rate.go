package peer

import (
	"sync"
	"time"

	"github.com/pion/interceptor/pkg/cc"
)

// lowestBPS is where congestion control stops: below it there is no picture.
const lowestBPS = 300_000

const (
	// Below this loss a drop of the estimate may be a misreading of jitter.
	littleLoss = 0.02
	// The estimate is reported when it went down by a twentieth, or up by a
	// twelfth and not more often than this.
	riseEvery = 500 * time.Millisecond
)

// rateKeeper turns the bandwidth estimate into a bitrate for the encoder.
//
// The estimator takes its delay-based target down to a fraction of what arrived
// of late, which means nothing while the picture is still and little is sent:
// then a late packet would cost the picture's quality for half a minute. So
// without loss the estimate does not take the bitrate below a quarter of the
// ceiling.
type rateKeeper struct {
	max      int
	onChange func(bps int)

	mu        sync.Mutex
	estimator cc.BandwidthEstimator
	bps       int
	changed   time.Time
}

func newRateKeeper(max int, onChange func(int)) *rateKeeper {
	return &rateKeeper{max: max, bps: max, onChange: onChange}
}

func (r *rateKeeper) follow(e cc.BandwidthEstimator) {
	r.mu.Lock()
	r.estimator = e
	r.mu.Unlock()
	e.OnTargetBitrateChange(func(int) {
		loss, _ := e.GetStats()["averageLoss"].(float64)
		if bps, ok := r.update(e.GetTargetBitrate(), loss, time.Now()); ok {
			r.onChange(bps)
		}
	})
}

// update takes an estimate and reports whether the bitrate is another now.
func (r *rateKeeper) update(estimate int, loss float64, now time.Time) (bps int, changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if loss < littleLoss {
		estimate = max(estimate, r.max/4)
	}
	bps = min(max(estimate, min(lowestBPS, r.max)), r.max)
	down := bps < r.bps-r.bps/20
	up := bps > r.bps && (bps > r.bps+r.bps/12 || bps == r.max) && now.Sub(r.changed) >= riseEvery
	if !down && !up {
		return r.bps, false
	}
	r.bps, r.changed = bps, now
	return bps, true
}

func (r *rateKeeper) current() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bps
}
