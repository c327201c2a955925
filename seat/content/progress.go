package content

import (
	"sync"
	"sync/atomic"
)

// meter sums up the progress of all files.
type meter struct {
	report func(done, total int64, name string)
	total  int64
	done   atomic.Int64
	mu     sync.Mutex
	each   map[string]int64 // bytes of each file that are here, by destination
}

func newMeter(files []file, report func(int64, int64, string)) *meter {
	m := &meter{report: report, each: map[string]int64{}}
	for _, f := range files {
		m.total += f.size
	}
	return m
}

// set records that n bytes of f are here.
func (m *meter) set(f file, n int64) {
	m.mu.Lock()
	delta := n - m.each[f.dest]
	m.each[f.dest] = n
	m.mu.Unlock()
	m.add(f, delta, false)
}

// add reports delta more bytes. With count it also adds them to the bytes of f.
func (m *meter) add(f file, delta int64, count bool) {
	if count {
		m.mu.Lock()
		m.each[f.dest] += delta
		m.mu.Unlock()
	}
	done := m.done.Add(delta)
	if m.report != nil {
		m.report(done, m.total, f.name())
	}
}

func (m *meter) complete(f file) { m.set(f, f.size) }
