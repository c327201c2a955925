package brain_test

import (
	"context"
	"flag"
	"sync"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

var lineFlag = flag.Int("line", 2000, "people of TestMemoryOfALine; a brain takes 4,096")

// Many people wait at one brain. Its memory is that of its job.
func TestMemoryOfALine(t *testing.T) {
	s := newSite(t)
	b := s.process("b1", "game", 0)
	before := b.peak()
	ctx, stop := context.WithCancel(s.ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	var racers []*racer
	for i := range *lineFlag {
		r := &racer{n: i, brains: []string{b.address}}
		r.token, r.session = s.ticket("game", 0)
		racers = append(racers, r)
	}
	begin := time.Now()
	for _, r := range racers {
		running.Go(func() { r.run(ctx) })
	}
	s.until("all wait", func() bool {
		for _, r := range racers {
			r.mu.Lock()
			waits := r.state == wire.MsgQueued
			r.mu.Unlock()
			if !waits {
				return false
			}
		}
		return true
	})
	peak := b.peak()
	t.Logf("%d people wait after %v: %d MB at most, %.1f KiB each; cuts: %s", len(racers), time.Since(begin).Round(time.Millisecond), peak>>20,
		float64(peak-before)/1024/float64(len(racers)), b.cuts())
	// Less than the job has: there are those who play, too.
	if most := int64(256 << 20); peak > most {
		t.Errorf("%d MB, more than %d", peak>>20, most>>20)
	}
}
