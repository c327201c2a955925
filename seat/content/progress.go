package content

import "sync"

// meter sums up the progress of all files. An object counts once for each place that it
// goes to, and once where it goes nowhere.
type meter struct {
	report func(done, total int64, name string)
	total  int64

	mu   sync.Mutex
	done int64
	each map[string]int64 // bytes of each object that are here, by cache key
}

func newMeter(jobs []job, report func(int64, int64, string)) *meter {
	m := &meter{report: report, each: make(map[string]int64, len(jobs))}
	for _, j := range jobs {
		m.total += j.size * places(j)
	}
	return m
}

func places(j job) int64 { return int64(max(1, len(j.dests))) }

// set records that n bytes of j are here.
func (m *meter) set(j job, n int64) {
	m.change(j, func(int64) int64 { return n })
}

// add records that n more bytes of j are here.
func (m *meter) add(j job, n int64) {
	m.change(j, func(before int64) int64 { return before + n })
}

func (m *meter) complete(j job) { m.set(j, j.size) }

// rest says that all is here but some jobs.
func (m *meter) rest(jobs []job, name string) {
	m.mu.Lock()
	m.done = m.total
	for _, j := range jobs {
		m.done -= j.size * places(j)
	}
	done := m.done
	m.mu.Unlock()
	if m.report != nil {
		m.report(done, m.total, name)
	}
}

func (m *meter) change(j job, to func(int64) int64) {
	m.mu.Lock()
	before := m.each[j.cacheKey]
	after := to(before)
	m.each[j.cacheKey] = after
	m.done += (after - before) * places(j)
	done := m.done
	m.mu.Unlock()
	if m.report != nil {
		m.report(done, m.total, j.name())
	}
}
