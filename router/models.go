package router

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcast/nearcast/router/placement/probe"
)

// modelEvery is the age at which a model is replaced. A model of many sites takes
// a good part of a second to make, and distances between sites seldom change.
const modelEvery = 30 * time.Second

// models keeps the latest model of the distances between sites.
type models struct {
	latest atomic.Pointer[datedModel]
	making sync.Mutex
	wg     sync.WaitGroup
}

// datedModel is a model, the sites it was made for, and when.
type datedModel struct {
	model *probe.Model
	names []string
	made  time.Time
}

// get is a model of the table's sites. The first call makes one. Later calls get
// the one there is, and replace it in the background when it is old.
func (m *models) get(table *siteTable) (*probe.Model, error) {
	latest := m.latest.Load()
	if latest == nil || !slices.EqualFunc(latest.names, table.view.Sites, func(name string, s Site) bool { return name == s.Name }) {
		m.making.Lock()
		defer m.making.Unlock()
		if again := m.latest.Load(); again != latest {
			return again.model, nil // made by another request meanwhile
		}
		return m.make(table)
	}
	if time.Since(latest.made) > modelEvery && m.making.TryLock() {
		m.wg.Go(func() {
			defer m.making.Unlock()
			_, _ = m.make(table)
		})
	}
	return latest.model, nil
}

// make makes a model. m.making is held.
func (m *models) make(table *siteTable) (*probe.Model, error) {
	names := make([]string, len(table.view.Sites))
	for i := range names {
		names[i] = table.view.Sites[i].Name
	}
	model, err := probe.New(names, table.between)
	if err != nil {
		return nil, err
	}
	m.latest.Store(&datedModel{model: model, names: names, made: time.Now()})
	return model, nil
}

// between is the distance between two sites, by name, for the prefix store.
func (m *models) between(from, to string) (ms, err float64) {
	if latest := m.latest.Load(); latest != nil {
		if ms, ok := latest.model.RTT(from, to); ok {
			return ms, 0
		}
	}
	return math.NaN(), 0
}

// wait returns when no model is made in the background any more.
func (m *models) wait() { m.wg.Wait() }
