package seat

import (
	"fmt"
	"sync"
	"time"
)

// throttle limits how often progress is reported: each report goes to Consul.
type throttle struct {
	every time.Duration
	mu    sync.Mutex
	last  time.Time
}

func (t *throttle) do(always bool, f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); always || now.Sub(t.last) >= t.every {
		t.last = now
		f()
	}
}

func megabytes(n int64) string {
	if n < 10e6 {
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%d MB", n/1e6)
}
